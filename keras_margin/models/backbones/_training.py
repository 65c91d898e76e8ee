"""How a backbone trains: batch normalisation's mode, and activations that are computed twice rather than kept."""

from typing import Any, Literal

import keras
from keras import ops

from keras_margin import _keras
from keras_margin._typing import Shape, Tensor
from keras_margin.models.backbones import _layers

MODES = ("sync", "frozen")


def set_batch_norm(model: keras.Model, mode: Literal["sync", "frozen"]) -> None:
    """Sets how every batch normalisation in a model behaves in training.

    Args:
        model: Keras model.
        mode: "sync", statistics of the whole batch, over all replicas on TensorFlow; "frozen", the moving statistics
            as they are, scale and bias fixed too: for fine-tuning on few images.

    Raises:
        ValueError: On an unknown mode.

    Example:
        >>> network = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization()])
        >>> set_batch_norm(network, "frozen")
        >>> network.layers[-1].trainable
        False
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}. Received: mode={mode!r}.")
    for layer in _keras.all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = mode != "frozen"
            if keras.backend.backend() == "tensorflow":
                layer.synchronized = True


@keras.saving.register_keras_serializable(package=_layers.PACKAGE)
class Rematerialized(keras.layers.Layer):
    """A part of a network that keeps its input alone and computes what is inside again for the gradient.

    Moving statistics move once a step, by the first of the two computations: PyTorch's checkpoint moves them twice.

    Args:
        part: Keras model from one tensor to one.
        **kwargs: As in keras.layers.Layer.
    """

    def __init__(self, part: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part

    def build(self, input_shape: Shape) -> None:
        """The part is built already."""

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        if not training:
            return self.part(x, training=False)
        moving = self.part.non_trainable_variables

        def compute(x, *weights):
            # Without state: an update inside would be made again when the gradient asks for the activations.
            outputs, updates = self.part.stateless_call(
                weights[: len(weights) - len(moving)], weights[len(weights) - len(moving) :], x, training=True
            )
            return outputs, *updates

        weights = [ops.convert_to_tensor(weight) for weight in self.part.trainable_variables]
        # Copies: PyTorch assigns in place, and would find its saved arguments changed when it computes again.
        statistics = [ops.copy(ops.convert_to_tensor(weight)) for weight in moving]
        outputs, *updates = keras.remat(compute)(x, *weights, *statistics)
        for weight, value in zip(moving, updates, strict=True):
            weight.assign(ops.stop_gradient(value))
        return outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The part's."""
        return self.part.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The part, serialised."""
        return {**super().get_config(), "part": keras.saving.serialize_keras_object(self.part)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Rematerialized":
        """The layer that `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config.pop("part")), **config)


def rematerialized(model: keras.Model) -> keras.Model:
    """Builds the same network with gradient checkpointing: stem and residual units keep their inputs alone.

    Memory for activations falls to the units' inputs and one unit's inside; a step computes forward twice. Layers are
    shared: training one trains the other, and `model` is what to save and export.

    Args:
        model: Network of this package whose units end in layers called ..._add: ir_resnet, mobilefacenet,
            inception_resnet_v1.

    Returns:
        keras.Model with the inputs, outputs and weights of `model`.

    Raises:
        ValueError: Where there are no such units.

    Example:
        >>> network = ir_resnet((1, 1), widths=(8, 8), image_size=(28, 28), embedding_size=16)
        >>> saving = rematerialized(network)
        >>> saving.count_params() == network.count_params()
        True
    """
    ends = [layer.output for layer in model.layers if layer.name.endswith("_add")]
    # The first images are the largest: the stem is a part of its own, not one with the first unit.
    ends = [layer.output for layer in model.layers if layer.name.startswith("stem")][-1:] + ends
    if len(ends) < 2:
        raise ValueError(f"{model.name} has no residual units: none of its layers is called ..._add.")
    x = inside = model.input
    for number, end in enumerate(ends):
        part = keras.Model(inside, end, name=f"part{number}")
        x = Rematerialized(part, name=f"remat{number}")(x)
        inside = end
    tail = keras.Model(inside, model.output, name="tail")
    return keras.Model(model.input, tail(x), name=model.name)

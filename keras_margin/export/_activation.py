"""A network without PReLU out of one with it, for int8 on a device."""

from typing import Literal

import keras

from keras_margin import _keras
from keras_margin._typing import PathLike
from keras_margin.export._source import extract_embedder

# As keras_margin.models.backbones calls them; 0.25 is also what their PReLUs start from.
_LAYERS = {
    "relu": keras.layers.ReLU,
    "leaky_relu": lambda **options: keras.layers.LeakyReLU(0.25, **options),
}


def with_activation(model: keras.Model | PathLike, activation: Literal["leaky_relu", "relu"]) -> keras.Model:
    """Builds the embedding network with another activation in the place of each PReLU; all other weights are kept.

    It is another function than the network was: fine-tune it before it is used, by a recipe whose `weights` is the
    saved result, or by an EmbeddingModel around it. docs/export.md has both, and what they reached.

    Args:
        model: As for `extract_embedder`: a model of any kind that can be exported, a .keras file or a run's folder.
        activation: "leaky_relu" of slope 0.25, which is near to a PReLU's beginning; or "relu", which throws away what
            the slopes let pass and needs far more than a short fine-tuning.

    Returns:
        Keras model in float32; its weights are its own, in the order of a backbone built with `activation=`.

    Raises:
        TypeError, FileNotFoundError: As `extract_embedder`.
        ValueError: As `extract_embedder`; on an unknown activation; where the network has no PReLU.

    Example:
        >>> network = keras_margin.models.backbones.mobilefacenet(blocks=(1, 1, 1, 1))
        >>> leaky = with_activation(network, "leaky_relu")
        >>> any(isinstance(layer, keras.layers.PReLU) for layer in leaky.layers)
        False
    """
    if activation not in _LAYERS:
        raise ValueError(
            f"activation must be one of {', '.join(map(repr, _LAYERS))}. Received: activation={activation!r}."
        )
    network = extract_embedder(model)
    if not any(isinstance(layer, keras.layers.PReLU) for layer in _keras.all_layers(network)):
        raise ValueError(f"{network.name} has no PReLU, so there is nothing to replace.")

    def clone(layer):
        if isinstance(layer, keras.layers.PReLU):
            return _LAYERS[activation](name=layer.name, dtype=layer.dtype_policy)
        return type(layer).from_config(layer.get_config())

    changed = keras.models.clone_model(network, clone_function=clone, recursive=True)
    slopes = {
        id(slope)
        for layer in _keras.all_layers(network)
        if isinstance(layer, keras.layers.PReLU)
        for slope in layer.weights
    }
    changed.set_weights([weight.numpy() for weight in network.weights if id(weight) not in slopes])
    return changed

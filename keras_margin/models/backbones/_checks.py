"""Whether a model ends in an embedding: what EmbeddingModel and export take."""

from typing import Any

import keras

# Operations and layers that make probabilities of a classifier's logits. An operation of keras.ops in a functional
# model has no public class to ask for.
_PROBABILITIES = ("Softmax", "LogSoftmax")


def check_embedder(backbone: Any, tail: str | None = None) -> None:
    """Raises where a model does not go from images to one embedding each.

    A model that does not know its output shape yet, as a subclassed one before its first call, passes: call again once
    it is built.

    Args:
        backbone: What was given as a backbone.
        tail: The tail that goes behind it, or None; then the model must end in embeddings (batch, embedding_size).

    Raises:
        TypeError: Where it is not a Keras 3 model; tf_keras and PyTorch are named.
        ValueError: Where it has several outputs, ends in a feature map although no tail is given, or in a softmax.

    Example:
        >>> check_embedder(keras_margin.models.backbones.mnist_net())
    """
    check_keras(backbone, "a Keras model as backbone")
    name = getattr(backbone, "name", type(backbone).__name__)
    shape = _output_shape(backbone)
    if isinstance(shape, (dict, list)) or isinstance(shape, tuple) and any(isinstance(each, tuple) for each in shape):
        raise ValueError(
            f"A backbone has one output, the embedding. Received: {name} with output shapes {shape}. Make a model of "
            "one of them: keras.Model(model.inputs, model.outputs[0])."
        )
    if shape is not None and tail is None and len(shape) == 4:
        raise ValueError(
            f"A backbone ends in embeddings (batch, embedding_size). Received: {name}, which ends in a feature map "
            f"{shape}. Pass tail='gdc', 'bn-dropout-fc-bn' or 'gap' to EmbeddingModel, or use "
            f"keras_margin.models.backbones.with_tail({name}, 'gdc')."
        )
    if shape is not None and tail is None and len(shape) != 2:
        raise ValueError(
            f"A backbone ends in embeddings (batch, embedding_size). Received: {name}, which ends in {shape}."
        )
    last = _last_operation(backbone)
    if _makes_probabilities(last):
        raise ValueError(
            f"A backbone ends in embeddings. Received: {name}, a classifier: its last layer {last.name!r} is a softmax "
            f"over {shape[-1] if shape else 'classes'}. Build it without its top (include_top=False in "
            "keras.applications) and pass tail='gdc', or end it in front of the classes: "
            "keras.Model(model.inputs, model.layers[-2].output)."
        )


def check_keras(model: Any, expected: str = "a Keras model", kind: type = keras.Layer) -> None:
    """Raises where something is not of Keras 3.

    Args:
        model: What was given.
        expected: What the caller takes, for the message.
        kind: Class that it must be of: keras.Layer or keras.Model.

    Raises:
        TypeError: With the library that the model comes from, and what to do.
    """
    if isinstance(model, kind):
        return
    homes = {each.__module__.split(".")[0] for each in type(model).__mro__}
    if "tf_keras" in homes:
        raise TypeError(
            f"{_name_of(model)} is a model of tf_keras (Keras 2), whose layers Keras 3 cannot run. Build the network "
            "again with `keras` (keras.applications, or your own code with `import keras`) and give it the weights: "
            "model.set_weights(old_model.get_weights())."
        )
    if "torch" in homes:
        raise TypeError(
            f"{_name_of(model)} is a module of PyTorch. Weights of insightface's networks are read by "
            "keras_margin.models.convert.from_insightface; another network must be built in Keras."
        )
    raise TypeError(f"Expected {expected}. Received: {model!r}.")


def _name_of(model: Any) -> str:
    return getattr(model, "name", None) or type(model).__name__


def _output_shape(model: Any) -> Any:
    """The model's output shape, or None where it does not know it yet."""
    try:
        return model.output_shape
    except (AttributeError, ValueError):  # Of a layer that was not called; of a model that was not built.
        return None


def _last_operation(model: Any) -> Any:
    """The layer or operation whose result is the model's output, in nested models too; None where it cannot be told."""
    try:
        output, operations = model.outputs[0], model.operations
    except (AttributeError, IndexError, TypeError, ValueError):
        layers = getattr(model, "layers", None)
        return _inside(layers[-1]) if isinstance(model, keras.Sequential) and layers else None
    for operation in reversed(operations):
        try:
            found = operation.output
        except (AttributeError, ValueError):  # Called several times, or never.
            continue
        if found is output:
            return _inside(operation)
    # A model that is called inside another gives the outer one a tensor of its own.
    return _inside(operations[-1]) if operations else None


def _inside(operation: Any) -> Any:
    return (_last_operation(operation) or operation) if isinstance(operation, keras.Model) else operation


def _makes_probabilities(operation: Any) -> bool:
    if type(operation).__name__ in _PROBABILITIES:
        return True
    return getattr(operation, "activation", None) in (keras.activations.softmax, keras.activations.log_softmax)

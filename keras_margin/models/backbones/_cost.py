"""What a network costs: parameters, and multiply-adds of an image."""

import math

import keras

from keras_margin import _keras


def parameters(model: keras.Model) -> tuple[int, int]:
    """Counts the numbers that a file of the network holds: weights and the moving statistics of batch normalisation.

    Args:
        model: Keras model, built.

    Returns:
        (trainable, all) as int; the state of random generators is not counted.

    Example:
        >>> norm = keras.layers.BatchNormalization()
        >>> network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), norm])
        >>> parameters(network)  # 4 * (27 + 1) + 2 * 4, and as many moving statistics
        (120, 128)
    """

    def count(weights):
        return sum(math.prod(weight.shape) for weight in weights if "seed_generator" not in weight.path)

    return count(model.trainable_weights), count(model.weights)


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of one image, the papers' FLOPs: those of convolutions and dense layers.

    Conv: out_height * out_width * out_channels * kernel_height * kernel_width * in_channels / groups; dense: in * out.

    Args:
        model: Functional or Sequential Keras model on images of one size.

    Returns:
        int.

    Raises:
        ValueError: Where the model does not know its shapes.

    Example:
        >>> multiply_adds(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]))  # 6 * 6 * 4 * 27
        3888
    """
    total = 0
    for layer in _keras.all_layers(model):
        kernel = getattr(layer, "kernel", None)
        if kernel is None or not layer.built:
            continue
        try:
            shape = layer.output.shape
        except (AttributeError, ValueError) as error:
            raise ValueError(
                f"{model.name} does not know the shape behind {layer.name}: build it on images."
            ) from error
        if len(shape) == 4 and None in shape[1:]:
            raise ValueError(f"{model.name} takes images of any size: build it on one. {layer.name} gives {shape}.")
        # A dense kernel is (in, out) and met once; a convolution's is (height, width, in / groups, out), met at each
        # place; of a depthwise one too every number is met once at each place.
        places = shape[2:] if getattr(layer, "data_format", None) == "channels_first" else shape[1:3]
        total += math.prod(kernel.shape) * (math.prod(places) if len(shape) == 4 else 1)
    return total

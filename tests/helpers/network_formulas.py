"""The layers of a network in float64 NumPy, for the tests that spell a network out."""

import numpy as np


def convolved(x, kernel, stride=1, padded=True):
    """Convolution with (side - 1) / 2 zeros on every edge, or with none."""
    rows, columns = kernel.shape[:2]
    if padded:
        x = np.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    out = np.zeros((len(x), height, width, kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            part = x[:, row : row + stride * height : stride, column : column + stride * width : stride]
            out += part[:, :height, :width] @ kernel[row, column]
    return out


def grouped(x, kernel, group, stride=1, padded=True):
    """Convolution in which output o sees inputs group * (o // group) + i alone, by kernel (rows, columns, i, o)."""
    dense = np.zeros((*kernel.shape[:2], x.shape[3], kernel.shape[3]))
    for output in range(kernel.shape[3]):
        first = group * (output // group)
        dense[:, :, first : first + group, output] = kernel[:, :, :, output]
    return convolved(x, dense, stride, padded)


def normed(x, weights, name, epsilon):
    """Batch normalisation at inference."""
    scale = weights.get(f"{name}/gamma", 1.0) / np.sqrt(weights[f"{name}/moving_variance"] + epsilon)
    return (x - weights[f"{name}/moving_mean"]) * scale + weights[f"{name}/beta"]


def prelu(x, slope):
    return np.where(x >= 0, x, slope * x)


def pooled(x, side, stride):
    """Largest of each `side` x `side` square, without padding."""
    height, width = ((length - side) // stride + 1 for length in x.shape[1:3])
    parts = [
        x[:, row : row + stride * height : stride, column : column + stride * width : stride][:, :height, :width]
        for row in range(side)
        for column in range(side)
    ]
    return np.max(parts, axis=0)


def float64_weights(model):
    """The weights of a Keras model by their paths."""
    from keras import ops

    return {weight.path: np.float64(ops.convert_to_numpy(weight)) for weight in model.weights}


def inferred(model, images):
    """What the model gives at inference, as NumPy.

    One program on JAX, which compiles operation by operation otherwise. Called directly elsewhere: `predict` of a model
    that was never compiled goes through XLA on TensorFlow, seconds for a network that runs once.
    """
    import keras

    if keras.backend.backend() == "jax":
        return model.predict(images, verbose=0)
    return keras.ops.convert_to_numpy(model(images, training=False))


def with_random_weights(model):
    """Every weight drawn, so that none hides behind a 0 or a 1; variances and PReLU slopes positive."""
    generator = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        spread = 0.4
        if weight.name == "kernel":
            spread = 1 / np.sqrt(np.prod(weight.shape[:-1]))
        drawn = generator.normal(size=weight.shape, scale=spread)
        weight.assign(drawn if weight.name in ("kernel", "beta", "bias", "moving_mean") else np.abs(drawn) + 0.2)
    return model

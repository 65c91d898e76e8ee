"""What a network's input and output tensors take and give: layout, quantisation, normalisation of pixels."""

import math

import numpy as np

from keras_margin._utils import normalization

# Largest believable input, in values (1 GiB of float32): a damaged shape must not exhaust the memory.
_MAX_INPUT = 2**28


def layout(shape, path):
    """(fixed batch or None, (height, width), channels first) of an input of this shape; sizes below 1 are free."""
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ValueError(
            "Embedder needs an input of shape (batch, height, width, 3) or (batch, 3, height, width). "
            f"Received: {path}, which takes {shape}."
        )
    if shape[1] == shape[3]:
        raise ValueError(
            f"Embedder cannot tell which axis holds the channels. Received: {path}, which takes {shape}. "
            "Convert the model with channels last and more than 3 rows."
        )
    channels_first = shape[1] == 3
    image_size = shape[2:] if channels_first else shape[1:3]
    if min(image_size) < 1:
        raise ValueError(
            f"Embedder needs an input of fixed height and width. Received: {path}, which takes {shape} (-1 is free)."
        )
    if math.prod(max(size, 1) for size in shape) > _MAX_INPUT:
        raise ValueError(f"{path} asks for an input of {shape}, more than {_MAX_INPUT} values. Is the file damaged?")
    return (None if shape[0] < 1 else shape[0]), image_size, channels_first


def _quantization(detail):
    """(scale, zero_point) of a quantised tensor, or None."""
    parameters = detail["quantization_parameters"]
    if len(parameters["scales"]) == 0:
        return None
    return parameters["scales"][0], int(parameters["zero_points"][0])


def encoder(detail, given, path):
    """A function from uint8 images (n, height, width, 3) to what the input tensor takes."""
    dtype, quantization = np.dtype(detail["dtype"]), _quantization(detail)
    if dtype == np.uint8 and quantization is None:
        _refuse(given, path, "uint8 pixels")
        return lambda images: images
    if dtype == np.float32:
        mean, std = _checked_normalization(given, path, "float32")
        return lambda images: (images.astype(np.float32) - mean) / std
    if dtype not in (np.int8, np.uint8) or quantization is None:
        raise ValueError(
            "Embedder needs an input of uint8, float32, or int8 or uint8 with a scale and zero point. "
            f"Received: {path}, which takes {dtype}."
        )
    (scale, zero_point), limits = quantization, np.iinfo(dtype)
    lowest, highest = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    # The file says itself that it takes 0 to 255; a calibration that saw no pure white may stop a few levels short.
    if abs(lowest) < 8 and abs(highest - 255) < 8:
        _refuse(given, path, f"pixels from {lowest:.0f} to {highest:.0f}")
        mean, std = np.float32(0.0), np.float32(1.0)
    else:
        shown = f"{dtype} standing for {lowest:.3g} to {highest:.3g}"
        mean, std = _checked_normalization(given, path, shown)

    def encode(images):
        values = np.rint((images.astype(np.float32) - mean) / (std * scale)) + zero_point
        return np.clip(values, limits.min, limits.max).astype(dtype)

    return encode


def _refuse(given, path, takes):
    if given is not None:
        raise ValueError(
            f"{path} takes {takes} and normalises inside, so normalization must be left out. "
            f"Received: normalization={given!r}."
        )


def _checked_normalization(given, path, takes):
    """(mean, std) as float32 arrays that broadcast over RGB."""
    if given is None:
        raise normalization.missing(path, takes)
    return normalization.mean_and_std(given)


def dequantize(answer, detail, path):
    if np.issubdtype(answer.dtype, np.floating):
        return answer.astype(np.float32, copy=False)
    quantization = _quantization(detail)
    if quantization is None:
        raise ValueError(
            "Embedder needs an output of floats, or of integers with a scale and zero point. "
            f"Received: {path}, which answers {answer.dtype}. Is it an embedder?"
        )
    scale, zero_point = quantization
    return (answer.astype(np.float32) - zero_point) * scale


def checked_images(images, image_size, single=False):
    """`images` as a uint8 array (n, height, width, 3) of the network's size."""
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ValueError(f"Embedder needs images of one size, {image_size}. {error}") from error
    if images.dtype != np.uint8:
        raise TypeError(
            f"Embedder needs uint8 RGB images, 0 to 255. Received: {images.dtype} of shape {images.shape}. "
            "Pass the pixels as they were decoded; if they are in [0, 1], np.rint(images * 255).astype(np.uint8)."
        )
    wanted = (*image_size, 3)
    shown = f"{wanted}" if single else f"(n, {wanted[0]}, {wanted[1]}, 3) or {wanted}"
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.shape[1:] != wanted or (single and images.ndim != 3):
        raise ValueError(f"Embedder needs images of shape {shown}. Received: shape {images.shape}.")
    if len(batch) == 0:
        raise ValueError(f"Embedder needs at least one image. Received: shape {images.shape}.")
    return batch

"""Any convolutional ONNX embedder as a Keras model, channels last inside, and its comparison with ONNX Runtime."""

from typing import Any

import keras
import numpy as np

from keras_margin._typing import PathLike
from keras_margin.models.convert import _onnx_gate, _onnx_graph
from keras_margin.runtime._onnx import OnnxNetwork


def from_onnx(
    path: PathLike, normalization: Any = None, *, channels: str = "RGB", name: str | None = None
) -> keras.Model:
    """Returns the Keras model of an ONNX embedder, its weights inside, compared with ONNX Runtime on noise.

    Every convolutional network is read whose operators are in the table of docs/convert.md; weights in external files
    are read along. Inside, maps have their channels last. A batch normalization that the file has folded into a
    convolution stays folded.

    Args:
        path: The .onnx file: one image input of fixed height and width, channels first or last; one output, or one
            called "embedding".
        normalization: How pixels are normalized for it: (mean, std) in grey levels, each a number or three (R, G, B),
            or a name: "raw", "zero_one", "minus_one_one", "facenet" or "imagenet". It becomes the model's first
            layer. None for a file that takes uint8.
        channels: "RGB" or "BGR", what the network was trained on. The model takes RGB.
        name: Name of the model; None for the file's.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255] to embeddings (batch, embedding_size), not
        normalised beyond what the file does.

    Raises:
        ValueError: Where the file is not ONNX, is damaged, is not an image embedder, has an operator that is not
            converted (the message names operator and node), where the normalization is missing or not wanted, or where
            a cosine to ONNX Runtime is below 0.99999.
        ImportError: Without the extra "onnx".
        OSError: Where it cannot be read.

    Example:
        >>> model = from_onnx("MobileFaceNet.onnx", "imagenet")  # doctest: +SKIP
        >>> keras_margin.export.to_tflite(model, "face.tflite")  # doctest: +SKIP
    """
    if channels not in ("RGB", "BGR"):
        raise ValueError(f'channels must be "RGB" or "BGR". Received: channels={channels!r}.')
    model = _onnx_graph.as_keras(path, normalization, channels, name)
    noise = _onnx_gate.noise(model.input_shape[1:3])
    compare_with_onnx(model, path, noise, normalization=normalization, channels=channels)
    return model


def compare_with_onnx(
    model: keras.Model, path: PathLike, images: np.ndarray, *, normalization: Any = None, channels: str = "RGB"
) -> np.ndarray:
    """Returns the cosines between a Keras model's embeddings and those of the ONNX file that it was made of.

    Args:
        model: What `from_onnx` returned.
        path: The .onnx file.
        images: uint8 array (n, height, width, 3), RGB.
        normalization: As `from_onnx` was given it.
        channels: As `from_onnx` was given it.

    Returns:
        float64 array (n,).

    Raises:
        ValueError: Where one of them is below 0.99999; the message names the image.
        ImportError: Without the extra "onnx".

    Example:
        >>> cosines = compare_with_onnx(model, "MobileFaceNet.onnx", images)  # doctest: +SKIP
    """
    wanted, _ = OnnxNetwork(path, normalization, channels=channels).run(np.asarray(images))
    found = model.predict(np.asarray(images, "float32"), batch_size=16, verbose=0)
    return _onnx_gate.compared(path, np.float64(wanted), np.float64(found))

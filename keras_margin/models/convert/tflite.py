"""A float32 TFLite embedder as a Keras model, by way of ONNX."""

import pathlib
import tempfile
import warnings
from typing import Any

import keras
import numpy as np

from keras_margin import runtime
from keras_margin._typing import PathLike
from keras_margin._utils import files
from keras_margin._utils import normalization as pixels
from keras_margin._utils.messages import install_hint
from keras_margin.models.convert import _onnx_gate, _onnx_graph


def from_tflite(
    path: PathLike, normalization: Any = None, *, channels: str = "RGB", name: str | None = None
) -> keras.Model:
    """Returns the Keras model of a float32 TFLite embedder, its weights inside, compared with LiteRT on noise.

    tf2onnx writes the file as ONNX, whose operators are those of `from_onnx`. Integer files are not read: their
    rounding is not in a float network.

    Args:
        path: The .tflite file.
        normalization: As `from_onnx`.
        channels: As `from_onnx`.
        name: As `from_onnx`.

    Returns:
        keras.Model, as `from_onnx`.

    Raises:
        ValueError: As `from_onnx`, and where tf2onnx cannot read the file.
        ImportError: Without the extras "onnx", "litert" and "cpu".
        OSError: Where it cannot be read.

    Example:
        >>> model = from_tflite("MobileFaceNet.tflite", (127.5, 128.0))  # doctest: +SKIP
    """
    # Before anything is converted: a file that LiteRT cannot run, or whose normalization is missing, ends here.
    embedder = runtime.Embedder(path, normalization, channels=channels)
    normalization = pixels.declared(normalization, embedder.metadata, embedder.path)
    with tempfile.TemporaryDirectory() as folder:
        written = pathlib.Path(folder, f"{pathlib.Path(path).stem}.onnx")
        _write_onnx(path, written)
        model = _onnx_graph.as_keras(written, normalization, channels, name, shown=path)
    noise = _onnx_gate.noise(embedder.image_size)
    found = model.predict(noise.astype("float32"), verbose=0)
    _onnx_gate.compared(path, np.float64(embedder.embed(noise)), np.float64(found), "LiteRT")
    return model


def _write_onnx(path, written):
    try:
        with warnings.catch_warnings(), files.suppress_native_stderr():
            warnings.simplefilter("ignore")
            import tf2onnx
    except ImportError as error:
        hint = install_hint("onnx", "cpu")
        raise ImportError(f"Converting TFLite needs tf2onnx: {hint}. The import failed with: {error}") from error
    try:
        with warnings.catch_warnings(), files.suppress_native_stderr():
            warnings.simplefilter("ignore")  # tf2onnx's own, of NumPy and protobuf.
            tf2onnx.convert.from_tflite(str(path), opset=17, output_path=str(written))
    except Exception as error:  # tf2onnx has no error class of its own.
        raise ValueError(f"tf2onnx cannot write {path} as ONNX: {error}") from error

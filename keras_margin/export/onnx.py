"""ONNX: for ONNX Runtime, TensorRT, OpenVINO and whatever else reads it. An extra."""

import pathlib
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_margin._typing import PathLike
from keras_margin._utils import files, progress
from keras_margin._utils.messages import install_hint
from keras_margin._utils.metadata import METADATA_NAME
from keras_margin.export import _errors, _graph, _metadata
from keras_margin.export._options import Options
from keras_margin.export._parity import Judge, ParityReport
from keras_margin.export._source import open_source

_OPSET = 17  # What tf2onnx writes well and ONNX Runtime has read since 2022.


def to_onnx(
    model: keras.Model | PathLike,
    path: PathLike,
    *,
    samples: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    options: Options | None = None,
) -> ParityReport:
    """Writes the embedding network as an ONNX file in float32, its metadata inside and as JSON next to it.

    Inside, the metadata are the metadata property `keras_margin.contract`.

    Args:
        model: As for `to_tflite`.
        path: File to write, usually *.onnx.
        samples: uint8 images to compare on; see `to_tflite`.
        pairs: See `to_tflite`.
        options: Options.

    Returns:
        ParityReport.

    Raises:
        ImportError: Where tf2onnx or onnxruntime is not installed; the message names the extra.
        TypeError, ValueError, ConversionError, ParityError, OSError: As `to_tflite`.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> to_onnx(model, "face.onnx", samples=images).passed
        True
    """
    path, options = pathlib.Path(path), options or Options()
    if path.is_dir():
        raise ValueError(f"{path} is a folder: nothing was written. Name a file, such as {path / 'face.onnx'}.")
    if options.length:
        raise ValueError("Options(length=True) is TFLite's and SavedModel's. Received: an ONNX file. Leave it out.")
    source = open_source(model)
    judge = Judge.of(source.network, options, samples, pairs)
    json_path = path.with_name(f"{path.name}.json")
    with files.atomic_write(json_path) as temporary_json, files.atomic_write(path) as temporary:
        with progress.stage(f"Converting {path.name}"):
            converted = _convert(source.network, options)
        content = converted.SerializeToString()
        with progress.stage(f"Comparing {path.name} with the model"):
            report = judge.judge(_runner(content, source.network, options), path, None, len(content))
        text = _metadata.as_json(_metadata.build_metadata(source, options, report))
        converted.metadata_props.add(key=METADATA_NAME, value=text)
        with progress.stage(f"Writing {path.name} and reading it back"):
            temporary.write_bytes(converted.SerializeToString())
            _runner(str(temporary), source.network, options)(judge.samples[:1])
        temporary_json.write_text(text, encoding="utf-8")
    return report


def _convert(network, options):
    """The network as an onnx.ModelProto."""
    try:
        with warnings.catch_warnings(), files.suppress_native_stderr():
            warnings.simplefilter("ignore")
            import tf2onnx
    except ImportError as error:
        raise ImportError(f"ONNX is an extra: {install_hint('onnx')}. The import failed with: {error}") from error
    shape = (options.batch_size, *network.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="image")])
    def serve(image):
        return {"embedding": tf.math.l2_normalize(_graph.embed(network, image, options.flip_sum), axis=1)}

    def convert():
        return tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=_OPSET)[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx's own, of NumPy and protobuf.
        return _errors.explained(convert, network, "ONNX")


def _runner(model, network, options):
    """Function from uint8 images to the embeddings of a model, bytes or a path, that was made of `network`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"ONNX is an extra: {install_hint('onnx')}. The import failed with: {error}") from error
    session = _errors.explained(
        lambda: onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]), network, "ONNX"
    )

    def compute(images):
        def embed(part):
            return session.run(["embedding"], {"image": part})[0]

        return _graph.run_in_batches(embed, images, options.batch_size or min(16, len(images)))

    def run(images):
        return _errors.explained(lambda: compute(images), network, "ONNX")

    return run

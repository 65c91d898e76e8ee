"""TFLite: one file for a phone, a browser or a small board, in four precisions."""

import dataclasses
import logging
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from keras_margin import contract, files
from keras_margin.export import _contract, _dynamic, _graph, _int8
from keras_margin.export._options import LIMITS, Options
from keras_margin.export._parity import Judge
from keras_margin.export._source import open_source
from keras_margin.messages import install_hint

logger = logging.getLogger("keras_margin.export")

# Images that set int8's ranges; more change little and take long.
_MOST_REPRESENTATIVE = 300


def to_tflite(model, path, *, quantize=None, representative=None, samples=None, pairs=None, options=None):
    """Writes the embedding network as a TFLite file, its contract inside and as JSON beside it.

    Args:
        model: EmbeddingModel, a model with a MarginHead (ways 1 and 2), a backbone; or the path of a .keras file or
            of a training run's folder.
        path: File to write, usually *.tflite.
        quantize: None for float32; "float16" weights; "dynamic" int8 weights, float activations; "int8" for both.
        representative: uint8 images (n, height, width, 3), RGB, by which "int8" sets its ranges: the first 300 of them.
        samples: uint8 images to compare on, the first 64 of them; None for those of `pairs`, those of
            `representative`, or noise.
        pairs: (images, is_same) as data.load_bin gives them, image 2i beside 2i + 1; or (images, labels) for every
            pair of them. They give the change in EER and TAR, and the threshold that the contract ships.
        options: Options.

    Returns:
        ParityReport.

    Raises:
        TypeError, ValueError: On an unknown `quantize`, "int8" without `representative`, images of no use, of another
            shape or type, a folder at `path`, a model that is no embedder, or other options that make no sense.
        ParityError: Where the file's embeddings differ from the model's.
        OSError: Where the place cannot be written, a full disk among the causes; nothing half-written is left.

    Example:
        >>> to_tflite(model, "face.tflite", pairs=(images, labels), options=Options(batch_size=1))
        >>> keras_margin.contract.read("face.tflite")["threshold"]["cosine"]
    """
    if quantize not in LIMITS:
        raise ValueError(f"quantize must be one of {', '.join(map(repr, LIMITS))}. Received: quantize={quantize!r}.")
    if quantize == "int8" and representative is None:
        raise ValueError("quantize='int8' sets its ranges by real faces: pass representative=, uint8 (n, h, w, 3).")
    if quantize != "int8" and representative is not None and (samples is not None or pairs is not None):
        raise ValueError(f"representative= sets the ranges of 'int8'. Received: quantize={quantize!r}. Leave it out.")
    path, options = _checked_path(path), options or Options()
    source = open_source(model)
    if representative is not None:
        representative = _graph.checked_images(source.network, representative, "representative")
        samples = representative if samples is None and pairs is None else samples
    judge = Judge.of(source.network, options, samples, pairs)
    with tempfile.TemporaryDirectory() as folder:
        _graph.write_savedmodel(source.network, folder, options)
        return write(source, judge, path, quantize, representative, folder)


def write(source, judge, path, quantize, representative, savedmodel):
    """Converts a SavedModel, judges the file and puts it in place; `to_tflite` once everything was checked."""
    options = judge.options
    json_path = path.with_name(f"{path.name}.json")
    with files.written_whole(json_path) as temporary_json, files.written_whole(path) as temporary:
        content = _convert(savedmodel, quantize, representative, options)
        run = _runner(content, options)
        report = judge.judge(run, path, quantize, len(content))
        text = _contract.as_json(_contract.contract_of(source, options, report))
        temporary.write_bytes(_contract.with_contract(content, text))
        _check_whole(temporary, text, run, judge.samples[:1], options)
        temporary_json.write_text(text, encoding="utf-8")
        report = dataclasses.replace(report, bytes=temporary.stat().st_size)
    return report


def _checked_path(path):
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: nothing was written. Name a file, such as {path / 'face.tflite'}.")
    return path


def _convert(savedmodel, quantize, representative, options):
    """The TFLite model's bytes."""
    # From a SavedModel: the converter's from_concrete_functions leaves a Keras 3 model's variables unread.
    converter = tf.lite.TFLiteConverter.from_saved_model(str(savedmodel))
    if quantize in ("float16", "int8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with files.hushed():
        if quantize == "dynamic":
            return _dynamic.quantized(converter)
        if quantize != "int8":
            return converter.convert()
        content, prelus = _int8.quantized(
            converter, lambda: _in_batches(representative, options.batch_size or 1), options.integer_only
        )
    if prelus:
        logger.warning(_OF_PRELU[options.integer_only], prelus)
    return content


# By integer_only.
_OF_PRELU = {
    False: (
        "%d PReLUs compute in float32 between int8 convolutions, slower than ReLU or LeakyReLU in int8 where the "
        "processor has int8 dot products. export.with_activation(network, 'leaky_relu') and a short fine-tuning make "
        "a network without them."
    ),
    True: (
        "%d PReLUs in int8 are slow on CPUs, several times float32's time. Leave integer_only out, or take "
        "export.with_activation(network, 'leaky_relu') and a short fine-tuning."
    ),
}


def _in_batches(images, size):
    """Lists of one batch each; the last one is filled up."""
    images = images[:_MOST_REPRESENTATIVE]
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield [np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])]


def _runner(content, options):
    """Function from uint8 images to the embeddings of a model, bytes."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f"Checking a TFLite file needs LiteRT, an extra: {install_hint('litert')}.") from error

    def run(images):
        with files.hushed():
            runner = Interpreter(model_content=content).get_signature_runner(_graph.SIGNATURE)
            return _graph.run_in_batches(lambda part: runner(image=part)["embedding"], images, options.batch_size or 1)

    return run


def _check_whole(path, text, run, images, options):
    """Holds what lies on the disk against what was judged: the contract says it, and the network answers alike."""
    written = path.read_bytes()
    if contract.find(written) != text.encode("utf-8") or not np.array_equal(
        _runner(written, options)(images), run(images)
    ):
        raise OSError(f"{path.name} does not read back as it was written. Is the disk sound?")

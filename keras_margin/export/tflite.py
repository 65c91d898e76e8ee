"""TFLite: one file for a phone, a browser or a small board, in four precisions."""

import contextlib
import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_margin._typing import PathLike
from keras_margin._utils import files, metadata, progress
from keras_margin._utils.messages import install_hint
from keras_margin.export import _dynamic, _errors, _graph, _int8, _integers, _metadata, _photo, _photo_gate
from keras_margin.export._options import LIMITS, MIN_REPRESENTATIVE, Options
from keras_margin.export._parity import Judge, ParityReport
from keras_margin.export._source import open_source
from keras_margin.export._verification import Verification

logger = logging.getLogger("keras_margin.export")

# Images that set int8's ranges; more change little and take long.
_MOST_REPRESENTATIVE = 300
# Photographs of pairs that the detector is compared on, where no others are given.
_MOST_COMPARED = 16


def to_tflite(
    model: keras.Model | PathLike,
    path: PathLike,
    *,
    quantize: str | None = None,
    representative: np.ndarray | None = None,
    samples: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    options: Options | None = None,
    photo: Any = None,
    photographs: Sequence[np.ndarray] | None = None,
    photograph_pairs: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
) -> ParityReport:
    """Writes the embedding network as a TFLite file, its metadata inside and as JSON next to it.

    With `photo` the file takes whole photographs too: its signatures find the faces and crop them as
    `keras_margin.alignment` does; docs/one-file.md describes them.

    Args:
        model: EmbeddingModel, a model with a MarginHead (ways 1 and 2), a backbone; or the path of a .keras file or
            of a training run's folder.
        path: File to write, usually *.tflite.
        quantize: None for float32; "float16" weights; "dynamic" int8 weights, float activations; "int8" for both.
        representative: uint8 images (n, height, width, 3), RGB, by which "int8" sets its ranges: the first 300 of them,
            at least 8 of which differ; 100 or more are better.
        samples: uint8 images to compare on, the first 64 of them; None for those of `pairs`, those of
            `representative`, or noise.
        pairs: (images, is_same) as data.load_bin gives them, image 2i next to 2i + 1; or (images, labels) for every
            pair of them. They give the change in EER and TAR, and the threshold that the metadata ship.
        options: Options.
        photo: True for photographs of up to 480 x 640 pixels, (height, width), a list of these, or Photo; larger ones
            are shrunk by the host. For `quantize` None and "float16". Needs the `align` extra.
        photographs: List of uint8 photographs (height, width, 3) of any size, with faces, on which the file is compared
            with the Keras detector and the aligner; None for some of `photograph_pairs`, or pictures put together of
            the sample images.
        photograph_pairs: With `photo`, in place of `pairs`: (photographs, is_same) or (photographs, labels), uint8
            photographs of any size. EER, TAR and threshold are then those from the photograph on: of the largest face
            that the file finds on its first canvas, against the Keras detector, the aligner and the model. Pairs of a
            photograph without a face score -1.

    Returns:
        ParityReport.

    Raises:
        TypeError, ValueError: On an unknown `quantize`, one that photographs do not have, "int8" without
            `representative` or with too few, images of no use, of another shape or type, a folder at `path`, a model
            that is not an embedder, or other options that make no sense.
        ConversionError: Where TFLite cannot write the network, or run what it wrote; a ValueError that names operator
            and layer.
        ParityError: Where the file's embeddings differ from the model's.
        OSError: Where the place cannot be written, a full disk among the causes; nothing half-written is left.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> report = to_tflite(model, "face.tflite", samples=images)
        >>> report.passed, report.num_images
        (True, 8)
        >>> keras_margin.runtime.Embedder("face.tflite").embed(images).shape
        (8, 4)
    """
    if quantize not in LIMITS:
        raise ValueError(f"quantize must be one of {', '.join(map(repr, LIMITS))}. Received: quantize={quantize!r}.")
    if quantize == "int8" and representative is None:
        raise ValueError("quantize='int8' sets its ranges by real faces: pass representative=, uint8 (n, h, w, 3).")
    if quantize != "int8" and representative is not None and (samples is not None or pairs is not None):
        raise ValueError(f"representative= sets the ranges of 'int8'. Received: quantize={quantize!r}. Leave it out.")
    path, options = _checked_path(path), options or Options()
    photo = _photo.checked(photo, photographs, quantize)
    source = open_source(model)
    if representative is not None:
        representative = _graph.checked_images(source.network, representative, "representative")
        check_representative(representative, [quantize])
        samples = representative if samples is None and pairs is None else samples
    verification = None
    if photograph_pairs is not None:
        verification = Verification.of_photographs(source.network, photograph_pairs, pairs, photo, options.far)
        photographs = verification.photographs[:_MOST_COMPARED] if photographs is None else photographs
    judge = Judge.of(source.network, options, samples, pairs, verification)
    with tempfile.TemporaryDirectory() as folder:
        if photo is None:
            _graph.write_savedmodel(source.network, folder, options)
        return write(source, judge, path, quantize, representative, folder, photo, photographs)


def write(
    source: Any,
    judge: Any,
    path: pathlib.Path,
    quantize: str | None,
    representative: np.ndarray | None,
    savedmodel: PathLike,
    photo: Any = None,
    photographs: Sequence[np.ndarray] | None = None,
) -> ParityReport:
    """Converts a SavedModel, judges the file and puts it in place; `to_tflite` once everything was checked."""
    options, network = judge.options, source.network
    json_path = path.with_name(f"{path.name}.json")
    with files.atomic_write(json_path) as temporary_json, files.atomic_write(path) as temporary:
        with progress.stage(f"Converting {path.name}"):
            content = _convert(network, savedmodel, quantize, representative, options, photo)
        run = _runner(content, network, options)
        with progress.stage(f"Comparing {path.name} with the model"):
            report = judge.judge(run, path, quantize, len(content))
        if photo is not None:
            with progress.stage(f"Comparing {path.name} on photographs with the detector and the aligner"):
                found = _photo_gate.compare(content, judge, photo, photographs, path)
                report = dataclasses.replace(report, photo=found)
        if judge.verification is not None and judge.verification.photographs is not None:
            with progress.stage(f"Measuring {path.name} on pairs of photographs"):
                photographs = judge.verification.photographs
                report = judge.verified(report, *_photo_gate.embed_photographs(content, photo, photographs))
        stored = _integers.quantization_of(content)
        text = _metadata.as_json(_metadata.build_metadata(source, options, report, stored))
        with progress.stage(f"Writing {path.name} and reading it back"):
            temporary.write_bytes(_metadata.embed_metadata(content, text))
            _check_whole(temporary, text, run, judge.samples[:1], network, options)
        temporary_json.write_text(text, encoding="utf-8")
        report = dataclasses.replace(report, bytes=temporary.stat().st_size)
    return report


def check_representative(images: np.ndarray | None, quantize: Sequence[Any]) -> None:
    """Raises where "int8" is among `quantize` and fewer than MIN_REPRESENTATIVE of the images differ.

    Raises:
        ValueError: With the number of different images.
    """
    different = len({image.tobytes() for image in images[:_MOST_REPRESENTATIVE]})
    if "int8" in quantize and different < MIN_REPRESENTATIVE:
        raise ValueError(
            f"quantize='int8' needs at least {MIN_REPRESENTATIVE} different representative images: ranges that fewer "
            f"images set hold for those images alone. Received: {different}. Pass 100 or more, such as faces of the "
            "training set."
        )


def _checked_path(path: PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: nothing was written. Name a file, such as {path / 'face.tflite'}.")
    return path


def _convert(network, savedmodel, quantize, representative, options, photo=None):
    """The TFLite model's bytes.

    Raises:
        ConversionError: Where the converter cannot.
    """
    if photo is not None:
        return _errors.explained(lambda: _photo.converted(network, options, quantize, photo), network, "TFLite")
    integer_only = quantize == "int8" and options.integer_only
    if quantize == "int8":
        _refuse_loops(network, savedmodel)
    with contextlib.ExitStack() as kept:
        if integer_only:
            # The graph's cast of uint8 to floats has no integer form: the converter makes integers of a float input.
            savedmodel = kept.enter_context(tempfile.TemporaryDirectory())
            _graph.write_savedmodel(network, savedmodel, options, tf.float32)
        content, prelus = _errors.explained(
            lambda: _converted(savedmodel, quantize, representative, options), network, "TFLite"
        )
    if integer_only:
        _check_integers(network, content)
    if prelus:
        logger.warning(_OF_PRELU[options.integer_only], prelus)
    return content


def _converted(savedmodel, quantize, representative, options):
    """(bytes of the model, number of PReLUs that "int8" is slow for)."""
    # From a SavedModel: the converter's from_concrete_functions leaves a Keras 3 model's variables unread.
    converter = tf.lite.TFLiteConverter.from_saved_model(str(savedmodel))
    if quantize in ("float16", "int8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "dynamic":
        return _dynamic.quantized(converter), 0
    if quantize != "int8":
        return converter.convert(), 0
    pixels = np.float32 if options.integer_only else np.uint8
    return _int8.quantized(
        converter, lambda: _in_batches(representative, options.batch_size or 1, pixels), options.integer_only
    )


def _refuse_loops(network, savedmodel):
    """Raises on loops, in which TFLite's calibration crashes the process (TensorFlow 2.21)."""
    loops = _graph.loops_in(savedmodel)
    if loops:
        layer = _errors.layer_of(loops[0], network)
        raise _errors.ConversionError(
            "quantize='int8' cannot set ranges inside loops over a sequence (LSTM, GRU, RNN). Received: "
            f"{network.name} with a loop in {f'layer {layer!r}' if layer else loops[0]}. Use quantize='dynamic' or "
            "'float16'.",
            "While",
            layer,
        )


def _check_integers(network, content):
    """Raises where a tensor of a full integer file is of floats."""
    floats = _integers.float_operators(content)
    if floats:
        operator, path = floats[0]
        layer = _errors.layer_of(path, network)
        raise _errors.ConversionError(
            f"integer_only=True needs every tensor of the file in integers; TFLite left {len(floats)} operators of "
            f"{network.name} in floats, the first of them {operator} in "
            f"{f'layer {layer!r}' if layer else path}. Replace the layer, or leave integer_only out.",
            operator,
            layer,
        )


# By integer_only.
_OF_PRELU = {
    False: (
        "%d PReLUs compute in float32 between int8 convolutions, which costs time on some processors and none on "
        "others (docs/export.md). Time the file where it is to run; export.with_activation(network, 'leaky_relu') "
        "and a short fine-tuning make a network without them."
    ),
    True: (
        "%d PReLUs in int8 are slow on CPUs, several times float32's time. Leave integer_only out, or take "
        "export.with_activation(network, 'leaky_relu') and a short fine-tuning."
    ),
}


def _in_batches(images, size, dtype):
    """Lists of one batch each, of type `dtype`; the last one is filled up."""
    images = images[:_MOST_REPRESENTATIVE]
    for start in range(0, len(images), size):
        part = images[start : start + size].astype(dtype)
        yield [np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])]


def _runner(content, network, options):
    """Function from uint8 images to the embeddings of a model, bytes, that was made of `network`."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f"Checking a TFLite file needs LiteRT, an extra: {install_hint('litert')}.") from error
    stored = _errors.explained(lambda: _integers.quantization_of(content), network, "TFLite")

    def compute(images):
        runner = Interpreter(model_content=content).get_signature_runner(_graph.SIGNATURE)

        def embed(part):
            answer = runner(image=part)["embedding"]
            return answer if stored is None else stored[1] * (np.float64(answer) - stored[2])

        return _graph.run_in_batches(embed, images, options.batch_size or 1)

    def run(images):
        return _errors.explained(lambda: compute(images), network, "TFLite", _paths_of(content))

    return run


def _paths_of(content):
    """Function from an operator's number to the path of what it makes."""
    return lambda number: _int8.operations_of(content)[number].name


def _check_whole(path, text, run, images, network, options):
    """Compares the file on the disk with what was judged: its metadata, and the answers of its network."""
    written = path.read_bytes()
    if metadata.find(written) != text.encode("utf-8") or not np.array_equal(
        _runner(written, network, options)(images), run(images)
    ):
        raise OSError(f"{path.name} does not read back as it was written. Is the disk sound?")

"""Opens each kind of file: its network as a function, and what it takes and gives."""

import functools
import os

import numpy as np

from keras_margin import runtime
from keras_margin._utils import metadata
from keras_margin._utils import normalization as pixels
from keras_margin._utils.messages import install_hint
from keras_margin.evaluation.embedders import _pixels
from keras_margin.runtime import _onnx

_TAKES = ("uint8", "float32")


def _tensorflow(name, num_threads):
    if num_threads is not None:
        raise ValueError(
            f"num_threads is of TFLite and ONNX files; TensorFlow runs {name}. Received: num_threads={num_threads}. "
            "Set TF_NUM_INTRAOP_THREADS before the start instead."
        )
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            f"{name} is run by TensorFlow: {install_hint('cpu')}. A .tflite file runs without. The import failed with: "
            f"{error}"
        ) from error
    return tensorflow


def _open_keras(name, normalization, num_threads):
    tf = _tensorflow(name, num_threads)

    from keras_margin.export import _source

    if normalization is not None:
        pixels.mean_and_std(normalization)
    network = _source.extract_embedder(name)

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)])
    def run(images):
        return tf.cast(network(images, training=False), tf.float32)

    return {
        "network": lambda images, normalization: run(_pixels.normalized(images, normalization)).numpy(),
        "image_size": tuple(network.input_shape[1:3]),
        "embedding_size": network.output_shape[-1],
        "takes_pixels": False,
        "keeps_length": True,
    }


def _open_savedmodel(name, normalization, num_threads):
    tf = _tensorflow(name, num_threads)
    try:
        loaded = tf.saved_model.load(name)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"TensorFlow cannot load the SavedModel {name}: {_in_short(error)}") from error
    signature = _signature(loaded, name)
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    key, spec = next(iter(inputs.items()))
    output = "embedding" if "embedding" in outputs else next(iter(outputs))
    shape = spec.shape.as_list() if spec.shape.rank else []
    if len(inputs) != 1 or len(shape) != 4 or shape[3] != 3 or None in shape[1:] or spec.dtype.name not in _TAKES:
        raise ValueError(
            "An embedder's signature takes one image tensor (n, height, width, 3) of uint8 or float32. Received: "
            f"{name}, which takes {[(each.name, each.dtype.name, each.shape) for each in inputs.values()]}."
        )
    if len(outputs) != 1 and output != "embedding":
        raise ValueError(f"An embedder answers one tensor, or 'embedding'. Received: {name}, with {sorted(outputs)}.")
    _pixels.check_normalization(name, spec.dtype.name, normalization)
    batch = shape[0]
    is_ours = os.path.exists(os.path.join(name, metadata.FILE_NAME))
    tells_length = is_ours and {"embedding", "length"} <= outputs.keys()

    def run(images, normalization):
        pixels = images if spec.dtype.name == "uint8" else _pixels.normalized(images, normalization)
        parts = []
        for start in range(0, len(pixels), batch or len(pixels)):
            part = pixels[start : start + (batch or len(pixels))]
            missing = 0 if batch is None else batch - len(part)
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            answers = signature(**{key: tf.constant(part)})
            rows = answers[output].numpy().reshape(len(part), -1)
            rows = rows * answers["length"].numpy()[:, None] if tells_length else rows
            parts.append(rows[: len(rows) - missing])
        return np.concatenate(parts)

    blank = run(np.zeros((1, *shape[1:]), np.uint8), normalization)
    return {
        "network": run,
        "image_size": tuple(shape[1:3]),
        "embedding_size": blank.shape[1],
        "takes_pixels": spec.dtype.name == "uint8",
        # Ours bring rows to unit length, some tell it as well; of another the lengths are its own.
        "keeps_length": tells_length or not is_ours,
    }


def _signature(loaded, name):
    signatures = dict(loaded.signatures)
    if "serving_default" not in signatures and len(signatures) != 1:
        raise ValueError(
            f"A SavedModel is run by its signature serving_default, or by its only one. Received: {name}, with "
            f"{sorted(signatures) or 'none'}."
        )
    return signatures.get("serving_default") or next(iter(signatures.values()))


def _open_tflite(name, normalization, num_threads):
    @functools.cache
    def interpreter(normalization):
        return runtime.Embedder(name, normalization, num_threads)

    def run(images, normalization):
        embedder = interpreter(_pixels.hashable(normalization))
        return embedder.embed(images, lengths=embedder.keeps_length)

    first = interpreter(_pixels.hashable(normalization))
    return {
        "network": _turned_back(run, first.metadata),
        "image_size": tuple(int(side) for side in first.image_size),
        "embedding_size": first.embedding_size,
        "takes_pixels": normalization is None,
        "keeps_length": first.keeps_length,
    }


def _open_onnx(name, normalization, num_threads):
    found = _onnx.OnnxNetwork(name, normalization, num_threads)
    blank, _ = found.run(np.zeros((1, *found.image_size, 3), np.uint8))
    return {
        "network": _turned_back(lambda *given: found.run(*given)[0], found.metadata),
        "image_size": found.image_size,
        "embedding_size": blank.shape[1],
        "takes_pixels": found.takes_pixels,
        # Ours bring rows to unit length; of another the lengths are its own.
        "keeps_length": ((found.metadata or {}).get("embedding") or {}).get("unit_length") is not True,
        "normalization": found.normalization,
        "metadata": found.metadata,
    }


def _turned_back(run, written):
    """A runtime's function of images in RGB, for images in the order that the file takes.

    FileEmbedder turns images and normalization round, so that its channels can be varied; the runtime does so by itself
    where the metadata say BGR.
    """
    if ((written or {}).get("image") or {}).get("channels") != "BGR":
        return run
    return lambda images, given: run(np.ascontiguousarray(images[..., ::-1]), _pixels.turned(given))


OPENERS = {"keras": _open_keras, "savedmodel": _open_savedmodel, "tflite": _open_tflite, "onnx": _open_onnx}


def _in_short(error):
    """What an error says, on one line; some of Keras's and TensorFlow's fill a screen."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."

"""The embedding alone, as SavedModel and TFLite, proven equal to the model before it gets its name.

Both formats have the signature `image` (uint8, N x height x width x 3, RGB) -> `embedding` (float32, N x size, unit
length); the normalisation of pixels is inside. A file is written under a temporary name, reloaded, run on sample images
and compared; only what passes is renamed into place.
"""

import dataclasses
import json
import logging
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_margin import __version__, data, files, heads

logger = logging.getLogger(__name__)

# Mean cosine between a model's embedding and its file's, below which the file is refused.
LIMITS = {None: 1 - 1e-5, "float16": 1 - 1e-4, "dynamic": 0.995, "int8": 0.98}

_IN_WORDS = {
    None: "float32",
    "float16": "float16 weights",
    "dynamic": "int8 weights, float32 activations",
    "int8": "int8 weights and activations",
}


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """How far an exported file's embeddings are from the model's.

    Attributes:
        path: The file or folder.
        quantize: None, "float16", "dynamic" or "int8".
        num_images: Sample images compared.
        synthetic: Whether the samples were noise, for want of images.
        mean_cosine: Mean cosine of the two embeddings of an image; 1 is equal.
        worst_cosine: Smallest of them.
        worst_images: Indices of the (up to five) worst sample images, worst first.
        limit: What `mean_cosine` had to reach; unquantized files must reach it with `worst_cosine`.
        bytes: Size on disk.
    """

    path: str
    quantize: str | None
    num_images: int
    synthetic: bool
    mean_cosine: float
    worst_cosine: float
    worst_images: tuple
    limit: float
    bytes: int

    @property
    def passed(self):
        """Whether the file is as near as it must be."""
        return (self.worst_cosine if self.quantize is None else self.mean_cosine) >= self.limit

    def __str__(self):
        """The report in a sentence or two, for people."""
        images = "images of noise" if self.synthetic else "images"
        counted = "worst" if self.quantize is None else "mean"
        return (
            f"{self.path}: {self.bytes / 2**20:.1f} MiB, {_IN_WORDS[self.quantize]}. Against the model on "
            f"{self.num_images} {images}: cosine mean {self.mean_cosine:.6f}, worst {self.worst_cosine:.6f} "
            f"(image {self.worst_images[0]}); the {counted} had to reach {self.limit:g}."
        )


class ParityError(ValueError):
    """An exported file differs from its model by more than the limit; nothing was left at its path."""


def to_savedmodel(model, path, *, samples=None, limit=None):
    """Writes the embedding network as a SavedModel folder.

    Args:
        model: EmbeddingModel, a model that ends in a MarginHead (ways 1 and 2), or a backbone.
        path: Folder to write; an older SavedModel there is replaced.
        samples: uint8 images (n, height, width, 3), RGB, to compare on; None for 16 of noise.
        limit: Smallest cosine allowed; None for LIMITS[None].

    Returns:
        ParityReport.

    Raises:
        ValueError: Where `path` holds something else, or the model or the samples are not what they should be.
        ParityError: Where the reloaded file's embeddings differ from the model's.
    """
    path = pathlib.Path(path)
    if path.is_file() or path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise ValueError(f"{path} exists and is no SavedModel: nothing was written. Choose another path.")
    network = embedder_of(model)
    samples, synthetic = _samples(network, samples)
    with files.written_whole(path) as temporary:
        _write_savedmodel(network, temporary)
        found = _run_savedmodel(temporary, samples)
        report = _compare(network, samples, found, synthetic, path, temporary, None, limit)
        _write_contract(temporary / "contract.json", network, report)
    return report


def to_tflite(model, path, *, quantize=None, representative=None, samples=None, limit=None):
    """Writes the embedding network as a TFLite file, and its contract as JSON beside it.

    Args:
        model: EmbeddingModel, a model that ends in a MarginHead (ways 1 and 2), or a backbone.
        path: File to write, usually *.tflite.
        quantize: None for float32; "float16" weights; "dynamic" int8 weights, float activations; "int8" for both.
        representative: uint8 images (n, height, width, 3), RGB, by which "int8" sets its ranges: the first 300 of them.
        samples: uint8 images to compare on, the first 64 of them; None for those of `representative`, or noise.
        limit: Smallest cosine allowed; None for LIMITS[quantize].

    Returns:
        ParityReport.

    Raises:
        ValueError: On an unknown `quantize`, "int8" without `representative`, both kinds of images where one is of no
            use, images of another shape or type, a folder at `path`, or a model that is no embedder.
        ParityError: Where the file's embeddings differ from the model's.
    """
    if quantize not in LIMITS:
        raise ValueError(f"quantize must be one of {', '.join(map(repr, LIMITS))}. Received: quantize={quantize!r}.")
    if quantize == "int8" and representative is None:
        raise ValueError("quantize='int8' sets its ranges by real faces: pass representative=, uint8 (n, h, w, 3).")
    if quantize != "int8" and representative is not None and samples is not None:
        raise ValueError(f"representative= sets the ranges of 'int8'. Received: quantize={quantize!r}. Leave it out.")
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: nothing was written. Name a file, such as {path / 'face.tflite'}.")
    network = embedder_of(model)
    if representative is not None:
        representative = _checked_images(network, representative, "representative")
    samples, synthetic = _samples(network, samples if samples is not None else representative)
    contract = path.with_name(f"{path.name}.json")
    with files.written_whole(contract) as temporary_contract, files.written_whole(path) as temporary:
        content = _convert(network, quantize, representative)
        temporary.write_bytes(content)
        found = _run_tflite(content, samples)
        report = _compare(network, samples, found, synthetic, path, temporary, quantize, limit)
        _write_contract(temporary_contract, network, report)
    return report


def images_from(path, model, most=300):
    """Images for `representative=` or `samples=`, out of a data set, spread evenly over its identities.

    Args:
        path: As for keras_margin.data.open: a folder of identities, or "orl".
        model: What is to be exported; the images get the size that it takes.
        most: How many to read, at most.

    Returns:
        uint8 array (n, height, width, 3), RGB.

    Raises:
        ValueError, OSError, ImportError: As keras_margin.data.open and `embedder_of`.
    """
    reader = data.open(path, image_size=embedder_of(model).input_shape[1:3])
    chosen = np.linspace(0, reader.num_images - 1, min(reader.num_images, most)).astype(int)
    return reader.subset(chosen).arrays()[0]


def embedder_of(model):
    """The network from images to embeddings inside `model`, in float32.

    Args:
        model: EmbeddingModel; a functional or Sequential model with a MarginHead (the embedding in front of it is
            found); or a backbone, returned as it is.

    Raises:
        TypeError: Where `model` is no Keras model.
        ValueError: Where it was not built yet, or does not go from RGB images of one size to one embedding each.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Export takes a Keras model. Received: {model!r}.")
    network = model.embedder if isinstance(getattr(model, "embedder", None), keras.Model) else _before_the_head(model)
    images, embeddings = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    if images is None or embeddings is None:
        raise ValueError(
            "Export takes a functional or Sequential model that knows its input shape. "
            f"Received: {network.name}. Give it a keras.Input((height, width, 3))."
        )
    if not (_is_shape(images, 4) and None not in images[1:] and images[3] == 3):
        raise ValueError(f"Export takes a network on RGB images of one size. Received: input shape {images}.")
    if not (_is_shape(embeddings, 2) and embeddings[1] is not None):
        raise ValueError(f"Export takes a network with one embedding an image. Received: output shape {embeddings}.")
    return _in_float32(network)


def _is_shape(shape, rank):
    """Whether this is one tensor's shape of that rank; a model of several has a list or a dict of them."""
    return isinstance(shape, tuple) and len(shape) == rank and not isinstance(shape[0], (tuple, list))


def _before_the_head(model):
    """The part of a model that makes the embedding: what its MarginHead is called on, or all of it without one."""
    is_head = [layer for layer in model._flatten_layers() if isinstance(layer, heads.MarginHead)]
    if not is_head:
        return model
    if is_head[0] not in model.layers:
        raise ValueError(
            f"The head {is_head[0].name} of {model.name} is inside one of its layers. Export that layer, or the part "
            "in front of the head."
        )
    try:
        embedding = is_head[0].input
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"Export takes a model that knows its input shape. Received: {model.name}, not built yet. "
            "Give it a keras.Input((height, width, 3))."
        ) from error
    embedding = embedding[0] if isinstance(embedding, (list, tuple)) else embedding
    images = keras.utils.get_source_inputs(embedding)
    # Keras warns about a list of one wherever the model is called on the one.
    return keras.Model(images[0] if len(images) == 1 else images, embedding, name=f"{model.name}_embedder")


def _in_float32(network):
    """The same network computing in float32: half precision belongs to training."""
    if all(layer.compute_dtype == "float32" for layer in network._flatten_layers(include_self=False)):
        return network

    def rebuild(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(network, clone_function=rebuild, recursive=True)
    clone.set_weights(network.get_weights())
    return clone


def _samples(network, samples):
    """(uint8 images to compare on, whether they are noise)."""
    if samples is None:
        logger.warning("No sample images given: the exported file is compared on noise.")
        return np.random.default_rng(0).integers(0, 256, (16, *network.input_shape[1:]), dtype=np.uint8), True
    return _checked_images(network, samples, "samples")[:64], False


def _checked_images(network, images, name):
    images, shape = np.asarray(images), network.input_shape
    if images.dtype != np.uint8 or images.shape[1:] != shape[1:] or not len(images):
        raise ValueError(
            f"{name} must be uint8 images (n, {', '.join(map(str, shape[1:]))}), n >= 1. "
            f"Received: {images.dtype} {images.shape}."
        )
    return images


def _write_savedmodel(network, folder):
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, name="image")]

    def embed(image):
        embedding = network(tf.cast(image, tf.float32), training=False)
        return {"embedding": tf.math.l2_normalize(embedding, axis=1)}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serving_default", embed, input_signature=signature)
    archive.write_out(str(folder), verbose=False)


def _convert(network, quantize, representative):
    # From a SavedModel: the converter's from_concrete_functions leaves a Keras 3 model's variables unread.
    with tempfile.TemporaryDirectory() as folder:
        _write_savedmodel(network, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if quantize is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.representative_dataset = lambda: ([image[None]] for image in representative[:300])
        with files.hushed():
            return converter.convert()


def _run_savedmodel(folder, samples):
    loaded = tf.saved_model.load(str(folder))
    return loaded.signatures["serving_default"](image=tf.constant(samples))["embedding"].numpy()


def _run_tflite(content, samples):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            'Checking a TFLite file needs LiteRT, an extra: pip install "keras-margin[litert]".'
        ) from error
    with files.hushed():
        runner = Interpreter(model_content=content).get_signature_runner("serving_default")
        return np.concatenate([runner(image=image[None])["embedding"] for image in samples])


def _compare(network, samples, found, synthetic, path, temporary, quantize, limit):
    # Operation by operation: nothing is traced, and no graph optimiser stands between the model and its file.
    batches = (samples[start : start + 16].astype(np.float32) for start in range(0, len(samples), 16))
    parts = [network(batch, training=False) for batch in batches]
    wanted, found = np.concatenate(parts).astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    # A zero or NaN embedding is as far from the model's as can be, never passed over.
    cosines = np.sum(wanted * found, axis=1) / np.where(lengths > 0, lengths, np.inf)
    cosines = np.where(np.isfinite(cosines) & (lengths > 0), cosines, -1.0)
    worst = np.argsort(cosines, kind="stable")[:5]
    report = ParityReport(
        path=str(path),
        quantize=quantize,
        num_images=len(samples),
        synthetic=synthetic,
        mean_cosine=float(cosines.mean()),
        worst_cosine=float(cosines.min()),
        worst_images=tuple(int(index) for index in worst),
        limit=LIMITS[quantize] if limit is None else limit,
        bytes=_size_on_disk(temporary),
    )
    if not report.passed:
        raise ParityError(
            f"{path} was not written: its embeddings differ from the model's. Mean cosine {report.mean_cosine:.6f}, "
            f"worst {report.worst_cosine:.6f} (images {report.worst_images}), limit {report.limit:.6f}. "
            "Check the sample images, or choose a milder quantize=."
        )
    return report


def _write_contract(path, network, report):
    """JSON that says what the file takes and gives."""
    height, width = network.input_shape[1:3]
    contract = {
        "image": {"dtype": "uint8", "height": height, "width": width, "channels": "RGB", "range": [0, 255]},
        "embedding": {"dtype": "float32", "size": network.output_shape[-1], "unit_length": True},
        "quantize": report.quantize,
        "parity": {"mean_cosine": report.mean_cosine, "worst_cosine": report.worst_cosine, "images": report.num_images},
        "keras_margin": __version__,
    }
    path.write_text(json.dumps(contract, indent=2) + "\n")


def _size_on_disk(path):
    found = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in found if file.is_file())

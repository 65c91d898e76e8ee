"""The embedding network inside whatever is to be exported: a model of any of the three ways, file, run, preset."""

import dataclasses
import json
import os
import pathlib

import keras

from keras_margin import _keras, layers
from keras_margin._typing import PathLike
from keras_margin._utils import metadata
from keras_margin.models import EmbeddingModel, presets
from keras_margin.models._preset_metadata import describe_head
from keras_margin.models.backbones._checks import check_embedder, check_keras

MODEL_FILE, REPORT_FILE = "model.keras", "report.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported, and what is known of how it came about.

    Attributes:
        network: Keras model from images to embeddings, in float32.
        head: Dict of the head's class and arguments, or None.
        recipe: Dict of the recipe it was trained by, or None.
        measured: What its training run measured: a list of dicts, or None.
    """

    network: keras.Model
    head: dict | None = None
    recipe: dict | None = None
    measured: list | None = None


def open_source(given):
    """The Source of a Keras model, a .keras file, a preset or the folder of a training run.

    Raises:
        TypeError, ValueError: As `extract_embedder`; and where the file or the folder is not such a thing.
        FileNotFoundError: Where there is nothing at a path.
    """
    report = {}
    if isinstance(given, (str, os.PathLike)):
        if presets.is_preset(given):
            return _of_preset(pathlib.Path(given))
        path = _model_file(pathlib.Path(given))
        report = _run_report(path)
        given = _load(path)
    else:
        check_keras(given, "a Keras model, or the path of a .keras file or of a run", keras.Model)
    _check_backend()
    network, head = _parts(given)
    return Source(_in_float32(network), describe_head(head), report.get("recipe"), report.get("measures"))


def _of_preset(folder):
    """The Source of a preset: its backbone, and what its metadata say."""
    _check_backend()
    network, _ = _parts(presets.load_backbone(folder))
    found = metadata.read_metadata(folder) or {}
    return Source(_in_float32(network), found.get("head"), found.get("recipe"), found.get("measured"))


def _check_backend():
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Export converts TensorFlow graphs. Received: a model on Keras's backend "
            f"{keras.backend.backend()!r}. Save it as .keras and export that file under KERAS_BACKEND=tensorflow."
        )


def extract_embedder(model: keras.Model | PathLike) -> keras.Model:
    """Extracts the network from images to embeddings inside `model`, in float32.

    Args:
        model: EmbeddingModel; a functional or Sequential model with a MarginHead (the embedding in front of it is
            found); a backbone; or the path of a .keras file or of a training run's folder with any of these, or of a
            preset.

    Returns:
        Keras model.

    Raises:
        TypeError: Where `model` is none of these.
        FileNotFoundError: Where there is nothing at the path.
        ValueError: Where it was not built yet, does not go from RGB images of one size to one embedding each, has
            several heads on different embeddings, or the file cannot be read.

    Example:
        >>> network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
        >>> head = keras_margin.ArcFaceHead(10)
        >>> extract_embedder(keras_margin.EmbeddingModel(network, head)).output_shape
        (None, 3)
    """
    return open_source(model).network


def _model_file(path: pathlib.Path):
    """The .keras file that a path means."""
    if not path.exists():
        raise FileNotFoundError(
            f"There is no model at {path}: name a .keras file, a preset, or the folder of a training run."
        )
    if path.is_file():
        return path
    if (path / MODEL_FILE).is_file():
        return path / MODEL_FILE
    if (path / "saved_model.pb").exists():
        raise ValueError(f"{path} is a SavedModel, which is an export already. Name the .keras file it came from.")
    raise ValueError(f"{path} is not a training run: it has no {MODEL_FILE}. Name a .keras file.")


def _load(path: pathlib.Path):
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Of zipfile, h5py, json or Keras, as the damage has it.
        raise ValueError(f"{path} cannot be read as a Keras model: {str(error).rstrip('.')}. {_hint(error)}") from error


def _hint(error):
    """What helps where a model file cannot be read."""
    if "tf_keras" in str(error):
        return "It was saved by tf_keras (Keras 2): build the network with Keras 3 and give it the weights."
    return "Layers of your own must be registered (keras.saving.register_keras_serializable) and imported before."


def _run_report(path: pathlib.Path):
    """What the run wrote next to its model.keras; an empty dict where it wrote nothing."""
    report = path.with_name(REPORT_FILE)
    if path.name != MODEL_FILE or not report.is_file():
        return {}
    try:
        found = json.loads(report.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{report}, next to the model, is not JSON: {error}. Correct or remove it.") from error
    return found if isinstance(found, dict) else {}


def _parts(given):
    """(network from images to embeddings, head or None) inside a Keras model."""
    if isinstance(given, EmbeddingModel) or isinstance(getattr(given, "embedder", None), keras.Model):
        network, head = given.embedder, getattr(given, "head", None)
    else:
        network, head = _before_the_head(given)
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
    check_embedder(network)
    return network, head


def _is_shape(shape, rank):
    """Whether this is one tensor's shape of that rank; a model of several has a list or a dict of them."""
    return isinstance(shape, tuple) and len(shape) == rank and not isinstance(shape[0], (tuple, list))


def _before_the_head(given):
    """(the part of a model that makes the embedding: what its MarginHead is called on, or all of it; the head)."""
    found = [layer for layer in _keras.all_layers(given) if isinstance(layer, layers.MarginHead)]
    if not found:
        return given, None
    for head in found:
        if head not in given.layers:
            raise ValueError(
                f"The head {head.name} of {given.name} is inside one of its layers. Export that layer, or the part "
                "in front of the head."
            )
    embeddings = [_input_of(head, given) for head in found]
    if any(embedding is not embeddings[0] for embedding in embeddings):
        names = ", ".join(head.name for head in found)
        raise ValueError(f"{given.name} has heads on different embeddings: {names}. Export the part in front of one.")
    images = keras.utils.get_source_inputs(embeddings[0])
    # Keras warns about a list of one wherever the model is called on the one.
    network = keras.Model(images[0] if len(images) == 1 else images, embeddings[0], name=f"{given.name}_embedder")
    return network, found[0]


def _input_of(head, given):
    """The embedding that the head is called on."""
    try:
        embedding = head.input
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"Export takes a model that knows its input shape. Received: {given.name}, not built yet. "
            "Give it a keras.Input((height, width, 3))."
        ) from error
    return embedding[0] if isinstance(embedding, (list, tuple)) else embedding


def _in_float32(network):
    """The same network computing in float32: half precision belongs to training."""
    if all(layer.compute_dtype == "float32" for layer in _keras.all_layers(network)):
        return network

    def rebuild(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(network, clone_function=rebuild, recursive=True)
    clone.set_weights(network.get_weights())
    return clone

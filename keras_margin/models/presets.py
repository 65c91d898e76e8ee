"""Presets: folders with a model and what its users must know, in the layout of keras-hub.

    config.json         the backbone, as Keras serialises it
    model.weights.h5    its weights
    metadata.json       versions; what the network takes and gives; threshold, calibration, licence
    task.json           the EmbeddingModel with its head; with the head alone
    task.weights.h5     the head's weights and state; with the head alone
    README.md           the model card

The first three are also what Keras reads as an unzipped .keras file: `keras.saving.load_model(folder)` gives the
backbone.
"""

import datetime
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from keras_margin import __version__, layers
from keras_margin._typing import PathLike
from keras_margin._utils import files
from keras_margin._utils.messages import install_hint
from keras_margin._utils.metadata import FORMAT
from keras_margin.evaluation import model_card
from keras_margin.models import _preset_metadata

CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE = "config.json", "model.weights.h5", "metadata.json"
TASK_FILE, TASK_WEIGHTS_FILE, CARD_FILE = "task.json", "task.weights.h5", "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, TASK_FILE, TASK_WEIGHTS_FILE, CARD_FILE)

_HUB = "hf://"


class _Head(keras.Model):
    """Holds a head alone, whose weights a file then has under the name `head`, as in the EmbeddingModel."""

    def __init__(self, head: keras.Layer) -> None:
        super().__init__()
        self.head = head
        self.built = True


def is_preset(path: PathLike) -> bool:
    """Tells whether a path is a folder that a backbone can be loaded from."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE))


def save(
    model: Any, folder: PathLike, *, metadata: Mapping[str, Any] | None, include_head: bool, overwrite: bool
) -> pathlib.Path:
    """Writes a preset; `EmbeddingModel.save_to_preset` has the arguments."""
    path = pathlib.Path(os.fsdecode(folder))
    _check_target(path, overwrite)
    if not model.built:
        raise ValueError(
            f"A preset has weights. Received: {model.name}, not built yet. Call it on images first, or give the "
            "backbone a keras.Input."
        )
    found = _preset_metadata.build(model, metadata)
    found = {
        "keras_version": keras.__version__,
        "keras_margin": __version__,
        "parameter_count": model.embedder.count_params(),
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["EmbeddingModel"] if include_head else [],
        **found,
    }
    with files.atomic_write(path) as temporary:
        temporary.mkdir()
        _write_json(temporary / CONFIG_FILE, _serialized(model.embedder))
        model.embedder.save_weights(temporary / WEIGHTS_FILE)
        if include_head:
            _write_json(temporary / TASK_FILE, _serialized(model))
            _Head(model.head).save_weights(temporary / TASK_WEIGHTS_FILE)
        _write_json(temporary / METADATA_FILE, found)
        (temporary / CARD_FILE).write_text(model_card.preset_card(found, path.name), encoding="utf-8")
    return path


def load(model_class: Any, preset: PathLike, *, head: layers.MarginHead | None, load_weights: bool) -> Any:
    """Loads a model from a preset; `EmbeddingModel.from_preset` has the arguments."""
    folder = local_folder(preset)
    task = folder / TASK_FILE
    if head is None and not task.is_file():
        raise ValueError(
            f"{folder} has no head: it was saved with include_head=False. Pass head=, such as "
            "head=keras_margin.ArcFaceHead(num_classes), to train it; for embeddings alone load the backbone: "
            f"keras.saving.load_model({str(folder)!r})."
        )
    backbone = load_backbone(folder, load_weights)
    if head is not None:
        return model_class(backbone, head=head)
    config = _read_json(task)
    with _named(task):
        own = config["config"]
        saved = keras.saving.deserialize_keras_object(own["head"], safe_mode=True)
        model = model_class(backbone, head=saved, name=own.get("name"))
        # The layers bring their own; setting True would unfreeze those that are frozen.
        if not own.get("trainable", True):
            model.trainable = False
    if load_weights:
        _load_weights(_Head(model.head), folder / TASK_WEIGHTS_FILE)
    return model


def load_backbone(folder: PathLike, load_weights: bool = True) -> keras.Model:
    """Loads the network from images to embeddings of a preset.

    Args:
        folder: The preset, a local folder.
        load_weights: Whether to load its weights too.

    Raises:
        ValueError: Where a file of it is damaged, or has a layer that is not registered.
    """
    config = pathlib.Path(folder, CONFIG_FILE)
    described = _read_json(config)
    with _named(config):
        backbone = keras.saving.deserialize_keras_object(described, safe_mode=True)
    if not isinstance(backbone, keras.Model) or hasattr(backbone, "embedder"):
        raise ValueError(
            f"{config} must describe the backbone, a Keras model from images to embeddings. Received: a "
            f"{type(backbone).__name__}. A folder of model.save(zipped=False) is read by keras.saving.load_model."
        )
    if load_weights:
        _load_weights(backbone, config.with_name(WEIGHTS_FILE))
    return backbone


def local_folder(preset: PathLike) -> pathlib.Path:
    """Returns the folder of a preset, fetched first where it is a handle.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: Another scheme, a handle that is not one, or a folder that is not a preset.
        ImportError: huggingface_hub is not installed.
        OSError: The repository cannot be fetched.
    """
    name = os.fsdecode(preset)
    if name.startswith(_HUB):
        folder = _fetched(name)
    elif "://" in name:
        raise ValueError(f"A preset is a local folder, or hf://user/repository. Received: {name!r}.")
    else:
        folder = pathlib.Path(name)
    if not folder.exists():
        raise FileNotFoundError(f"No such file or directory: {name!r}. A preset is what save_to_preset writes.")
    missing = [each for each in (CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE) if not (folder / each).is_file()]
    if missing:
        raise ValueError(
            f"A preset is a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and {METADATA_FILE}, as save_to_preset writes "
            f"it. Received: {name!r}, without {missing[0]}. A .keras file is read by keras.saving.load_model."
        )
    return folder


def _fetched(handle):
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"{handle} is fetched by huggingface_hub: {install_hint('hub')}. Without a network, copy the files of the "
            "repository into a folder and pass the folder."
        ) from error
    repository, _, revision = handle.removeprefix(_HUB).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(f"A handle is hf://user/repository, or hf://user/repository@revision. Received: {handle!r}.")
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=list(FILES),
                library_name="keras-margin",
                library_version=__version__,
            )
        )
    except OSError as error:
        raise OSError(
            f"{handle} cannot be fetched: {' '.join(str(error).split())} Without a network, copy the files of the "
            "repository into a folder and pass the folder."
        ) from error


def _check_target(path, overwrite):
    """Raises where something is at `path` already that must stay."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(
            f"{path} exists already. Name another folder, or pass overwrite=True to replace a preset."
        )
    if not (is_preset(path) and _is_ours(path)):
        raise FileExistsError(
            f"overwrite=True replaces a preset of keras-margin, the whole folder. Received: {path}, which is not one. "
            "Name another folder."
        )


def _is_ours(path):
    """Whether a folder in the layout of presets, which is also Keras's and keras-hub's, is one that `save` wrote."""
    try:
        return _read_json(path / METADATA_FILE).get("format") == FORMAT
    except (OSError, ValueError):
        return False


def _serialized(thing):
    """The config of a model or layer without the one of compile(): a preset has no optimiser."""
    return _without(keras.saving.serialize_keras_object(thing), "compile_config")


def _without(config, key):
    if isinstance(config, dict):
        return {name: _without(value, key) for name, value in config.items() if name != key}
    return [_without(value, key) for value in config] if isinstance(config, list) else config


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}. Is the preset whole?") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object. Received: {type(found).__name__}.")
    return found


def _load_weights(model, path):
    if not path.is_file():
        raise ValueError(f"{path} is missing: the preset is not whole.")
    with _named(path):
        model.load_weights(path)


@contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Context that turns what Keras or h5py say of a damaged file into a ValueError that names the file."""
    try:
        yield
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be read as part of a preset: {said[:400]} Layers of your own must be registered "
            "(keras.saving.register_keras_serializable) and imported before; code in a preset is never run."
        ) from error

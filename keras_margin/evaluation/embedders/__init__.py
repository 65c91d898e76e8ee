"""An embedder out of any file: Keras, SavedModel, TFLite, ONNX, a preset, a run's folder; uint8 in, embeddings out."""

import os
import pathlib
from typing import Any

from keras_margin._typing import PathLike
from keras_margin._utils import metadata
from keras_margin._utils import normalization as pixels
from keras_margin.evaluation.embedders._onnx import OnnxEmbedder
from keras_margin.evaluation.embedders._openers import OPENERS
from keras_margin.evaluation.embedders._writing import update_metadata
from keras_margin.evaluation.embedders.base import CHANNELS, FileEmbedder

__all__ = ["CHANNELS", "FileEmbedder", "OnnxEmbedder", "load_embedder", "update_metadata"]

# What a run's folder is opened by, best first: the model, of which the others are copies.
_IN_A_RUN = ("model.keras", "embedder.tflite", "savedmodel")


def load_embedder(
    path: PathLike, *, normalization: Any = None, channels: str | None = None, num_threads: int | None = None
) -> FileEmbedder:
    """Opens an embedder.

    - A Keras file, *.keras or *.h5: an EmbeddingModel, a model that ends in a MarginHead, or a backbone.
    - A SavedModel folder: its signature `serving_default` (or its only one), from one image tensor to `embedding` (or
      its only output).
    - A TFLite file, as `keras_margin.runtime.Embedder` reads it.
    - An ONNX file, *.onnx, by ONNX Runtime: one image input, channels first or last, of any batch or a fixed one.
    - A preset's folder: its backbone, with the normalization that its metadata declare.
    - A folder of a run: its model.keras, else embedder.tflite, else savedmodel/.

    Args:
        path: str or path-like.
        normalization: (mean, std), grey levels, each a number or three (R, G, B), of a network that takes
            (image - mean) / std; or a name: "raw", "zero_one", "minus_one_one", "facenet" or "imagenet". None for a
            network that takes pixels, 0 to 255, as all of ours do. A SavedModel, TFLite or ONNX file that takes floats
            must be told, unless its metadata declare it; (0.0, 1.0) feeds it pixels.
        channels: "RGB" or "BGR", what the network was trained on; None for what its metadata say, else "RGB".
        num_threads: Threads for LiteRT or ONNX Runtime, >= 1; None for their own default. Refused for the other kinds.

    Returns:
        `FileEmbedder`.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: No embedder, a normalization that is missing, not wanted or out of range, channels that contradict
            the metadata, metadata that contradict the file.
        TypeError: A normalization that is not such a pair.
        ImportError: LiteRT (TFLite), ONNX Runtime (ONNX) or TensorFlow (the others) is not installed.

    Example:
        >>> import keras
        >>> keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save("tiny.keras")
        >>> embedder = load_embedder("tiny.keras")
        >>> rows = embedder.embed(np.full((2, 8, 8, 3), 200, np.uint8))
        >>> rows.shape, np.linalg.norm(rows, axis=1).round(6).tolist()
        ((2, 3), [1.0, 1.0])
    """
    name = os.fsdecode(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"No such file or directory: {name!r}.")
    if channels not in (None, *CHANNELS):
        raise ValueError(f'channels must be "RGB" or "BGR". Received: channels={channels!r}.')
    kind, name = _kind_of(name)
    # A Keras file has none, a preset's folder has; what lies beside a file belongs to another.
    written = None if kind == "keras" and os.path.isfile(name) else metadata.read_metadata(name)
    normalization = pixels.declared(normalization, written if kind == "keras" else None, name)
    opened = OPENERS[kind](name, normalization, num_threads)
    written = opened.pop("metadata", written)
    normalization = opened.pop("normalization", normalization)
    found = FileEmbedder(
        path=name,
        kind=kind,
        channels=_channels(channels, written, name),
        normalization=normalization,
        metadata=written,
        **opened,
    )
    _check_metadata(found)
    return found


def _kind_of(name):
    """(kind, path of the embedder itself), by suffix, first bytes or what a folder holds."""
    if os.path.isdir(name):
        if os.path.exists(os.path.join(name, "saved_model.pb")):
            return "savedmodel", name
        if os.path.basename(metadata.in_folder(name)) == metadata.PRESET_FILE_NAME:
            return "keras", name
        inside = next((part for part in _IN_A_RUN if os.path.exists(os.path.join(name, part))), None)
        if inside is None:
            raise ValueError(
                f"{name} is a folder without an embedder: neither a SavedModel (saved_model.pb), a preset "
                f"(config.json, metadata.json) nor a run ({', '.join(_IN_A_RUN)})."
            )
        return _kind_of(os.path.join(name, inside))
    if name.lower().endswith((".keras", ".h5", ".hdf5")):
        return "keras", name
    if name.lower().endswith(".onnx"):
        return "onnx", name
    with pathlib.Path(name).open("rb") as file:
        if file.read(8)[4:] == b"TFL3":
            return "tflite", name
    raise ValueError(
        f"{name} is not an embedder. Pass a Keras file (.keras, .h5), a TFLite file, an ONNX file (.onnx), a "
        "SavedModel, a preset or a run's folder."
    )


def _channels(given, own, name):
    written = ((own or {}).get("image") or {}).get("channels")
    if written not in (None, *CHANNELS):
        raise ValueError(f'The metadata of {name} must say channels "RGB" or "BGR". Received: {written!r}.')
    if given and written and given != written:
        raise ValueError(f"The metadata of {name} say {written}. Received: channels={given!r}. Leave channels out.")
    return given or written or "RGB"


def _check_metadata(embedder):
    """Raises a ValueError where the metadata are another network's: files that were mixed up."""
    image = (embedder.metadata or {}).get("image") or {}
    size = ((embedder.metadata or {}).get("embedding") or {}).get("size")
    told = (image.get("height"), image.get("width"), size)
    found = (*embedder.image_size, embedder.embedding_size)
    wrong = [(one, other) for one, other in zip(told, found, strict=True) if one is not None and one != other]
    if wrong:
        raise ValueError(
            f"The metadata of {embedder.path} belong to another network: they have height, width and embedding size "
            f"{told}, the network has {found}. Export it again."
        )

"""An embedder out of any file: Keras model, SavedModel, TFLite file or a run's folder; uint8 RGB in, embeddings out."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np

from keras_margin import contract, runtime
from keras_margin.messages import install_hint

CHANNELS = ("RGB", "BGR")

# What a run's folder is opened by, best first: the model, of which the others are copies.
_IN_A_RUN = ("model.keras", "embedder.tflite", "savedmodel")


@dataclasses.dataclass(frozen=True, eq=False)
class FileEmbedder:
    """What `open` returns; `embed` is all one needs.

    Attributes:
        path: The file or folder.
        kind: "keras", "savedmodel" or "tflite".
        image_size: (height, width) in pixels of the images it takes.
        embedding_size: Length of one embedding.
        takes_pixels: Whether the file says itself that it takes pixels, 0 to 255, and normalises inside. Of a Keras
            file that cannot be read off, so False.
        keeps_length: Whether `embed(lengths=True)` is possible. Our exports end in unit length.
        channels: "RGB" or "BGR", what the network is fed. Images are given in RGB all the same.
        normalization: (mean, std) applied to pixels first, or None for none.
        contract: What the export wrote into the file, as `keras_margin.contract.read` gives it; or None.
    """

    path: str
    kind: str
    image_size: tuple[int, int]
    embedding_size: int
    takes_pixels: bool
    keeps_length: bool
    channels: str
    normalization: tuple | None
    contract: dict | None
    network: Callable = dataclasses.field(repr=False)

    def embed(self, images, lengths=False):
        """Embeds images.

        Args:
            images: uint8 array (n, height, width, 3), RGB, of `image_size`, n >= 1.
            lengths: Whether rows keep the length that the network gave them, which published scripts let weigh where
                they add or average embeddings. False brings them to unit length.

        Returns:
            float32 array (n, embedding_size). A row of zeros stays zero.

        Raises:
            TypeError: Images that are not uint8.
            ValueError: Another shape, NaN or infinity from the network, lengths of a file that does not keep them.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(f"embed takes uint8 RGB images, 0 to 255. Received: {images.dtype} of {images.shape}.")
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or not len(images):
            raise ValueError(
                f"{self.path} takes images of shape (n, {self.image_size[0]}, {self.image_size[1]}, 3). "
                f"Received: {images.shape}."
            )
        if lengths and not self.keeps_length:
            raise ValueError(
                f"{self.path} gives embeddings of unit length: their own length is lost. Evaluate the Keras file, or "
                "leave lengths out."
            )
        if self.channels == "BGR":
            images = np.ascontiguousarray(images[..., ::-1])
        rows = np.asarray(self.network(images, self.normalization), np.float32)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{self.path} answers NaN or infinity to {len(bad)} of {len(rows)} images, first {bad[0]}."
            )
        if lengths:
            return rows
        # In float64: squares of float32 overflow at 2e19.
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0, casting="same_kind")

    def varied(self, **changes):
        """The same network fed otherwise: `channels=`, `normalization=`; to measure what it wants."""
        return dataclasses.replace(self, **changes)


def open(path, *, normalization=None, channels=None):
    """Opens an embedder.

    - A Keras file, *.keras or *.h5: an EmbeddingModel, a model that ends in a MarginHead, or a backbone.
    - A SavedModel folder: its signature `serving_default` (or its only one), from one image tensor to `embedding` (or
      its only output).
    - A TFLite file, as `keras_margin.runtime.Embedder` reads it.
    - A folder of a run: its model.keras, else embedder.tflite, else savedmodel/.

    Args:
        path: str or path-like.
        normalization: (mean, std), grey levels, each a number or three in the order of `channels`, of a network that
            takes (image - mean) / std. None for one that takes pixels, 0 to 255, as all of ours do. A SavedModel or
            TFLite file that takes floats must be told; (0.0, 1.0) feeds it pixels.
        channels: "RGB" or "BGR", what the network was trained on; None for what its contract says, else "RGB".

    Returns:
        `FileEmbedder`.

    Raises:
        FileNotFoundError: Nothing is there.
        ValueError: No embedder, a normalization that is missing, not wanted or out of range, channels that contradict
            the contract, a contract that contradicts the file.
        TypeError: A normalization that is no such pair.
        ImportError: LiteRT (TFLite) or TensorFlow (the others) is not installed.

    Example:
        >>> embedder = keras_margin.embedders.open("runs/latest")
        >>> embedder.embed(images).shape  # (n, embedder.embedding_size), unit rows
    """
    name = os.fsdecode(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"There is no embedder at {name}: nothing of that name.")
    if channels not in (None, *CHANNELS):
        raise ValueError(f'channels must be "RGB" or "BGR". Received: channels={channels!r}.')
    kind, name = _kind_of(name)
    # A Keras file has none; what lies beside it belongs to another.
    written = None if kind == "keras" else contract.read(name)
    opened = _OPENERS[kind](name, normalization)
    found = FileEmbedder(
        path=name,
        kind=kind,
        channels=_channels(channels, written, name),
        normalization=normalization,
        contract=written,
        **opened,
    )
    _check_contract(found)
    return found


def _kind_of(name):
    """(kind, path of the embedder itself), by suffix, first bytes or what a folder holds."""
    if os.path.isdir(name):
        if os.path.exists(os.path.join(name, "saved_model.pb")):
            return "savedmodel", name
        inside = next((part for part in _IN_A_RUN if os.path.exists(os.path.join(name, part))), None)
        if inside is None:
            raise ValueError(
                f"{name} is a folder without an embedder: neither a SavedModel (saved_model.pb) nor a run "
                f"({', '.join(_IN_A_RUN)})."
            )
        return _kind_of(os.path.join(name, inside))
    if name.lower().endswith((".keras", ".h5", ".hdf5")):
        return "keras", name
    with pathlib.Path(name).open("rb") as file:
        if file.read(8)[4:] == b"TFL3":
            return "tflite", name
    raise ValueError(
        f"{name} is no embedder: a Keras file (.keras, .h5), a TFLite file, a SavedModel folder or a run's folder is. "
    )


def _channels(given, own, name):
    written = ((own or {}).get("image") or {}).get("channels")
    if written not in (None, *CHANNELS):
        raise ValueError(f'The contract of {name} must say channels "RGB" or "BGR". Received: {written!r}.')
    if given and written and given != written:
        raise ValueError(f"The contract of {name} says {written}. Received: channels={given!r}. Leave channels out.")
    return given or written or "RGB"


def _check_contract(embedder):
    """ValueError where the contract tells of another network: files that were mixed up."""
    image = (embedder.contract or {}).get("image") or {}
    size = ((embedder.contract or {}).get("embedding") or {}).get("size")
    told = (image.get("height"), image.get("width"), size)
    found = (*embedder.image_size, embedder.embedding_size)
    wrong = [(one, other) for one, other in zip(told, found, strict=True) if one is not None and one != other]
    if wrong:
        raise ValueError(
            f"The contract of {embedder.path} belongs to another network: it tells of height, width and embedding size "
            f"{told}, the network has {found}. Export it again."
        )


def _tensorflow(name):
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            f"{name} is run by TensorFlow: {install_hint('cpu')}. A .tflite file runs without. The import failed with: "
            f"{error}"
        ) from error
    return tensorflow


def _open_keras(name, normalization):
    tf = _tensorflow(name)

    from keras_margin import export

    if normalization is not None:
        _mean_and_std(normalization)
    network = export.embedder_of(name)

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)])
    def run(images):
        return tf.cast(network(images, training=False), tf.float32)

    return {
        "network": lambda images, normalization: run(_normalized(images, normalization)).numpy(),
        "image_size": tuple(network.input_shape[1:3]),
        "embedding_size": network.output_shape[-1],
        "takes_pixels": False,
        "keeps_length": True,
    }


def _open_savedmodel(name, normalization):
    tf = _tensorflow(name)
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
    _check_normalization(name, spec.dtype.name, normalization)
    batch = shape[0]

    def run(images, normalization):
        pixels = images if spec.dtype.name == "uint8" else _normalized(images, normalization)
        parts = []
        for start in range(0, len(pixels), batch or len(pixels)):
            part = pixels[start : start + (batch or len(pixels))]
            missing = 0 if batch is None else batch - len(part)
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            rows = signature(**{key: tf.constant(part)})[output].numpy()
            parts.append(rows.reshape(len(rows), -1)[: len(rows) - missing])
        return np.concatenate(parts)

    blank = run(np.zeros((1, *shape[1:]), np.uint8), normalization)
    return {
        "network": run,
        "image_size": tuple(shape[1:3]),
        "embedding_size": blank.shape[1],
        "takes_pixels": spec.dtype.name == "uint8",
        # Ours bring rows to unit length; of another the lengths are its own.
        "keeps_length": not os.path.exists(os.path.join(name, "contract.json")),
    }


_TAKES = ("uint8", "float32")


def _signature(loaded, name):
    signatures = dict(loaded.signatures)
    if "serving_default" not in signatures and len(signatures) != 1:
        raise ValueError(
            f"A SavedModel is run by its signature serving_default, or by its only one. Received: {name}, with "
            f"{sorted(signatures) or 'none'}."
        )
    return signatures.get("serving_default") or next(iter(signatures.values()))


def _open_tflite(name, normalization):
    own = ((contract.read(name) or {}).get("image") or {}).get("channels", "RGB")

    @functools.cache
    def interpreter(normalization):
        return runtime.Embedder(name, normalization, channels=own)

    def run(images, normalization):
        # The runtime turns channels round by itself where the file's contract says so: it is given them turned back.
        images = np.ascontiguousarray(images[..., ::-1]) if own == "BGR" else images
        return interpreter(_hashable(normalization)).embed(images)

    first = interpreter(_hashable(normalization))
    return {
        "network": run,
        "image_size": tuple(int(side) for side in first.image_size),
        "embedding_size": first.embedding_size,
        "takes_pixels": normalization is None,
        "keeps_length": False,
    }


_OPENERS = {"keras": _open_keras, "savedmodel": _open_savedmodel, "tflite": _open_tflite}


def _check_normalization(name, takes, normalization):
    if takes == "uint8" and normalization is not None:
        raise ValueError(
            f"{name} takes uint8 pixels and normalises inside. Received: normalization={normalization!r}. Leave it out."
        )
    if takes == "float32":
        if normalization is None:
            raise ValueError(
                f"{name} takes float32, so it must be told how pixels are normalised, (image - mean) / std: pass for "
                "example normalization=(127.5, 128.0), or (0.0, 1.0) if it takes raw pixels."
            )
        _mean_and_std(normalization)


def _normalized(images, normalization):
    """float32 pixels, (image - mean) / std where there is a normalization."""
    if normalization is None:
        return images.astype(np.float32)
    mean, std = _mean_and_std(normalization)
    return (images.astype(np.float32) - mean) / std


def _mean_and_std(normalization):
    try:
        mean, std = (np.asarray(part, np.float32) for part in normalization)
    except (TypeError, ValueError):
        mean = std = np.zeros(0, np.float32)
    if mean.shape not in ((), (3,)) or std.shape not in ((), (3,)):
        raise TypeError(
            "normalization must be (mean, std), each a number or three numbers (R, G, B). "
            f"Received: normalization={normalization!r}."
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization must be finite, with std > 0. Received: normalization={normalization!r}.")
    return mean, std


def _hashable(normalization):
    return None if normalization is None else tuple(map(_plain, normalization))


def _plain(part):
    return tuple(np.ravel(part).tolist()) if np.ndim(part) else float(part)


def _in_short(error):
    """What an error says, on one line; some of Keras's and TensorFlow's fill a screen."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."

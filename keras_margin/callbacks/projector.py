"""EmbeddingProjector: embeddings and labels as files that TensorBoard's projector shows."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_margin import _arguments
from keras_margin._utils.messages import install_hint
from keras_margin.callbacks._embedding import make_embed_fn
from keras_margin.callbacks.base import RunCallback
from keras_margin.models import EmbeddingModel

_CONFIG, _SPRITE = "projector_config.pbtxt", "sprite.png"
# The largest sprite that the projector reads, a side.
_MOST_PIXELS = 8192


class EmbeddingProjector(RunCallback):
    """Writes the unit embeddings of some images for TensorBoard's projector, at the end of each epoch.

    `tensorboard --logdir LOG_DIR` then shows them under Projector, in the colours of their labels. The files are text:
    `embeddings.tsv`, `metadata.tsv` and `projector_config.pbtxt`. TensorFlow is not needed to write them.

    Args:
        log_dir: Folder, made if it is not there.
        images: uint8 array (n, height, width, 3), RGB; a few thousand at most.
        labels: Sequence of n labels, integers or str, shown as they are.
        every: Epochs between two writings, >= 1.
        network: Keras model from images to embeddings; None for the `embedder` of the EmbeddingModel that trains.
        sprite_size: Side in pixels of the small images that the projector shows instead of dots, >= 1: all of them
            in `sprite.png`, of at most 8192 x 8192 pixels. None for dots. Needs Pillow.

    Raises:
        ImportError: Where `sprite_size` is given and Pillow is not installed.
        ValueError: Where the images do not fit into a sprite or are no uint8 RGB images for one, or there is not one
            label an image; when training begins, where the model is no EmbeddingModel and no `network` is given.

    Example:
        >>> images = np.zeros((4, 2, 2, 3), "uint8")
        >>> projector = EmbeddingProjector("logs", images, ["ada", "ada", "bob", "bob"])
    """

    def __init__(
        self,
        log_dir: Any,
        images: np.ndarray,
        labels: Sequence,
        every: int = 1,
        network: keras.Model | None = None,
        sprite_size: int | None = None,
    ):
        super().__init__()
        if len(images) != len(labels):
            raise ValueError(
                f"EmbeddingProjector needs a label for each image. Received: {len(images)} images and {len(labels)} "
                "labels."
            )
        _arguments.require_integer("EmbeddingProjector", every, 1, math.inf, "every")
        if sprite_size is not None:
            _check_pictures(images)
            self._per_row = math.ceil(math.sqrt(max(1, len(images))))
            most = _MOST_PIXELS // self._per_row
            hint = f"{len(images)} images are {self._per_row} x {self._per_row} of them."
            _arguments.require_integer("EmbeddingProjector", sprite_size, 1, most, "sprite_size", hint=hint)
            _pillow()
        self._sprite_size = sprite_size
        self.log_dir, self.every = pathlib.Path(log_dir), every
        self._images, self._labels, self._given_network = images, labels, network
        self._network: Any = None
        self._embed: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Finds the network, and writes what does not change."""
        if self._given_network is None and not isinstance(self.model, EmbeddingModel):
            raise ValueError(
                "EmbeddingProjector needs the network from images to embeddings: train an EmbeddingModel, or pass "
                f"network=backbone. Received: a {type(self.model).__name__}, and network=None."
            )
        # Each time: a callback may be passed to the fits of several models.
        self._network, self._embed = self._given_network or self.model.embedder, None
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # One column has no header.
        words = [str(label).translate({ord("\t"): " ", ord("\n"): " "}) for label in self._labels]
        (self.log_dir / "metadata.tsv").write_text("\n".join(words) + "\n", encoding="utf-8")
        sprite = ""
        if self._sprite_size is not None:
            self._write_sprite(self._sprite_size)
            dimensions = f"    single_image_dim: {self._sprite_size}\n" * 2
            sprite = f'  sprite {{\n    image_path: "{_SPRITE}"\n{dimensions}  }}\n'
        (self.log_dir / _CONFIG).write_text(
            'embeddings {\n  tensor_name: "embeddings"\n  tensor_path: "embeddings.tsv"\n'
            f'  metadata_path: "metadata.tsv"\n{sprite}}}\n',
            encoding="utf-8",
        )

    def _write_sprite(self, size: int) -> None:
        """Writes all images, small, row by row from the top left."""
        pillow, rows = _pillow(), math.ceil(len(self._images) / self._per_row)
        sprite = pillow.new("RGB", (self._per_row * size, rows * size))
        for number, image in enumerate(self._images):
            row, column = divmod(number, self._per_row)
            small = pillow.fromarray(np.asarray(image)).resize((size, size))
            sprite.paste(small, (column * size, row * size))
        sprite.save(self.log_dir / _SPRITE)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the embeddings."""
        if (epoch + 1) % self.every or (self.run is not None and not self.run.is_chief):
            return
        _ = self.model  # JAX keeps the weights in its loop, until the model is asked for.
        self._embed = self._embed or make_embed_fn(self._network)
        embeddings = self._embed(self._images)
        units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        np.savetxt(self.log_dir / "embeddings.tsv", units, fmt="%.6g", delimiter="\t")


def _check_pictures(images: Any) -> None:
    """Raises unless the images can be shown as they are."""
    shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
        raise ValueError(
            "sprite_size= shows uint8 RGB images, an array (n, height, width, 3). Received: "
            f"shape {shape}, {dtype}. Convert them (one channel: np.repeat(images, 3, axis=-1)), or leave sprite_size "
            "out for dots."
        )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"sprite_size= makes small images by Pillow. {install_hint('align')}.") from error
    return Image

"""EmbeddingProjector: embeddings and labels as files that TensorBoard's projector shows."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_margin import _arguments
from keras_margin.callbacks._embedding import make_embed_fn
from keras_margin.callbacks.base import RunCallback
from keras_margin.models import EmbeddingModel

_CONFIG = "projector_config.pbtxt"


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

    Raises:
        ValueError: Where there is not one label an image; when training begins, where the model is no EmbeddingModel
            and no `network` is given.

    Example:
        >>> images = np.zeros((4, 2, 2, 3), "uint8")
        >>> projector = EmbeddingProjector("logs", images, ["ada", "ada", "bob", "bob"])
    """

    def __init__(
        self, log_dir: Any, images: np.ndarray, labels: Sequence, every: int = 1, network: keras.Model | None = None
    ):
        super().__init__()
        if len(images) != len(labels):
            raise ValueError(
                f"EmbeddingProjector needs a label for each image. Received: {len(images)} images and {len(labels)} "
                "labels."
            )
        _arguments.require_integer("EmbeddingProjector", every, 1, math.inf, "every")
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
        (self.log_dir / _CONFIG).write_text(
            'embeddings {\n  tensor_name: "embeddings"\n  tensor_path: "embeddings.tsv"\n'
            '  metadata_path: "metadata.tsv"\n}\n',
            encoding="utf-8",
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the embeddings."""
        if (epoch + 1) % self.every or (self.run is not None and not self.run.is_chief):
            return
        _ = self.model  # JAX keeps the weights in its loop, until the model is asked for.
        self._embed = self._embed or make_embed_fn(self._network)
        embeddings = self._embed(self._images)
        units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        np.savetxt(self.log_dir / "embeddings.tsv", units, fmt="%.6g", delimiter="\t")

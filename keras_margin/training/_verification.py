"""Verification while training: accuracy on pairs of people every few updates, and the best moment kept."""

import dataclasses
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_margin import evaluation
from keras_margin.training import _logs, _strategies

_LOG = logging.getLogger("keras_margin.training")


@dataclasses.dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images to verify on.

    Attributes:
        name: What the logs call it.
        images: uint8 array (n, height, width, 3), RGB.
        pairs: Int array (m, 2), indices of images; None for image 2 i beside image 2 i + 1, as in a `.bin`.
        is_same: Bool array (m,).
    """

    name: str
    images: np.ndarray
    is_same: np.ndarray
    pairs: np.ndarray | None = None

    def scores(self, embed):
        """Cosines of the pairs, by a function from images to embeddings."""
        pairs = np.arange(2 * len(self.is_same)).reshape(-1, 2) if self.pairs is None else self.pairs
        return evaluation.pair_scores(embed(self.images), pairs)

    def accuracy(self, embed):
        """Ten-fold accuracy, or, of fewer than ten pairs of a kind, 1 - EER."""
        scores = self.scores(embed)
        if min(self.is_same.sum(), (~self.is_same).sum()) < 10:
            return 1.0 - evaluation.eer(scores, self.is_same)
        return evaluation.k_fold_accuracy(scores, self.is_same, folds=10).mean


def embedder_of(network, flip="none", batch_size=64):
    """Function from uint8 images to the network's embeddings, traced once for batches of any length.

    `predict` traces anew for a last batch that is shorter, and TensorFlow warns of that after a few networks.

    Args:
        network: Keras model from images to embeddings.
        flip: One of recipes.FLIPS: what becomes of each image's mirror image.
        batch_size: Images at a time.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)], autograph=False)
    def embed(images):
        return tf.cast(network(images, training=False), tf.float32)

    def embed_all(images):
        parts = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        return np.concatenate([embed(part.astype(np.float32)) for part in parts])

    def with_mirrored(images):
        return evaluation.combine_flips(embed_all(images), embed_all(images[:, :, ::-1]), flip)

    return embed_all if flip == "none" else with_mirrored


class Verification(keras.callbacks.Callback):
    """Measures the network on sets of pairs every few updates and at the end, and keeps the best moment.

    The best is the one with the highest mean accuracy over the sets; its checkpoint is kept as `best.npz`. Figures go
    to `verification.csv` and TensorBoard.

    Args:
        sets: PairSet values, one or more.
        every: Updates between two, >= 1.
        flip: One of recipes.FLIPS.
        folder: Where the figures are written; None for nowhere.
    """

    def __init__(self, sets, every, flip="none", folder=None):
        super().__init__()
        self.sets, self.every, self.flip = tuple(sets), max(1, every), flip
        self.folder = None if folder is None else pathlib.Path(folder)
        self.history = []
        self._embed = self._events = None

    @property
    def best(self):
        """(step, accuracies by set) of the best moment; None before the first."""
        return max(self.history, key=lambda row: np.mean(list(row[1].values())), default=None)

    def state(self):
        """What a checkpoint keeps of it."""
        return {"history": self.history}

    def restore(self, state):
        """Goes on from a checkpoint."""
        self.history = [(step, dict(values)) for step, values in state["history"]]
        if self.folder is not None:
            step = self.history[-1][0] if self.history else 0
            _logs._quietly(lambda: _logs._cut(self.folder / "verification.csv", step))

    def on_train_batch_end(self, batch, logs=None):
        """Measures where it is due."""
        step = batch + 1
        if (step % self.every and step != self.params["steps"]) or not _strategies.is_chief(
            self.params["run"].strategy
        ):
            return
        run = self.params["run"]
        self._embed = self._embed or embedder_of(self.model.embedder, self.flip)
        if run.averages is not None:
            run.averages.swap()
        values = {each.name: each.accuracy(self._embed) for each in self.sets}
        if run.averages is not None:
            run.averages.swap()
        before = self.best
        self.history.append((step, values))
        if self.folder is not None:
            _logs._quietly(lambda: self._write(step, values))
        if before is None or np.mean(list(values.values())) > np.mean(list(before[1].values())):
            run.save(best=True)

    def _write(self, step, values):
        _logs.append(self.folder / "verification.csv", ("step", *values), {"step": step, **values})
        self._events = self._events or _logs.Events(self.folder / "tensorboard", step)
        self._events.scalars(step, {f"verification/{name}": value for name, value in values.items()})

    def on_train_end(self, logs=None):
        """Closes the files."""
        if self._events is not None:
            self._events.close()
        self._events = None

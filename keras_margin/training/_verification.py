"""Verification while training: accuracy, EER and TAR on pairs of people, in the logs, and the best moment kept."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_margin import evaluation
from keras_margin._typing import PathLike
from keras_margin.training import _logs, _strategies
from keras_margin.training._pair_sets import PairSet, read_pairs


def make_embed_fn(network: keras.Model, flip: str = "none", batch_size: int = 64) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a function from uint8 images to the network's embeddings, traced once for batches of any length.

    `predict` traces again for a last batch that is shorter, and TensorFlow warns of that after a few networks.

    Args:
        network: Keras model from images to embeddings.
        flip: One of recipes.FLIPS: what becomes of each image's mirror image.
        batch_size: Images at a time.

    Example:
        >>> network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> embed = make_embed_fn(network)
        >>> embed(np.ones((3, 8, 8, 3), np.uint8)).shape
        (3, 4)
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
    """Measures the network on sets of pairs while it trains, under Model.fit and under training.fit.

    At each epoch's end the figures are in the logs, as NAME_accuracy, NAME_eer and NAME_tar_at_far_1e-03 (see
    PairSet.figures), for the callbacks after this one: ModelCheckpoint(monitor="lfw_accuracy", mode="max"),
    EarlyStopping, ReduceLROnPlateau, CSVLogger. This is how to validate on people who are not in the training data:
    `validation_data` needs labels of the training classes, pairs need none.

    With a folder they also go to `verification.csv` and TensorBoard. Under training.fit with checkpoints the moment
    with the highest mean accuracy over the sets is kept as `best.npz`.

    Args:
        sets: A PairSet, the path of a `.bin`, or a sequence of these. A `.bin` is resized to the network's input.
        every: Updates between two measurements, >= 1; under training.fit also at the end of the run. None for once an
            epoch. The logs then hold the newest figures.
        flip: One of recipes.FLIPS.
        folder: Where the figures are written; None for nowhere.
        network: Keras model from images to embeddings; None for the `embedder` of the model that trains.
        report: Called with (step, figures) after each measurement; None for nobody. `as_text` makes a line of them.

    Raises:
        ValueError: When training begins, where the model that trains has no `embedder` and no `network` is given, or
            on another backend than TensorFlow.

    Example:
        >>> network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> model = keras_margin.EmbeddingModel(network, keras_margin.ArcFaceHead(3))
        >>> model.compile("sgd")
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
        >>> pairs = PairSet("tiny", images, is_same=np.array([True, False]), pairs=np.array([[0, 3], [0, 1]]))
        >>> history = model.fit(images, np.arange(12) % 3, callbacks=[Verification(pairs)], verbose=0)
        >>> "tiny_accuracy" in history.history
        True
    """

    def __init__(
        self,
        sets: Any,
        every: int | None = None,
        flip: str = "none",
        folder: PathLike | None = None,
        network: keras.Model | None = None,
        report: Callable[[int, dict[str, float]], Any] | None = None,
    ) -> None:
        super().__init__()
        alone = isinstance(sets, (PairSet, str, os.PathLike))
        self.sets, self.flip = (sets,) if alone else tuple(sets), flip
        self.every = None if every is None else max(1, every)
        self.folder = None if folder is None else pathlib.Path(folder)
        self.history = []
        self._network, self._report = network, report
        self._embed = self._events = None
        # Updates before this epoch, and since its beginning: Model.fit shows no more.
        self._before, self._in_epoch = 0, 0

    @property
    def best(self) -> tuple[int, dict[str, float]] | None:
        """(step, figures) of the best moment; None before the first."""
        return max(self.history, key=lambda row: _mean_accuracy(row[1]), default=None)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"history": self.history}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.history = [(step, dict(values)) for step, values in state["history"]]
        if self.folder is not None:
            step = self.history[-1][0] if self.history else 0
            _logs._quietly(lambda: _logs._cut(self.folder / "verification.csv", step))

    @property
    def _run(self):
        """The run of training.fit; None under Model.fit."""
        return (self.params or {}).get("run")

    def on_train_begin(self, logs: Any = None) -> None:
        """Reads sets that were given by path."""
        if keras.backend.backend() != "tensorflow":
            raise ValueError(f"Verification embeds by TensorFlow. Received: the backend {keras.backend.backend()!r}.")
        if self._network is None:
            self._network = getattr(self.model, "embedder", None)
        if self._network is None:
            raise ValueError(
                "Verification needs the network from images to embeddings: train an EmbeddingModel, or pass "
                f"network=backbone. Received: a {type(self.model).__name__} without an embedder, and network=None."
            )
        size = tuple(self._network.input_shape[1:3])
        self.sets = tuple(each if isinstance(each, PairSet) else read_pairs(each, size) for each in self.sets)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Measures where it is due."""
        before = self._before + self._in_epoch
        # With steps_per_execution Keras counts the last call of an epoch as a full one.
        self._in_epoch = min(batch + 1, (self.params or {}).get("steps") or batch + 1)
        step, last = self._before + self._in_epoch, False
        if self._run is not None:
            step = self._run.step
            before, last = step - 1, step == self._run.recipe.run.steps
        # Keras may make several updates between two calls.
        if self.every is not None and (step // self.every > before // self.every or last):
            self._measure(step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Puts the figures into the logs, where the callbacks after this one find them."""
        self._before, self._in_epoch = self._before + self._in_epoch, 0
        if self.every is None:
            self._measure(self._before if self._run is None else self._run.step)
        if self.history and logs is not None:
            logs.update(self.history[-1][1])

    def _measure(self, step):
        run = self._run
        if run is not None and not _strategies.is_chief(run.strategy):
            return
        self._embed = self._embed or make_embed_fn(self._network, self.flip)
        averages = None if run is None else run.averages
        if averages is not None:
            averages.swap()
        values = {}
        for each in self.sets:
            values |= each.figures(self._embed)
        if averages is not None:
            averages.swap()
        before = self.best
        self.history.append((step, values))
        if self.folder is not None:
            _logs._quietly(lambda: self._write(step, values))
        if self._report is not None:
            self._report(step, values)
        if run is not None and (before is None or _mean_accuracy(values) > _mean_accuracy(before[1])):
            run.save(best=True)

    def _write(self, step, values):
        _logs.append(self.folder / "verification.csv", ("step", *values), {"step": step, **values})
        self._events = self._events or _logs.Events(self.folder / "tensorboard", step)
        self._events.scalars(step, {f"verification/{name}": value for name, value in values.items()})

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the files."""
        if self._events is not None:
            self._events.close()
        self._events = None


def _mean_accuracy(values):
    return np.mean([value for name, value in values.items() if name.endswith("_accuracy")])

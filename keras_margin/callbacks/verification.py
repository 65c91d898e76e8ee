"""Verification while training: accuracy, EER and TAR on pairs of people, in the logs, and the best moment kept."""

import contextlib
import math
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from keras_margin import _arguments
from keras_margin.callbacks import _records
from keras_margin.callbacks._embedding import make_embed_fn
from keras_margin.callbacks._pair_sets import PairSet, drawn_pairs, read_pairs
from keras_margin.callbacks.base import RunCallback, UpdateCounter
from keras_margin.models import EmbeddingModel
from keras_margin.recipes._parts import FLIPS


class Verification(RunCallback):
    """Measures the network on sets of pairs while it trains, under Model.fit and under training.fit, on every backend.

    At each epoch's end the figures are in the logs, as NAME_accuracy, NAME_eer and NAME_tar_at_far_1e-03 (see
    PairSet.figures), for the callbacks after this one in the list: ModelCheckpoint(monitor="lfw_accuracy"),
    EarlyStopping, ReduceLROnPlateau, CSVLogger, TensorBoard. Callbacks before it do not see them. With an
    EmbeddingModel they also know which figures are to rise; with another model pass them mode="max" or "min".

    This is how to validate on people who are not in the training data: `validation_data` needs labels of the training
    classes, pairs need none.

    With a folder the figures also go to `verification.csv`, and to TensorBoard where TensorFlow is installed. Under
    training.fit with checkpoints the moment with the highest mean accuracy over the sets is kept as `best.npz`.

    Args:
        sets: A PairSet; the path of a `.bin` or of a folder of identities; a reader, as keras_margin.data.open returns
            it, of whose images pairs are drawn; or a sequence of these. A `.bin` is resized to the network's input.
            None where `images` are given.
        every: Updates of the optimizer between two measurements, >= 1, counted over several fits; under training.fit
            also at the end of the run. None for once an epoch. The logs then hold the newest figures.
        flip: One of recipes.FLIPS.
        folder: Where the figures are written; None for nowhere.
        network: Keras model from images to embeddings; None for the `embedder` of the EmbeddingModel that trains.
        report: Called with (step, figures) after each measurement; None for nobody. `as_text` makes a line of them.
        images: uint8 array (n, height, width, 3), RGB, instead of `sets`.
        pairs: Int array (m, 2), indices of images; None for image 2 i with image 2 i + 1.
        is_same: Bool array (m,).
        name: Name of the set of `images`, or of a reader's pairs.

    Raises:
        ValueError: With both or neither of `sets` and `images`; where images, pairs and is_same do not go together;
            when training begins, where the model is no EmbeddingModel and no `network` is given, or two sets have one
            name.
        TypeError: On a set that is none.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 255, (8, 2, 2, 3)).astype("uint8")
        >>> verification = Verification(images=images, is_same=[1, 0, 1, 0], name="own")
        >>> backbone = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> model = keras_margin.EmbeddingModel(backbone, keras_margin.ArcFaceHead(2))
        >>> model.compile("sgd")
        >>> history = model.fit(images, np.arange(8) % 2, callbacks=[verification], verbose=0).history
        >>> "own_accuracy" in history, "own_eer" in history
        (True, True)
    """

    def __init__(
        self,
        sets: Any = None,
        every: int | None = None,
        flip: str = "none",
        folder: Any = None,
        network: keras.Model | None = None,
        report: Callable[[int, dict], None] | None = None,
        *,
        images: np.ndarray | None = None,
        pairs: np.ndarray | None = None,
        is_same: np.ndarray | None = None,
        name: str = "pairs",
    ):
        super().__init__()
        if (sets is None) == (images is None):
            raise ValueError(
                "Verification needs sets, such as the path of a .bin, or images= with is_same=. "
                f"Received: {'neither' if sets is None else 'both'}."
            )
        if images is not None:
            if is_same is None:
                raise ValueError("Verification of images needs is_same=, a bool for each pair. Received: is_same=None.")
            sets = PairSet(name, images, is_same, pairs)
        if every is not None:
            _arguments.require_integer("Verification", every, 1, math.inf, "every", " or None")
        _arguments.require_one_of("Verification", "flip", flip, FLIPS)
        self._given_sets = sets if isinstance(sets, (list, tuple)) else (sets,)
        self.sets: tuple[PairSet, ...] = ()
        self.flip, self.every = flip, every
        self.folder: Any = None if folder is None else pathlib.Path(folder)
        self.history: list[tuple[int, dict]] = []
        self._given_network: Any = network
        self._network: Any = None
        self._report, self._name = report, name
        self._embed: Any = None
        self._events: Any = None
        self._counter = UpdateCounter()

    @property
    def best(self) -> tuple[int, dict] | None:
        """(step, figures) of the best moment; None before the first."""
        return max(self.history, key=lambda row: _mean_accuracy(row[1]), default=None)

    def state(self) -> dict:
        """Returns what a checkpoint keeps of it."""
        return {"history": self.history}

    def restore(self, state: dict) -> None:
        """Goes on from a checkpoint."""
        self.history = [(step, dict(values)) for step, values in state["history"]]
        if self.folder is not None:
            step = self.history[-1][0] if self.history else 0
            _records.quietly(lambda: _records.cut(self.folder / "verification.csv", step))

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Reads sets that were given by path."""
        model = self.model
        if self._given_network is None and not isinstance(model, EmbeddingModel):
            raise ValueError(
                "Verification needs the network from images to embeddings: train an EmbeddingModel, or pass "
                f"network=backbone. Received: a {type(model).__name__}, and network=None."
            )
        # Each time: a callback may be passed to the fits of several models.
        self._network, self._embed = self._given_network or model.embedder, None
        self.sets = tuple(self._opened(self._given_sets))
        names = [each.name for each in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"Verification needs sets of different names. Received: {', '.join(names)}.")
        if isinstance(model, EmbeddingModel):
            model.set_monitor_directions({k: v for each in self.sets for k, v in each.directions().items()})

    def _opened(self, sets: Iterable) -> Iterable[PairSet]:
        size = tuple(self._network.input_shape[1:3])
        for each in sets:
            if isinstance(each, PairSet):
                yield each
            elif isinstance(each, (str, os.PathLike)):
                yield read_pairs(each, size)
            else:
                yield drawn_pairs(self._name, _as_reader(each))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Reads the number of updates."""
        self._counter.begin_epoch(self.model.optimizer)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Measures where it is due."""
        before, step = self._counter.after_batch(batch, self.run, self.params)
        last = self.run is not None and step == self.run.recipe.run.steps
        # Keras may make several updates between two calls.
        if self.every is not None and (step // self.every > before // self.every or last):
            self._measure(step)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Puts the figures into the logs, where the callbacks after this one find them."""
        step = self._counter.after_epoch()
        if self.every is None:
            self._measure(step if self.run is None else self.run.step)
        if self.history and logs is not None:
            logs.update(self.history[-1][1])

    def _measure(self, step: int) -> None:
        run = self.run
        if run is not None and not run.is_chief:
            return
        _ = self.model  # JAX keeps the weights in its loop, until the model is asked for.
        self._embed = self._embed or make_embed_fn(self._network, self.flip)
        values: dict[str, float] = {}
        with contextlib.nullcontext() if run is None else run.averaged_weights():
            for each in self.sets:
                values |= each.figures(self._embed)
        before = self.best
        self.history.append((step, values))
        if self.folder is not None:
            _records.quietly(lambda: self._write(step, values))
        if self._report is not None:
            self._report(step, values)
        if run is not None and (before is None or _mean_accuracy(values) > _mean_accuracy(before[1])):
            run.save(best=True)

    def _write(self, step: int, values: dict) -> None:
        _records.append(self.folder / "verification.csv", ("step", *values), {"step": step, **values})
        if not _records.has_tensorflow():
            return
        self._events = self._events or _records.Events(self.folder / "tensorboard", step)
        self._events.scalars(step, {f"verification/{name}": value for name, value in values.items()})

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the files."""
        if self._events is not None:
            self._events.close()
        self._events = None


def _as_reader(given: Any) -> Any:
    from keras_margin.data import Reader  # TensorFlow's; pairs of arrays do without.

    if not isinstance(given, Reader):
        raise TypeError(
            "Verification takes a PairSet, a path or a reader of keras_margin.data.open, or a list of these. "
            f"Received: {given!r}. Arrays go into images=, pairs= and is_same=."
        )
    return given


def _mean_accuracy(values: dict) -> float:
    return float(np.mean([value for name, value in values.items() if name.endswith("_accuracy")]))

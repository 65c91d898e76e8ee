"""TrainingDiagnostics: a callback that checks a run now and then and warns of known faults, each in a sentence."""

import logging
import math
from typing import Any

import numpy as np

from keras_margin import _arguments
from keras_margin.callbacks import _batch_statistics
from keras_margin.callbacks._findings import FINDINGS
from keras_margin.callbacks._watched import WatchedModel, WatchedRun
from keras_margin.callbacks.base import RunCallback, UpdateCounter
from keras_margin.models import EmbeddingModel

_LOG = logging.getLogger("keras_margin.training")


class TrainingDiagnostics(RunCallback):
    """Watches the training of an EmbeddingModel, and warns once of each thing that it finds wrong, with what to try.

    Every few updates: the angle to the own prototype and to the nearest other, the share past pi, the embeddings'
    length and spread, saturated logits, dead dimensions, lambda; see `BatchStatistics`. Of the data: classes without an
    image, and, where training does not get off the ground, whether images of one label are alike. When a number stops
    being one: which tensor was first.

    Under `training.fit` it reads the batches of the run. Model.fit shows callbacks no batches: there it needs images
    and labels of the training data, embeds up to 128 of them at each look, and looks for empty classes in `labels`.

    Findings are warnings of the logger `keras_margin.training` and sentences in `.sentences`.

    Args:
        every: Updates of the optimizer between two looks, >= 1; None for a two-hundredth of the run, at least 10.
        patience: Updates after which a run should have got off the ground, >= 1; None for two epochs, at least 150, or
            half of a shorter run, at least 100. Both defaults are those of each fit; updates are counted as
            `optimizer.iterations` does, over several fits.
        images: Array (n, height, width, channels) of training images, for Model.fit; all, or a few hundred at random.
        labels: Int array (n,).

    Raises:
        ValueError: When training begins under Model.fit without images and labels.
        TypeError: When training begins, where the model is no EmbeddingModel.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 255, (8, 2, 2, 3)).astype("uint8")
        >>> labels = np.arange(8) % 3
        >>> backbone = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> model = keras_margin.EmbeddingModel(backbone, keras_margin.ArcFaceHead(4))
        >>> model.compile("sgd")
        >>> diagnostics = TrainingDiagnostics(images=images, labels=labels)
        >>> _ = model.fit(images, labels, callbacks=[diagnostics], verbose=0)
        >>> diagnostics.sentences[0][:37]
        '1 of 4 prototypes are never sampled: '
    """

    def __init__(
        self,
        every: int | None = None,
        patience: int | None = None,
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ):
        super().__init__()
        if (images is None) != (labels is None):
            raise ValueError("TrainingDiagnostics takes images and labels together. Received: one of them.")
        for name, value in (("every", every), ("patience", patience)):
            if value is not None:
                _arguments.require_integer("TrainingDiagnostics", value, 1, math.inf, name, " or None")
        self._given = every, patience
        self.every: Any = every
        self.patience: Any = patience
        self.sentences: list[str] = []
        self.statistics: list[_batch_statistics.BatchStatistics] = []
        self._images: Any = images
        self._labels: Any = labels
        self._said: set[str] = set()
        self._seen = [0, 0.0, 0.0]
        self.best_accuracy = 0.0
        self._watched: Any = None
        self._counter = UpdateCounter()
        self._is_first = True

    def state(self) -> dict:
        """Returns what a checkpoint keeps of it."""
        return {
            "sentences": self.sentences,
            "said": sorted(self._said),
            "before": self._seen if self._watched is None else self._watched.seen,
            "best": self.best_accuracy,
            "statistics": [vars(each) for each in self.statistics],
        }

    def restore(self, state: dict) -> None:
        """Goes on from a checkpoint."""
        self.sentences, self._said = list(state["sentences"]), set(state["said"])
        self._seen, self.best_accuracy = list(state["before"]), state["best"]
        self.statistics = [_batch_statistics.BatchStatistics(**each) for each in state["statistics"]]

    def has_said(self, name: str) -> bool:
        """Tells whether a finding of this name was reported already."""
        return name in self._said

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Looks at the data."""
        self._watched = watched = self._what_is_there()
        # The first batch is looked at too: what comes later is compared with it.
        self._is_first = self.run is None or self.run.step == 0
        # Each time: a callback may be passed to several fits, of other lengths.
        every, patience = self._given
        self.every = every or max(10, watched.steps // 200)
        self.patience = patience or int(max(100, min(max(150, 2 * watched.epoch), watched.steps / 2)))
        counts = np.bincount(watched.labels, minlength=watched.num_classes)[: watched.num_classes]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            self._say(
                "never sampled",
                f"{len(empty)} of {len(counts)} prototypes are never sampled: no image has the label {empty[0]}. "
                "They are only pushed away. Number the classes without gaps.",
            )

    def _what_is_there(self) -> WatchedRun | WatchedModel:
        if self.run is not None:
            return WatchedRun(self.run, self.model, self._seen)
        if not isinstance(self.model, EmbeddingModel):
            raise TypeError(f"TrainingDiagnostics needs an EmbeddingModel. Received: a {type(self.model).__name__}.")
        if self._images is None:
            raise ValueError(
                "TrainingDiagnostics sees no batches under Model.fit. Received: no images. Pass "
                "TrainingDiagnostics(images=..., labels=...) with training images, a few hundred at random."
            )
        return WatchedModel(self.model, self.params or {}, self._images, self._labels)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Reads the number of updates."""
        self._counter.begin_epoch(self.model.optimizer)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the batch where it is due."""
        before, step = self._counter.after_batch(batch, self.run, self.params)
        is_first, self._is_first = self._is_first, False
        # Keras may make several updates between two calls.
        if not is_first and step // self.every == before // self.every:
            return
        _ = self.model  # JAX keeps the weights in its loop, until the model is asked for.
        loss, accuracy = self._watched.since_last_look(logs, batch)
        if not math.isfinite(loss):
            self._say_not_finite(f"The loss is {loss} at step {step}")
            return
        self.statistics.append(self._watched.statistics())
        for name, finding in FINDINGS.items():
            if name not in self._said:
                sentence = finding(self, self._watched, step, accuracy)
                if sentence:
                    self._say(name, sentence)
        self.best_accuracy = max(self.best_accuracy, accuracy)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Counts the epoch's updates."""
        self._counter.after_epoch()
        self._watched.end_epoch()

    def on_failure(self, error: BaseException) -> None:
        """Where the head refused what the network put out: which tensor was first."""
        if isinstance(error, Exception) and "finite" in str(error) and self._watched is not None:
            self._say_not_finite(f"Step {self.run.step + 1} failed")

    def _say_not_finite(self, what: str) -> None:
        first, advice = self._watched.first_not_finite(), self._watched.advice
        where = f"the first to hold NaN or inf is {first}" if first else "weights and activations are finite by now"
        if not self.has_said("nan"):
            self._say(
                "nan",
                f"{what}: {where}. Try {advice.rate}, {advice.warm_up}, {advice.clip}; with mixed_float16, "
                "mixed_bfloat16 or float32.",
            )

    def _say(self, name: str, sentence: str) -> None:
        self._said.add(name)
        self.sentences.append(sentence)
        _LOG.warning("%s", sentence)

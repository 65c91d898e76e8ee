"""What TrainingDiagnostics looks at: a run of `training.fit`, or a model under Model.fit with images to look at."""

from typing import Any

import numpy as np

from keras_margin.callbacks import _advice, _batch_statistics
from keras_margin.callbacks._embedding import make_embed_fn
from keras_margin.models._training import accumulation_steps

# Images of Model.fit's that are looked at.
_SAMPLES = 128


class WatchedRun:
    """A run of `training.fit`: its own batches, embeddings and numbers.

    Args:
        run: See RunCallback.
        model: EmbeddingModel.
        seen: Totals of the logs at the last look.
    """

    advice = _advice.BY_RECIPE

    def __init__(self, run: Any, model: Any, seen: list):
        self._run, self._model = run, model
        self.seen = list(seen)
        self.steps, self.labels, self.num_classes = run.recipe.run.steps, run.reader.labels, run.reader.num_classes
        self.epoch = run.reader.num_images / run.recipe.data.batch_size

    @property
    def head(self) -> Any:
        """The head."""
        return self._model.head

    def since_last_look(self, logs: Any, batch: int) -> tuple[float, float]:
        """Returns the mean loss and accuracy of the updates since the last look."""
        totals = logs.totals()
        rows = max(1, totals[0] - self.seen[0])
        loss, accuracy = (totals[1] - self.seen[1]) / rows, (totals[2] - self.seen[2]) / rows
        self.seen = totals
        return loss, accuracy

    def end_epoch(self) -> None:
        """Does nothing: a run's totals go on."""

    def statistics(self) -> _batch_statistics.BatchStatistics:
        """Returns the statistics of the newest batch."""
        _, labels, embeddings = self._run.last_batch()
        return _batch_statistics.measure(self.head, embeddings, labels)

    def label_agreement(self) -> float | None:
        """Returns how much more alike two images of one label are than of two; see `label_agreement`."""
        reader = self._run.reader

        def images_of(numbers):
            return reader.subset(numbers).arrays()[0]

        return _batch_statistics.label_agreement(reader.labels, images_of, self._run.seed)

    def first_not_finite(self) -> str | None:
        """Returns what is first to hold NaN or inf, in words."""
        images, _, _ = self._run.last_batch()
        return None if images is None else _batch_statistics.first_not_finite(self._model.embedder, images)


class WatchedModel:
    """A model under Model.fit, which shows callbacks no batches: looked at by images of its training data.

    Args:
        model: EmbeddingModel.
        params: What Keras tells of the training: epochs and steps.
        images: Array (n, height, width, channels), of the training data.
        labels: Int array (n,).
    """

    advice = _advice.BY_FIT

    def __init__(self, model: Any, params: dict, images: np.ndarray, labels: np.ndarray):
        self._model, self._images = model, np.asarray(images)
        self.labels, self.num_classes = np.asarray(labels).reshape(-1), model.head.num_classes
        # In updates: with gradient accumulation a batch is less than one.
        self.epoch = max(1, (params.get("steps") or 1) // accumulation_steps(model.optimizer))
        self.steps = self.epoch * (params.get("epochs") or 1)
        self._embed: Any = None
        # Batches of this epoch, and the sums of their losses and accuracies.
        self.seen = [0, 0.0, 0.0]

    @property
    def head(self) -> Any:
        """The head."""
        return self._model.head

    def since_last_look(self, logs: Any, batch: int) -> tuple[float, float]:
        """Returns the mean loss and accuracy of the batches since the last look, in this epoch."""
        # Keras's logs are the means since the epoch began.
        loss, accuracy = float(logs["loss"]), float(logs["accuracy"])
        count, before, right = self.seen
        self.seen = [batch + 1, loss * (batch + 1), accuracy * (batch + 1)]
        return (self.seen[1] - before) / (batch + 1 - count), (self.seen[2] - right) / (batch + 1 - count)

    def end_epoch(self) -> None:
        """Forgets the sums of the epoch."""
        self.seen = [0, 0.0, 0.0]

    def statistics(self) -> _batch_statistics.BatchStatistics:
        """Returns the statistics of the first images, as they are embedded outside of training."""
        self._embed = self._embed or make_embed_fn(self._model.embedder)
        embeddings = self._embed(self._images[:_SAMPLES])
        return _batch_statistics.measure(self.head, embeddings, self.labels[:_SAMPLES])

    def label_agreement(self) -> float | None:
        """Returns how much more alike two images of one label are than of two; see `label_agreement`."""
        return _batch_statistics.label_agreement(self.labels, lambda numbers: self._images[numbers])

    def first_not_finite(self) -> str | None:
        """Returns what is first to hold NaN or inf, in words."""
        return _batch_statistics.first_not_finite(self._model.embedder, self._images[:_SAMPLES])

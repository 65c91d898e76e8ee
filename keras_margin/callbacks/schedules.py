"""MarginSchedule and ScaleSchedule: a margin and a scale that rise while an EmbeddingModel trains."""

import abc
import math
from collections.abc import Callable
from typing import Any

from keras_margin import _arguments
from keras_margin.callbacks.base import RunCallback, UpdateCounter
from keras_margin.models import EmbeddingModel


class _Schedule(RunCallback, abc.ABC):
    """Base of the two: the number of the update, before each batch."""

    def __init__(self, schedule: int | Callable[[int], float], name: str):
        super().__init__()
        if not callable(schedule):
            meaning = ", or a function of the number of updates"
            _arguments.require_integer(type(self).__name__, schedule, 1, math.inf, name, meaning)
        self._share_at = schedule if callable(schedule) else lambda update: min(1.0, update / schedule)
        self._counter = UpdateCounter()

    def set_model(self, model: Any) -> None:
        """Prepares the model, before its training is compiled.

        Raises:
            ValueError: Where the head has nothing to schedule.
            TypeError: Where the model is no EmbeddingModel.
        """
        super().set_model(model)
        if not isinstance(model, EmbeddingModel):
            raise TypeError(f"{type(self).__name__} needs an EmbeddingModel. Received: a {type(model).__name__}.")
        self.start(model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Reads the number of updates, which a callback may have restored."""
        self._counter.begin_epoch(self.model.optimizer)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the number for the batch's update."""
        update = self._counter.before_batch(batch) if self.run is None else self.run.step
        self.set_share(self.model, float(self._share_at(update)))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Counts the epoch's updates."""
        self._counter.after_epoch()

    @abc.abstractmethod
    def start(self, model: EmbeddingModel) -> None:
        """Makes the number one that can be set."""

    @abc.abstractmethod
    def set_share(self, model: EmbeddingModel, share: float) -> None:
        """Sets the number."""


class MarginSchedule(_Schedule):
    """Raises the margin of an EmbeddingModel's head from none to its own.

    margin(update) = head.margin.scaled(share(update)),  share = min(1, update / steps)

    Large margins from scratch can keep a network from starting to learn. `head.margin` itself stays as it is. Under
    `training.fit` a recipe's `margin_warmup_steps` does the same.

    Args:
        steps: Updates until the margin is the head's own, >= 1; or a function from the number of updates made, from 0,
            to a share in [0, 1].

    Raises:
        ValueError: On a number out of range; when training begins, on a margin that anneals by itself or has none.
        TypeError: When training begins, where the model is no EmbeddingModel.

    Example:
        >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = keras_margin.EmbeddingModel(backbone, keras_margin.ArcFaceHead(10))
        >>> model.compile("sgd")
        >>> labels = np.arange(10)
        >>> _ = model.fit(np.eye(10, 8), labels, callbacks=[MarginSchedule(steps=1000)], verbose=0)
    """

    def __init__(self, steps: int | Callable[[int], float]):
        super().__init__(steps, "steps")

    def start(self, model: EmbeddingModel) -> None:
        """Makes the margin one that can be set."""
        model.loss_schedule.start_margin()

    def set_share(self, model: EmbeddingModel, share: float) -> None:
        """Sets the margin."""
        model.loss_schedule.set_margin(share)


class ScaleSchedule(_Schedule):
    """Raises the scale of an EmbeddingModel's head from a first one to its own.

    scale(update) = start + (head.scale - start) * min(1, update / steps)

    `head.scale` itself stays as it is. Under `training.fit` a recipe's `scale_warmup_steps` does the same.

    Args:
        steps: Updates until the scale is the head's own, >= 1; or a function from the number of updates made, from 0,
            to a share in [0, 1] of the way.
        start: Scale at the first update, > 0.

    Raises:
        ValueError: On a number out of range; when training begins, on a head without a scale of its own.
        TypeError: When training begins, where the model is no EmbeddingModel.

    Example:
        >>> schedule = ScaleSchedule(steps=1000, start=10.0)
    """

    def __init__(self, steps: int | Callable[[int], float], start: float = 1.0):
        super().__init__(steps, "steps")
        if not start > 0:
            raise ValueError(f"ScaleSchedule needs start > 0. Received: start={start!r}.")
        self._start = float(start)

    def start(self, model: EmbeddingModel) -> None:
        """Makes the scale one that can be set."""
        model.loss_schedule.start_scale()

    def set_share(self, model: EmbeddingModel, share: float) -> None:
        """Sets the scale."""
        scale = float(model.head.scale)  # type: ignore[arg-type]  # start_scale refused a head without one.
        model.loss_schedule.set_scale((self._start + (scale - self._start) * share) / scale)

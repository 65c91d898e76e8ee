"""RunCallback: a Keras callback that `training.fit` tells more than Keras does, and keeps in its checkpoints."""

from typing import Any

import keras
from keras import ops

from keras_margin.models._training import accumulation_steps


class RunCallback(keras.callbacks.Callback):
    """Base of callbacks that work under Model.fit and know more under `training.fit` and `keras-margin train`.

    Before training, `training.fit` calls `set_run`; Model.fit does not, and `run` stays None there. What `run` has:

        step                 updates made
        recipe, reader, seed of training.fit
        is_chief             whether this process writes files; one of several workers does
        last_batch()         (images, labels, embeddings) of the newest update, arrays, of the first replica here
        averaged_weights()   context in which the model has the means that the recipe's `ema` keeps
        save(best=True)      writes a checkpoint of the present moment

    A subclass with something to remember overrides `state` and `restore`: checkpoints keep it.

    Example:
        >>> class Count(RunCallback):
        ...     updates = 0
        ...     def on_train_batch_end(self, batch, logs=None):
        ...         self.updates += 1
        ...     def state(self):
        ...         return {"updates": self.updates}
        ...     def restore(self, state):
        ...         self.updates = state["updates"]
        >>> count = Count()
        >>> count.on_train_batch_end(0)
        >>> count.state()
        {'updates': 1}
    """

    # What to use under Model.fit instead of a callback that needs a run; a sentence.
    ELSEWHERE = ""

    run: Any = None

    def set_run(self, run: Any) -> None:
        """Takes the run; called by `training.fit` before training."""
        self.run = run

    def state(self) -> dict:
        """Returns what checkpoints keep of it, as JSON can hold it."""
        return {}

    def restore(self, state: dict) -> None:
        """Goes on from what `state` returned."""

    def on_failure(self, error: BaseException) -> None:
        """Called by `training.fit` where training raises."""

    def needed_run(self) -> Any:
        """Returns the run.

        Raises:
            ValueError: Under Model.fit.
        """
        if self.run is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} works in keras_margin.training.fit and in `keras-margin train`, whose recipe it reads. "
                f"Received: {name} in the callbacks of Model.fit. {self.ELSEWHERE}".rstrip()
            )
        return self.run


class UpdateCounter:
    """Counts the optimizer's updates where Keras shows batches.

    They are those of `optimizer.iterations` as an epoch begins, and those of its batches: with gradient accumulation
    several batches make one. A second fit goes on; with a new optimizer it begins again.

    Example:
        >>> counter = UpdateCounter()
        >>> counter.begin_epoch(keras.optimizers.SGD(gradient_accumulation_steps=2))
        >>> counter.after_batch(4, None, {"steps": 5}), counter.after_epoch()
        ((0, 2), 2)
    """

    def __init__(self):
        # In batches.
        self._before_epoch = self._in_epoch = 0
        self._per_update = 1

    def begin_epoch(self, optimizer: Any) -> None:
        """Reads the number of updates, which a callback may have restored."""
        self._per_update = accumulation_steps(optimizer)
        updates = int(ops.convert_to_numpy(optimizer.iterations))
        # Keras does not say how many batches wait for their update; those of the epoch before are known.
        if self._before_epoch // self._per_update != updates:
            self._before_epoch = updates * self._per_update
        self._in_epoch = 0

    def before_batch(self, batch: int) -> int:
        """Returns the updates before a batch; `batch` as Keras counts, from 0 in each epoch."""
        return (self._before_epoch + batch) // self._per_update

    def after_batch(self, batch: int, run: Any, params: dict | None) -> tuple[int, int]:
        """Returns the updates before and after the batches since the last call."""
        before = self.before_batch(self._in_epoch)
        # With steps_per_execution Keras counts the last call of an epoch as a full one.
        self._in_epoch = min(batch + 1, (params or {}).get("steps") or batch + 1)
        return (before, self.before_batch(self._in_epoch)) if run is None else (run.step - 1, run.step)

    def after_epoch(self) -> int:
        """Returns the updates so far."""
        self._before_epoch, self._in_epoch = self._before_epoch + self._in_epoch, 0
        return self.before_batch(0)

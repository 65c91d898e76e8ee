"""RunCallback: a Keras callback that `training.fit` tells more than Keras does, and keeps in its checkpoints."""

from typing import Any

import keras


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
    """Counts updates where Keras shows batches of an epoch.

    Example:
        >>> counter = UpdateCounter()
        >>> counter.after_batch(4, None, {"steps": 5}), counter.after_epoch()
        ((0, 5), 5)
    """

    def __init__(self):
        self._before_epoch = self._in_epoch = 0

    def after_batch(self, batch: int, run: Any, params: dict | None) -> tuple[int, int]:
        """Returns the updates before and after the batches since the last call; `batch` as Keras counts."""
        before = self._before_epoch + self._in_epoch
        # With steps_per_execution Keras counts the last call of an epoch as a full one.
        self._in_epoch = min(batch + 1, (params or {}).get("steps") or batch + 1)
        return (before, self._before_epoch + self._in_epoch) if run is None else (run.step - 1, run.step)

    def after_epoch(self) -> int:
        """Returns the updates so far."""
        self._before_epoch, self._in_epoch = self._before_epoch + self._in_epoch, 0
        return self._before_epoch

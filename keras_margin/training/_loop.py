"""`fit`: a recipe's updates, one by one, from wherever an earlier process was stopped."""

import bisect
import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_margin.callbacks import RunCallback
from keras_margin.data.reader import Reader
from keras_margin.models import EmbeddingModel
from keras_margin.recipes.base import Recipe
from keras_margin.training import _batches, _callbacks, _identity, _state, _step, _stop, _strategies
from keras_margin.training._building import build_model
from keras_margin.training._checkpoints import Checkpoints
from keras_margin.training._errors import friendly_errors, lost_workers
from keras_margin.training._logbook import Logbook


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes:
        model: The trained EmbeddingModel, built under the strategy; with the recipe's `ema` its backbone has the means.
        history: Pairs (step, logs): loss and accuracy, averaged since the pair before.
        seconds: Time spent in fitting, before an interruption too.

    Example:
        >>> result = FitResult(model=None, history=[(100, {"loss": 9.2, "accuracy": 0.1})], seconds=1.5)
        >>> step, logs = result.history[-1]
        >>> step, logs["loss"]
        (100, 9.2)
    """

    model: EmbeddingModel
    history: tuple
    seconds: float


def fit(
    recipe: Recipe,
    reader: Reader,
    *,
    strategy: Any = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    reports: int = 20,
    checkpoints: Checkpoints | None = None,
) -> FitResult:
    """Trains the recipe on what the reader reads.

    With `checkpoints` the same call goes on from the newest one, with the same batches, optimiser, annealing and random
    numbers: losses and weights are then those of a run that was never stopped.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open, with images of the recipe's size.
        strategy: From make_strategy; None for one device.
        seed: Of weights, order and augmentation.
        callbacks: Keras callbacks, yours and Keras's own, which get what Model.fit gives them. An "epoch" is a
            `reports`-th of the steps; `batch` counts from 0 in each. A rate that a callback sets
            (LearningRateScheduler, ReduceLROnPlateau) takes the place of the recipe's schedule from then on. One that
            sets `model.stop_training` ends the run after the update, with a checkpoint; the same call goes on from it.
            Over several workers only the first measures, so at each epoch's end all follow its callbacks: the rate that
            they set, and whether to stop, which then waits for that end.
            A callbacks.RunCallback is told more and kept in the checkpoints; Keras's own begin again. Those that the
            recipe names come behind them.
        reports: How often loss and accuracy are noted in the history, at most at every step; the shares of the steps
            differ by one where they do not divide evenly.
        checkpoints: Checkpoints, or None.

    Returns:
        FitResult.

    Raises:
        ValueError: With BackupAndRestore in `callbacks`; where a batch does not split evenly over the replicas, images
            and recipe differ in size, a label is out of range, the network puts out NaN, a strict reader finds an image
            that it cannot read, or the checkpoints are of another run.
        KeyboardInterrupt: Where `training.run` was sent a signal; after a checkpoint.

    Example:
        >>> changes = {"backbone": "ir_small", "image_size": (32, 32), "batch_size": 8, "steps": 1}
        >>> recipe = keras_margin.recipes.Recipe("tiny", "").replace(**changes)
        >>> reader = keras_margin.data.open("orl", image_size=(32, 32))
        >>> result = fit(recipe, reader, reports=1)
        >>> len(result.history), result.model.head.num_classes
        (1, 40)
    """
    callbacks = [*callbacks, *_callbacks.named_by(recipe, seed)]
    _check_callbacks(callbacks)
    strategy = strategy or tf.distribute.get_strategy()
    _batches.check(recipe, reader, strategy.num_replicas_in_sync)
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        model = build_model(recipe, reader.num_classes)
        model.optimizer.build(model.trainable_variables)
        averages = _step.Averages(model.embedder, recipe.optimizer.ema, strategy) if recipe.optimizer.ema else None
    run = _Run(recipe, reader, strategy, seed, model, averages)
    epochs = min(reports, recipe.run.steps)
    run.ends = [(epoch + 1) * recipe.run.steps // epochs for epoch in range(epochs)]
    run.callbacks, run.checkpoints = callbacks, checkpoints
    try:
        with friendly_errors(), lost_workers(_strategies.is_multiworker(strategy)):
            run.resume()
            run.train()
    finally:
        model.loss_schedule.stop()
    if averages is not None:
        averages.swap()
    return FitResult(model=model, history=tuple(run.history), seconds=run.seconds)


def _check_callbacks(callbacks):
    """Raises ValueError on a callback that would restore weights and leave the update count at zero."""
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        raise ValueError(
            "training.fit goes on from checkpoints of its own, with batches, optimiser and head state. Received: "
            "BackupAndRestore in callbacks. Pass checkpoints=training.Checkpoints(folder) instead."
        )


class _Run:
    """A run's state, and what is done with it."""

    def __init__(self, recipe, reader, strategy, seed, model, averages):
        self.recipe, self.reader, self.strategy, self.seed = recipe, reader, strategy, seed
        self.model, self.averages = model, averages
        self.step, self.history, self.seconds, self.told = 0, [], 0.0, {}
        self.batch, self.embeddings = (None, None), None
        self.stops = False
        self.rate = _rate_of(model.optimizer)
        self.logs = Logbook(model, self.rate)
        self.identity = _identity.of(recipe, reader, seed)

    # --- Checkpoints ----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Goes on from the newest checkpoint, if there is one; under several workers, from the chief's."""
        found = refusal = None
        if self.checkpoints is not None and _strategies.is_chief(self.strategy):
            found = self.checkpoints.newest()
        if found is not None:
            refusal = _identity.difference(found[1]["identity"], self.identity, self.checkpoints.folder)
        step = -1 if refusal else 0 if found is None else found[1]["step"]
        if _strategies.is_multiworker(self.strategy):
            step = int(_state.broadcast_from_chief(np.int64(step), self.strategy))
        if step < 0:
            raise ValueError(refusal or "The first worker refuses to go on from its checkpoint; its message says why.")
        if step:
            _state.put({} if found is None else found[0], self.model, self.averages, self.strategy)
            self._restore_rate(None if found is None else found[1].get("learning_rate"))
        self.step = step
        if found is not None:
            state = found[1]
            self.history = [(row, dict(logs)) for row, logs in state["history"]]
            self.seconds = state["seconds"]
            self.logs.restore(step, state["logs"])
            for name, callback in self._with_state():
                if name in state["callbacks"]:
                    callback.restore(state["callbacks"][name])

    def _restore_rate(self, value):
        """Sets the rate that a callback had set; under several workers the chief's."""
        if _strategies.is_multiworker(self.strategy):
            value = float(_state.broadcast_from_chief(np.float32(math.nan if value is None else value), self.strategy))
            value = None if math.isnan(value) else value
        self.rate.assign(value)

    def save(self, best: bool = False) -> None:
        """Writes a checkpoint of the present moment, where this process is the one that writes."""
        if self.checkpoints is None or not _strategies.is_chief(self.strategy):
            return
        state = {
            "identity": self.identity,
            "history": self.history,
            "logs": self.logs.state(),
            "learning_rate": self.rate.value,
            "seconds": self.seconds + time.monotonic() - self.start,
            "callbacks": {name: callback.state() for name, callback in self._with_state()},
        }
        self.checkpoints.save(self.step, _state.arrays_of(self.model, self.averages), state, best)

    # --- What a RunCallback reads, beyond step, recipe, reader and seed ----------------------------------------------

    @property
    def is_chief(self):
        """Whether this process writes files."""
        return _strategies.is_chief(self.strategy)

    def last_batch(self):
        """(images, labels, embeddings) of the newest update, of the first replica here, arrays or None."""
        local = self.strategy.experimental_local_results
        tensors = (*self.batch, self.embeddings)
        return tuple(None if each is None else local(each)[0].numpy() for each in tensors)

    @contextlib.contextmanager
    def averaged_weights(self):
        """Context in which the model has its means, where the recipe keeps any."""
        if self.averages is not None:
            self.averages.swap()
        try:
            yield
        finally:
            if self.averages is not None:
                self.averages.swap()

    def _with_state(self):
        for number, callback in enumerate(self.callbacks):
            if isinstance(callback, RunCallback):
                yield f"{number} {type(callback).__name__}", callback

    # --- Training -------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """The updates that are left."""
        for callback in self.callbacks:
            callback.set_model(self.model)
            if isinstance(callback, RunCallback):
                callback.set_run(self)
        self._set_params(self._epoch())
        self.model.stop_training = self.stops = False
        self.start = time.monotonic()
        self._tell("on_train_begin", {})
        try:
            if self.step < self.recipe.run.steps:
                with _stop.updates():
                    self._updates()
        except BaseException as error:
            for callback in self.callbacks:
                if isinstance(callback, RunCallback):
                    callback.on_failure(error)
            raise
        self.seconds += time.monotonic() - self.start
        self._tell("on_train_end", self.told)

    def _epoch(self):
        """Number of the epoch that the next update belongs to."""
        return min(bisect.bisect_right(self.ends, self.step), len(self.ends) - 1)

    def _start_of(self, epoch):
        return self.ends[epoch - 1] if epoch else 0

    def _set_params(self, epoch):
        """Gives the callbacks what Keras does. Epochs may differ by an update, so the steps are this epoch's."""
        steps = self.ends[epoch] - self._start_of(epoch)
        for callback in self.callbacks:
            callback.set_params({"verbose": 1, "epochs": len(self.ends), "steps": steps})

    def _updates(self) -> None:
        update = _step.Step(self.model, self.recipe, self.strategy, self.averages)
        data = _batches.distributed(self.recipe, self.reader, self.strategy, self.seed, self.step)
        while not self._is_last():
            epoch = self._epoch()
            batch = self.step - self._start_of(epoch)
            if batch == 0:
                self._set_params(epoch)
                self._tell("on_epoch_begin", epoch, {})
            self._tell("on_train_batch_begin", batch, {})
            self.batch = next(data)  # Kept for `last_batch`.
            numbers, self.embeddings = update(*self.batch)
            self.step += 1
            self.logs.note(self.step, numbers)
            self._tell("on_train_batch_end", batch, self.logs)
            if self.step == self.ends[epoch]:
                self._end_epoch(epoch)
            ends = _stop.asked()
            if ends or self._is_last() or self.checkpoints is not None and self.checkpoints.due(self.step):
                self.save()
            if ends:
                raise KeyboardInterrupt
        if self.step != self.ends[self._epoch()] and self.step != self._start_of(self._epoch()):
            # After the checkpoint: a run that goes on from it has this report at the epoch's end.
            self._end_epoch(self._epoch())

    def _is_last(self):
        stops = self.stops if _strategies.is_multiworker(self.strategy) else self.model.stop_training
        return self.step == self.recipe.run.steps or stops

    def _end_epoch(self, epoch):
        """Notes loss and accuracy since the last report, and tells the callbacks."""
        row = {name: self.logs[name] for name in ("loss", "accuracy")}
        self.history.append((self.step, dict(row)))
        # One dict for all callbacks, as in Keras: what one adds the next ones see.
        self.told = row
        self._tell("on_epoch_end", epoch, row)
        self.logs.clear()
        if _strategies.is_multiworker(self.strategy):
            self._follow_chief()

    def _follow_chief(self):
        """Stops where the chief's callbacks stop, and takes the rate that they set: it alone has all figures."""
        rate = math.nan if self.rate.value is None else self.rate.value
        own = np.float32([self.model.stop_training, rate])
        stops, rate = _state.broadcast_from_chief(own, self.strategy)
        self.model.stop_training = self.stops = bool(stops)
        self.rate.assign(None if math.isnan(rate) else float(rate))

    def _tell(self, what, *arguments):
        for callback in self.callbacks:
            getattr(callback, what)(*arguments)


def _rate_of(optimizer):
    """The SettableSchedule of an optimiser; with mixed_float16 that of the one inside the loss scaling."""
    wrapped = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return (optimizer.inner_optimizer if wrapped else optimizer).rate

"""Learning rates by step, Keras schedules: a warm-up, and a rate that a callback can set."""

import math
from typing import Any

import keras
from keras import ops

from keras_margin._typing import Tensor

__all__ = ["SettableSchedule", "WarmUp"]

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly from zero, and then follows another schedule.

    rate(step) = peak * step / warmup_steps                     step < warmup_steps
                 schedule(step - warmup_steps), or of the step  afterwards

    Args:
        schedule: Keras schedule.
        warmup_steps: Updates, >= 1.
        peak: Rate at the end of the warm-up.
        shifted: Whether `schedule` counts from the end of the warm-up.

    Example:
        >>> rate = WarmUp(keras.optimizers.schedules.CosineDecay(0.1, 100), 10, peak=0.1, shifted=True)
        >>> round(float(rate(5)), 3)
        0.05
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        warmup_steps: int,
        peak: float,
        shifted: bool,
    ) -> None:
        self.schedule, self.warmup_steps, self.peak, self.shifted = schedule, warmup_steps, peak, shifted

    def __call__(self, step: Tensor) -> Tensor:
        """The rate at this step."""
        step = ops.cast(step, "float32")
        later = ops.maximum(step - self.warmup_steps, 0.0) if self.shifted else step
        return ops.where(step < self.warmup_steps, self.peak * step / self.warmup_steps, self.schedule(later))

    def get_config(self) -> dict[str, Any]:
        """Arguments that build it again."""
        named = {"warmup_steps": self.warmup_steps, "peak": self.peak, "shifted": self.shifted}
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), **named}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        """The schedule that `get_config` described."""
        return cls(**{**config, "schedule": keras.saving.deserialize_keras_object(config["schedule"])})


@keras.saving.register_keras_serializable(package=PACKAGE)
class SettableSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Follows a schedule until a rate is set; from then on the rate is what was set last.

    rate(step) = schedule(step)   before `assign`
                 value            afterwards

    Keras refuses `optimizer.learning_rate = value` where the rate is a schedule. SGDWithL2 and AdamW of this package
    accept it where the schedule is one of these, so that LearningRateScheduler and ReduceLROnPlateau work on them in
    `training.fit`. Under JAX a compiled step keeps the value that it was compiled with: there pass a float as the rate.

    Args:
        schedule: Keras schedule.
        value: Float >= 0, a rate that was set already; None for none.

    Example:
        >>> rate = SettableSchedule(keras.optimizers.schedules.CosineDecay(0.1, 100))
        >>> optimizer = keras_margin.optimizers.SGDWithL2(rate)
        >>> optimizer.learning_rate = 0.05
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, value: float | None = None) -> None:
        self.schedule = schedule
        # NaN is "not set": a rate in the graph cannot be None.
        start = math.nan if value is None else value
        self._value = keras.Variable(start, dtype="float32", trainable=False, name="set_learning_rate")

    @property
    def value(self) -> float | None:
        """The rate that was set, a float; None before."""
        value = float(ops.convert_to_numpy(self._value))
        return None if math.isnan(value) else value

    def assign(self, value: float | None) -> None:
        """Sets the rate; None gives it back to the schedule."""
        self._value.assign(math.nan if value is None else value)

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate at this step."""
        scheduled = ops.cast(self.schedule(step), "float32")
        value = ops.convert_to_tensor(self._value)
        return ops.where(ops.isnan(value), scheduled, value)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build it again."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "value": self.value}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SettableSchedule":
        """Returns the schedule that `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["value"])

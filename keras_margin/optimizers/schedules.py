"""The warm-up of a learning rate, a Keras schedule."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_margin")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly from zero, and then follows another schedule.

    rate(step) = peak * step / warmup_steps                     step < warmup_steps
                 schedule(step - warmup_steps), or of the step  afterwards

    Args:
        schedule: Keras schedule.
        warmup_steps: Updates, >= 1.
        peak: Rate at the end of the warm-up.
        shifted: Whether `schedule` counts from the end of the warm-up.
    """

    def __init__(self, schedule, warmup_steps, peak, shifted):
        self.schedule, self.warmup_steps, self.peak, self.shifted = schedule, warmup_steps, peak, shifted

    def __call__(self, step):
        """The rate at this step."""
        step = ops.cast(step, "float32")
        later = ops.maximum(step - self.warmup_steps, 0.0) if self.shifted else step
        return ops.where(step < self.warmup_steps, self.peak * step / self.warmup_steps, self.schedule(later))

    def get_config(self):
        """Arguments that build it again."""
        named = {"warmup_steps": self.warmup_steps, "peak": self.peak, "shifted": self.shifted}
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), **named}

    @classmethod
    def from_config(cls, config):
        """The schedule that `get_config` described."""
        return cls(**{**config, "schedule": keras.saving.deserialize_keras_object(config["schedule"])})

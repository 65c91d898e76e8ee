"""Learning rates by step: a table of decays, each with or without a warm-up before it.

Keras is imported where a schedule is built, so that recipes can be listed and checked without it.
"""

from typing import Any

from keras_margin.recipes._parts import Schedule


def _steps(schedule: Schedule, _: int) -> Any:
    import keras

    rates = [schedule.learning_rate / 10**drop for drop in range(len(schedule.decay_steps) + 1)]
    # PiecewiseConstantDecay keeps the old rate at the boundary itself; the papers' code drops it there.
    boundaries = [step - 1 for step in schedule.decay_steps]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


def _cosine(schedule: Schedule, steps: int) -> Any:
    import keras

    return keras.optimizers.schedules.CosineDecay(schedule.learning_rate, max(1, steps - schedule.warmup_steps))


def _polynomial(schedule: Schedule, steps: int) -> Any:
    import keras

    after = max(1, steps - schedule.warmup_steps)
    return keras.optimizers.schedules.PolynomialDecay(schedule.learning_rate, after, 0.0, schedule.decay_power)


def _constant(schedule: Schedule, steps: int) -> Any:
    import keras

    return keras.optimizers.schedules.PiecewiseConstantDecay([steps], [schedule.learning_rate] * 2)


# Name in DECAYS -> (Keras schedule of a Schedule and a number of steps, whether it begins after the warm-up rather than
# at the run's first step).
_MAKERS = {
    "steps": (_steps, False),
    "cosine": (_cosine, True),
    "polynomial": (_polynomial, True),
    "constant": (_constant, False),
}


def learning_rate_schedule(schedule: Schedule, steps: int) -> Any:
    """Returns the learning rate of a run of `steps` updates, a Keras schedule."""
    make, after_warmup = _MAKERS[schedule.decay_name]
    found = make(schedule, steps)
    if not schedule.warmup_steps:
        return found
    from keras_margin.optimizers.schedules import WarmUp

    return WarmUp(found, schedule.warmup_steps, schedule.learning_rate, after_warmup)

"""Learning rates by step: a table of decays, each with or without a warm-up before it.

Keras is imported where a schedule is built, so that recipes can be listed and checked without it.
"""


def _steps(recipe):
    import keras

    rates = [recipe.learning_rate / 10**drop for drop in range(len(recipe.decay_steps) + 1)]
    # PiecewiseConstantDecay keeps the old rate at the boundary itself; the papers' code drops it there.
    boundaries = [step - 1 for step in recipe.decay_steps]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


def _cosine(recipe):
    import keras

    return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, max(1, recipe.steps - recipe.warmup_steps))


def _polynomial(recipe):
    import keras

    steps = max(1, recipe.steps - recipe.warmup_steps)
    return keras.optimizers.schedules.PolynomialDecay(recipe.learning_rate, steps, 0.0, recipe.decay_power)


def _constant(recipe):
    import keras

    return keras.optimizers.schedules.PiecewiseConstantDecay([recipe.steps], [recipe.learning_rate] * 2)


# Name -> (schedule of a recipe, whether it begins after the warm-up rather than at the run's first step).
DECAYS = {
    "steps": (_steps, False),
    "cosine": (_cosine, True),
    "polynomial": (_polynomial, True),
    "constant": (_constant, False),
}


def decay_of(recipe):
    """Name of the recipe's decay, which may be left for its other keys to say."""
    return recipe.decay or ("steps" if recipe.decay_steps else "cosine")


def check(recipe):
    """Raises ValueError where the schedule's keys contradict each other."""
    name = decay_of(recipe)
    if name not in DECAYS:
        raise ValueError(f"A recipe's decay is one of {', '.join(DECAYS)}. Received: decay={recipe.decay!r}.")
    if recipe.decay_steps and name != "steps":
        raise ValueError(
            f"decay_steps belong to decay='steps'. Received: decay={name!r}, decay_steps={recipe.decay_steps}. "
            "Leave one of them out."
        )
    if name == "steps" and not recipe.decay_steps and recipe.decay:
        raise ValueError("decay='steps' needs decay_steps. For a rate that stays, pass decay='constant'.")
    turns = tuple(recipe.decay_steps)
    if any(late <= early for early, late in zip(turns, turns[1:], strict=False)) or any(step < 0 for step in turns):
        raise ValueError(f"decay_steps rise. Received: decay_steps={turns}.")
    # A turn on the warm-up's last step would end the run's highest rate before its first update.
    if turns and recipe.warmup_steps and turns[0] <= recipe.warmup_steps:
        raise ValueError(
            "decay_steps are counted from the run's first update and come after the warm-up. Received: "
            f"decay_steps={turns}, warmup_steps={recipe.warmup_steps}. Shorten the warm-up or turn later."
        )
    if name == "polynomial" and not recipe.decay_power > 0:
        raise ValueError(f"A recipe needs decay_power > 0. Received: decay_power={recipe.decay_power!r}.")


def of(recipe):
    """The recipe's learning rate, a Keras schedule."""
    make, after_warmup = DECAYS[decay_of(recipe)]
    schedule = make(recipe)
    if not recipe.warmup_steps:
        return schedule
    from keras_margin.optimizers.schedules import WarmUp

    return WarmUp(schedule, recipe.warmup_steps, recipe.learning_rate, after_warmup)

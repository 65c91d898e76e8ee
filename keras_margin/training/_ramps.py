"""Margins and scales that rise during the first updates."""

import keras

from keras_margin.models import _loss_schedule


def check(recipe, head):
    """Raises ValueError where the recipe ramps what the head has not."""
    ramps = (("margin_warmup_steps", _loss_schedule.check_margin), ("scale_warmup_steps", _loss_schedule.check_scale))
    for name, check_head in ramps:
        steps = getattr(recipe.schedule, name)
        if not steps:
            continue
        try:
            check_head(head)
        except ValueError as error:
            raise ValueError(f"{name}={steps} does not go with head={recipe.head.name!r}. {error}") from error


def fractions(recipe, step, smaller=min):
    """Returns how far margin and scale have risen at an update, in [0, 1]; None for what is not ramped.

    Args:
        recipe: recipes.Recipe.
        step: Updates so far; a number, or a float tensor with `smaller=keras.ops.minimum`.
        smaller: The smaller of two numbers.
    """
    steps = recipe.schedule.margin_warmup_steps, recipe.schedule.scale_warmup_steps
    return tuple(smaller(1.0, step / of) if of else None for of in steps)


def fractions_of_tensor(recipe, step):
    """Returns `fractions` at an update that is a float tensor."""
    return fractions(recipe, step, keras.ops.minimum)


def margin_and_scale(recipe, head, margin_fraction, scale_fraction):
    """Returns the (Margin, scale) to compute a step with; None for what is the head's own.

    margin = none + (margin - none) * fraction, and the scale likewise from scale_start.
    """
    margin = None if margin_fraction is None else head.margin.scaled(margin_fraction)
    rise = None if scale_fraction is None else (head.scale - recipe.schedule.scale_start) * scale_fraction
    return margin, None if rise is None else recipe.schedule.scale_start + rise

"""Margins and scales that rise during the first updates, as tensors in the head's place while a step is traced."""

import contextlib

import tensorflow as tf

# Heads whose margin can rise, and the margin that is none.
NO_MARGIN = {
    "arcface": 0.0,
    "cosface": 0.0,
    "sphereface_arccos": 1.0,
    "qamface": 0.0,
    "adaface": 0.0,
    "curricularface": 0.0,
    "subcenter_arcface": 0.0,
}


def check(recipe, head):
    """Raises ValueError where the recipe ramps what the head has not."""
    if recipe.margin_warmup_steps and recipe.head not in NO_MARGIN:
        anneals = "; it anneals by its own lambda" if hasattr(head, "annealing_lambda") else ""
        raise ValueError(
            f"margin_warmup_steps ramps the margin of {', '.join(NO_MARGIN)}. Received: head={recipe.head!r}{anneals}."
        )
    if recipe.scale_warmup_steps and (head.scale is None or head.bends_others):
        raise ValueError(
            "scale_warmup_steps needs a head with a scale of its own and plain cosines for the other classes. "
            f"Received: head={recipe.head!r}."
        )


def now(recipe, head, step):
    """(margin, scale) at an update, numbers; None for what is not ramped.

    margin = none + (margin - none) min(1, step / margin_warmup_steps), and the scale likewise from scale_start.
    """
    return (
        _at(recipe.margin_warmup_steps, NO_MARGIN.get(recipe.head, 0.0), head.margin, step, min),
        _at(recipe.scale_warmup_steps, recipe.scale_start, head.scale, step, min),
    )


def _at(steps, start, end, step, smaller):
    return start + (end - start) * smaller(1.0, step / steps) if steps else None


@contextlib.contextmanager
def in_place(recipe, head, step):
    """Context in which the head's margin and scale are tensors of this step.

    Args:
        recipe: recipes.Recipe.
        head: Its head.
        step: Float tensor (), updates so far.
    """
    kept = head.margin, head.scale
    margin = _at(recipe.margin_warmup_steps, NO_MARGIN.get(recipe.head, 0.0), head.margin, step, tf.minimum)
    scale = _at(recipe.scale_warmup_steps, recipe.scale_start, head.scale, step, tf.minimum)
    try:
        head.margin = head.margin if margin is None else margin
        head.scale = head.scale if scale is None else scale
        yield
    finally:
        head.margin, head.scale = kept

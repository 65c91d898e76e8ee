"""Recipes as frozen values: the papers' published ones, the demo's, and one for small sets.

    recipe = km.recipes.get("arcface_casia_r50")
    recipe = recipe.replace(batch_size=256)
    recipe = km.recipes.with_settings(recipe, ["head.margin=0.4", "run.steps=1_000"])

A recipe has six parts: `model`, `head`, `optimizer`, `schedule`, `data` and `run`.
"""

from keras_margin._utils.messages import did_you_mean
from keras_margin.recipes._papers import ALL
from keras_margin.recipes._parts import Data, Head, Model, Optimizer, Run, Schedule
from keras_margin.recipes._settings import read, with_settings
from keras_margin.recipes.base import Recipe

RECIPES = {recipe.name: recipe for recipe in ALL}

__all__ = ["RECIPES", "Data", "Head", "Model", "Optimizer", "Recipe", "Run", "Schedule", "get", "with_settings"]


def get(name: str) -> Recipe:
    """Returns the recipe called `name`; or of a run, by the path of its recipe.json.

    Raises:
        ValueError: On an unknown name; the message lists the names.
        OSError: Where a recipe.json cannot be read.

    Example:
        >>> get("arcface_casia_r50").model.backbone
        'ir_resnet50'
    """
    if name.endswith(".json"):
        return read(name)
    if name not in RECIPES:
        raise ValueError(
            f"Unknown recipe {name!r}.{did_you_mean(name, RECIPES)} Known recipes: {', '.join(sorted(RECIPES))}."
        )
    return RECIPES[name]

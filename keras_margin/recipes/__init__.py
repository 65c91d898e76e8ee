"""Training schedules as frozen values: the papers' published ones, and the demo's.

recipe = recipes.get("arcface_casia_r50")
recipe = dataclasses.replace(recipe, batch_size=256)
recipe = recipes.with_settings(recipe, ["head.margin=0.4", "steps=1_000"])
"""

from keras_margin._utils.messages import did_you_mean
from keras_margin.recipes._papers import ALL
from keras_margin.recipes._schedules import DECAYS
from keras_margin.recipes._settings import from_json, read, to_json, with_settings
from keras_margin.recipes.base import FLIPS, NOT_DECAYED, PRECISIONS, Recipe

RECIPES = {recipe.name: recipe for recipe in ALL}

__all__ = ["DECAYS", "FLIPS", "NOT_DECAYED", "PRECISIONS", "RECIPES", "Recipe"]
__all__ += ["from_json", "get", "read", "to_json", "with_settings"]


def get(name):
    """The recipe called `name`; or of a run, by the path of its recipe.json.

    Raises:
        ValueError: On an unknown name; the message lists the names.
        OSError: Where a recipe.json cannot be read.
    """
    if name.endswith(".json"):
        return read(name)
    if name not in RECIPES:
        raise ValueError(
            f"Unknown recipe {name!r}.{did_you_mean(name, RECIPES)} Known recipes: {', '.join(sorted(RECIPES))}."
        )
    return RECIPES[name]

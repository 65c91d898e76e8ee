"""The training recipes: the papers' published ones, and the demo's.

keras-margin recipes                       a table of all
keras-margin recipes arcface_casia_r50     every key of one, as --set takes them
keras-margin recipes --json                all keys of all
"""

import dataclasses

from rich.console import Console

from keras_margin import recipes
from keras_margin.cli import _tables


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("name", nargs="?", help="a recipe, or a run's recipe.json; default: all")
    parser.add_argument("--set", action="append", default=[], help="key=value to change before it is shown")
    parser.add_argument("--json", action="store_true", help="every key as JSON, of one recipe or of all")


def run(arguments):
    """Prints the table, or one recipe."""
    console = Console()
    if arguments.name:
        recipe = recipes.with_settings(recipes.get(arguments.name), arguments.set)
        if arguments.json:
            return _tables.show_json(recipes.to_json(recipe), console)
        for line in lines(recipe):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        return None
    if arguments.set:
        raise ValueError("--set changes one recipe. Name it: keras-margin recipes NAME --set key=value.")
    if arguments.json:
        return _tables.show_json([recipes.to_json(recipe) for recipe in recipes.RECIPES.values()], console)
    return table(recipes.RECIPES.values()).show(console)


def lines(recipe):
    """key = value of every key."""
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    for options, prefix in (("head_options", "head"), ("backbone_options", "backbone")):
        values |= {f"{prefix}.{name}": value for name, value in values.pop(options)}
    values |= {f"augmentation.{name}": value for name, value in vars(values.pop("augmentation")).items()}
    width = max(map(len, values))
    return [f"{name:{width}} = {_text(value)}" for name, value in values.items()]


def _text(value):
    """As --set reads it."""
    if isinstance(value, tuple):
        return repr(value) if any(isinstance(each, tuple) for each in value) else ",".join(map(str, value))
    return str(value)


def table(found):
    """A row a recipe."""
    about = "keras-margin train --recipe NAME [--set key=value ...]; keras-margin recipes NAME shows its keys."
    table = _tables.Table(["recipe", "head", "backbone", "decay", "batch", "updates", "rate"], caption=about, left=4)
    for recipe in found:
        decay = f"/10 at {', '.join(f'{step:,}' for step in recipe.decay_steps)}" if recipe.decay_steps else "cosine"
        numbers = " ".join(f"{name}={value:g}" for name, value in recipe.head_options)
        added = [name for name, _ in recipe.auxiliary_losses] + (
            [f"IAM {recipe.iam_beta:g}"] if recipe.iam_beta else []
        )
        table.add(
            recipe.name,
            " + ".join([f"{recipe.head} {numbers}".strip(), *added]),
            recipe.backbone,
            recipe.decay or decay,
            str(recipe.batch_size),
            f"{recipe.steps:,}",
            f"{recipe.learning_rate:g}",
        )
    return table

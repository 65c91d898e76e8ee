"""The training recipes: the papers' published ones, and the demo's.

keras-margin recipes                       a table of all
keras-margin recipes arcface_casia_r50     every key of one, as --set takes them
"""

import dataclasses

from rich.console import Console
from rich.table import Table

from keras_margin import recipes


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("name", nargs="?", help="a recipe, or a run's recipe.json; default: all")
    parser.add_argument("--set", action="append", default=[], help="key=value to change before it is shown")


def run(arguments):
    """Prints the table, or one recipe."""
    console = Console()
    if arguments.name:
        recipe = recipes.with_settings(recipes.get(arguments.name), arguments.set)
        for line in lines(recipe):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        return
    if arguments.set:
        raise ValueError("--set changes one recipe. Name it: keras-margin recipes NAME --set key=value.")
    console.print(table(recipes.RECIPES.values()))
    console.print("keras-margin train --recipe NAME [--set key=value ...]; keras-margin recipes NAME shows its keys.")


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
    table = Table()
    for column in ("recipe", "head", "backbone"):
        table.add_column(column)
    for column in ("batch", "updates", "rate"):
        table.add_column(column, justify="right")
    table.add_column("decay")
    for recipe in found:
        decay = f"/10 at {', '.join(f'{step:,}' for step in recipe.decay_steps)}" if recipe.decay_steps else "cosine"
        numbers = " ".join(f"{name}={value:g}" for name, value in recipe.head_options)
        added = [name for name, _ in recipe.regularizers] + ([f"IAM {recipe.iam_beta:g}"] if recipe.iam_beta else [])
        head = " + ".join([f"{recipe.head} {numbers}".strip(), *added])
        table.add_row(
            recipe.name,
            head,
            recipe.backbone,
            str(recipe.batch_size),
            f"{recipe.steps:,}",
            f"{recipe.learning_rate:g}",
            recipe.decay or decay,
        )
    return table

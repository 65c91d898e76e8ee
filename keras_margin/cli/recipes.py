"""The training recipes: the papers' published ones, and the demo's.

keras-margin recipes                       a table of all
keras-margin recipes arcface_casia_r50     every key of one, as --set takes them
keras-margin recipes --json                all keys of all
"""

import argparse

from rich.console import Console

from keras_margin import recipes
from keras_margin.cli import _tables
from keras_margin.recipes import _settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("name", nargs="?", help="a recipe, or a run's recipe.json; default: all")
    parser.add_argument("--set", action="append", default=[], help="key=value to change before it is shown")
    parser.add_argument("--json", action="store_true", help="every key as JSON, of one recipe or of all")


def run(arguments: argparse.Namespace) -> int | None:
    """Prints the table, or one recipe."""
    console = Console()
    if arguments.name:
        recipe = recipes.with_settings(recipes.get(arguments.name), arguments.set)
        if arguments.json:
            return _tables.show_json(_settings.to_json(recipe), console)
        for line in lines(recipe):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        return None
    if arguments.set:
        raise ValueError("--set changes one recipe. Name it: keras-margin recipes NAME --set key=value.")
    if arguments.json:
        return _tables.show_json([_settings.to_json(recipe) for recipe in recipes.RECIPES.values()], console)
    return table(recipes.RECIPES.values()).show(console)


def lines(recipe):
    """key = value of every key, part by part."""
    values = {"name": recipe.name, "source": recipe.source}
    for part in ("model", "head", "optimizer", "schedule", "data", "run"):
        inside = dict(vars(getattr(recipe, part)))
        of = "backbone" if part == "model" else part
        options = {f"{of}.{name}": value for name, value in inside.pop("options", ())}
        changes = vars(inside.pop("augmentation")) if part == "data" else {}
        values |= {f"{part}.{name}": value for name, value in inside.items()} | options
        values |= {f"augmentation.{name}": value for name, value in changes.items()}
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
        turns = ", ".join(f"{step:,}" for step in recipe.schedule.decay_steps)
        numbers = " ".join(f"{name}={value:g}" for name, value in recipe.head.options)
        added = [name for name, _ in recipe.head.auxiliary_losses] + (
            [f"IAM {recipe.head.iam_beta:g}"] if recipe.head.iam_beta else []
        )
        table.add(
            recipe.name,
            " + ".join([f"{recipe.head.name} {numbers}".strip(), *added]),
            recipe.model.backbone,
            f"/10 at {turns}" if turns and not recipe.schedule.decay else recipe.schedule.decay_name,
            str(recipe.data.batch_size),
            f"{recipe.run.steps:,}",
            f"{recipe.schedule.learning_rate:g}",
        )
    return table

"""Trains an embedding by a recipe, measures it on held-out people, and exports it.

keras-margin train                                            the embedded ORL faces, minutes
keras-margin train --data_dir CASIA-WebFace --out runs/casia --replicas 4
keras-margin train --recipe orl_demo --set head.margin=0.4 --set learning_rate=1e-3
keras-margin train --data_dir ms1m --verify lfw.bin --verify agedb_30.bin --strategy multiworker
keras-margin train --data_dir faces --backbone mypackage.networks:small --callbacks mypackage.trackers:wandb

Killed at any moment, the same command goes on from the last checkpoint, in OUT.partial, which is OUT when it is done.
"""

import argparse
import contextlib
import logging
import os
import sys

from rich.console import Console

from keras_margin._utils import files
from keras_margin.cli import _cpu, _flags, _tables

_TIMES = "KERAS_MARGIN_TIMES_STARTED_AGAIN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    _flags.add_to(parser)


def run(arguments: argparse.Namespace) -> int | None:
    """Runs the recipe and prints what it found."""
    with _logged():
        return _run(arguments)


@contextlib.contextmanager
def _logged():
    """The library's warnings on standard error, as long as the command runs."""
    logger, handler = logging.getLogger("keras_margin"), _handler()
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def _run(arguments):
    _cpu.choose_onednn([arguments.backbone or "", arguments.recipe or "", *arguments.set])
    with files.suppress_native_stderr():
        import tensorflow as tf

        from keras_margin.training import _errors

        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        train(arguments, Console())
    except ConnectionError as error:
        if arguments.strategy != "multiworker":
            raise
        again(error)
    except tf.errors.OpError as error:
        raise ValueError(_errors.friendly_message(error)) from error
    except KeyboardInterrupt as error:
        print(f"keras-margin train: {str(error) or 'interrupted; nothing was written.'}", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def again(error):
    """Starts this process again in its own place, to wait for the worker that is gone; at most ten times.

    Raises:
        ConnectionError: `error`, after ten times.
    """
    times = int(os.environ.get(_TIMES, "0"))
    if times >= 10:
        raise error
    print(f"keras-margin train: {error} Waiting for it here.", file=sys.stderr, flush=True)  # noqa: T201
    # What TensorFlow holds of the old cluster goes with the program.
    os.execve(sys.executable, sys.orig_argv, {**os.environ, _TIMES: str(times + 1)})


def _handler():
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    return handler


# A set of fewer people or images is a small one: the papers' recipes are for ten thousand people and more.
FEW_PEOPLE, FEW_IMAGES, MODEST_BATCH = 1_000, 20_000, 64


def is_small(reader):
    """Whether a set is too small for the papers' recipes."""
    return reader.num_classes < FEW_PEOPLE or reader.num_images < FEW_IMAGES


def suggestion(recipe, reader):
    """A sentence where a recipe for large sets was named for a small one; "" otherwise."""
    if recipe.data.batch_size <= MODEST_BATCH or not is_small(reader):
        return ""
    return (
        f"{recipe.name} is made for ten thousand people and more (batch {recipe.data.batch_size}, "
        f"{recipe.model.backbone}); the set has {reader.num_classes} people and {reader.num_images} images. "
        "--recipe=arcface_small is made for such sets."
    )


def chosen_recipe(arguments, reader=None):
    """The recipe that the flags name, with what they change.

    Args:
        arguments: The flags of `_flags.TRAIN` as attributes.
        reader: The training data, by whose size a recipe is chosen where none is named; None if not known yet.
    """
    import tensorflow as tf

    from keras_margin import recipes

    default = (
        ("arcface_small" if reader is not None and is_small(reader) else "arcface_casia_r50")
        if arguments.data_dir
        else "orl_demo"
    )
    recipe = recipes.get(arguments.recipe or default)
    settings = [
        f"{name}={getattr(arguments, name)}"
        for name in ("steps", "head", "backbone", "iam_beta", "batch_size")
        if getattr(arguments, name) is not None
    ]
    recipe = recipes.with_settings(recipe, [*settings, *arguments.set])
    recipe = recipe.replace(callbacks=(*recipe.run.callbacks, *arguments.callbacks))
    if arguments.mixed_precision:
        if any(setting.startswith(("precision=", "run.precision=")) for setting in arguments.set):
            raise ValueError("--mixed_precision and --set precision=... contradict each other. Pass one of them.")
        half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
        recipe = recipe.replace(precision=half)
    return recipe


def train(arguments, console):
    """Runs what the flags say, prints it, and returns the training.RunResult.

    Args:
        arguments: Whatever has the flags of `_flags.TRAIN` as attributes.
        console: rich Console.

    Raises:
        KeyboardInterrupt: On SIGINT and SIGTERM, after a checkpoint.
        ValueError, OSError, ImportError, tf.errors.OpError: What cannot be.
    """
    from keras_margin import training

    # Devices are split, and the collectives of several workers made, before anything computes: a look at sizes does.
    training.make_strategy(arguments.replicas, arguments.strategy)
    if arguments.data_dir is None:
        say(console, "Data: the ORL faces (AT&T Laboratories Cambridge), 40 people x 10; pass --data_dir for others.")
    recipe, reader = _recipe_and_reader(arguments, console)
    result = training.run(
        recipe,
        reader,
        arguments.out,
        held_out=10 if arguments.data_dir is None and arguments.held_out is None else arguments.held_out,
        known_people=arguments.data_dir is None,
        seed=arguments.seed,
        config=training.RunConfig(
            replicas=arguments.replicas,
            strategy=arguments.strategy,
            deterministic=arguments.deterministic,
            checkpoint_minutes=arguments.checkpoint_minutes,
            keep=arguments.keep,
            verify=tuple(arguments.verify),
            verify_every=arguments.verify_every,
            diagnostics=arguments.diagnostics,
            restart=arguments.restart,
        ),
        console=console,
        source="orl" if arguments.data_dir is None else os.path.abspath(arguments.data_dir),
    )
    show(console, recipe, arguments.seed, result)
    return result


def _recipe_and_reader(arguments, console):
    """The recipe and the training data, each of which may decide on the other."""
    from keras_margin import data

    def opened(recipe):
        return data.open(arguments.data_dir, image_size=recipe.model.image_size, strict=arguments.strict)

    recipe = chosen_recipe(arguments)
    reader = opened(recipe)
    if arguments.data_dir is None:
        return recipe, reader
    say(console, f"Data: {arguments.data_dir}, {reader.num_classes} identities, {reader.num_images} images.")
    if not arguments.recipe:
        first, recipe = recipe, chosen_recipe(arguments, reader)
        reader = reader if recipe.model.image_size == first.model.image_size else opened(recipe)
        say(console, f"Recipe: {recipe.name}, chosen by the size of the set; --recipe names another one.")
    elif hint := suggestion(recipe, reader):
        say(console, hint)
    if sentence := unaligned(reader):
        say(console, f"WARNING: {sentence}")
    return recipe, reader


def unaligned(reader):
    """Returns a sentence where the set's images have many sizes, as unaligned photographs do; "" otherwise.

    Args:
        reader: From keras_margin.data.open.
    """
    from keras_margin.data import _sizes

    sizes = _sizes.stored_sizes(reader)
    if _sizes.looks_aligned(sizes):
        return ""
    (height, width), (last_height, last_width) = min(sizes), max(sizes)
    return (
        f"The images do not look aligned: {len(sizes)} sizes among {sum(sizes.values())} of them, such as "
        f"{width}x{height} and {last_width}x{last_height} (width x height). They are stretched to "
        f"{reader.image_size[1]}x{reader.image_size[0]}. `keras-margin align` crops faces as the recipes expect them."
    )


def say(console, text):
    """One line, not broken at the terminal's edge; brackets in a path are not markup."""
    console.print(text, soft_wrap=True, markup=False)


def show(console, recipe, seed, result):
    """The final table."""
    from keras_margin.export import precisions

    if not result.measures:
        say(console, f"This worker's part is done ({result.seconds:.0f} s); the first one measures and exports.")
        return
    run = f"{recipe.run.steps} steps of {recipe.data.batch_size}, seed {seed}"
    title = f"{recipe.name}: {recipe.head.name}, {recipe.model.backbone}, {run}"
    table = _tables.Table(["people", "embedder", "rank-1", "EER", "10-fold accuracy"], title=title, left=2)
    for measure in result.measures:
        table.add(
            measure.protocol,
            measure.embedder,
            "" if measure.rank_1 is None else f"{measure.rank_1:.3f}",
            f"{measure.eer:.1%}",
            "" if measure.ten_fold is None else f"{measure.ten_fold:.3f} ± {measure.ten_fold_std:.3f}",
        )
    table.show(console)
    if result.verdict:
        console.print(result.verdict, style="bold yellow", soft_wrap=True, markup=False, highlight=False)
    header, rows = precisions.as_rows(result.reports)
    exported = _tables.Table(header, left=2)
    for row in rows:
        exported.add(*row)
    exported.show(console)
    say(console, f"Training took {result.seconds:.0f} s. Everything is in {result.folder}.")

"""Trains a face embedding with a margin head, measures it on people it never met, and exports it.

    python examples/train_casia.py                                        the embedded ORL faces, minutes
    python examples/train_casia.py --data_dir=CASIA-WebFace --out=runs/casia --replicas=4

A data_dir, of images aligned to 112x112, is a folder of identities (root/identity/*.jpg, as CASIA-WebFace), a folder
with insightface's train.rec, train.idx and property, or TFRecord shards that keras_margin.data.prepare wrote.
"""

import dataclasses
import logging
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from keras_margin import files

with files.hushed():
    import tensorflow as tf

    from keras_margin import data, experiment, recipes, training

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of identities (root/identity/*.jpg), folder with train.rec, .rec file, or folder of TFRecord shards. "
    "Default: the embedded ORL faces.",
)
flags.DEFINE_string("recipe", None, "Name of the recipe. Default: orl_demo for ORL, arcface_casia_r50 for a data_dir.")
flags.DEFINE_string("head", None, "Name of the margin head, with its published numbers. Default: the recipe's.")
flags.DEFINE_float("iam_beta", None, "Weight of the IAM regulariser. Default: the recipe's.")
flags.DEFINE_string("backbone", None, "Name of the backbone. Default: the recipe's.")
flags.DEFINE_integer("batch_size", None, "Images per update, over all replicas. Default: the recipe's.")
flags.DEFINE_integer("steps", None, "Updates; the schedule is stretched to fit. Default: the recipe's.")
flags.DEFINE_integer("replicas", 1, "GPUs, or logical CPUs where there is no GPU, under MirroredStrategy.")
flags.DEFINE_bool("mixed_precision", False, "Compute in float16 (GPU) or bfloat16 (CPU); heads stay float32.")
flags.DEFINE_integer("seed", 0, "Seed of splits, weights, order and augmentation.")
flags.DEFINE_integer("held_out", None, "Identities kept for the test. Default: 10 of ORL's, else a tenth.")
flags.DEFINE_bool("strict", False, "Refuse unreadable images instead of skipping them.")
flags.DEFINE_string("out", "runs/latest", "Folder of the run; an older run there is replaced.")


def chosen_recipe():
    """The recipe that the flags name, with what they change."""
    recipe = recipes.get(FLAGS.recipe or ("arcface_casia_r50" if FLAGS.data_dir else "orl_demo"))
    changes = {name: FLAGS[name].value for name in ("iam_beta", "batch_size") if FLAGS[name].value is not None}
    if FLAGS.head and FLAGS.head != recipe.head:
        changes |= {"head": FLAGS.head, "head_options": ()}
    if FLAGS.backbone and FLAGS.backbone != recipe.backbone:
        changes |= {"backbone": FLAGS.backbone, "backbone_options": ()}
    recipe = dataclasses.replace(recipe, **changes)
    return recipe if FLAGS.steps is None else recipe.with_steps(FLAGS.steps)


def speak_plainly():
    """Warnings in one line each, and nothing of what TensorFlow logs about itself; --verbosity=0 brings that back."""
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


def say(console, text):
    """One line, not broken at the terminal's edge; brackets in a path are no markup."""
    console.print(text, soft_wrap=True, markup=False)


def main(argv):
    """Runs the recipe and prints what it found."""
    speak_plainly()
    # A scheduler ends a run as Ctrl-C does: nothing half-written stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --steps=50. Received: {' '.join(argv[1:])}.")
        recipe = chosen_recipe()
        if FLAGS.data_dir is None:
            say(
                console,
                "Data: the ORL faces (AT&T Laboratories Cambridge), 40 people x 10; pass --data_dir for others.",
            )
        reader = data.open(FLAGS.data_dir, image_size=recipe.image_size, strict=FLAGS.strict)
        if FLAGS.data_dir is not None:
            say(console, f"Data: {FLAGS.data_dir}, {reader.num_classes} identities, {reader.num_images} images.")
        outcome = experiment.run(
            recipe,
            reader,
            FLAGS.out,
            held_out=10 if FLAGS.data_dir is None and FLAGS.held_out is None else FLAGS.held_out,
            known_people=FLAGS.data_dir is None,
            replicas=FLAGS.replicas,
            mixed_precision=FLAGS.mixed_precision,
            seed=FLAGS.seed,
            console=console,
        )
    except (ValueError, OSError, ImportError, tf.errors.OpError) as error:
        sys.exit(f"error: {training.plain_message(error)}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing was written.")
    show(console, recipe, outcome)


def show(console, recipe, outcome):
    """The final table."""
    run = f"{recipe.steps} steps of {recipe.batch_size}, seed {FLAGS.seed}"
    title = f"{recipe.name}: {recipe.head}, {recipe.backbone}, {run}"
    table = Table(title=title, title_justify="left")
    for column in ("people", "embedder"):
        table.add_column(column)
    for column in ("rank-1", "EER", "10-fold accuracy"):
        table.add_column(column, justify="right")
    for measure in outcome.measures:
        table.add_row(
            measure.protocol,
            measure.embedder,
            "" if measure.rank_1 is None else f"{measure.rank_1:.3f}",
            f"{measure.eer:.1%}",
            "" if measure.ten_fold is None else f"{measure.ten_fold:.3f} ± {measure.ten_fold_std:.3f}",
        )
    console.print(table)
    for report in outcome.reports:
        say(
            console,
            f"{report.path}: {report.bytes / 2**20:.1f} MiB, cosine to the model on {report.num_images} unseen faces: "
            f"worst {report.worst_cosine:.6f}, mean {report.mean_cosine:.6f}",
        )
    say(console, f"Training took {outcome.seconds:.0f} s. Everything is in {outcome.folder}.")


if __name__ == "__main__":
    app.run(main)

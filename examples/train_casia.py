"""Trains a face embedding with a margin head, measures it on people it never met, and exports it.

    python examples/train_casia.py                                        the embedded ORL faces, minutes
    python examples/train_casia.py --data_dir=CASIA-WebFace --out=runs/casia --replicas=4

A data_dir, of images aligned to 112x112, is a folder of identities (root/identity/*.jpg, as CASIA-WebFace), a folder
with insightface's train.rec, train.idx and property, or TFRecord shards that keras_margin.data.prepare wrote. Killed,
the same command goes on.

Three calls do the work: a recipe is a value that says how to train, a reader is the data, and km.training.run trains,
measures and exports. `keras-margin train` makes the same three calls and takes the same flags.
"""

import logging
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# oneDNN's convolutions train an IR-ResNet faster and a MobileFaceNet slower. TensorFlow reads this when it is imported.
if not any("mobilefacenet" in word for word in sys.argv):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow as tf
from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

import keras_margin as km

FLAGS = flags.FLAGS
# The data and the recipe.
flags.DEFINE_string("data_dir", None, "Labelled images, as above. Default: the embedded ORL faces.")
flags.DEFINE_string("recipe", None, "Name of a recipe, or a run's recipe.json. Default: by the size of the data.")
flags.DEFINE_multi_string("set", [], "key=value of the recipe to change, repeatable: --set=head.margin=0.4")
flags.DEFINE_string("head", None, "Name of the margin head, with its published numbers. Default: the recipe's.")
flags.DEFINE_float("iam_beta", None, "Weight of the IAM loss. Default: the recipe's.")
flags.DEFINE_string("backbone", None, "Name of the backbone, or package.module:name of your own.")
flags.DEFINE_integer("batch_size", None, "Images per update, over all replicas. Default: the recipe's.")
flags.DEFINE_multi_string("callbacks", [], "package.module:name of a function that returns a Keras callback.")
flags.DEFINE_integer("steps", None, "Updates; the schedule is stretched to fit. Default: the recipe's.")
flags.DEFINE_bool("mixed_precision", False, "Compute in float16 (GPU) or bfloat16 (CPU); heads stay float32.")
flags.DEFINE_bool("strict", False, "Refuse unreadable images instead of skipping them.")
# The run.
flags.DEFINE_string("out", "runs/latest", "Folder of the run; an older run there is replaced at the end.")
flags.DEFINE_integer("seed", 0, "Seed of splits, weights, order and augmentation.")
flags.DEFINE_integer("held_out", None, "Identities kept for the test. Default: 10 of ORL's, else a tenth.")
flags.DEFINE_integer("replicas", 1, "GPUs, or logical CPUs where there is no GPU, that share each batch.")
flags.DEFINE_string("strategy", "mirrored", "mirrored: devices of this machine. multiworker: those of TF_CONFIG.")
flags.DEFINE_bool("deterministic", False, "The same bits in every run on one kind of machine; slower.")
flags.DEFINE_multi_string("verify", [], "What to measure while training: a .bin, a folder, or held_out; repeatable.")
flags.DEFINE_integer("verify_every", None, "Updates between two verifications. Default: a tenth of the run.")
flags.DEFINE_float("checkpoint_minutes", 5.0, "Minutes between two checkpoints.")
flags.DEFINE_integer("keep", 2, "Newest checkpoints kept while training; with --verify the best one as well.")
flags.DEFINE_bool("diagnostics", True, "Watch for what is known to go wrong.")
flags.DEFINE_bool("restart", False, "Throw an unfinished run of the same name away.")


def chosen_recipe(default):
    """The recipe called `default`, or as --recipe says, with what the flags change."""
    recipe = km.recipes.get(FLAGS.recipe or default)
    named = {name: FLAGS[name].value for name in ("steps", "head", "backbone", "iam_beta", "batch_size")}
    changes = [f"{name}={value}" for name, value in named.items() if value is not None]
    recipe = km.recipes.with_settings(recipe, [*changes, *FLAGS.set])
    if FLAGS.mixed_precision:
        if any(setting.startswith(("precision=", "run.precision=")) for setting in FLAGS.set):
            raise ValueError("--mixed_precision and --set=precision=... contradict each other. Pass one of them.")
        recipe = recipe.replace(
            precision="mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
        )
    return recipe.replace(callbacks=(*recipe.run.callbacks, *FLAGS.callbacks))


def data_of(recipe):
    """The training data, at the size that the recipe takes."""
    return km.data.open(FLAGS.data_dir, image_size=recipe.model.image_size, strict=FLAGS.strict)


def train():
    """Trains by the flags and returns the recipe and what the run found."""
    # Replicas on one CPU are set up before anything computes.
    km.training.make_strategy(FLAGS.replicas, FLAGS.strategy)
    recipe = chosen_recipe("arcface_casia_r50" if FLAGS.data_dir else "orl_demo")
    reader = data_of(recipe)
    print(f"Data: {FLAGS.data_dir or 'ORL'}, {reader.num_classes} identities, {reader.num_images} images.")
    # The papers' recipes are for ten thousand people and more.
    if FLAGS.data_dir and not FLAGS.recipe and (reader.num_classes < 1_000 or reader.num_images < 20_000):
        recipe = chosen_recipe("arcface_small")
        reader = reader if reader.image_size == recipe.model.image_size else data_of(recipe)
    config = km.training.RunConfig(
        replicas=FLAGS.replicas,
        strategy=FLAGS.strategy,
        deterministic=FLAGS.deterministic,
        checkpoint_minutes=FLAGS.checkpoint_minutes,
        keep=FLAGS.keep,
        verify=tuple(FLAGS.verify),
        verify_every=FLAGS.verify_every,
        diagnostics=FLAGS.diagnostics,
        restart=FLAGS.restart,
    )
    orl = FLAGS.data_dir is None
    result = km.training.run(
        recipe,
        reader,
        FLAGS.out,
        held_out=10 if orl and FLAGS.held_out is None else FLAGS.held_out,
        known_people=orl,
        seed=FLAGS.seed,
        config=config,
        source="orl" if orl else os.path.abspath(FLAGS.data_dir),
    )
    return recipe, result


def show(recipe, result):
    """Prints how well people are told apart, and how near the exported files are to the model."""
    table = Table("people", "embedder", "rank-1", "EER", title=f"{recipe.name}, {recipe.run.steps} steps")
    for each in result.measures:
        rank_1 = "" if each.rank_1 is None else f"{each.rank_1:.3f}"
        table.add_row(each.protocol, each.embedder, rank_1, f"{each.eer:.1%}")
    Console().print(table, result.verdict)
    for report in result.reports:
        print(report)
    print(f"Training took {result.seconds:.0f} s. Everything is in {result.folder}.")


def main(argv):
    """Trains and prints, or says in one line why not."""
    # Warnings in one line each, and nothing of what TensorFlow logs about itself; --verbosity=0 brings that back.
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --steps=50. Received: {' '.join(argv[1:])}.")
        show(*train())
    except (ValueError, OSError, ImportError, tf.errors.OpError, KeyboardInterrupt) as error:
        said = " ".join(str(error).split())
        if isinstance(error, KeyboardInterrupt):
            said = said or "interrupted; nothing was written."
        sys.exit(f"error: {said}")


if __name__ == "__main__":
    app.run(main)

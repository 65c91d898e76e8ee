"""Fine-tunes a network that already knows something on your own people, a new head in front, its first stages frozen.

    python examples/fine_tune.py                                   pretrained on type, then ORL's faces: minutes
    python examples/fine_tune.py --pretrain=digits                 pretrained on MNIST's digits
    python examples/fine_tune.py --weights=face.keras --backbone=ir_resnet50 --image_size=112,112

The last starts from weights you have: `keras-margin convert backbone.pth face.keras` makes the file out of
insightface's.

Half of ORL's 40 people are "yours": a few images of each are trained on and enrolled, the others asked for. The other
half is met by no training at all. Each row of the table that trains takes the same number of steps.
Type and digits are not faces: the table shows how the road goes, not what a network trained on millions of faces gives.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from keras_margin import files

with files.hushed():
    from keras_margin import backbones, data, evaluation, recipes, training

FLAGS = flags.FLAGS
flags.DEFINE_string("weights", "", "a .keras file to start from; default: pretrain here")
flags.DEFINE_enum("pretrain", "glyphs", ["glyphs", "digits"], "what to pretrain on, without --weights")
flags.DEFINE_integer("classes", 500, "classes of it, at most")
flags.DEFINE_integer("pretrain_steps", 600, "updates of pretraining, 64 images each")
flags.DEFINE_string("backbone", "ir_small", "network, by name")
flags.DEFINE_list("image_size", ["56", "48"], "height,width in pixels")
flags.DEFINE_list("freeze", ["stem*", "stage1*", "stage2*"], "names of the layers that keep their weights, with *")
flags.DEFINE_integer("images", 4, "images of each of your people that are trained on and enrolled, 1 to 9")
flags.DEFINE_integer("steps", 150, "updates of each fine-tuning, 32 images each")
flags.DEFINE_list("seeds", ["0", "1", "2"], "of people, order and first weights; a column's numbers are their means")


def main(argv):
    """Pretrains, fine-tunes, prints the table."""
    if argv[1:]:
        sys.exit(f"error: all options are flags. Received: {' '.join(argv[1:])}.")
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = FLAGS.weights or pretrained(pathlib.Path(folder) / "model.keras", console)
            rows = compared(weights, console)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    console.print(table(rows))


def image_size():
    """(height, width)."""
    return tuple(map(int, FLAGS.image_size))


def recipe(**changes):
    """The recipe of the ORL demo with another network, other steps, other first weights."""
    options = recipes.get("orl_demo").backbone_options if FLAGS.backbone == "ir_small" else ()
    base = {"backbone": FLAGS.backbone, "backbone_options": options, "image_size": image_size()}
    return dataclasses.replace(recipes.get("orl_demo"), **base, **changes)


def pretrained(path, console):
    """The path of a network that learnt to tell glyphs or digits apart."""
    reader = data.open(FLAGS.pretrain, image_size=image_size())
    labels = np.asarray(reader.labels)
    reader = reader.subset(np.flatnonzero(labels < FLAGS.classes))
    console.print(f"pretraining on {FLAGS.pretrain}: {reader.num_images:,} images of {reader.num_classes:,} classes")
    plan = recipe(steps=FLAGS.pretrain_steps, batch_size=64, warmup_steps=min(50, FLAGS.pretrain_steps - 1))
    trained = training.fit(plan, reader)
    _, logs = trained.history[-1]
    console.print(f"  {trained.seconds:.0f} s, accuracy {logs['accuracy']:.3f}")
    trained.model.embedder.save(path)
    return str(path)


def starts(weights):
    """(row of the table, changes of the recipe) of each way to begin; None trains nothing."""
    patterns = tuple(FLAGS.freeze)
    all_but_tail = ("stem*", "stage*")
    return {
        "from scratch": {},
        "pretrained, not tuned": None,
        "tail and head alone": {"weights": weights, "freeze": all_but_tail},
        f"frozen: {', '.join(patterns)}": {"weights": weights, "freeze": patterns},
        "all of it": {"weights": weights},
    }


def compared(weights, console):
    """{row: (trainable parameters, seconds, rank-1 of known people, EER of unseen people)}, means over the seeds."""
    reader = data.open("orl", image_size=image_size())
    found = {}
    for seed in map(int, FLAGS.seeds):
        mine, others = data.identity_disjoint_split(reader.labels, 20, seed)
        enrolled, asked = data.per_identity_split(np.asarray(reader.labels)[mine], FLAGS.images, seed)
        sets = [reader.subset(mine[enrolled]), reader.subset(mine[asked]), reader.subset(others)]
        for row, changes in starts(weights).items():
            console.print(f"seed {seed}: {row}")
            found.setdefault(row, []).append(tuned(changes, weights, sets, seed))
    return {row: tuple(np.mean(numbers, axis=0)) for row, numbers in found.items()}


def tuned(changes, weights, sets, seed):
    """The numbers of one row of the table for one seed."""
    enrolled, asked, others = sets
    if changes is None:
        network, seconds = (
            backbones.build(FLAGS.backbone, image_size=image_size(), **dict(recipe().backbone_options)),
            0,
        )
        training.load_backbone(network, weights)
        trainable = 0
    else:
        plan = recipe(steps=FLAGS.steps, warmup_steps=min(20, FLAGS.steps - 1), **changes)
        trained = training.fit(plan, enrolled, seed=seed)
        network, seconds = trained.model.embedder, trained.seconds
        trainable = backbones.parameters(network)[0]

    def embedded(part):
        images, labels = part.arrays()
        return network.predict(images.astype("float32"), verbose=0), labels

    gallery, probe, unseen = (embedded(part) for part in (enrolled, asked, others))
    rank_1 = evaluation.rank_k(*probe, *gallery)
    pairs, is_same = evaluation.all_pairs(unseen[1])
    return trainable, seconds, rank_1, evaluation.eer(evaluation.pair_scores(unseen[0], pairs), is_same)


def table(rows):
    """The rows, to print."""
    made = Table(title=f"ORL: {FLAGS.images} images of each of 20 people, {FLAGS.steps} steps")
    for column in ("start", "parameters trained", "seconds", "rank-1, your people", "EER, unseen people"):
        made.add_column(column, justify="left" if column == "start" else "right")
    for row, (trainable, seconds, rank_1, eer) in rows.items():
        made.add_row(row, f"{trainable:,.0f}", f"{seconds:.0f}", f"{rank_1:.3f}", f"{100 * eer:.1f} %")
    return made


if __name__ == "__main__":
    app.run(main)

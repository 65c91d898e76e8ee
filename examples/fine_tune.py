"""Fine-tunes a network that already knows something on your own people, a new head in front, its first stages frozen.

    python examples/fine_tune.py                                   pretrained on 20 of ORL's people: minutes
    python examples/fine_tune.py --pretrain=glyphs                 pretrained on type, or =digits, MNIST's digits
    python examples/fine_tune.py --weights=face.keras --backbone=ir_resnet50 --image_size=112,112

The last starts from weights you have: `keras-margin convert backbone.pth face.keras` makes the file out of
insightface's.

Of ORL's 40 people 20 are for pretraining, 10 are "yours": a few images of each are trained on and enrolled, the others
asked for. The last 10 are met by no training at all. Each row of the table that trains takes the same number of steps,
so the pretrained ones have seen more images; that is their point.
"""

import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# oneDNN's convolutions train an IR-ResNet faster and a MobileFaceNet slower. TensorFlow reads this when it is imported.
if not any("mobilefacenet" in word for word in sys.argv):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_margin as km

ROWS = ("scratch", "untuned", "tail", "frozen", "all")
PRETRAINING, YOURS = 20, 10

FLAGS = flags.FLAGS
flags.DEFINE_string("weights", "", "a .keras file to start from; default: pretrain here")
flags.DEFINE_enum("pretrain", "faces", ["faces", "glyphs", "digits"], "what to pretrain on, without --weights")
flags.DEFINE_integer("classes", 500, "classes of it, at most")
flags.DEFINE_integer("pretrain_steps", 300, "updates of pretraining, 64 images each")
flags.DEFINE_string("backbone", "ir_small", "network, by name")
flags.DEFINE_list("image_size", ["56", "48"], "height,width in pixels")
flags.DEFINE_list("freeze", ["stem*", "stage1*", "stage2*"], "names of the layers that keep their weights, with *")
flags.DEFINE_integer("images", 2, "images of each of your people that are trained on and enrolled, 1 to 9")
flags.DEFINE_integer("steps", 150, "updates of each fine-tuning, at most 32 images each")
flags.DEFINE_multi_enum("start", None, list(ROWS), "a row of the table, any number of times; default: each")
flags.DEFINE_list("seeds", ["0", "1", "2"], "of people, order and first weights; the table has means and deviations")


def main(argv):
    """Pretrains, fine-tunes, prints the table."""
    if argv[1:]:
        sys.exit(f"error: all options are flags. Received: {' '.join(argv[1:])}.")
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = compared(pathlib.Path(folder) / "model.keras", console)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    console.print(table(rows))


def image_size():
    """(height, width)."""
    return tuple(map(int, FLAGS.image_size))


def recipe(**changes):
    """The recipe of the ORL demo with another network, other steps, other first weights."""
    options = km.recipes.get("orl_demo").model.options if FLAGS.backbone == "ir_small" else ()
    base = {"backbone": FLAGS.backbone, "backbone_options": options, "image_size": image_size()}
    return km.recipes.get("orl_demo").replace(**base, **changes)


def pretrained(path, faces, seed, console):
    """The path of a network that learnt to tell faces, glyphs or digits apart."""
    reader = faces if FLAGS.pretrain == "faces" else km.data.open(FLAGS.pretrain, image_size=image_size())
    reader = reader.subset(np.flatnonzero(np.asarray(reader.labels) < FLAGS.classes))
    console.print(f"pretraining on {FLAGS.pretrain}: {reader.num_images:,} images of {reader.num_classes:,} classes")
    plan = recipe(steps=FLAGS.pretrain_steps, batch_size=64, warmup_steps=min(50, FLAGS.pretrain_steps - 1))
    trained = km.training.fit(plan, reader, seed=seed)
    _, logs = trained.history[-1]
    console.print(f"  {trained.seconds:.0f} s, accuracy {logs['accuracy']:.3f}")
    trained.model.embedder.save(path)
    return str(path)


def starts(weights):
    """(row of the table, changes of the recipe) of each way to begin; None trains nothing."""
    patterns = tuple(FLAGS.freeze)
    rows = {
        "scratch": ("from scratch", {}),
        "untuned": ("pretrained, not tuned", None),
        "tail": ("tail and head alone", {"weights": weights, "freeze": ("stem*", "stage*")}),
        "frozen": (f"frozen: {', '.join(patterns)}", {"weights": weights, "freeze": patterns}),
        "all": ("all of it", {"weights": weights}),
    }
    return dict(row for name, row in rows.items() if name in (FLAGS.start or rows))


def compared(path, console):
    """{row: [(trainable parameters, seconds, rank-1 of known people, EER of unseen people) of each seed]}."""
    reader = km.data.open("orl", image_size=image_size())
    weights, found = FLAGS.weights, {}
    for seed in map(int, FLAGS.seeds):
        first, rest = km.data.identity_disjoint_split(reader.labels, 40 - PRETRAINING, seed)
        mine, others = (rest[part] for part in km.data.identity_disjoint_split(reader.labels[rest], YOURS, seed))
        enrolled, asked = km.data.per_identity_split(reader.labels[mine], FLAGS.images, seed)
        sets = [reader.subset(mine[enrolled]), reader.subset(mine[asked]), reader.subset(others)]
        # Only faces part differently by the seed: other pretraining is done once.
        if not FLAGS.weights and (FLAGS.pretrain == "faces" or not found):
            weights = pretrained(path, reader.subset(first), seed, console)
        for row, changes in starts(weights).items():
            console.print(f"seed {seed}: {row}")
            found.setdefault(row, []).append(tuned(changes, weights, sets, seed))
    return found


def tuned(changes, weights, sets, seed):
    """The numbers of one row of the table for one seed."""
    enrolled, asked, others = sets
    if changes is None:
        network, seconds = (
            km.models.backbones.build(FLAGS.backbone, image_size=image_size(), **dict(recipe().model.options)),
            0,
        )
        km.training.load_backbone(network, weights)
        trainable = 0
    else:
        batch_size = min(32, enrolled.num_images)
        plan = recipe(steps=FLAGS.steps, batch_size=batch_size, warmup_steps=min(20, FLAGS.steps - 1), **changes)
        trained = km.training.fit(plan, enrolled, seed=seed)
        network, seconds = trained.model.embedder, trained.seconds
        trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)

    def embedded(part):
        images, labels = part.arrays()
        return network.predict(images.astype(np.float32), verbose=0), labels

    gallery, probe, unseen = (embedded(part) for part in (enrolled, asked, others))
    rank_1 = km.evaluation.rank_k(*probe, *gallery)
    pairs, is_same = km.evaluation.all_pairs(unseen[1])
    return trainable, seconds, rank_1, km.evaluation.eer(km.evaluation.pair_scores(unseen[0], pairs), is_same)


def table(rows):
    """The rows, to print."""
    made = Table(title=f"ORL: {FLAGS.images} images of each of {YOURS} people, {FLAGS.steps} steps")
    for column in ("start", "parameters trained", "seconds", "rank-1, your people", "EER, unseen people"):
        made.add_column(column, justify="left" if column == "start" else "right")
    for row, numbers in rows.items():
        trainable, seconds, rank_1, eer = np.mean(numbers, axis=0)
        _, _, rank_1_deviation, eer_deviation = np.std(numbers, axis=0)
        rank_1, eer = f"{rank_1:.3f} ± {rank_1_deviation:.3f}", f"{100 * eer:.1f} ± {100 * eer_deviation:.1f} %"
        made.add_row(row, f"{trainable:,.0f}", f"{seconds:.0f}", rank_1, eer)
    return made


if __name__ == "__main__":
    app.run(main)

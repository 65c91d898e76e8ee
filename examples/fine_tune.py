"""Fine-tunes a network that already knows something on your own people, a new head in front, its first stages frozen.

    python examples/fine_tune.py                                   pretrained on 20 of ORL's people: minutes
    python examples/fine_tune.py --pretrain=glyphs                 pretrained on type, or =digits, MNIST's digits
    python examples/fine_tune.py --weights=face.keras --backbone=ir_resnet50 --image_size=112,112

    python examples/fine_tune.py --data_dir=CROPS --weights=face.keras --freeze='stem*,stage1*' --out=tuned

The last two start from weights you have: `keras-margin convert backbone.pth face.keras` makes the file out of
insightface's, `convert face.onnx face.keras` out of many others.

With --data_dir the people are those of your folder, CROPS/PERSON/image.jpg, aligned as the network wants them
(`keras-margin align`), and the network is whatever the file holds. A tenth of the people train nothing: the table has
their EER before and after. The prototypes begin at the mean embeddings of the people, so that the first updates teach
the network what it does not know yet rather than undo what it knows. docs/real-faces.md says which start to choose.

Of ORL's 40 people 20 are for pretraining, 10 are "yours": a few images of each are trained on and enrolled, the others
asked for. The last 10 are met by no training at all. Each row of the table that trains takes the same number of steps,
so the pretrained ones have seen more images; that is their point.
"""

import math
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# oneDNN's convolutions train an IR-ResNet faster and a MobileFaceNet slower. TensorFlow reads this when it is imported.
if not any("mobilefacenet" in word for word in sys.argv):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_margin as km

ROWS = ("scratch", "untuned", "tail", "frozen", "all")
FOLDER_ROWS = ("untuned", "frozen", "all", "scratch")
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
flags.DEFINE_multi_enum("start", None, list(ROWS), "a row of the table, repeatable; default: each there is")
flags.DEFINE_string("data_dir", "", "your own folder, PERSON/image.jpg, instead of ORL; needs --weights")
flags.DEFINE_integer("held_out", 0, "people of --data_dir who train nothing; default: a tenth, at least two")
flags.DEFINE_float("rate", 1e-4, "highest learning rate, with --data_dir")
flags.DEFINE_string("out", "", "folder for the tuned networks, START_SEED.keras, with --data_dir")
flags.DEFINE_list(
    "seeds",
    ["0", "1", "2"],
    "of order, first weights and, without --data_dir, of who is whose; the table has means and deviations",
)

# What is read in one way of use alone: the other would pass over it.
ONLY_ORL, ONLY_FOLDER = ("pretrain", "classes", "pretrain_steps", "image_size", "images"), ("held_out", "rate", "out")
ONLY_PRETRAINING = ("pretrain", "classes", "pretrain_steps")


def main(argv):
    """Pretrains, fine-tunes, prints the table."""
    if argv[1:]:
        sys.exit(f"error: all options are flags. Received: {' '.join(argv[1:])}.")
    console = Console()
    try:
        check_flags()
        with tempfile.TemporaryDirectory() as folder:
            rows = (
                folder_compared(console) if FLAGS.data_dir else compared(pathlib.Path(folder) / "model.keras", console)
            )
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    console.print(folder_table(rows) if FLAGS.data_dir else table(rows))


def check_flags():
    """Raises where flags contradict each other, or a value cannot be used: training takes minutes, this none."""
    if FLAGS.data_dir and not FLAGS.weights:
        raise ValueError("--data_dir needs the network to start from. Received: no --weights=FILE.keras.")
    if FLAGS.data_dir:
        refuse(ONLY_ORL, "is of the table on ORL. Received: --data_dir too.")
        if "tail" in (FLAGS.start or ()):
            raise ValueError(
                "--data_dir knows no stages. Received: --start=tail. Name layers: --start=frozen --freeze."
            )
    else:
        refuse(ONLY_FOLDER, "is of a folder of your own. Received: no --data_dir.")
        if FLAGS.weights:
            refuse(ONLY_PRETRAINING, "is of pretraining. Received: --weights too, which takes its place.")
        if chosen_starts() == ("scratch",):
            refuse(("weights", *ONLY_PRETRAINING), "is of the other rows. Received: --start=scratch alone.")
    if "frozen" not in chosen_starts():
        refuse(("freeze",), "names what the row frozen freezes. Received: --start without it.")
    if FLAGS.data_dir and "scratch" not in chosen_starts():
        refuse(("backbone",), "is the network of the row scratch. Received: --start without it.")
    check_numbers()
    check_paths()


def refuse(names, why):
    """Raises where one of the flags was passed."""
    for name in names:
        if FLAGS[name].present:
            raise ValueError(f"--{name} {why} Leave one out.")


def check_numbers():
    """Raises where a number is none, or is out of its range."""
    for name, least, most in [
        ("classes", 2, None),
        ("pretrain_steps", 1, None),
        ("images", 1, 9),
        ("steps", 1, None),
        *([("held_out", 2, None)] if FLAGS.held_out else []),
    ]:
        value = FLAGS[name].value
        if value < least or (most is not None and value > most):
            raise ValueError(f"--{name} must be {least} {f'to {most}' if most else 'or more'}. Received: {value}.")
    if not 0 < FLAGS.rate < math.inf:
        raise ValueError(f"--rate must be a positive number. Received: {FLAGS.rate:g}.")
    if len(FLAGS.image_size) != 2 or not all(each.isdecimal() and int(each) for each in FLAGS.image_size):
        raise ValueError(f"--image_size must be height,width in pixels. Received: {','.join(FLAGS.image_size)}.")
    seeds = [int(each) for each in FLAGS.seeds if each.isdecimal() and int(each) < 2**32]
    if not seeds or len(set(seeds)) < len(FLAGS.seeds):
        raise ValueError(
            f"--seeds must be different integers from 0 to 2**32 - 1, such as 0,1,2. Received: {','.join(FLAGS.seeds)}."
        )
    if not FLAGS.freeze or not all(FLAGS.freeze):
        raise ValueError("--freeze must name layers, such as stem*,stage1*. Received: an empty name.")


def check_paths():
    """Raises where something is not there that is read, or something else is where a folder is to be."""
    if FLAGS.weights and not os.path.exists(FLAGS.weights):
        raise ValueError(f"--weights must be a .keras file. Received: {FLAGS.weights}, where there is nothing.")
    if FLAGS.data_dir and not os.path.isdir(FLAGS.data_dir):
        raise ValueError(f"--data_dir must be a folder, PERSON/image.jpg. Received: {FLAGS.data_dir}.")
    if FLAGS.out:
        out = pathlib.Path(FLAGS.out).absolute()
        there = next(each for each in (out, *out.parents) if each.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise ValueError(f"--out must be a folder that can be written. Received: {FLAGS.out}.")


def chosen_starts():
    """The rows of the table, each once."""
    return tuple(dict.fromkeys(FLAGS.start or (FOLDER_ROWS if FLAGS.data_dir else ROWS)))


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
    return dict(row for name, row in rows.items() if name in chosen_starts())


def built():
    """The network of the recipe, with new weights."""
    return km.models.backbones.build(FLAGS.backbone, image_size=image_size(), **dict(recipe().model.options))


def check_network():
    """Raises where the network has no layer of a name to freeze, or other weights than the file."""
    network = built()
    for changes in starts(FLAGS.weights).values():
        km.training.freeze(network, (changes or {}).get("freeze", ()))
    if FLAGS.weights:
        km.training.load_backbone(network, FLAGS.weights)


def compared(path, console):
    """{row: [(trainable parameters, seconds, rank-1 of known people, EER of unseen people) of each seed]}."""
    check_network()
    reader = km.data.open("orl", image_size=image_size())
    weights, found = FLAGS.weights, {}
    for seed in map(int, FLAGS.seeds):
        first, rest = km.data.identity_disjoint_split(reader.labels, 40 - PRETRAINING, seed)
        mine, others = (rest[part] for part in km.data.identity_disjoint_split(reader.labels[rest], YOURS, seed))
        enrolled, asked = km.data.per_identity_split(reader.labels[mine], FLAGS.images, seed)
        sets = [reader.subset(mine[enrolled]), reader.subset(mine[asked]), reader.subset(others)]
        # Only faces part differently by the seed: other pretraining is done once.
        if not FLAGS.weights and chosen_starts() != ("scratch",) and (FLAGS.pretrain == "faces" or not found):
            weights = pretrained(path, reader.subset(first), seed, console)
        for row, changes in starts(weights).items():
            console.print(f"seed {seed}: {row}")
            found.setdefault(row, []).append(tuned(changes, weights, sets, seed))
    return found


def tuned(changes, weights, sets, seed):
    """The numbers of one row of the table for one seed."""
    enrolled, asked, others = sets
    if changes is None:
        network, seconds = built(), 0
        km.training.load_backbone(network, weights)
        trainable = 0
    else:
        batch_size = min(32, enrolled.num_images)
        plan = recipe(steps=FLAGS.steps, batch_size=batch_size, warmup_steps=min(20, FLAGS.steps - 1), **changes)
        trained = km.training.fit(plan, enrolled, seed=seed)
        network, seconds = trained.model.embedder, trained.seconds
        trainable = trainable_count(network)

    def embedded(part):
        images, labels = part.arrays()
        return embedded_by(network, images), labels

    gallery, probe, unseen = (embedded(part) for part in (enrolled, asked, others))
    rank_1 = km.evaluation.rank_k(*probe, *gallery)
    pairs, is_same = km.evaluation.all_pairs(unseen[1])
    return trainable, seconds, rank_1, km.evaluation.eer(km.evaluation.pair_scores(unseen[0], pairs), is_same)


def embedded_by(network, images):
    """Embeddings of uint8 images."""
    return network.predict(images.astype(np.float32), verbose=0)


def trainable_count(network):
    """How many numbers training may change."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


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


# The same on a folder of one's own, from a network of any kind.


def folder_compared(console):
    """{row: [(trainable parameters, seconds, EER of unseen people) of each seed]} of --data_dir."""
    given = keras.saving.load_model(FLAGS.weights, compile=False)
    given = getattr(given, "embedder", given)
    # A name that no layer has, or a backbone that cannot have this size, is told before anything is trained.
    for start in chosen_starts():
        folder_network(start, given)
    reader = km.data.open(FLAGS.data_dir, image_size=given.input_shape[1:3])
    held_out = FLAGS.held_out or max(2, reader.num_classes // 10)
    mine, unseen = map(reader.subset, km.data.identity_disjoint_split(reader.labels, held_out))
    console.print(f"{mine.num_images:,} images of {mine.num_classes:,} people train, {held_out} people do not")
    centers, found = mean_embeddings(given, mine), {}
    for start in chosen_starts():
        for seed in map(int, FLAGS.seeds):
            keras.utils.set_random_seed(seed)
            network, seconds = folder_network(start, given), 0.0
            if start != "untuned":
                seconds = folder_tuned(network, mine, None if start == "scratch" else centers, seed)
            if FLAGS.out:
                pathlib.Path(FLAGS.out).mkdir(parents=True, exist_ok=True)
                network.save(pathlib.Path(FLAGS.out) / f"{start}_{seed}.keras")
            trained = 0 if start == "untuned" else trainable_count(network)
            found.setdefault(start, []).append((trained, seconds, unseen_eer(network, unseen)))
            console.print(f"seed {seed}: {start}, EER of unseen people {found[start][-1][-1]:.2%}")
            if start == "untuned":
                break  # Nothing in it is random.
    return found


def folder_network(start, given):
    """A copy of the given network, perhaps with frozen layers; for "scratch" a new one of the same sizes."""
    if start == "scratch":
        size, length = given.input_shape[1:3], given.output_shape[-1]
        return km.models.backbones.build(FLAGS.backbone, image_size=size, embedding_size=length)
    network = keras.models.clone_model(given)
    network.set_weights(given.get_weights())
    if start == "frozen":
        km.training.freeze(network, FLAGS.freeze)
    return network


def mean_embeddings(network, reader, most=4):
    """Unit vectors (num_classes, embedding_size), the mean direction of up to `most` images a person."""
    order = np.argsort(reader.labels, kind="stable")
    place = np.arange(len(order)) - np.searchsorted(reader.labels[order], reader.labels[order])
    images, labels = reader.subset(np.sort(order[place < most])).arrays()
    embeddings = embedded_by(network, images)
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    sums = np.zeros((reader.num_classes, embeddings.shape[1]), np.float32)
    np.add.at(sums, labels, embeddings)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def folder_tuned(network, reader, centers, seed):
    """Trains the network under ArcFace, its prototypes from `centers` on where there are; returns the seconds."""
    model = km.EmbeddingModel(network, km.ArcFaceHead(reader.num_classes, margin=0.3, scale=32.0))
    warmup = max(1, FLAGS.steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, FLAGS.steps - warmup), warmup_target=FLAGS.rate, warmup_steps=warmup
    )
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), jit_compile=False)
    if centers is not None:
        model.head.prototypes.assign(centers)
    batches = reader.dataset(
        min(32, reader.num_images), shuffle=True, seed=seed, repeat=True, augmentation=km.data.Augmentation(flip=True)
    )
    began = time.perf_counter()
    model.fit(batches, steps_per_epoch=FLAGS.steps, shuffle=False, verbose=0)
    return time.perf_counter() - began


def unseen_eer(network, reader):
    """EER over all pairs of the reader's images."""
    images, labels = reader.arrays()
    pairs, is_same = km.evaluation.all_pairs(labels)
    return km.evaluation.eer(km.evaluation.pair_scores(embedded_by(network, images), pairs), is_same)


def folder_table(rows):
    """The rows of --data_dir, to print."""
    made = Table(title=f"{FLAGS.data_dir}: {FLAGS.steps} updates, highest rate {FLAGS.rate:g}")
    for column in ("start", "parameters trained", "seconds", "EER, unseen people"):
        made.add_column(column, justify="left" if column == "start" else "right")
    names = {
        "scratch": f"from scratch: {FLAGS.backbone}",
        "untuned": "as given, not tuned",
        "frozen": f"frozen: {', '.join(FLAGS.freeze)}",
        "all": "all of it",
    }
    for row, numbers in rows.items():
        (trained, seconds, eer), deviation = np.mean(numbers, axis=0), np.std(numbers, axis=0)[-1]
        made.add_row(names[row], f"{trained:,.0f}", f"{seconds:.0f}", f"{100 * eer:.2f} ± {100 * deviation:.2f} %")
    return made


if __name__ == "__main__":
    app.run(main)

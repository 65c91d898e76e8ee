"""One run from data to device: train a recipe, measure it on people it never met, export it, compare the files.

What examples/train_casia.py calls. A run's folder holds model.keras, embedder.tflite with its JSON, savedmodel/,
report.json and roc.png; it appears whole at the end, or not at all.
"""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from keras_margin import __version__, backbones, evaluation, export, files, plots, training
from keras_margin.data import splits

# A run writes a few copies of the weights; less free space than this is refused before the training, not after.
_FREE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Measure:
    """One protocol's figures for one way to embed.

    Attributes:
        protocol: "known people" or "unseen people".
        embedder: "raw pixels", "untrained network" or "trained network".
        eer: Equal error rate over the pairs of test images; of more than 3,000 images, over a sample of the pairs.
        rank_1: Share of probes whose nearest gallery image is the same person's; None where not measured.
        ten_fold: Mean ten-fold verification accuracy over as many genuine as impostor pairs, at most 3,000 of each;
            None where not measured, which is also where there are fewer than ten of each.
        ten_fold_std: Its standard deviation over the folds.
    """

    protocol: str
    embedder: str
    eer: float
    rank_1: float | None = None
    ten_fold: float | None = None
    ten_fold_std: float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        measures: Tuple of Measure.
        reports: Tuple of export.ParityReport.
        seconds: Time spent in training, all models.
        folder: The run's folder.
    """

    measures: tuple
    reports: tuple
    seconds: float
    folder: pathlib.Path


def run(
    recipe, reader, out, *, held_out=None, known_people=False, replicas=1, mixed_precision=False, seed=0, console=None
):
    """Trains on some identities, measures on the others, exports.

    With `known_people` a second model is trained first, on half of everybody's photographs, and measured on the other
    half: what a closed set of people gets. The exported model is always the one that never met its test people.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open.
        out: Folder of the run; an older run there is replaced at the end.
        held_out: Identities kept for the test; None for a tenth, at least 2 and at most 500.
        known_people: Whether to measure known people too; each identity then needs at least 6 images.
        replicas: Devices that share each batch.
        mixed_precision: Whether to compute in half precision: float16 on GPUs, bfloat16 on CPUs.
        seed: Of splits, weights, order and augmentation.
        console: rich Console for the progress bars; None for standard output.

    Returns:
        Outcome.

    Raises:
        ValueError: Where recipe, data and replicas do not fit together, or `out` holds something that is not a run.
        OSError: Where `out` cannot be written or its disk is nearly full.
    """
    out = pathlib.Path(out)
    _check_out(out)
    learn, test = _unseen_people(reader, held_out, seed)
    if known_people:
        gallery, probes = splits.per_identity_split(reader.labels, 5, seed)
    strategy = training.make_strategy(replicas)
    with files.written_whole(out) as folder, _precision(mixed_precision), training.plain_errors():
        folder.mkdir()
        measures, seconds = [], 0.0

        def train(indices, purpose):
            with training.ProgressBar(recipe.steps, recipe.batch_size, purpose, console) as bar:
                return training.fit(recipe, reader.subset(indices), strategy=strategy, seed=seed, callbacks=[bar])

        if known_people:
            trained = train(gallery, "known people ")
            seconds += trained.seconds
            measures += _compare_embedders(recipe, trained.model, reader, probes, gallery)
        trained = train(learn, "unseen people")
        seconds += trained.seconds
        measures += _compare_embedders(recipe, trained.model, reader, test, seed=seed, curve=folder / "roc.png")
        images, _ = reader.subset(test[:64]).arrays()
        trained.model.save(folder / "model.keras")
        reports = (
            export.to_tflite(trained.model, folder / "embedder.tflite", samples=images),
            export.to_savedmodel(trained.model, folder / "savedmodel", samples=images),
        )
        # The files move with their folder; a report names where they will be, not where they were made.
        reports = tuple(
            dataclasses.replace(report, path=str(out / pathlib.Path(report.path).name)) for report in reports
        )
        _write_report(folder / "report.json", recipe, seed, replicas, measures, reports, trained.history, seconds)
    return Outcome(measures=tuple(measures), reports=reports, seconds=seconds, folder=out)


def _check_out(out):
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder. Received: {out}, a file.")
    if out.is_dir() and any(out.iterdir()) and not (out / "report.json").exists():
        raise ValueError(
            f"{out} holds something that is not an earlier run: nothing was touched. Choose another --out."
        )
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < _FREE_BYTES:
        raise OSError(f"{parent} has {free / 2**20:.0f} MiB free; a run needs {_FREE_BYTES / 2**20:.0f} MiB.")


def _unseen_people(reader, held_out, seed):
    """(images to train on, images of other people to test on); refused here where the test could measure nothing."""
    if held_out is None:
        held_out = min(500, max(2, round(reader.num_classes / 10)))
    if not 2 <= held_out <= reader.num_classes - 2:
        raise ValueError(
            "At least two identities are held out for the test and two are left to train on. Received: "
            f"held_out={held_out} of {reader.num_classes} identities."
        )
    learn, test = splits.identity_disjoint_split(reader.labels, held_out, seed)
    if _pairs_there_are(reader.labels[test])[0] == 0:
        raise ValueError(
            "The test compares images of one person: at least one held-out identity needs two. Received: "
            f"{len(test)} images of {held_out} held-out identities. Hold out more with --held_out."
        )
    return learn, test


def _pairs_there_are(labels):
    """(genuine, impostor) pairs among these images."""
    genuine = sum(count * (count - 1) // 2 for count in np.bincount(labels).tolist())
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine


def _compare_embedders(recipe, model, reader, probes, gallery=None, seed=0, curve=None):
    """Measures raw pixels, the untrained and the trained network on the same images."""
    images, labels = reader.subset(probes).arrays()
    known_images, known = (None, None) if gallery is None else reader.subset(gallery).arrays()
    untrained = backbones.build(recipe.backbone, image_size=recipe.image_size, **dict(recipe.backbone_options))
    embedders = {
        "raw pixels": _raw_pixels,
        "untrained network": _embedder(untrained),
        "trained network": _embedder(model.embedder),
    }
    measures, curves = [], {}
    for name, embed in embedders.items():
        embeddings = embed(images)
        pairs, is_same = evaluation.all_pairs(labels) if len(labels) <= 3000 else _some_pairs(labels, seed)
        scores = evaluation.pair_scores(embeddings, pairs)
        curves[name] = evaluation.roc(scores, is_same)
        eer = evaluation.eer(scores, is_same)
        if gallery is None:
            folds = _ten_fold(embeddings, labels, seed)
            figures = {"ten_fold": folds.mean, "ten_fold_std": folds.std} if folds else {}
            measures.append(Measure("unseen people", name, eer, **figures))
        else:
            rank_1 = evaluation.rank_k(embeddings, labels, embed(known_images), known)
            measures.append(Measure("known people", name, eer, rank_1=rank_1))
    if curve is not None:
        _draw(curves, curve)
    return measures


def _embedder(network, batch_size=64):
    """Function from images to the network's embeddings, traced once for batches of any length.

    `predict` traces anew for a last batch that is shorter, and TensorFlow warns of that after a few networks.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)])
    def embed(images):
        return tf.cast(network(images, training=False), tf.float32)

    def embed_all(images):
        parts = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        return np.concatenate([embed(part.astype(np.float32)) for part in parts])

    return embed_all


def _raw_pixels(images):
    """Grey pixels less their mean: the plainest embedding there is."""
    pixels = images.astype(np.float32).mean(axis=-1).reshape(len(images), -1)
    pixels -= pixels.mean(axis=1, keepdims=True)
    # A blank image has no direction, and no cosine; an even grey is at right angles to every other.
    pixels[~pixels.any(axis=1)] = 1.0
    return pixels


def _some_pairs(labels, seed):
    """Pairs of a large test set: every genuine one up to 100,000, and every impostor one up to a million."""
    genuine, impostor = _pairs_there_are(labels)
    return evaluation.make_pairs(labels, min(genuine, 100_000), min(impostor, 1_000_000), seed)


def _ten_fold(embeddings, labels, seed):
    """KFoldAccuracy over ten folds with as many pairs of either kind, or None where there are too few."""
    number = min(3000, *_pairs_there_are(labels))
    if number < 10:
        return None
    pairs, is_same = evaluation.make_pairs(labels, number, number, seed)
    return evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, pairs), is_same, folds=10)


def _draw(curves, path):
    try:
        plots.roc_curve(curves, path=path)
    except ImportError:
        # The picture is an extra; the figures are in the report.
        pass


class _precision:
    """Context of the global dtype policy for a run."""

    def __init__(self, mixed):
        self.mixed = mixed

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        if self.mixed:
            half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
            keras.config.set_dtype_policy(half)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)


def _write_report(path, recipe, seed, replicas, measures, reports, history, seconds):
    report = {
        "keras_margin": __version__,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "replicas": replicas,
        "training_seconds": round(seconds, 1),
        "measures": [dataclasses.asdict(measure) for measure in measures],
        "exports": [dataclasses.asdict(report) for report in reports],
        "history": [{"step": step, **logs} for step, logs in history],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")

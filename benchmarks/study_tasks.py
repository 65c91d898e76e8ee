"""What the study trains and tests on: three tasks, each parted so that no choice sees the test.

So that a run takes seconds, losses train two layers on numbers made once: of glyphs, what a small convolutional network
makes of them that was trained by plain softmax on kanji that are in no part of the task; of faces, their pixels.
"""

import dataclasses
import hashlib
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_margin import data, evaluation
from keras_margin._utils import files
from keras_margin.data import glyphs

# Training images come in this many variants: shifted by a pixel or two, faces also mirrored.
VARIANTS = 6
TRUNK_STEPS, TRUNK_BATCH = 1500, 64


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Some of the images.

    Attributes:
        inputs: float32 (n, size), or of training images (VARIANTS, n, size), the first as they are.
        labels: int32 (n,), 0 .. num_classes - 1.
    """

    inputs: np.ndarray
    labels: np.ndarray

    @property
    def num_classes(self):
        return len(np.unique(self.labels))


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Training, validation and test images.

    Attributes:
        name: "orl_closed", "orl_open" or "glyphs".
        train, validation, test: Part.
        is_open: Whether the three have different classes; then the first image of each test class is its gallery,
            otherwise the training images are.
        far: The rate at which TAR is reported.
        max_pairs: Most genuine pairs to score, and ten times as many impostors.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    is_open: bool
    far: float
    max_pairs: int = 20_000

    def measure(self, embed, part):
        """Per cent, by name: EER, accuracy (10 folds), TAR at `far`, rank 1; None where embeddings are no use."""
        embeddings = embed(part.inputs)
        if not np.isfinite(embeddings).all() or not np.abs(embeddings).sum(axis=1).all():
            return None
        _, counts = np.unique(part.labels, return_counts=True)
        genuine = int((counts * (counts - 1) // 2).sum())
        impostor = len(part.labels) * (len(part.labels) - 1) // 2 - genuine
        genuine = min(genuine, self.max_pairs)
        pairs, is_same = evaluation.make_pairs(part.labels, genuine, min(impostor, 10 * self.max_pairs))
        scores = evaluation.pair_scores(embeddings, pairs)
        even, even_same = evaluation.make_pairs(part.labels, min(genuine, 3000), min(genuine, 3000))
        found = {
            "eer": evaluation.eer(scores, is_same),
            "accuracy": evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, even), even_same).mean,
            "tar": evaluation.tar_at_far(scores, is_same, self.far),
            "rank1": evaluation.rank_k(*self._probe_and_gallery(embed, embeddings, part)),
        }
        return {name: round(100 * float(value), 4) for name, value in found.items()}

    def _probe_and_gallery(self, embed, embeddings, part):
        if not self.is_open:
            return embeddings, part.labels, embed(self.train.inputs[0]), self.train.labels
        _, first = np.unique(part.labels, return_index=True)
        rest = np.setdiff1d(np.arange(len(part.labels)), first)
        return embeddings[rest], part.labels[rest], embeddings[first], part.labels[first]


def _resized(images, size):
    """uint8 (n, *size, 1)."""
    parts = (images[start : start + 512, ..., None] for start in range(0, len(images), 512))
    small = [np.asarray(tf.image.resize(part, size, antialias=True)) for part in parts]
    return np.clip(np.round(np.concatenate(small)), 0, 255).astype(np.uint8)


def _variants(images, mirror):
    """The images as they are and VARIANTS - 1 times moved, the same in every run."""
    generator = np.random.default_rng(0)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    yield images
    for number in range(1, VARIANTS):
        down, across = generator.integers(0, 5, 2)
        moved = padded[:, down : down + images.shape[1], across : across + images.shape[2]]
        yield moved[:, :, ::-1] if mirror and number % 2 else moved


def _by_class(labels, sizes):
    """Rows and new labels of so many classes each, all different, at random; the same in every run."""
    order = np.random.default_rng(0).permutation(np.unique(labels))
    for size in sizes:
        chosen, order = np.sort(order[:size]), order[size:]
        rows = np.flatnonzero(np.isin(labels, chosen))
        yield rows, np.searchsorted(chosen, labels[rows]).astype(np.int32)


def _task(name, images, parts, describe, mirror=False, **options):
    """`parts`: (rows, labels) of training, validation and test; `describe`: images to numbers."""
    (rows, labels), *others = parts
    train = Part(np.stack([describe(variant) for variant in _variants(images[rows], mirror)]), labels)
    return Task(name, train, *(Part(describe(images[rows]), labels) for rows, labels in others), **options)


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 128 - 1


def orl_closed():
    """40 people: 3 photographs of each to train on, 3 to choose by, 4 to test."""
    faces = data.orl.load()
    train, rest = data.per_identity_split(faces.labels, 3)
    kept, test = data.per_identity_split(faces.labels[rest], 3)
    parts = [(rows, faces.labels[rows]) for rows in (train, rest[kept], rest[test])]
    return _task("orl_closed", _resized(faces.images, (20, 16)), parts, _pixels, True, is_open=False, far=1e-2)


def orl_open():
    """20 people to train on, 8 others to choose by, 12 others to test; 10 photographs of each."""
    faces = data.orl.load()
    parts = _by_class(faces.labels, (20, 8, 12))
    return _task("orl_open", _resized(faces.images, (20, 16)), parts, _pixels, True, is_open=True, far=1e-2)


def glyph_classes(cache=None):
    """1,000 kanji to train on, 300 others to choose by, 300 others to test; 16 type designs of nearly each.

    The network that describes them is trained on the 1,365 kanji that are left. What it says is kept in `cache`.
    """
    found = glyphs.load()
    key = hashlib.sha256(np.ascontiguousarray(found.images)).hexdigest()[:16]
    cache = pathlib.Path(cache or glyphs.cache_folder()) / f"study-{key}-{TRUNK_STEPS}"
    if not cache.exists():
        logging.info("Training the network that describes glyphs, once.")
        task = _describe_glyphs(found)
        with files.atomic_write(cache) as folder:
            folder.mkdir()
            for name in ("train", "validation", "test"):
                np.savez(folder / f"{name}.npz", **vars(getattr(task, name)))
    parts = [Part(**np.load(cache / f"{name}.npz")) for name in ("train", "validation", "test")]
    return Task("glyphs", *parts, is_open=True, far=1e-3)


def _describe_glyphs(found):
    images = _resized(found.images, (32, 32))
    *parts, (rows, labels) = _by_class(found.labels, (1000, 300, 300, len(found.characters) - 1600))
    trunk = _trunk(images[rows], labels)

    def describe(some):
        chunks = (some[start : start + 512] for start in range(0, len(some), 512))
        return np.concatenate([np.asarray(trunk(chunk, training=False)) for chunk in chunks])

    return _task("glyphs", images, parts, describe, is_open=True, far=1e-3)


def _trunk(images, labels):
    """Four convolutions of stride 2 and 256 numbers behind them, trained by plain softmax."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(images.shape[1:])
    x = keras.layers.Rescaling(1 / 128, -1)(inputs)
    for filters in (16, 32, 64, 64):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.PReLU(shared_axes=(1, 2))(x)
    trunk = keras.Model(inputs, keras.layers.Flatten()(x))
    model = keras.Sequential([trunk, keras.layers.Dense(int(labels.max()) + 1)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, TRUNK_STEPS)), loss)
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(len(labels)), (5, 1)), axis=1).ravel()
    rows = rows[: TRUNK_STEPS * TRUNK_BATCH].reshape(-1, TRUNK_BATCH)

    def batch(chosen):
        return tf.ensure_shape(tf.gather(images, chosen), (TRUNK_BATCH, *images.shape[1:])), tf.gather(labels, chosen)

    history = model.fit(tf.data.Dataset.from_tensor_slices(rows).map(batch), verbose=0, shuffle=False)
    logging.info("It is trained: loss %.3f.", history.history["loss"][-1])
    return trunk


TASKS = {"glyphs": glyph_classes, "orl_open": orl_open, "orl_closed": orl_closed}

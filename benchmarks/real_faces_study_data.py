"""Who trains, who is chosen by and who is tested in `benchmarks.real_faces_study`, and what is measured on them.

Of the training set that `benchmarks.real_faces training_set` writes, CFP's people 001 to 340 and LFW's with four images
or more train; CFP's 341 to 400 and LFW's with exactly three are those by whom settings are chosen. CFP's 401 to 500 and
LFW's folds 1 and 2 are tested. Nobody is in two of the three.
"""

import dataclasses
import re

import numpy as np

from benchmarks import real_faces_sets
from keras_margin import data, evaluation
from keras_margin.evaluation import protocols
from keras_margin.evaluation.protocols._pairs import NO_FACE

# The network's pixels, and the pixels by which a training image may be moved to either side.
SIZE, SHIFT = 48, 2
LAST_TRAINED_CFP = 340
FEWEST_TRAINED_LFW, CHOSEN_BY_LFW = 4, 3
# The smallest FAR that leaves ten impostor pairs on every set is 1.9 %.
FAR = 2e-2
RESAMPLES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """Images with the people on them.

    Attributes:
        images: uint8 (n, SIZE + 2 * SHIFT, SIZE + 2 * SHIFT, 3).
        labels: int32 (n,), 0 .. num_classes - 1.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def num_classes(self):
        return int(self.labels.max()) + 1


@dataclasses.dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of test images; those without a face are left out.

    Attributes:
        images: As of `Faces`.
        pairs: int (m, 2), rows of the images.
        is_same: bool (m,).
        people: (m, 2), who is on either side.
        folds: int (m,), from 0.
    """

    images: np.ndarray
    pairs: np.ndarray
    is_same: np.ndarray
    people: np.ndarray
    folds: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Everything that a run needs.

    Attributes:
        train: `Faces`.
        validation: {name: `Faces`}.
        test: {name: `PairSet`}.
    """

    train: Faces
    validation: dict
    test: dict
    name: str = "faces"


def parts(names, counts):
    """Returns {part: bool array} of the people of the training set: "train", "cfp" and "lfw" to choose by.

    Args:
        names: Names of the people's folders; CFP's are c001 to c400.
        counts: How many images each has.
    """
    numbers = np.array([int(name[1:]) if re.fullmatch(r"c\d{3}", name) else 0 for name in names])
    is_cfp, counts = numbers > 0, np.asarray(counts)
    return {
        "train": np.where(is_cfp, numbers <= LAST_TRAINED_CFP, counts >= FEWEST_TRAINED_LFW),
        "cfp": is_cfp & (numbers > LAST_TRAINED_CFP),
        "lfw": ~is_cfp & (counts == CHOSEN_BY_LFW),
    }


def load(training_set, faces, crops, out):
    """Returns the `Task`; `out` takes the lists of the test pairs."""
    size = (SIZE + 2 * SHIFT,) * 2
    reader = data.open(str(training_set), image_size=size)
    labels = np.asarray(reader.labels)
    found = {}
    for name, people in parts(reader.label_names, np.bincount(labels)).items():
        rows = np.flatnonzero(people[labels])
        images, _ = reader.subset(rows).arrays()
        found[name] = Faces(
            np.asarray(images, np.uint8), np.unique(labels[rows], return_inverse=True)[1].astype("int32")
        )
    cfp = real_faces_sets.write_unseen_cfp(faces, crops, out / "sets/cfp")
    lfw, _ = real_faces_sets.write_unseen_lfw(faces, out / "sets/lfw")
    test = {
        name: pair_set(protocols.load_protocol(path, image_size=size, fit="resize", protocol=kind))
        for name, path, kind in (("lfw", lfw, "pairs"), ("cfp_ff", cfp, "cfp_ff"), ("cfp_fp", cfp, "cfp_fp"))
    }
    return Task(found.pop("train"), found, test)


def pair_set(protocol):
    """Returns the `PairSet` of a protocol of listed pairs."""
    kept = (protocol.pairs != NO_FACE).all(axis=1)
    listed = protocol.listed
    people = listed.people[kept]
    images = np.asarray(protocol.images(range(protocol.num_images)))
    return PairSet(images.astype(np.uint8), protocol.pairs[kept], listed.is_same[kept], people, listed.folds[kept])


def measure(embed, task, choosing):
    """Per cent by name, of the validation people (`choosing`) or of the test pairs; None where embeddings are no use.

    Args:
        embed: Function of uint8 images (n, SIZE, SIZE, 3).
        task: `Task`.
        choosing: Whether the people to choose by are measured: their EERs over all of their pairs, and the mean of the
            two as "eer". Otherwise the test pairs: EER with its interval over people, accuracy, TAR at FAR.
    """
    found = {}
    for name, part in (task.validation if choosing else task.test).items():
        embeddings = embed(part.images[:, SHIFT:-SHIFT, SHIFT:-SHIFT])
        if not np.isfinite(embeddings).all() or not np.abs(embeddings).sum(axis=1).all():
            return None
        found |= _of_people(name, embeddings, part.labels) if choosing else _of_pairs(name, embeddings, part)
    if choosing:
        found["eer"] = np.mean([found[f"{name}_eer"] for name in task.validation])
    return {name: round(100 * float(value), 4) for name, value in found.items()}


def _of_people(name, embeddings, labels):
    pairs, is_same = evaluation.all_pairs(labels)
    return {f"{name}_eer": evaluation.eer(evaluation.pair_scores(embeddings, pairs), is_same)}


def _of_pairs(name, embeddings, part):
    scores = evaluation.pair_scores(embeddings, part.pairs)
    bootstrap = evaluation.Bootstrap(resamples=RESAMPLES)
    (low,), (high,) = evaluation.tar_interval(scores, part.is_same, [FAR], part.people, bootstrap)
    eer_low, eer_high = eer_interval(scores, part.is_same, part.people)
    return {
        f"{name}_eer": evaluation.eer(scores, part.is_same),
        f"{name}_eer_low": eer_low,
        f"{name}_eer_high": eer_high,
        f"{name}_accuracy": evaluation.k_fold_accuracy(scores, part.is_same, part.folds).mean,
        f"{name}_tar": evaluation.tar_at_far(scores, part.is_same, FAR),
        f"{name}_tar_low": low,
        f"{name}_tar_high": high,
    }


def eer_interval(scores, is_same, people, resamples=RESAMPLES, seed=0):
    """Returns (low, high), a 95 % interval of the EER: people are drawn with replacement.

    A genuine pair of p counts as often as p was drawn, an impostor pair of p and q as often as the product of both, as
    in `evaluation.tar_interval`; resamples without either kind are left out.

    Args:
        scores: Real array (m,).
        is_same: Bool array (m,).
        people: Array (m, 2), who is on either side of each pair.
        resamples: How many.
        seed: Seed of the draws: the same people are drawn for every method.
    """
    _, index = np.unique(people, return_inverse=True)
    order = np.argsort(-scores, kind="stable")
    first, second = index.reshape(-1, 2)[order].T
    is_same, ends = is_same[order], np.flatnonzero(np.diff(scores[order], append=-np.inf))
    rng, drawn, count = np.random.default_rng(seed), [], index.max() + 1
    for _ in range(resamples):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        accepted = [np.cumsum(times[first] * is_same), np.cumsum(times[first] * times[second] * ~is_same)]
        genuine, impostor = (np.append(0, each[ends]) for each in accepted)
        if genuine[-1] and impostor[-1]:
            drawn.append(_crossing(impostor / impostor[-1], 1 - genuine / genuine[-1]))
    return np.quantile(drawn, [0.025, 0.975]).tolist()


def _crossing(far, frr):
    """Where the staircase of (far, frr) has both alike, joined by straight lines as `evaluation.eer` has it."""
    surplus = far - frr
    right = int(np.argmax(surplus >= 0))
    share = surplus[right - 1] / (surplus[right - 1] - surplus[right])
    return far[right - 1] + share * (far[right] - far[right - 1])

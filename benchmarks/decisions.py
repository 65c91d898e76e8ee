"""Measures what a cosine is worth on people apart from those it was fitted on: probabilities, searches, clusters.

keras-margin embed face.tflite LFW/ --out=lfw.npz
python -m benchmarks.decisions --embeddings=lfw.npz --splits=20

The .npz holds `embeddings` (n, embedding_size) and `names` (n,): who is on each image, or its path, of which the first
folder that is not everybody's names the person. Prints lines of JSON.
"""

import json
import os
import time

import numpy as np
from absl import app, flags

from keras_margin import evaluation

_EMBEDDINGS = flags.DEFINE_string("embeddings", None, "The .npz of embeddings and names.", required=True)
_SPLITS = flags.DEFINE_integer("splits", 20, "Random choices of the people to fit on.")
_PARTS = flags.DEFINE_multi_enum(
    "part", ["search", "calibrate", "cluster"], ["search", "calibrate", "cluster"], "What to measure."
)
_FITTED = flags.DEFINE_integer("fitted", None, "People that searches' thresholds are fitted on. Default: half of them.")
_SIZES, _RATES = (10, 30, 100, 300, 1000, 2000, 4000), (0.1, 0.03, 0.01)
_CLUSTERS = (0.5, 0.55, 0.58, 0.6, 0.62, 0.65)


def observed_fpir(reaching, others, size):
    """Share of searches that name a stranger, over every gallery of `size` of the `others` people.

    Args:
        reaching: Integer array (n,), people of whom the probe's cosine reaches the threshold.
        others: People who are not the probe's.
        size: People in the gallery.
    """
    log_factorial = np.concatenate([[0], np.cumsum(np.log(np.arange(1, others + 1)))])
    misses = others - reaching
    possible = misses >= size
    # Of galleries of `size` of the others, those without anybody who is reached.
    log_share = log_factorial[np.where(possible, misses, size)] - log_factorial[np.where(possible, misses - size, 0)]
    log_share -= log_factorial[others] - log_factorial[others - size]
    return float(1 - np.where(possible, np.exp(log_share), 0).mean())


def searches(unit, people, seed):
    """Yields (size, wanted FPIR, observed FPIR): fitted on some of the people, strangers of the others searched.

    Galleries are of those others too, where they are enough; else of all people, of whom no pair with a stranger
    was in the fit.
    """
    rng = np.random.default_rng(seed)
    half = _FITTED.value or (people.max() + 1) // 2
    first = np.isin(people, rng.permutation(people.max() + 1)[:half])
    pairs, is_same = evaluation.all_pairs(people[first])
    found = evaluation.fit_search_thresholds(evaluation.pair_scores(unit[first], pairs)[~is_same])
    mixed = rng.permutation(len(people))
    images = mixed[np.unique(people[mixed], return_index=True)[1]]  # A random image of each person.
    cosines = unit[images[~first[images]]] @ unit[images].T
    cosines[np.arange(len(cosines)), np.flatnonzero(~first[images])] = -2
    for size in (each for each in _SIZES if each < len(images)):
        others = ~first[images] if size < len(cosines) else np.ones(len(images), bool)
        for wanted in _RATES:
            reaching = (cosines[:, others] >= found.threshold(size, wanted)).sum(axis=1)
            yield size, wanted, observed_fpir(reaching, int(others.sum()) - 1, size)


def search_all(unit, people):
    """Says how often strangers are named, over random choices of the people that thresholds are fitted on."""
    ratios = {}
    for seed in range(_SPLITS.value):
        for size, wanted, observed in searches(unit, people, seed):
            ratios.setdefault((size, wanted), []).append(observed / wanted)
    for (size, wanted), values in ratios.items():
        low, high = np.percentile(values, [5, 95])
        say(search=size, fpir=wanted, ratio=float(np.mean(values)), low=float(low), high=float(high))


def cluster_all(unit, people):
    """Says how well clusters of all images are people."""
    for threshold in _CLUSTERS:
        start = time.process_time()
        clusters = evaluation.chinese_whispers(unit, threshold)
        spent = time.process_time() - start
        scores = evaluation.pairwise_score(clusters, people), evaluation.bcubed_score(clusters, people)
        say(cluster=threshold, clusters=int(clusters.max()) + 1, f=[each.f for each in scores], seconds=spent)


def who(names):
    """Returns the person of each image, an integer array: of a path, by the first folder that is not everybody's."""
    if any("/" in name for name in names):
        common = os.path.commonpath(names.tolist())
        names = [os.path.relpath(name, common).split("/")[0] for name in names.tolist()]
    return np.unique(names, return_inverse=True)[1]


def main(_):
    """Measures and prints."""
    with np.load(_EMBEDDINGS.value, allow_pickle=False) as arrays:
        rows, people = arrays["embeddings"], who(arrays["names"])
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    say(images=len(people), people=int(people.max()) + 1)
    measure = {"search": search_all, "calibrate": calibrations, "cluster": cluster_all}
    for part in _PARTS.value:
        measure[part](unit, people)


def calibrations(unit, people):
    """Says what each method of calibration reaches on held-out people."""
    sizes = np.bincount(people)
    genuine = int((sizes * (sizes - 1) // 2).sum())
    pairs, is_same = evaluation.make_pairs(people, genuine, 300_000)
    scores = evaluation.pair_scores(unit, pairs)
    for method in ("logistic", "isotonic"):
        found = evaluation.fit_calibration(scores, is_same, people[pairs], method=method)
        say(method=method, cllr=found.cllr, min_cllr=found.min_cllr, ece=found.reliability.ece)


def say(**values):
    """Prints a line of JSON, floats of four digits."""
    print(
        json.dumps({name: float(f"{each:.4g}") if isinstance(each, float) else each for name, each in values.items()})
    )


if __name__ == "__main__":
    app.run(main)

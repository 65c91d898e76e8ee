"""Evaluation at scale compared with what it is made of, in one run: a matrix product, and scikit-learn's ROC.

    python -m benchmarks.evaluation                                    the two targets of the design, minutes
    python -m benchmarks.evaluation --shape=1000x100000 --pairs=1000000 --repeats=5 --out=evaluation.json
    python -m benchmarks.evaluation --parts=search --repeats=1         one turn of one part

Search: exact TAR@FAR over all scores of probes against a gallery, against the float32 product of the same sets alone,
which keeps no score; the faster of two tilings is the bare product. ROC: as many template pairs as IJB-C has, equal to
scikit-learn's in every number or the run fails. Contenders take turns, so that whatever else the machine does falls on
all alike; a figure is the ratio of medians, and next to it that of the best turns, which noise moves less. Memory is
the peak above the resident inputs, in a process of its own (Linux). Threads are the BLAS library's: OMP_NUM_THREADS.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks.memory import peak_mib
from keras_margin import evaluation

FLAGS = flags.FLAGS
flags.DEFINE_string("shape", "3530x1000000", "Probes x gallery of the search.")
flags.DEFINE_integer("size", 512, "Size of the embeddings.")
flags.DEFINE_float("far", 1e-6, "FAR of the search.")
flags.DEFINE_integer("pairs", 15_658_489, "Pairs of the ROC, 19,557 of them genuine where there are as many.")
flags.DEFINE_integer("repeats", 3, "Turns of each contender.")
flags.DEFINE_list("parts", ["search", "memory", "roc"], "What to measure.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")
flags.DEFINE_bool("alone", False, "Internal: measure the memory of the search in this process.")


def embeddings():
    """(probe, probe labels, gallery, gallery labels): 40 probes a person, 4 more of each among many strangers."""
    num_probes, num_gallery = map(int, FLAGS.shape.split("x"))
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((num_probes // 40 + 1, FLAGS.size), np.float32)
    probe_labels = np.arange(num_probes) // 40
    probe = centres[probe_labels] + generator.standard_normal((num_probes, FLAGS.size), np.float32)
    gallery = generator.standard_normal((num_gallery, FLAGS.size), np.float32)
    twins = np.arange(0, num_probes, 10)
    noise = generator.uniform(0.5, 6, (len(twins), 1)).astype(np.float32)
    gallery[twins] = centres[probe_labels[twins]] + noise * gallery[twins]
    gallery_labels = np.arange(1_000_000, 1_000_000 + num_gallery)
    gallery_labels[twins] = probe_labels[twins]
    return probe, probe_labels, gallery, gallery_labels


def bare_product(probe, gallery, columns):
    """Every tile of the product, one after the other into one place."""
    scores = np.empty(len(probe) * columns, np.float32)
    for start in range(0, len(gallery), columns):
        entries = gallery[start : start + columns].T
        np.matmul(probe, entries, out=scores[: len(probe) * entries.shape[1]].reshape(len(probe), -1))


def seconds_in_turns(contenders):
    """Name -> seconds of each turn."""
    seconds = {name: [] for name in contenders}
    for _ in range(FLAGS.repeats):
        for name, function in contenders.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(seconds):
    """Time of the last contender over that of the fastest other: of medians, and of the best turns."""
    found = {}
    for name, typical in (("of medians", statistics.median), ("of bests", min)):
        *others, ours = map(typical, seconds.values())
        found[name] = ours / min(others)
        print(f"  {name}: {min(others):.2f} s bare, {ours:.2f} s ours")
    return found


def search():
    """Figures of the search."""
    probe, probe_labels, gallery, gallery_labels = embeddings()
    results = []
    seconds = seconds_in_turns(
        {
            "product, all probes x 2048": lambda: bare_product(probe, gallery, 2048),
            "product, all probes x 4096": lambda: bare_product(probe, gallery, 4096),
            "exact TAR@FAR": lambda: results.append(
                evaluation.cross_tar_at_far(probe, probe_labels, gallery, gallery_labels, FLAGS.far)
            ),
        }
    )
    print(
        f"search {FLAGS.shape}, {FLAGS.size}-D: TAR {results[0].tar[0]:.4f} at FAR {FLAGS.far:g}, "
        f"{results[0].num_genuine:,} genuine, {results[0].num_impostor:,} impostor scores"
    )
    found = compare(seconds)
    print(f"  {found['of medians']:.3f} x the product ({found['of bests']:.3f} x of best turns)")
    return {"shape": FLAGS.shape, "size": FLAGS.size, "ratio": found, "seconds": seconds}


def memory():
    """Peak of the search above its inputs, in a process of its own: nothing that ran before hides in it."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--alone", f"--shape={FLAGS.shape}"]
    command += [f"--size={FLAGS.size}", f"--far={FLAGS.far}"]
    mib = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    print(f"memory of the search {FLAGS.shape}, {FLAGS.size}-D: {mib:.0f} MiB beyond its inputs")
    return {"shape": FLAGS.shape, "size": FLAGS.size, "mib": mib}


def search_memory():
    """MiB that the search needs beyond its inputs."""
    inputs = embeddings()
    evaluation.cross_tar_at_far(np.eye(4, dtype=np.float32), range(4), np.eye(4, dtype=np.float32), range(4), 1.0)
    probe, probe_labels, gallery, gallery_labels = inputs
    return peak_mib(lambda: evaluation.cross_tar_at_far(probe, probe_labels, gallery, gallery_labels, FLAGS.far))


def roc():
    """Figures of the ROC."""
    from sklearn import metrics

    generator = np.random.default_rng(0)
    is_same = np.zeros(FLAGS.pairs, bool)
    is_same[generator.choice(FLAGS.pairs, min(19_557, FLAGS.pairs // 2), replace=False)] = True
    scores = generator.standard_normal(FLAGS.pairs, np.float32) * np.float32(0.08) + np.float32(0.6) * is_same
    kept = {}
    seconds = seconds_in_turns(
        {
            "scikit-learn": lambda: metrics.roc_curve(is_same, scores),
            "scikit-learn, all points": lambda: kept.update(
                theirs=metrics.roc_curve(is_same, scores, drop_intermediate=False)
            ),
            "ours": lambda: kept.update(ours=evaluation.roc(scores, is_same)),
        }
    )
    for theirs, field in zip(kept["theirs"], ("far", "tar", "thresholds"), strict=True):
        np.testing.assert_array_equal(getattr(kept["ours"], field), theirs)
    print(f"ROC of {FLAGS.pairs:,} pairs, {len(kept['ours'].far):,} points, equal to scikit-learn's")
    found = {name: 1 / ratio for name, ratio in compare(seconds).items()}
    print(f"  {found['of medians']:.1f} x faster than scikit-learn ({found['of bests']:.1f} x of best turns)")
    return {"pairs": FLAGS.pairs, "faster": found, "seconds": seconds}


PARTS = {"search": search, "memory": memory, "roc": roc}


def main(_):
    if FLAGS.alone:
        print(search_memory())
        return
    figures = {part: PARTS[part]() for part in FLAGS.parts}
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"threads": os.environ.get("OMP_NUM_THREADS"), **figures}, file, indent=1)


if __name__ == "__main__":
    app.run(main)

"""Puts photographs of unknown people together by person, by a TFLite or ONNX embedder, no TensorFlow.

keras-margin cluster photographs/ clusters.csv --model=face.tflite --align
keras-margin cluster people/ clusters.csv --model=runs/latest --threshold=0.45 --named

FOLDER: image files of any depth. The .csv has a line an image: its file below FOLDER and its cluster, the largest is 0.
Two faces are neighbors where their cosine reaches the threshold, the one shipped with the file unless another is given.
With --named the folders right below FOLDER are people, and the clusters are scored by them: pairwise and BCubed.
"""

import argparse
import csv
import pathlib

import numpy as np
from rich.console import Console

from keras_margin import evaluation
from keras_margin._utils import files
from keras_margin._utils.progress import bars
from keras_margin.cli import _flags, _photographs, _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("folder", help="folder of photographs")
    parser.add_argument("out", help="the .csv to write")
    parser.add_argument(
        "--model", default="runs/latest", help="the .tflite or .onnx embedder, or a run's folder; default runs/latest"
    )
    parser.add_argument("--threshold", type=float, help="cosine from which two faces are neighbors")
    parser.add_argument("--named", action="store_true", help="the folders are people: score the clusters by them")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which faces are visited")
    _photographs.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Embeds, clusters and writes."""
    if not arguments.out.endswith(".csv"):
        raise ValueError(f"The clusters go to a .csv. Received: {arguments.out}.")
    given = _flags.checked_cosine(arguments.threshold)
    paths = _photographs.images_in(arguments.folder)
    source, left_out = _photographs.Photographs(arguments), _photographs.LeftOut()
    threshold, basis = _words.shown_threshold(given, source.embedder.metadata)
    if threshold is None:
        raise ValueError(f"{_words.why_none(source.embedder.metadata)} Pass --threshold.")
    if threshold <= 0:  # Said before minutes of embedding.
        raise ValueError(
            f"cluster needs a threshold in (0, 1], a cosine. Received: {threshold:g} ({basis}). Pass --threshold."
        )
    kept, rows = [], []
    with bars(Console(stderr=True)):
        for part, embeddings in source.embedded(paths, left_out):
            kept += part
            rows.append(embeddings)
    left_out.check(kept)
    clusters = evaluation.chinese_whispers(np.concatenate(rows), threshold, seed=arguments.seed)
    names = [path.relative_to(arguments.folder).as_posix() for path in map(pathlib.Path, kept)]
    with files.atomic_write(arguments.out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "cluster"), *zip(map(_words.printable, names), clusters, strict=True)])
    sizes = np.bincount(clusters)
    _photographs.say(
        f"{arguments.out}: {len(kept):,} images in {len(sizes):,} clusters, {int((sizes == 1).sum()):,} of one image, "
        f"the largest of {sizes[0]:,}{left_out.counts()}. Threshold {threshold:.6g} ({basis})."
    )
    left_out.say()
    if arguments.named:
        _say_scores(clusters, [name.split("/")[0] for name in names])


def _say_scores(clusters, people):
    for name, score in (
        ("pairwise", evaluation.pairwise_score(clusters, people)),
        ("BCubed", evaluation.bcubed_score(clusters, people)),
    ):
        _photographs.say(f"{name}: F {score.f:.4f}, precision {score.precision:.4f}, recall {score.recall:.4f}")

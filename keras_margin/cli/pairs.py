"""Draws a verification protocol from a set: folds that share nobody, as LFW's, with so many pairs of each kind.

keras-margin pairs held-out held-out.bin --genuine=3000 --impostor=3000 --folds=10 --seed=0
keras-margin pairs held-out held-out/pairs.csv
keras-margin pairs CASIA-WebFace held-out.bin --split=split.json

A .bin holds the images, as insightface's lfw.bin does. A .csv lists the pairs by name: fold, same, first, second.
`keras-margin evaluate` reads the first anywhere, and the second in the folder of its images.
"""

import argparse

from rich.console import Console

from keras_margin._utils import progress
from keras_margin.cli import _splits, _words
from keras_margin.data import pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="what keras_margin.data.open reads; people that were not trained on")
    parser.add_argument("out", help="the file: .bin or .csv")
    parser.add_argument(
        "--genuine", type=int, default=None, help="pairs of one person; default: as many as there are, up to 3,000"
    )
    parser.add_argument(
        "--impostor", type=int, default=None, help="pairs of two persons; default: as many as of one person"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=None,
        help="both numbers are multiples of it; default: 10, fewer where the people are too few",
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the pairs; default 0")
    _splits.add_arguments(parser, _splits.HELD_OUT)


def run(arguments: argparse.Namespace) -> None:
    """Draws, writes and says what was written."""
    write = pairs.writer_for(arguments.out)
    with progress.bars():
        reader = _splits.open_part(arguments, strict=True)
        size = pairs.protocol_size(
            reader.labels, arguments.genuine, arguments.impostor, arguments.folds, arguments.seed
        )
        drawn, is_same = write(arguments.out, reader, *size, arguments.seed)
    people = len(set(reader.labels[drawn.ravel()].tolist()))
    Console().print(
        f"{_words.printable(arguments.out)}: {is_same.sum():,} genuine and {(~is_same).sum():,} impostor pairs of "
        f"{people:,} people in {size.folds} folds.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )

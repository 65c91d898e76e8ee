"""Draws a verification protocol from a set: folds that share nobody, as LFW's, with so many pairs of each kind.

keras-margin pairs held-out held-out.bin --genuine=3000 --impostor=3000 --folds=10 --seed=0
keras-margin pairs held-out held-out/pairs.csv

A .bin holds the images, as insightface's lfw.bin does. A .csv lists the pairs by name: fold, same, first, second.
`keras-margin evaluate` reads the first anywhere, and the second in the folder of its images.
"""

from rich.console import Console

from keras_margin import data, pairs, progress
from keras_margin.cli import _words


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("source", help="what keras_margin.data.open reads; people that were not trained on")
    parser.add_argument("out", help="the file: .bin or .csv")
    parser.add_argument("--genuine", type=int, default=3000, help="pairs of one person; default 3,000")
    parser.add_argument("--impostor", type=int, default=3000, help="pairs of two persons; default 3,000")
    parser.add_argument("--folds", type=int, default=10, help="default 10; both numbers are multiples of it")
    parser.add_argument("--seed", type=int, default=0, help="chooses the pairs; default 0")


def run(arguments):
    """Draws, writes and says what was written."""
    write = pairs.writer_for(arguments.out)
    with progress.bars():
        reader = data.open(arguments.source, strict=True)
        drawn, is_same = write(
            arguments.out, reader, arguments.genuine, arguments.impostor, arguments.folds, arguments.seed
        )
    people = len(set(reader.labels[drawn.ravel()].tolist()))
    Console().print(
        f"{_words.printable(arguments.out)}: {is_same.sum():,} genuine and {(~is_same).sum():,} impostor pairs of "
        f"{people:,} people in {arguments.folds} folds.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )

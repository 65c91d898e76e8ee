"""Writes any set as TFRecord shards in one random order, which every reader of TFRecord reads.

keras-margin prepare CASIA-WebFace casia-shards --shards=64
keras-margin prepare faces_emore emore-shards --seed=1 --strict
keras-margin prepare faces_emore train-shards --split=split.json

Killed, the same command goes on with the first shard that is not whole; casia-shards appears when everything is there.
"""

import argparse

from rich.console import Console

from keras_margin import data
from keras_margin._utils import progress
from keras_margin.cli import _splits, _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="what keras_margin.data.open reads: a folder, a .rec file, orl")
    parser.add_argument("out", help="folder to write; not there yet, or empty")
    parser.add_argument("--shards", type=int, default=16, help="number of files, up to 1,000; default 16")
    parser.add_argument("--seed", type=int, default=0, help="chooses the order; default 0")
    parser.add_argument(
        "--strict", action="store_true", help="refuse images that cannot be read instead of leaving them out"
    )
    _splits.add_arguments(parser, _splits.TRAINING)


def run(arguments: argparse.Namespace) -> None:
    """Prepares and says what was written."""
    with progress.bars():
        source = _splits.open_part(arguments, arguments.strict)
        data.prepare(source, arguments.out, arguments.shards, arguments.seed, arguments.strict)
        reader = data.open(arguments.out)
    Console().print(
        f"{_words.printable(arguments.out)}: {reader.num_images:,} images of {reader.num_classes:,} identities in "
        f"{arguments.shards:,} shards.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )

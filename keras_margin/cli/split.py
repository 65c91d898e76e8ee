"""Chooses people of a set to hold out, and writes who they are: nobody is trained on and tested on.

keras-margin split CASIA-WebFace split.json --held_out=500 --seed=1
keras-margin prepare CASIA-WebFace train-shards --split=split.json
keras-margin pairs CASIA-WebFace held-out.bin --split=split.json

`prepare --split` takes the people that are left to train on, `pairs --split` those that are held out.
"""

import argparse

from rich.console import Console

from keras_margin import data
from keras_margin._utils import progress
from keras_margin.cli import _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="what keras_margin.data.open reads: a folder, a .rec file, shards, orl")
    parser.add_argument("out", help="the JSON file to write")
    parser.add_argument(
        "--held_out", type=int, default=None, help="identities to hold out; default: a tenth, from 2 to 500"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses them; default 0")


def run(arguments: argparse.Namespace) -> None:
    """Draws, writes and says how many people and images each part has."""
    with progress.bars():
        reader = data.open(arguments.source)
    split = data.draw_split(reader, arguments.held_out, arguments.seed, arguments.source)
    train, held_out = split.indices(reader)
    data.write_split(arguments.out, split)
    people = len(split.held_out)
    Console().print(
        f"{_words.printable(arguments.out)}: {people:,} people held out with {len(held_out):,} images, "
        f"{reader.num_classes - people:,} left to train on with {len(train):,}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )

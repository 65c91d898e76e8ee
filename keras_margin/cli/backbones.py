"""The networks by name: parameters, multiply-adds, shapes.

keras-margin backbones
keras-margin backbones ir_resnet50 mobilefacenet --embedding_size=128
keras-margin backbones my_networks:small
"""

import argparse

import keras
from rich.console import Console
from rich.progress import track

from keras_margin.cli import _tables
from keras_margin.models import backbones
from keras_margin.models.backbones import _cost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("names", nargs="*", help="networks, also package.module:name of your own; default: all")
    parser.add_argument("--embedding_size", type=int, default=None, help="numbers an image; default: each one's own")
    parser.add_argument("--json", action="store_true", help="the table as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    columns = ("backbone", "parameters, M", "MiB in float32", "multiply-adds, M", "image", "embedding")
    title = "Multiply-adds of one image are what papers on these networks call FLOPs"
    table, found = _tables.Table(columns, title=title), []
    names = arguments.names or list(backbones.BACKBONES)
    for name in names:
        backbones.get(name)
    for name in track(names, "building", console=Console(stderr=True), transient=True):
        counts = count(name, arguments.embedding_size)
        found.append({"backbone": name, **counts})
        table.add(
            name,
            f"{counts['parameters'] / 1e6:.2f}",
            f"{counts['bytes'] / 2**20:.1f}",
            f"{counts['multiply_adds'] / 1e6:,.0f}",
            " x ".join(map(str, counts["image"])),
            str(counts["embedding_size"]),
        )
    if arguments.json:
        _tables.show_json(found)
    else:
        table.show()


def count(name, embedding_size=None):
    """Counts a network: trainable parameters, bytes in float32, multiply-adds of an image; and its shapes."""
    options = {} if embedding_size is None else {"embedding_size": embedding_size}
    # Shapes are all that is counted: no weight is drawn.
    with keras.StatelessScope(initialize_variables=False):
        model = backbones.build(name, **options)
        trainable, all_numbers = _cost.parameters(model)
        cost = _cost.multiply_adds(model)
    return {
        "parameters": int(trainable),
        "bytes": 4 * int(all_numbers),
        "multiply_adds": int(cost),
        "image": list(model.input_shape[1:]),
        "embedding_size": model.output_shape[1],
    }

"""The networks by name: parameters, multiply-adds, shapes.

keras-margin backbones
keras-margin backbones ir_resnet50 mobilefacenet --embedding_size=128
keras-margin backbones my_networks:small
"""

import keras
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_margin import backbones


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("names", nargs="*", help="networks, also package.module:name of your own; default: all")
    parser.add_argument("--embedding_size", type=int, default=None, help="numbers an image; default: each one's own")


def run(arguments):
    """Prints the table."""
    table = Table(title="Multiply-adds of one image are what papers on these networks call FLOPs")
    for column in ("backbone", "parameters, M", "MiB in float32", "multiply-adds, M", "image", "embedding"):
        table.add_column(column, justify="left" if column == "backbone" else "right")
    names = arguments.names or list(backbones.BACKBONES)
    for name in names:
        backbones.get(name)
    console = Console()
    for name in track(names, "building", console=console, transient=True):
        table.add_row(name, *row(name, arguments.embedding_size))
    console.print(table)


def row(name, embedding_size=None):
    """What the table says of one network, without its name."""
    options = {} if embedding_size is None else {"embedding_size": embedding_size}
    # Shapes are all that is counted: no weight is drawn.
    with keras.StatelessScope(initialize_variables=False):
        model = backbones.build(name, **options)
        trainable, all_numbers = backbones.parameters(model)
        cost = backbones.multiply_adds(model)
    image = " x ".join(map(str, model.input_shape[1:]))
    millions = (f"{trainable / 1e6:.2f}", f"{4 * all_numbers / 2**20:.1f}", f"{cost / 1e6:,.0f}")
    return *millions, image, str(model.output_shape[1])

"""What fits where: memory and arithmetic of a training step's head, per engine and number of devices.

keras-margin plan --classes=10_000_000 --batch=1024 --gpus=8 --memory=80
"""

import math

from rich.console import Console
from rich.table import Table

from keras_margin import engines, heads
from keras_margin.cli import _flags

_GIB = 2**30


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("--classes", type=_flags.count, required=True, help="number of classes; 1_000_000 is read too")
    parser.add_argument("--batch", type=_flags.count, default=512, help="images an update, over all devices")
    parser.add_argument("--gpus", type=_flags.count, default=1, help="devices")
    parser.add_argument("--size", type=_flags.count, default=512, help="embedding size")
    parser.add_argument("--sample_rate", type=float, default=0.1, help="share of the classes a batch meets, if sampled")
    parser.add_argument("--memory", type=float, default=None, help="GiB of a device; default: this machine's")
    parser.add_argument("--slots", type=int, default=1, help="optimiser slots a weight: 1 SGD with momentum, 2 Adam")


def run(arguments):
    """Prints the table."""
    if arguments.batch % arguments.gpus:
        raise ValueError(
            f"--batch must divide by --gpus. Received: --batch={arguments.batch} --gpus={arguments.gpus}. "
            f"Take --batch={arguments.gpus * -(-arguments.batch // arguments.gpus)}."
        )
    available = engines.device_memory() if arguments.memory is None else arguments.memory * _GIB
    table = Table(title=_title(arguments, available))
    for column in ("head", "prototypes", "optimizer", "working", "total", "GFLOP", "fits"):
        table.add_column(column, justify="left" if column == "head" else "right")
    for name, memory, multiplications in rows(arguments):
        sizes = [
            f"{value / _GIB:,.2f}" for value in (memory.prototypes, memory.optimizer, memory.working, memory.total)
        ]
        # Something must be left for the backbone: a head that fills the device to the brim does not fit.
        fits = "yes" if memory.total <= 0.9 * available else "no"
        table.add_row(name, *sizes, f"{2 * multiplications / 1e9:,.0f}", fits)
    console = Console()
    console.print(table)
    console.print(
        "GiB on each device; the backbone comes on top. Measured on TensorFlow's CPU build, a first guess elsewhere."
    )


def rows(arguments):
    """(name, engines.Memory, multiplications of a step on one device) of each way to train the head."""
    share = arguments.batch // arguments.gpus
    products = {"plain": 3, "fused": 3, "streaming": 4}

    def of(name, head, batch, engine):
        memory = head.memory(batch, arguments.size, engine, arguments.slots)
        return name, memory, products[engine] * batch * memory.classes_met * arguments.size

    whole = heads.ArcFaceHead(arguments.classes)
    found = [of(engine, whole, share, engine) for engine in engines.ENGINES]
    if arguments.sample_rate < 1:
        # Memory by arithmetic, on whatever backend: the head itself would refuse to sample on another.
        met = max(math.ceil(arguments.classes * arguments.sample_rate), min(share, arguments.classes))
        working = engines.sampled_bytes("fused", share, met, arguments.size)
        row = 4 * arguments.classes * arguments.size
        memory = engines.Memory("fused", share, met, row, arguments.slots * row, working)
        found.append((f"sampled {arguments.sample_rate:g}", memory, 3 * share * met * arguments.size))
    if arguments.gpus > 1:
        # Each device meets the whole batch with its share of the classes.
        part = heads.ArcFaceHead(max(2, -(-arguments.classes // arguments.gpus)))
        found.append(of(f"sharded over {arguments.gpus}", part, arguments.batch, "fused"))
    return found


def _title(arguments, available):
    devices = "1 device" if arguments.gpus == 1 else f"{arguments.gpus} devices"
    return (
        f"{arguments.classes:,} classes x {arguments.size}, batch {arguments.batch:,} over {devices} "
        f"of {available / _GIB:,.0f} GiB"
    )

"""What fits where: memory and arithmetic of a training step's head, per implementation and number of devices.

keras-margin plan --classes=10_000_000 --batch=1024 --gpus=8 --memory=80
"""

import argparse
import math
import os
import subprocess

from keras_margin.cli import _flags, _tables
from keras_margin.ops import memory as estimates

_GIB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("--classes", type=_flags.count, required=True, help="number of classes; 1_000_000 is read too")
    parser.add_argument("--batch", type=_flags.count, default=512, help="images an update, over all devices")
    parser.add_argument("--gpus", type=_flags.count, default=1, help="devices")
    parser.add_argument("--size", type=_flags.count, default=512, help="embedding size")
    parser.add_argument("--sample_rate", type=float, default=0.1, help="share of the classes a batch meets, if sampled")
    parser.add_argument(
        "--memory", type=float, default=None, help="GiB of a device; default: the first GPU's, or this machine's"
    )
    parser.add_argument("--slots", type=int, default=1, help="optimiser slots a weight: 1 SGD with momentum, 2 Adam")
    parser.add_argument("--json", action="store_true", help="the table as JSON, in bytes")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    if arguments.batch % arguments.gpus:
        raise ValueError(
            f"--batch must divide by --gpus. Received: --batch={arguments.batch} --gpus={arguments.gpus}. "
            f"Take --batch={arguments.gpus * -(-arguments.batch // arguments.gpus)}."
        )
    available = _device_memory() if arguments.memory is None else arguments.memory * _GIB
    about = (
        "GiB on each device; the backbone comes on top. Measured on TensorFlow's CPU build, a first guess elsewhere."
    )
    columns = ["head", "prototypes", "optimizer", "working", "total", "GFLOP", "fits"]
    table = _tables.Table(columns, title=_title(arguments, available), caption=about)
    found = []
    for name, memory, multiplications in rows(arguments):
        sizes = {part: getattr(memory, part) for part in ("prototypes", "optimizer", "working", "total")}
        # Something must be left for the backbone: a head that fills the device to the brim does not fit.
        fits = memory.total <= 0.9 * available
        found.append({"head": name, **sizes, "flop": 2 * multiplications, "fits": fits})
        table.add(
            name,
            *(f"{size / _GIB:,.2f}" for size in sizes.values()),
            f"{2 * multiplications / 1e9:,.0f}",
            "yes" if fits else "no",
        )
    if arguments.json:
        _tables.show_json({"available": available, "heads": found})
    else:
        table.show()


def _device_memory():
    """Bytes of the first GPU that NVIDIA's driver names, else of the machine.

    `ops.memory.device_memory` asks the backend, which takes seconds to load.
    """
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return int(answer.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def rows(arguments):
    """(name, ops.Memory, multiplications of a step on one device) of each way to train the head."""
    share = arguments.batch // arguments.gpus
    products = {"reference": 3, "fused": 3, "streaming": 4}

    def of(name, classes, batch, implementation, used=None):
        peak = estimates.peak_bytes if used is None else estimates.sampled_bytes
        working = peak(implementation, batch, used or classes, arguments.size)
        row = 4 * classes * arguments.size
        needs = estimates.Memory(implementation, batch, used or classes, row, arguments.slots * row, working)
        return name, needs, products[implementation] * batch * needs.classes_used * arguments.size

    found = [of(name, arguments.classes, share, name) for name in products]
    if arguments.sample_rate < 1:
        used = max(math.ceil(arguments.classes * arguments.sample_rate), min(share, arguments.classes))
        found.append(of(f"sampled {arguments.sample_rate:g}", arguments.classes, share, "fused", used))
    if arguments.gpus > 1:
        # Each device computes the whole batch with its share of the classes.
        part = max(2, -(-arguments.classes // arguments.gpus))
        found.append(of(f"sharded over {arguments.gpus}", part, arguments.batch, "fused"))
    return found


def _title(arguments, available):
    devices = "1 device" if arguments.gpus == 1 else f"{arguments.gpus} devices"
    return (
        f"{arguments.classes:,} classes x {arguments.size}, batch {arguments.batch:,} over {devices} "
        f"of {available / _GIB:,.0f} GiB"
    )

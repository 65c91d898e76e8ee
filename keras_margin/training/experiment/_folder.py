"""A run's folder: `NAME.partial` while it is being made, which a kill leaves to go on from; `NAME` when it is whole."""

import contextlib
import json
import pathlib
import platform
import shlex
import shutil
import sys
import zlib

import keras
import numpy as np
import tensorflow as tf

from keras_margin import __version__
from keras_margin._utils import files
from keras_margin.recipes import _settings
from keras_margin.recipes.base import flat

# A run writes a few copies of the weights; less free space than this is refused before the training, not after.
FREE_BYTES = 256 * 2**20
CHECKPOINTS = "checkpoints"


def check_out(out):
    """Raises unless a run may be written at `out`."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder. Received: {out}, a file.")
    if out.is_dir() and any(out.iterdir()) and not (out / "report.json").exists():
        raise ValueError(
            f"{out} holds something that is not an earlier run: nothing was touched. Choose another --out."
        )
    partial = partial_of(out)
    if partial.exists() and not (partial / "recipe.json").exists():
        raise ValueError(
            f"{partial} is in the way, and is not an unfinished run: nothing was touched. Choose another --out."
        )
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < FREE_BYTES:
        raise OSError(f"{parent} has {free / 2**20:.0f} MiB free; a run needs {FREE_BYTES / 2**20:.0f} MiB.")


def partial_of(out):
    """Where the run is until it is whole."""
    return out.with_name(f"{out.name}.partial")


@contextlib.contextmanager
def atomic_directory(out, recipe, seed, restart=False):
    """Context that yields the unfinished run's folder, new or an earlier process's, and renames it at the end.

    If the block raises, an older run at `out` is as it was; what can be gone on from stays, all else is removed.

    Raises:
        ValueError: Where an unfinished run is there, of another recipe or seed.
        OSError: Where the place cannot be written.
    """
    partial = partial_of(out)
    if restart and partial.exists():
        shutil.rmtree(partial)
    made = [folder for folder in partial.absolute().parents if not folder.exists()]
    try:
        if partial.exists():
            _check_same(partial, recipe, seed)
        else:
            try:
                partial.mkdir(parents=True)
            except OSError as error:
                raise type(error)(f"{out} cannot be written: {error.strerror or error}.") from error
            _write_recipe(partial / "recipe.json", recipe, seed)
        yield partial
        shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
        aside = out.with_name(f".{out.name}.replaced")
        shutil.rmtree(aside, ignore_errors=True)
        files.replace_path(partial, out, aside)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        if partial.exists() and not can_go_on(out) and (partial / "recipe.json").exists():
            shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def can_go_on(out):
    """Whether the same command would go on from a checkpoint."""
    return any((partial_of(out) / CHECKPOINTS).glob("*/step-*.npz"))


@contextlib.contextmanager
def interrupts_told(out):
    """Context whose KeyboardInterrupt says whether the same command goes on from a checkpoint, of it or of before."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_interrupted(out)) from error


def _interrupted(out):
    if can_go_on(out):
        return f"interrupted; the same command goes on from the checkpoint in {partial_of(out)}."
    return "interrupted; nothing was written."


def _check_same(partial, recipe, seed):
    known = json.loads((partial / "recipe.json").read_text())
    before = flat(known["recipe"])
    for name, was, now in (
        *((name, before.get(name), value) for name, value in flat(_settings.to_json(recipe)).items()),
        ("seed", known["seed"], seed),
    ):
        if was != now:
            raise ValueError(
                f"{partial} is an unfinished run of something else: {name} was {was!r} there and is {now!r} here. "
                "Choose another --out, or pass --restart to throw it away."
            )


def _write_recipe(path, recipe, seed):
    content = {"recipe": _settings.to_json(recipe), "seed": seed, "command": command(), "versions": versions()}
    with files.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def command():
    """The command line of this process, ready to be pasted."""
    return shlex.join([pathlib.Path(sys.executable).name, *sys.argv])


def versions():
    """What the run stood on; the package also by a checksum of its sources, which says more than its number."""
    root = pathlib.Path(__file__).resolve().parents[1]
    checksum = 0
    for path in sorted(root.rglob("*.py")):
        checksum = zlib.crc32(path.read_bytes(), checksum)
    return {
        "keras_margin": __version__,
        "keras_margin_sources_crc32": f"{checksum:08x}",
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [device.name for device in tf.config.list_physical_devices() if device.device_type != "CPU"]
        or ["CPU"],
    }

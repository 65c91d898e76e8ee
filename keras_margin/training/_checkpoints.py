"""Checkpoints that survive a kill at any moment: each file is whole or not there, the newest few are kept."""

import json
import logging
import os
import pathlib
import re
import time
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_margin._typing import PathLike

_LOG = logging.getLogger("keras_margin.training")
_NAME = re.compile(r"step-(\d{9})\.npz")
_STATE = "state"


class Checkpoints:
    """A folder of checkpoints, `step-000001000.npz` and `best.npz`.

    A file is written under another name, brought to the disk, and renamed; an older one is removed only then. Where it
    cannot be written, as on a full disk, that is logged, the others stay, and training goes on. Each is a zip of arrays
    with a CRC-32 of every one: a damaged file is logged and passed over for the one before. Nothing in it is run.

    Args:
        folder: Where they are; made with the first.
        minutes: Time between two, of the clock.
        every: Updates between two, instead of `minutes`; or None.
        keep: How many of the newest are kept, >= 1; the best is kept as well. With 2 a damaged newest one costs no run.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> import pathlib
        >>> checkpoints = Checkpoints(pathlib.Path("checkpoints"), every=10)
        >>> path = checkpoints.save(10, {"weight": np.ones(3)}, {"seed": 0})
        >>> arrays, state = checkpoints.newest()
        >>> arrays["weight"].tolist(), state["seed"]
        ([1.0, 1.0, 1.0], 0)
    """

    def __init__(self, folder: PathLike, *, minutes: float = 5.0, every: int | None = None, keep: int = 2) -> None:
        if keep < 1 or minutes < 0 or (every is not None and every < 1):
            raise ValueError(
                "Checkpoints need keep >= 1, minutes >= 0 and every >= 1 or None. "
                f"Received: keep={keep}, minutes={minutes}, every={every}."
            )
        self.folder = pathlib.Path(folder)
        self.minutes, self.every, self.keep = minutes, every, keep
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether one is to be written after `step` updates."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._last >= 60 * self.minutes

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], best: bool = False
    ) -> pathlib.Path | None:
        """Writes one.

        Args:
            step: Updates made.
            arrays: Dict from names to arrays.
            state: What JSON can hold.
            best: Whether it is the best so far, which is kept whatever comes.

        Returns:
            Its path; None where it could not be written.
        """
        self._last = time.monotonic()
        path = self.folder / ("best.npz" if best else f"step-{step:09d}.npz")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with open(temporary, "wb") as file:
                text = json.dumps({"step": step, **state}).encode()
                np.savez(file, **{_STATE: np.frombuffer(text, np.uint8)}, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync(self.folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            _LOG.warning("No checkpoint at step %d: %s. The ones before are kept; training goes on.", step, error)
            return None
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def _sweep(self) -> None:
        """Removes what killed processes left half-written."""
        for left in self.folder.glob(".*.npz.*.tmp"):
            left.unlink(missing_ok=True)

    def paths(self) -> list[pathlib.Path]:
        """The numbered checkpoints, newest first."""
        found = [path for path in self.folder.glob("step-*.npz") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """(arrays, state) of the newest that is whole; None where there is none. Damaged ones are logged."""
        for path in self.paths():
            try:
                return read(path)
            except CorruptCheckpointError as error:
                _LOG.warning("%s. Going on from the one before.", error)
        return None

    def best(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """(arrays, state) of the best, or None."""
        path = self.folder / "best.npz"
        try:
            return read(path) if path.exists() else None
        except CorruptCheckpointError as error:
            _LOG.warning("%s.", error)
            return None


class CorruptCheckpointError(ValueError):
    """A checkpoint that is not what was written."""


def read(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, state) of one checkpoint.

    Raises:
        CorruptCheckpointError: If it is not whole.
    """
    try:
        # Opened here: of what is not a zip, NumPy leaves the file open.
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop(_STATE).tobytes())
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, MemoryError) as error:
        raise CorruptCheckpointError(f"The checkpoint {path} is damaged ({error})") from error
    except Exception as error:  # A header of a wrong kind has many ways to fail; each is the same news.
        raise CorruptCheckpointError(f"The checkpoint {path} is damaged ({type(error).__name__}: {error})") from error


def _sync(folder):
    """Brings a folder's names to the disk, where a system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)

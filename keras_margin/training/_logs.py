"""A run's numbers on the disk: a CSV file and TensorBoard's event files, true again after a kill."""

import csv
import logging
import math
import os
import pathlib
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_margin._typing import PathLike
from keras_margin.training._callback import RunCallback

_LOG = logging.getLogger("keras_margin.training")


class Logs(RunCallback):
    """Writes `log.csv` and TensorBoard events into a folder, a row every few updates.

    Columns: step, loss and accuracy (means since the row before), learning_rate, lambda, images_per_second, seconds.
    After a kill the rows behind the checkpoint are cut off, so that each step is there once; TensorBoard is told the
    same. A disk that is full costs rows, not the run.

    Args:
        folder: Made with the first row.
        every: Updates between two rows, >= 1.
        batch_size: Images an update.

    Raises:
        ValueError: When training begins under Model.fit.

    Example:
        >>> import pathlib
        >>> logs = Logs(pathlib.Path("run"), every=10, batch_size=64)  # For `callbacks=` of `fit`.
        >>> isinstance(logs, keras.callbacks.Callback)
        True
    """

    ELSEWHERE = "Pass keras.callbacks.CSVLogger or keras.callbacks.TensorBoard there."
    COLUMNS = ("step", "loss", "accuracy", "learning_rate", "lambda", "images_per_second", "seconds")

    def __init__(self, folder: PathLike, every: int, batch_size: int) -> None:
        super().__init__()
        self.folder, self.every, self.batch_size = pathlib.Path(folder), max(1, every), batch_size
        self.before = [0, 0.0, 0.0]
        self.seconds = 0.0
        self.step = 0
        self._events = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"before": self.before, "seconds": self.seconds + self._since(), "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint; what is on the disk of later updates is removed."""
        self.before, self.seconds, self.step = state["before"], state["seconds"], state["step"]
        _quietly(lambda: _cut(self.folder / "log.csv", self.step))

    def _since(self):
        return time.monotonic() - getattr(self, "start", time.monotonic())

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        _ = self.run  # Refuses Model.fit before the first update.
        self.start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes a row where one is due."""
        step = self.run.step
        if step % self.every:
            return
        count, loss, accuracy = logs.totals()
        rows = count - self.before[0]
        seconds = self.seconds + self._since()
        row = {
            "step": step,
            "loss": (loss - self.before[1]) / rows,
            "accuracy": (accuracy - self.before[2]) / rows,
            "learning_rate": logs["learning_rate"],
            "lambda": logs.get("lambda", ""),
            "images_per_second": round(rows * self.batch_size / max(1e-9, self._since() - self._row_at()), 1),
            "seconds": round(seconds, 3),
        }
        self.before, self.step, self._last = [count, loss, accuracy], step, self._since()
        _quietly(lambda: self._write(row))

    def _row_at(self):
        return getattr(self, "_last", 0.0)

    def _write(self, row):
        append(self.folder / "log.csv", self.COLUMNS, row)
        if self._events is None:
            self._events = Events(self.folder / "tensorboard", row["step"])
        self._events.scalars(row["step"], {name: row[name] for name in row if name not in ("step", "seconds")})

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the files."""
        if self._events is not None:
            _quietly(self._events.close)
        self._events = None

    def on_failure(self, error: BaseException) -> None:
        """Closes the files."""
        self.on_train_end()


def append(path: pathlib.Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Adds a row to a CSV file, and the names of its columns where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or not path.stat().st_size
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def rows(path: pathlib.Path) -> list[dict[str, float]]:
    """Reads the rows of such a file as dicts of numbers; a last one that was not written whole is left out.

    Example:
        >>> import pathlib
        >>> log = pathlib.Path("log.csv")
        >>> _ = log.write_text(chr(10).join(["step,loss", "10,9.5", ""]))
        >>> rows(log)[0]["loss"]
        9.5
    """
    if not path.exists():
        return []
    with open(path, newline="") as file:
        found = list(csv.DictReader(file))
    whole = [row for row in found if None not in row.values() and None not in row]
    return [{name: _number(text) for name, text in row.items()} for row in whole]


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text


def _cut(path, step):
    """Leaves the rows up to a step, in a file that is there whole at every moment."""
    kept = [row for row in rows(path) if row["step"] <= step]
    if not path.exists():
        return
    with open(path, newline="") as file:
        columns = csv.DictReader(file).fieldnames
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    for row in kept:
        whole = {name: int(value) if name == "step" else value for name, value in row.items()}
        append(temporary, columns, whole)
    if temporary.exists():
        os.replace(temporary, path)
    else:
        path.unlink()


class Events:
    """TensorBoard's event file, without TensorBoard: a TFRecord of tf.compat.v1.Event.

    Args:
        folder: The file's folder.
        start: First step; TensorBoard then forgets what an earlier file says of later ones.

    Example:
        >>> import pathlib
        >>> events = Events(pathlib.Path("logs"), start=0)
        >>> events.scalars(1, {"loss": 9.2})
        >>> events.close()
        >>> len(list(pathlib.Path("logs").iterdir()))
        1
    """

    def __init__(self, folder: pathlib.Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._writer = tf.io.TFRecordWriter(str(folder / name))
        self._put(file_version="brain.Event:2")
        self._put(step=start, session_log=tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START))

    def _put(self, **fields):
        self._writer.write(tf.compat.v1.Event(wall_time=time.time(), **fields).SerializeToString())

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Notes numbers by name; what is none is left out."""
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        summary = tf.compat.v1.Summary(
            value=[
                tf.compat.v1.Summary.Value(tag=name, simple_value=value)
                for name, value in numbers.items()
                if math.isfinite(value)
            ]
        )
        self._put(step=step, summary=summary)
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def _quietly(write):
    """Writes; what the disk objects is logged."""
    try:
        write()
    except (OSError, tf.errors.OpError) as error:
        _LOG.warning("A row of the log could not be written: %s.", error)

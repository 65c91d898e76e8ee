"""Numbers on the disk while training: CSV files and TensorBoard's event files, true again after a kill."""

import csv
import importlib.util
import logging
import math
import os
import socket
import sys
import time

_LOG = logging.getLogger("keras_margin.training")


def has_tensorflow():
    """Tells whether TensorFlow is installed, which writes TensorBoard's files."""
    return importlib.util.find_spec("tensorflow") is not None


def append(path, columns, row):
    """Adds a row to a CSV file, and the names of its columns where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or not path.stat().st_size
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def rows(path):
    """The rows of such a file as dicts of numbers; a last one that was not written whole is left out."""
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


def cut(path, step):
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
    """

    def __init__(self, folder, start):
        import tensorflow as tf

        self._tf = tf
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._writer = self._tf.io.TFRecordWriter(str(folder / name))
        self._put(file_version="brain.Event:2")
        self._put(step=start, session_log=self._tf.compat.v1.SessionLog(status=self._tf.compat.v1.SessionLog.START))

    def _put(self, **fields):
        self._writer.write(self._tf.compat.v1.Event(wall_time=time.time(), **fields).SerializeToString())

    def scalars(self, step, values):
        """Notes numbers by name; what is none is left out."""
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        summary = self._tf.compat.v1.Summary(
            value=[
                self._tf.compat.v1.Summary.Value(tag=name, simple_value=value)
                for name, value in numbers.items()
                if math.isfinite(value)
            ]
        )
        self._put(step=step, summary=summary)
        self._writer.flush()

    def close(self):
        """Ends the file."""
        self._writer.close()


def quietly(write):
    """Writes; what the disk objects is logged."""
    try:
        write()
    except Exception as error:
        if not isinstance(error, (OSError, _tensorflows_error())):
            raise
        _LOG.warning("A row of the log could not be written: %s.", error)


def _tensorflows_error():
    """TensorFlow's class of errors, where it has been imported; else OSError."""
    return sys.modules["tensorflow"].errors.OpError if "tensorflow" in sys.modules else OSError

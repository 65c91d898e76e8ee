"""A run's numbers on the disk: a CSV file and TensorBoard's event files, true again after a kill."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from keras_margin._typing import PathLike
from keras_margin.callbacks import _records
from keras_margin.callbacks.base import RunCallback


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
        _records.quietly(lambda: _records.cut(self.folder / "log.csv", self.step))

    def _since(self):
        return time.monotonic() - getattr(self, "start", time.monotonic())

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        self.needed_run()  # Refuses Model.fit before the first update.
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
        _records.quietly(lambda: self._write(row))

    def _row_at(self):
        return getattr(self, "_last", 0.0)

    def _write(self, row):
        _records.append(self.folder / "log.csv", self.COLUMNS, row)
        if self._events is None:
            self._events = _records.Events(self.folder / "tensorboard", row["step"])
        self._events.scalars(row["step"], {name: row[name] for name in row if name not in ("step", "seconds")})

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the files."""
        if self._events is not None:
            _records.quietly(self._events.close)
        self._events = None

    def on_failure(self, error: BaseException) -> None:
        """Closes the files."""
        self.on_train_end()

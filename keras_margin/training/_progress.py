"""ProgressBar: one line for the whole run."""

import datetime
import time
from typing import Any

from keras_margin.callbacks.base import RunCallback


class ProgressBar(RunCallback):
    """One line for the whole run: updates done, loss, accuracy, images a second, learning rate, lambda, time left.

    As a context it also ends the line where the training raises: `with ProgressBar(...) as bar: fit(callbacks=[bar])`.
    Where the console is no terminal, such as a log file, a line is written every `LINE_SECONDS` and at the end instead.

    Args:
        total: Optimiser updates of the run.
        batch_size: Images an update.
        description: What is being trained.
        console: rich Console to draw on; None for standard output.

    Raises:
        ValueError: When training begins under Model.fit.

    Example:
        >>> bar = ProgressBar(total=100, batch_size=64)  # For `callbacks=` of `fit`.
        >>> isinstance(bar, keras.callbacks.Callback)
        True
    """

    ELSEWHERE = "Model.fit has a progress bar of its own: pass verbose=1."

    # Looking at the numbers makes the host wait for the device: not at every update.
    SECONDS = 0.25
    LINE_SECONDS = 30.0

    def __init__(self, total: int, batch_size: int, description: str = "training", console: Any = None) -> None:
        super().__init__()
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
            progress.TimeRemainingColumn(compact=True),
        )
        self.total, self.batch_size = total, batch_size
        self.done = self.first = 0
        self._bar = progress.Progress(*columns, console=console, refresh_per_second=4)
        self._bar.disable = not self._bar.console.is_terminal
        self._task = self._bar.add_task(description, total=total, numbers="")
        self._shown = False
        self._drawn = float("-inf")
        self._described = description.strip()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the line."""
        self.needed_run()  # Refuses Model.fit before the first update.
        self.start = self._written = time.monotonic()
        self._bar.start()
        self._shown = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the line on."""
        if not self.done:
            self.first = self.run.step - 1
        self.done = self.run.step
        now = time.monotonic()
        if now - self._drawn < self.SECONDS and self.done < self.total:
            return
        self._drawn = now
        speed = (self.done - self.first) * self.batch_size / max(1e-9, now - self.start)
        numbers = f"{_words(logs or {})}  {speed:.0f} images/s"
        self._bar.update(self._task, completed=self.done, numbers=numbers)
        if self._bar.disable and (now - self._written >= self.LINE_SECONDS or self.done >= self.total):
            self._written = now
            left = self._bar.tasks[0].time_remaining
            left = f"  {datetime.timedelta(seconds=round(left))} left" if left else ""
            line = f"{self._described}  {self.done}/{self.total}  {numbers}{left}"
            self.say(line)

    def say(self, text: str) -> None:
        """Writes a line above the bar."""
        self._bar.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the line standing."""
        if self._shown:
            self._bar.stop()
        self._shown = False

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.on_train_end()


def _words(logs):
    numbers = [f"loss {logs.get('loss', 0.0):.3f}", f"accuracy {logs.get('accuracy', 0.0):.3f}"]
    if "learning_rate" in logs:
        numbers.append(f"lr {logs['learning_rate']:.2g}")
    if "lambda" in logs:
        numbers.append(f"lambda {logs['lambda']:.3g}")
    return "  ".join(numbers)

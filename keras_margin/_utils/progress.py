"""Progress of long work: lines of the log, or bars and lines where somebody asked for them with `bars()`."""

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

_PATIENCE = 2.0  # Seconds before a bar appears: what is over sooner needs none.
LINE_SECONDS = 5.0  # Seconds between two lines of a count, where there is no terminal.
SILENT_SECONDS = 10.0  # Seconds without a line after which a stage writes that it is still running.

_logger = logging.getLogger("keras_margin.progress")
_bars = None


class Progress:
    """Counts long work, item by item.

    Inside `bars()` on a terminal it is a bar with the time that is left; inside `bars()` elsewhere, such as in a log
    file, a line every five seconds; without `bars()`, a line of the log at level INFO every five seconds.

    Args:
        did: The work, a past participle such as "Checked".
        what: Its objects, in the plural.
        total: Their number.

    Example:
        >>> progress = Progress("Checked", "images", 1000)
        >>> progress.at(512)  # 512 of 1,000 are done
        >>> progress.add(88)  # 88 more
    """

    def __init__(self, did: str, what: str, total: int) -> None:
        self.words = did, what
        self.total, self.count = total, 0
        self.started = self._reported = time.monotonic()

    def at(self, count: int) -> None:
        """Notes that `count` are done; the total ends it."""
        self.count = count
        if _bars is not None and _bars.console.is_terminal:
            _bars.show(self, count)
        elif time.monotonic() - self._reported > LINE_SECONDS:
            self._reported = time.monotonic()
            if _bars is None:
                _logger.info(self._line())
            else:
                _bars.line(self._line())

    def add(self, count: int) -> None:
        """Notes that `count` more are done."""
        self.at(self.count + count)

    def _line(self) -> str:
        did, what = self.words
        seconds = (time.monotonic() - self.started) * (self.total - self.count) / max(1, self.count)
        left = f", {_time(seconds)} left" if 0 < self.count < self.total else ""
        return f"{did} {self.count:,} of {self.total:,} {what}{left}."


@contextlib.contextmanager
def stage(words: str) -> Iterator[None]:
    """Context of one part of long work, for work that cannot be counted.

    Inside `bars()` on a terminal it is a line with a moving bar and the time so far, replaced at the end by a line with
    the time taken, if that is over two seconds. Inside `bars()` elsewhere it is one line at the start, and another
    whenever nothing was written for ten seconds. Without `bars()` it is one line of the log at level INFO.

    Args:
        words: The work, such as "Measuring lfw".

    Example:
        >>> with bars(), stage("Exporting face.tflite"):
        ...     report = keras_margin.export.to_tflite(model, "face.tflite")
    """
    if _bars is None:
        _logger.info("%s ...", words)
        yield
    else:
        with _bars.stage(words):
            yield


@contextlib.contextmanager
def bars(console: Any = None) -> Iterator[None]:
    """Context in which `Progress` and `stage` write to a console.

    Args:
        console: rich Console; None is one on standard error.

    Example:
        >>> with bars():
        ...     reader = keras_margin.data.open("faces")
    """
    global _bars
    before, _bars = _bars, _Bars(console)
    try:
        yield
    finally:
        _bars.stop()
        _bars = before


class _Bars:
    def __init__(self, console: Any) -> None:
        if console is None:
            import rich.console

            console = rich.console.Console(stderr=True)
        self.console = console
        self._display: Any = None
        self._tasks: dict[Any, Any] = {}
        self._written = time.monotonic()

    def line(self, text: str) -> None:
        """Writes a line."""
        self._written = time.monotonic()
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def show(self, progress: Progress, count: int) -> None:
        """Moves the bar of a Progress; adds it where the work takes long."""
        if progress not in self._tasks:
            if count >= progress.total or time.monotonic() - progress.started < _PATIENCE:
                return
            self._add(progress, " ".join(progress.words), progress.total)
        self._display.update(self._tasks[progress], completed=count, at=f"{count:,}/{progress.total:,}")
        if count >= progress.total:
            self._end(progress)

    @contextlib.contextmanager
    def stage(self, words: str) -> Iterator[None]:
        """`stage` on this console."""
        started = time.monotonic()
        if self.console.is_terminal:
            key = object()
            self._add(key, words, None)
            try:
                yield
            finally:
                self._display.update(self._tasks[key], visible=False)
                self._end(key)
                if time.monotonic() - started >= _PATIENCE:
                    self.line(f"{words}: {_time(time.monotonic() - started)}.")
            return
        self.line(f"{words} ...")
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(words, started, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()

    def _beat(self, words, started, ended):
        while not ended.wait(min(1.0, SILENT_SECONDS / 4)):
            if time.monotonic() - self._written >= SILENT_SECONDS:
                self.line(f"{words}: {_time(time.monotonic() - started)} so far.")

    def _add(self, key, words, total):
        self._tasks[key] = self._started().add_task(words, total=total, at="")

    def _end(self, key):
        del self._tasks[key]
        if not self._tasks:  # So that others can write.
            self.stop()

    def _started(self):
        if self._display is None:
            from rich import progress

            columns = (
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[at]}"),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(compact=True),
            )
            self._display = progress.Progress(*columns, console=self.console, refresh_per_second=4)
            self._display.start()
        return self._display

    def stop(self) -> None:
        """Takes the bars off the console."""
        if self._display is not None:
            self._display.stop()
        self._display = None
        self._tasks = {}


def _time(seconds: float) -> str:
    """Returns seconds for people: "12 s", or "0:03:20" from two minutes on."""
    return f"{seconds:.0f} s" if seconds < 120 else str(datetime.timedelta(seconds=round(seconds)))

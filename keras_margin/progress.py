"""How far something long has come: a line of the log every ten seconds, or bars where somebody asked for them."""

import contextlib
import logging
import time

_PATIENCE = 2.0  # Seconds before a bar appears: what is over sooner needs none.

_logger = logging.getLogger("keras_margin.progress")
_bars = None


class Progress:
    """Of one long look at a set: shown as a bar inside `bars()`, and otherwise logged every ten seconds.

    Args:
        did: What is done, such as "Checked".
        what: To what, in the plural.
        total: How many there are.

    Example:
        >>> progress = Progress("Checked", "images", 1000)
        >>> progress.at(512)
    """

    def __init__(self, did, what, total):
        self.words = did, what
        self.total = total
        self.started = self._reported = time.monotonic()

    def at(self, count):
        """Notes that `count` are done; the total ends it."""
        if _bars is not None and _bars.console.is_terminal:
            _bars.show(self, count)
        elif time.monotonic() - self._reported > 10:
            self._reported = time.monotonic()
            did, what = self.words
            line = f"{did} {count:,} of {self.total:,} {what}."
            if _bars is None:
                _logger.info(line)
            else:
                _bars.console.print(line, soft_wrap=True, markup=False, highlight=False)


@contextlib.contextmanager
def bars(console=None):
    """Context in which what takes over two seconds shows a bar with the time that is left.

    Where the console is no terminal, such as a log file, a line is written every ten seconds instead.

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
    def __init__(self, console):
        if console is None:
            import rich.console

            console = rich.console.Console(stderr=True)
        self.console = console
        self._display = None
        self._tasks = {}

    def show(self, progress, count):
        if progress not in self._tasks:
            if count >= progress.total or time.monotonic() - progress.started < _PATIENCE:
                return
            did, what = progress.words
            self._tasks[progress] = self._started().add_task(f"{did} {what}", total=progress.total)
        self._display.update(self._tasks[progress], completed=count)
        if count >= progress.total:
            del self._tasks[progress]
            if not self._tasks:  # So that others can write.
                self.stop()

    def _started(self):
        if self._display is None:
            from rich import progress

            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            self._display = progress.Progress(*columns, console=self.console, refresh_per_second=4)
            self._display.start()
        return self._display

    def stop(self):
        if self._display is not None:
            self._display.stop()
        self._display = None
        self._tasks = {}

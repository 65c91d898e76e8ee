"""Ending a run between two updates, where a checkpoint is true."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_asked = threading.Event()
_updating = threading.Event()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Returns a context in which SIGINT and SIGTERM let `fit` finish its update and save a checkpoint.

    KeyboardInterrupt follows.

    A second one, and one that comes while nothing trains, raises at once. In the main thread alone, which is the one
    that gets signals.

    Example:
        >>> with interruptible():  # `fit`, with checkpoints.
        ...     step = 1
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number, frame):
        if _asked.is_set() or not _updating.is_set():
            raise KeyboardInterrupt
        _asked.set()

    _asked.clear()
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


@contextlib.contextmanager
def updates() -> Iterator[None]:
    """Context of a loop that looks at `asked` behind every update."""
    _updating.set()
    try:
        yield
    finally:
        _updating.clear()


def asked() -> bool:
    """Whether someone asked the run to end."""
    return _asked.is_set()

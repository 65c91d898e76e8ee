"""Ending a run between two updates, where a checkpoint is true."""

import contextlib
import signal
import threading

_asked = threading.Event()


@contextlib.contextmanager
def interruptible():
    """Context in which SIGINT and SIGTERM let `fit` finish its update, save a checkpoint, and raise KeyboardInterrupt.

    A second one raises at once. In the main thread alone, which is the one that gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number, frame):
        if _asked.is_set():
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


def asked():
    """Whether someone asked the run to end."""
    return _asked.is_set()

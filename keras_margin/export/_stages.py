"""What an export is doing: a line of the log a stage, and one every ten seconds of a stage that takes long."""

import contextlib
import logging
import threading
import time

logger = logging.getLogger("keras_margin.export")

_SECONDS = 10.0


@contextlib.contextmanager
def stage(what):
    """Context that logs `what` at once, and how long it has taken every ten seconds; nothing below level INFO.

    The converters are one call each, so a thread reports while they run.

    Args:
        what: Such as "Converting face.tflite", without a full stop.

    Example:
        >>> with stage("Converting face.tflite"):
        ...     content = converter.convert()
    """
    logger.info("%s.", what)
    if not logger.isEnabledFor(logging.INFO):
        yield
        return
    ended, started = threading.Event(), time.monotonic()

    def report():
        while not ended.wait(_SECONDS):
            logger.info("%s: %.0f s so far.", what, time.monotonic() - started)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

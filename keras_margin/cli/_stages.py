"""Stages and progress of the exports as lines on standard error, so that minutes of work are never silent."""

import contextlib
import io
import logging
import os
import sys

from rich.console import Console

from keras_margin._utils import progress

_LOGGERS = ("keras_margin.export", "keras_margin.models.convert")


@contextlib.contextmanager
def reported():
    """Context in which the library's stages, warnings and progress are shown on standard error.

    It writes to a copy of standard error's file: while a converter runs, the library sends its native output nowhere.

    Yields:
        The rich Console.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8"))
        except (AttributeError, OSError, io.UnsupportedOperation):  # Not a file, such as in a notebook.
            file = sys.stderr
        console = Console(file=file)
        handler = _Handler(console)
        for logger in map(logging.getLogger, _LOGGERS):
            stack.callback(logger.setLevel, logger.level)
            stack.callback(logger.removeHandler, handler)
            stack.callback(setattr, logger, "propagate", logger.propagate)
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            # TensorFlow's converter gives the root logger a handler, which would write each line again.
            logger.propagate = False
        stack.enter_context(progress.bars(console))
        yield console


class _Handler(logging.Handler):
    """Prints records between the bars; warnings by their level's name."""

    def __init__(self, console):
        super().__init__()
        self._console = console

    def emit(self, record):
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        self._console.print(f"{level}{record.getMessage()}", soft_wrap=True, markup=False, highlight=False)

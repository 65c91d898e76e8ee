"""What went wrong inside a TensorFlow graph, in the sentence that it stands for."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """Returns a context that turns what our own checks say from inside a TensorFlow graph into plain errors.

    A graph raises tf.errors.InvalidArgumentError, and buries the sentence in its own call stack.

    Example:
        >>> with friendly_errors():  # `fit`, or a loop of your own.
        ...     loss = 9.2
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = _own_words(str(error))
        if said is None:
            raise
        raise ValueError(said) from error


@contextlib.contextmanager
def lost_workers(multiworker: bool) -> Iterator[None]:
    """Context that turns what collectives say when another worker is gone into a ConnectionError that says it plainly.

    Args:
        multiworker: Whether there are other workers; otherwise nothing is changed.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if not multiworker:
            raise
        raise ConnectionError(
            f"Another worker is gone ({friendly_message(error)}). Start the same command again on every machine: it "
            "goes on from the first worker's last checkpoint."
        ) from error


def friendly_message(error: BaseException) -> str:
    """Returns one line that says what went wrong, whichever library raised it.

    Example:
        >>> friendly_message(ValueError("steps needs an integer >= 1. Received: steps=0."))
        'steps needs an integer >= 1. Received: steps=0.'
    """
    text = str(error)
    if isinstance(error, tf.errors.OpError):
        lines = [line.strip() for line in text.splitlines()]
        # Around the reason TensorFlow prints where its nodes were made, and their names in double brackets.
        telling = [line for line in lines if line and not line.startswith(("File ", "[[", "Detected at", "Graph exec"))]
        text = _own_words(text) or (telling[0] if telling else text)
    return " ".join(text.split())


def _own_words(text):
    """The sentence of a tf.debugging.Assert, or of a Python error inside a data set; None where there is neither."""
    asserted = re.search(r"assertion failed: \[(.*)\]", text)
    if asserted:
        return asserted[1].replace("] [", " ")
    raised = re.search(r"\bValueError: (.*)", text)
    return raised and raised[1]

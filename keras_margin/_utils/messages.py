"""Phrases that errors of every module share: how to install what is missing, and which name was probably meant."""

import difflib
from collections.abc import Iterable


def install_hint(*extras: str) -> str:
    """Returns the command that installs extras of this library.

    The package is on no index yet, so the command is the one for a clone of the repository.

    Args:
        extras: Names of optional dependencies as pyproject.toml has them, such as "litert".

    Returns:
        str.

    Example:
        >>> install_hint("align", "cpu")
        'pip install -e ".[align,cpu]" in a clone of keras-margin'
    """
    return f'pip install -e ".[{",".join(extras)}]" in a clone of keras-margin'


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the nearest of the known names, to end an error message with.

    Args:
        name: The name received, str.
        known: Iterable of str.

    Returns:
        str that begins with a space, " Did you mean 'arcface'?"; empty where no known name is near.

    Example:
        >>> did_you_mean("arcfase", ["arcface", "cosface"])
        " Did you mean 'arcface'?"
    """
    near = difflib.get_close_matches(str(name), [str(each) for each in known], n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""

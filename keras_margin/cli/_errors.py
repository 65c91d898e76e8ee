"""Errors of the library as a command prints them: flags for arguments, one sentence for a package that is missing."""

import importlib.util
import re

from keras_margin._utils.messages import install_hint

# Import name -> (what it is called, the extra that installs it).
_PACKAGES = {
    "tensorflow": ("TensorFlow", "cpu"),
    "keras": ("Keras", "cpu"),
    "h5py": ("Keras", "cpu"),
    "jax": ("JAX", "jax"),
    "torch": ("PyTorch", "torch"),
    "mtcnn": ("mtcnn", "align"),
    "PIL": ("Pillow", "litert"),
    "ai_edge_litert": ("ai-edge-litert", "litert"),
    "matplotlib": ("matplotlib", "plots"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "tf2onnx": ("tf2onnx", "onnx"),
}
# Python argument -> the flag that carries it under another name.
_RENAMED = {"num_threads": "threads", "image_format": "format", "batch_size": "batch", "target_far": "far"}


def sentence(error, flags=()):
    """Returns what a command prints of an error.

    Args:
        error: Exception.
        flags: Names of the command's flags, without the dashes.
    """
    if isinstance(error, ImportError):
        missing = _missing(error)
        if missing in _PACKAGES and not _is_there(missing):
            return _needs(missing)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return in_flags(text, flags)


def in_flags(text, flags):
    """Returns a message of the library with its arguments written as flags: `fit="crop"` becomes `--fit=crop`.

    Args:
        text: str.
        flags: Names of flags, without the dashes; other arguments stay as they are.

    Example:
        >>> in_flags("needs num_threads >= 1. Received: num_threads=0.", ["threads"])
        'needs --threads >= 1. Received: --threads=0.'
    """
    names = {name: name for name in flags} | {name: flag for name, flag in _RENAMED.items() if flag in flags}
    if not names:
        return text
    # Not part of a path, of another word, or of a flag already; without a value only where a range follows: `set` and
    # `head` are words too.
    pattern = rf"(?<![\w./=-])({'|'.join(map(re.escape, names))})(?:=({_VALUE})|(?= (?:>=|>|<=|<|in [\[(])))"
    return re.sub(pattern, lambda found: _flag(names[found[1]], found[2]), text)


# A quoted text, a tuple, or a word.
_VALUE = r"""'[^']*'|"[^"]*"|\([^()]*\)|[^\s,;:()'"]*[^\s.,;:()'"]|"""


def _flag(name, value):
    if value is None or value == "True":
        return f"--{name}"
    if value.startswith("("):
        value = ("/" if name == "normalization" else ",").join(part.strip() for part in value[1:-1].split(","))
    return f"--{name}={value.strip(chr(39) + chr(34))}"


def _missing(error):
    """The package whose import failed, at the bottom of a chain of errors; None where none is named."""
    found = None
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            found = error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return found


def _needs(missing):
    name, extra = _PACKAGES[missing]
    if missing == "mtcnn" and not _is_there("tensorflow"):
        return f"finding faces needs mtcnn and TensorFlow, which are not installed: {install_hint('align', 'cpu')}."
    return f"this needs {name}, which is not installed: {install_hint(extra)}."


def _is_there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # Blocked in sys.modules.
        return False

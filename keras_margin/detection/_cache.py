"""The converted detectors of this user: each made once, a file in the cache folder."""

import importlib.metadata
import logging
import os
import pathlib
import sys

from keras_margin._utils import files
from keras_margin._utils.messages import install_hint

# Counts with every change of the graph: an older file is another detector.
_GRAPH = 2

_logger = logging.getLogger("keras_margin.detection")


def folder():
    """The cache folder, pathlib.Path: KERAS_MARGIN_CACHE, or the system's place for caches of this user."""
    if own := os.environ.get("KERAS_MARGIN_CACHE"):
        return pathlib.Path(own)
    home = pathlib.Path.home()
    if sys.platform == "win32":
        base = pathlib.Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "keras-margin"


def path_of(canvas, min_face_size, min_score):
    """Where the model of these settings lies, whether or not it was made."""
    settings = f"{canvas[0]}x{canvas[1]}-{min_face_size:.6g}-{min_score:.6g}"
    return folder() / f"detector-{_GRAPH}-mtcnn-{_weights_version()}-{settings}.tflite"


def model(canvas, min_face_size, min_score):
    """Returns the model of these settings, converted now if it was not before.

    Args:
        canvas: (height, width), pixels.
        min_face_size: Pixels of the canvas.
        min_score: In (0, 1).

    Returns:
        bytes of the model.

    Raises:
        ImportError: It has to be converted, and TensorFlow or the mtcnn package is not installed.
    """
    path = path_of(canvas, min_face_size, min_score)
    try:
        content = path.read_bytes()
        if content[4:8] == b"TFL3":
            return content
    except OSError:
        pass
    return remade(canvas, min_face_size, min_score)


def remade(canvas, min_face_size, min_score):
    """Converts a model in any case, and puts it into the cache folder; arguments and result as of `model`."""
    path = path_of(canvas, min_face_size, min_score)
    content = _converted(path, canvas, min_face_size, min_score)
    try:
        with files.atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        _logger.warning("The face detector is converted again next time: %s", error)
    return content


def _converted(path, canvas, min_face_size, min_score):
    try:
        from keras_margin.detection import build
    except ImportError as error:
        raise ImportError(
            f"The face detector is converted once, which needs TensorFlow: {install_hint('align', 'cpu')}. It is kept "
            f"as {path}. The import failed with: {error}"
        ) from error
    _logger.info("Converting the face detector for %d x %d pixels, once: some seconds.", *canvas)
    return build.stages(canvas, min_face_size, min_score)


def _weights_version():
    """The version of the package that carries the weights; a cached model works without it."""
    try:
        return importlib.metadata.version("mtcnn")
    except importlib.metadata.PackageNotFoundError:
        return "1.0.0"

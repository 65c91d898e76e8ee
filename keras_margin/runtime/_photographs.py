"""Finds and embeds the faces of photographs by the signatures of a file that `export.to_tflite(photo=...)` wrote."""

import dataclasses
import logging
import math

import numpy as np

from keras_margin._utils import canvas
from keras_margin.runtime import _loading

_logger = logging.getLogger("keras_margin.runtime")


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph.

    Attributes:
        box: float64 array (4,) of (x1, y1, x2, y2), pixels of the photograph, inside it.
        points: float64 array (5, 2) of (x, y): eyes, nose tip, mouth corners, the viewer's left first.
        score: How sure the detector is, in [0, 1].
        embedding: float32 array (embedding_size,), of unit length.
        image: uint8 array (height, width, 3), the aligned face that was embedded.

    Example:
        >>> box, points = np.array([20.0, 10.0, 60.0, 70.0]), np.zeros((5, 2))
        >>> face = Face(box, points, 0.99, np.array([0.6, 0.8], np.float32), np.zeros((112, 112, 3), np.uint8))
        >>> face.score, (face.box[2:] - face.box[:2]).tolist()
        (0.99, [40.0, 60.0])
    """

    box: np.ndarray
    points: np.ndarray
    score: float
    embedding: np.ndarray
    image: np.ndarray


class Photographs:
    """The signatures of a file, each loaded at its first call. The caller holds a lock.

    Args:
        path: The file.
        about: The metadata's `photo`, a dict.
        num_threads: Threads for LiteRT, or None.

    Raises:
        ValueError: Where the metadata make no sense.
    """

    def __init__(self, path, about, num_threads):
        self._path, self._num_threads = path, num_threads
        self._interpreter, self._runners = None, {}
        try:
            self._names = {
                # A damaged number must not exhaust the memory.
                canvas.checked_canvas((each["height"], each["width"])): (str(each["detect"]), str(each["embed"]))
                for each in about["canvases"]
            }
            self.faces = int(about["faces"])
            if not self._names:
                raise ValueError("no canvas")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"The metadata of {path} do not describe its photographs: {error!r}.") from error

    def detect(self, photo):
        """Returns (Placed, boxes, points, scores), in pixels of the photograph, the largest face first."""
        placed = canvas.place(photo, self._canvas_for(photo.shape[:2]))
        answer = self._run(self._names[placed.pixels.shape[:2]][0], photo=placed.pixels, size=placed.size)
        count = min(max(int(answer["count"]), 0), self.faces)
        if answer["dropped"][1:].any():
            _logger.warning(
                "A photograph shows more faces than the %d that %s has room for: the largest are kept.",
                self.faces,
                self._path,
            )
        boxes, points, scores = (np.float64(answer[name][:count]) for name in ("boxes", "points", "scores"))
        if not all(np.isfinite(each).all() for each in (boxes, points, scores)):
            raise ValueError(f"The detector in {self._path} answered NaN or infinity. Is the file whole?")
        limits = np.array([photo.shape[1], photo.shape[0]] * 2) - 1.0
        boxes = placed.to_photograph(boxes.reshape(-1, 2, 2)).reshape(-1, 4).clip(0, limits)
        return placed, boxes, placed.to_photograph(points), scores

    def embed(self, placed, points):
        """Embeds the face with these points of a photograph that fits on its canvas: (row (1, size), aligned face)."""
        name = self._names[placed.pixels.shape[:2]][1]
        answer = self._run(name, photo=placed.pixels, size=placed.size, points=np.float32(points))
        return answer["embedding"], answer["face"]

    def _canvas_for(self, size):
        """The smallest canvas that a photograph fits on, else the one on which it is shrunk least."""

        def cost(each):
            shrink = max(1.0, *(side / limit for side, limit in zip(size, each, strict=True)))
            return shrink, math.prod(each)

        return min(self._names, key=cost)

    def _run(self, name, **inputs):
        try:
            if self._interpreter is None:
                # Not the one of aligned faces: LiteRT's runners hold their interpreter, which stops its other calls.
                self._interpreter = _loading.interpreter_of(self._path, self._num_threads)
            if name not in self._runners:
                self._runners[name] = self._interpreter.get_signature_runner(name)
            return self._runners[name](**inputs)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"LiteRT cannot run {name} of {self._path}: {error}") from error

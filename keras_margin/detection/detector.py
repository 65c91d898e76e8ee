"""FaceDetector: MTCNN as one LiteRT model."""

import logging
import threading
from typing import Any

import numpy as np

from keras_margin._typing import Size
from keras_margin._utils.arrays import checked_threads
from keras_margin._utils.canvas import checked_canvas, place
from keras_margin._utils.messages import install_hint
from keras_margin.detection import _cache, _cascade
from keras_margin.detection.pyramid_scales import finer, pyramid_scales

# What the networks' own last threshold is. Faces above a higher one are among those above it, because a face is removed
# by a stronger one alone: one model serves for all higher thresholds.
_SCORE = 0.8

# On the canvas no smaller face is looked for than asked, or than this where the photograph was shrunk.
_LEAST = 20

_logger = logging.getLogger("keras_margin.detection")


class FaceDetector:
    """Face detector on LiteRT: `detector(image)` -> boxes, points, scores.

    It is MTCNN, with the weights and the conventions of the `mtcnn` package, as one LiteRT model of static shapes. The
    first detector of a canvas converts that model, which needs TensorFlow and the package and takes some seconds, and
    keeps it in the user's cache folder (`KERAS_MARGIN_CACHE` names another). Afterwards NumPy and LiteRT are enough.

    A photograph larger than the canvas is shrunk until it fits. The smallest face that can be found then is
    20 * shrink pixels of the photograph, or `min_face_size` if that is more: of a photograph of 3,000 x 4,000 pixels
    on the default canvas, 125. Take a larger canvas for smaller faces.

    Thread-safe: calls wait for one another.

    Args:
        canvas: (height, width), each 12 to 8,192 pixels, fewer than 2^24 pixels in all: the largest photograph that is
            not shrunk. Time and memory grow with its area, whatever the photograph's.
        min_face_size: Smallest face looked for, pixels of the photograph, >= 12. Larger is faster. A smaller face may
            still be found.
        min_score: Faces below this score are dropped, in (0, 1). The network's own threshold.
        num_threads: Threads for LiteRT, >= 1; None for its own default.

    Raises:
        ImportError: ai-edge-litert is not installed; or the model has to be converted, and TensorFlow or the mtcnn
            package is not. The message names the extra.
        TypeError: A side of the canvas or `num_threads` is not an integer.
        ValueError: An argument is out of range.

    Example:
        >>> boxes, points, scores = FaceDetector()(np.zeros((64, 64, 3), np.uint8))
        >>> boxes.shape, points.shape, scores.shape
        ((0, 4), (0, 5, 2), (0,))

    Reference: Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks",
    IEEE SPL 23(10), 2016.
    """

    DEFAULTS = (480, 640), 20, 0.8
    # It takes a photograph as it is: see alignment.detector.bounded.
    shrinks_photographs = True

    def __init__(
        self,
        canvas: Size = DEFAULTS[0],
        min_face_size: float = DEFAULTS[1],
        min_score: float = DEFAULTS[2],
        num_threads: int | None = None,
    ):
        self.canvas = checked_canvas(canvas)
        if not 12 <= min_face_size <= min(self.canvas):
            raise ValueError(
                "FaceDetector needs min_face_size from 12 pixels, which its first network looks at, to the canvas's "
                f"shorter side, {min(self.canvas)}. Received: min_face_size={min_face_size}."
            )
        if not 0.0 < min_score < 1.0:
            raise ValueError(f"FaceDetector needs min_score in (0, 1). Received: min_score={min_score}.")
        self.min_face_size, self.min_score = float(min_face_size), float(min_score)
        self._model_score = min(self.min_score, _SCORE)
        self.num_threads = checked_threads(num_threads, "FaceDetector")
        self._lock = threading.Lock()
        self._runners: dict[float, Any] = {}
        self._runners_for(self.min_face_size)

    def __reduce__(self):
        # A lock and an interpreter do not travel to another process; the settings do.
        return type(self), (self.canvas, self.min_face_size, self.min_score, self.num_threads)

    def __repr__(self):
        return f"FaceDetector(canvas={self.canvas}, min_face_size={self.min_face_size:g}, min_score={self.min_score:g})"

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds every face of one image.

        Args:
            image: uint8 array (height, width, 3), RGB, of any size.

        Returns:
            boxes: float64 array (n, 4) of (x1, y1, x2, y2), pixels of the image, inside it; the largest face first.
            points: float64 array (n, 5, 2) of (x, y), pixels, in the order of alignment.LANDMARKS_112; may lie outside.
            scores: float64 array (n,) in [0, 1].
            All with n = 0 where no face is found, or the image is smaller than a face.

        Raises:
            TypeError: `image` is not a uint8 NumPy array.
            ValueError: Its shape is not (height, width, 3).
            ImportError: `min_face_size` is above 20, the photograph is shrunk so far that another model has to be
                converted, and TensorFlow or mtcnn is not installed.
        """
        placed = place(image, self.canvas)
        smallest = self._smallest_on_canvas(placed.shrink)
        found = _cascade.nothing()
        if len(pyramid_scales(int(placed.size[0]), int(placed.size[1]), smallest)):
            with self._lock:
                found = _cascade.detect(self._runners_for(smallest), placed.pixels, placed.size, self._model_score)
        if found.missed:
            _logger.warning("More boxes than the %d strongest of a size were not looked at.", _cascade.LEVEL_BOXES)
        boxes = placed.to_photograph(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        limits = np.array([image.shape[1], image.shape[0]] * 2) - 1.0
        enough = found.scores >= self.min_score
        boxes, points = np.clip(boxes, 0.0, limits), placed.to_photograph(found.points)
        return boxes[enough], points[enough], found.scores[enough]

    def _smallest_on_canvas(self, shrink):
        """The smallest face to look for, pixels of the canvas, where a photograph was shrunk so much."""
        wanted = self.min_face_size / shrink
        if wanted <= _LEAST:
            return min(self.min_face_size, float(_LEAST))
        # Of few sizes, for each is a model.
        return max(finer(self.min_face_size, wanted), float(_LEAST))

    def _runners_for(self, min_face_size):
        """LiteRT's runners of a model's stages, loaded or converted at the first call."""
        if min_face_size not in self._runners:
            settings = self.canvas, min_face_size, self._model_score
            self._runners[min_face_size] = _loaded(settings, self.num_threads)
        return self._runners[min_face_size]


def is_available() -> bool:
    """Whether LiteRT is installed."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return False
    return True


def _loaded(settings, num_threads):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            f"FaceDetector runs on ai-edge-litert: {install_hint('align')}. The import failed with: {error}"
        ) from error

    def load(content):
        interpreter = Interpreter(model_content=content, num_threads=num_threads)
        return {name: interpreter.get_signature_runner(name) for name in ("propose", *_cascade.AT_ONCE)}

    try:
        return load(_cache.model(*settings))
    except (RuntimeError, ValueError, KeyError):  # The cached file is damaged.
        return load(_cache.remade(*settings))

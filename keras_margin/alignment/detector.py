"""Finds faces and their five points, and aligns the one that is meant.

The detector is `detection.FaceDetector`, MTCNN on LiteRT, or where LiteRT is not installed the `mtcnn` package itself
(MIT licence), which carries the weights of both inside its wheel: nothing is downloaded. Either is imported only when a
face is looked for.
"""

import functools
import threading
from typing import Any, Literal, Protocol

import numpy as np

from keras_margin._typing import Size
from keras_margin.alignment import _mtcnn
from keras_margin.alignment._policies import POLICIES, check_policy, checked_faces
from keras_margin.alignment.images import resize_image
from keras_margin.alignment.transform import align_points, check_image
from keras_margin.detection.detector import FaceDetector, is_available

# mtcnn rows: image, x1, y1, x2, y2, score, then the x of the five points and their y. Its "left" eye and mouth corner
# are the viewer's left, the smaller x of an upright face: the order of LANDMARKS_112.
_BOX, _SCORE, _POINTS_X, _POINTS_Y = slice(1, 5), 5, slice(6, 11), slice(11, 16)

# A face that matters is larger than a fiftieth of its photograph; a pyramid of more pixels takes minutes.
_MOST_SIDE = 2048


class Detector(Protocol):
    """What finds faces: `MTCNNDetector`, or a function of your own."""

    def __call__(self, image: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (boxes, points, scores) of a uint8 RGB image, as `MTCNNDetector` does."""


class MTCNNDetector:
    """Face detector of the `mtcnn` package, on TensorFlow: `detector(image)` -> boxes, points, scores.

    `detection.FaceDetector` finds the same faces without TensorFlow. Calls from several threads wait for one another.

    Args:
        min_face_size: Smallest face looked for, pixels, > 0. Larger is faster: the image pyramid begins with a smaller
            copy. A smaller face may still be found.
        min_score: Faces below this score are dropped, in [0, 1]. The network's own threshold.

    Raises:
        ImportError: the `mtcnn` package is not installed; the message names the extra.
        ValueError: an argument is out of range.

    Example:
        >>> boxes, points, scores = MTCNNDetector()(np.zeros((64, 64, 3), np.uint8))
        >>> boxes.shape, points.shape, scores.shape
        ((0, 4), (0, 5, 2), (0,))

    Reference: Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks",
    IEEE SPL 23(10), 2016.
    """

    DEFAULTS = 20, 0.8

    def __init__(self, min_face_size: float = DEFAULTS[0], min_score: float = DEFAULTS[1]) -> None:
        if not min_face_size > 0:
            raise ValueError(f"MTCNNDetector needs min_face_size > 0 pixels. Received: min_face_size={min_face_size}.")
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(f"MTCNNDetector needs min_score in [0, 1]. Received: min_score={min_score}.")
        self.min_face_size = min_face_size
        self.min_score = min_score
        self._network = _mtcnn.load()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # A lock and a network do not travel to another process; the settings do.
        return type(self), (self.min_face_size, self.min_score)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds every face of one image.

        Args:
            image: uint8 array (height, width, 3), RGB, of any size.

        Returns:
            boxes: float64 array (n, 4) of (x1, y1, x2, y2), pixels, inside the image.
            points: float64 array (n, 5, 2) of (x, y), pixels, in the order of LANDMARKS_112; may lie outside.
            scores: float64 array (n,) in [0, 1].
            All with n = 0 where no face is found.

        Raises:
            TypeError: `image` is not a uint8 NumPy array.
            ValueError: its shape is not (height, width, 3).
        """
        check_image(image, "MTCNNDetector")
        with self._lock:
            # "numpy" keeps the points' fractions; the default output rounds them to whole pixels.
            rows = self._network.detect_faces(
                image,
                output_type="numpy",
                box_format="xyxy",
                min_face_size=self.min_face_size,
                threshold_onet=self.min_score,
            )
        rows = np.asarray(rows, dtype=np.float64).reshape(-1, 16)
        return rows[:, _BOX], np.stack([rows[:, _POINTS_X], rows[:, _POINTS_Y]], axis=-1), rows[:, _SCORE]


def align(
    image: np.ndarray,
    size: int | Size = 112,
    detector: Detector | None = None,
    policy: Literal["largest", "centre", "skip"] = "largest",
) -> np.ndarray | None:
    """Finds the face of an image and crops it onto the landmark template.

    Args:
        image: uint8 array (height, width, 3), RGB, upright.
        size: Side of a square crop, or (height, width), in pixels. (112, 96) is SphereFace's crop.
        detector: Callable of `image` returning (boxes (n, 4) as x1, y1, x2, y2; points (n, 5, 2) in the order of
            LANDMARKS_112; scores (n,)). Default: one `FaceDetector()`, or `MTCNNDetector()` without LiteRT, built at
            the first call and kept.
        policy: Which of several faces is meant: "largest", by the area of its box; "centre", whose box's middle is
            nearest to the image's; "skip", none.

    Returns:
        uint8 array (size, size, 3) or (height, width, 3), RGB; None where no face is found, or `policy` takes none.

    Raises:
        TypeError: `image` is not a uint8 NumPy array, or `size` is not an integer or a pair of integers.
        ValueError: the image's shape is not (height, width, 3), `size` is below 1, `policy` is another ("all" is
            `align_all`'s), or the detector's answer has the wrong shape.
        ImportError: no `detector` was given and the `align` extra is not installed.

    Example:
        >>> align(np.zeros((64, 64, 3), np.uint8)) is None  # No face is there.
        True

    Reference: Deng et al., ArcFace, CVPR 2019, section 3.1.
    """
    if policy == "all":
        raise ValueError('align crops one face. Received: policy="all". Call align_all, which returns a list.')
    faces = align_all(image, size, detector, policy)
    return faces[0] if faces else None


def align_all(
    image: np.ndarray,
    size: int | Size = 112,
    detector: Detector | None = None,
    policy: Literal["all", "largest", "centre", "skip"] = "all",
) -> list[np.ndarray]:
    """Finds the faces of an image and crops each onto the landmark template.

    Args:
        image: See `align`.
        size: See `align`.
        detector: See `align`.
        policy: "all", from left to right; or one of `align`'s.

    Returns:
        List of uint8 arrays (height, width, 3), RGB; empty where no face is found.

    Raises:
        TypeError, ValueError, ImportError: As `align`.

    Example:
        >>> align_all(np.zeros((64, 64, 3), np.uint8))
        []
    """
    check_policy(policy)
    check_image(image, "align")
    boxes, points, _ = (detector or default_detector())(image)
    boxes, points = checked_faces(boxes, points)
    chosen = POLICIES[policy](boxes, image.shape) if len(boxes) else []
    return [align_points(image, points[face], size) for face in chosen]


def bounded(detector: Detector) -> Detector:
    """Returns a detector that looks at a copy of at most 2,048 pixels a side; boxes and points are the image's own.

    One that shrinks photographs itself, as FaceDetector does to its canvas, is returned as it is: it, or the object
    that it is a method of, has a true attribute `shrinks_photographs`.
    """
    if getattr(getattr(detector, "__self__", detector), "shrinks_photographs", False):
        return detector

    def detect(image: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scale = max(image.shape[:2]) / _MOST_SIDE
        height, width = (max(1, round(side / scale)) for side in image.shape[:2])
        boxes, points, scores = detector(image if scale <= 1 else resize_image(image, (height, width)))
        boxes, points = checked_faces(boxes, points)
        if scale <= 1:
            return boxes, points, scores
        factors = np.array([image.shape[1] / width, image.shape[0] / height])
        # (0, 0) is the centre of the first pixel, in the copy as in the image: half a pixel more at either end.
        corners = (boxes.reshape(-1, 2, 2) + 0.5) * factors - 0.5
        return corners.reshape(-1, 4), (points + 0.5) * factors - 0.5, scores

    return detect


def make_detector(**settings: Any) -> Detector:
    """Makes the detector that is meant where none is named: a FaceDetector, or without LiteRT an MTCNNDetector.

    Args:
        **settings: `min_face_size` and `min_score`, which both take.
    """
    return FaceDetector(**settings) if is_available() else MTCNNDetector(**settings)


@functools.cache
def default_detector() -> Detector:
    """Returns `make_detector()`, one a process."""
    return make_detector()

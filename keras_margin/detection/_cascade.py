"""MTCNN's cascade around the networks of a LiteRT model: NumPy decides which boxes each of them looks at.

R-Net and O-Net run on a few boxes a call, as often as there are boxes: a crowd costs what it needs, a portrait too.
"""

import math
from typing import NamedTuple

import numpy as np

from keras_margin.detection._thresholds import LEVEL_OVERLAP, MERGED_OVERLAP, OUTPUT_OVERLAP, REFINED_OVERLAP

# Boxes a call.
AT_ONCE = {"refine": 16, "output": 4}
# Most boxes of a level of the pyramid, the strongest; before any is suppressed.
LEVEL_BOXES = 1024


class Faces(NamedTuple):
    """What was found on a canvas, n faces, the largest first.

    Attributes:
        boxes: float64 array (n, 4), not clipped.
        points: float64 array (n, 5, 2).
        scores: float64 array (n,).
        missed: Whether a level of the pyramid had more boxes than LEVEL_BOXES.
    """

    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray
    missed: bool = False


def nothing():
    """Returns Faces of nobody."""
    return Faces(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0))


def detect(runners, pixels, size, min_score):
    """Runs the cascade.

    Args:
        runners: {"propose", "refine", "output": LiteRT's runner of the signature}.
        pixels: uint8 array, the canvas.
        size: int32 array (2,), the photograph's height and width.
        min_score: The score at which a strength begins.

    Returns:
        Faces.
    """
    found = runners["propose"](photo=pixels, size=size)
    live = found["strengths"] > 0
    boxes, strengths, levels = (found[name][live] for name in ("boxes", "strengths", "levels"))
    of_levels = [_kept(boxes, strengths, LEVEL_OVERLAP, np.flatnonzero(levels == each)) for each in np.unique(levels)]
    kept = np.concatenate([*of_levels, np.empty(0, np.int64)])
    kept = _kept(boxes, strengths, MERGED_OVERLAP, kept)

    def run(name, boxes):
        count = AT_ONCE[name]
        parts = [_filled(boxes[start : start + count], count) for start in range(0, len(boxes), count)]
        answers = [runners[name](photo=pixels, size=size, boxes=part) for part in parts]
        return {key: np.concatenate([each[key] for each in answers])[: len(boxes)] for key in answers[0]}

    if not len(kept):
        return nothing()
    answer = run("refine", _squares(boxes[kept]))
    kept = _kept(answer["boxes"], answer["strengths"], REFINED_OVERLAP)
    if not len(kept):
        return nothing()
    answer = run("output", _squares(answer["boxes"][kept]))
    kept = _kept(answer["boxes"], answer["strengths"], OUTPUT_OVERLAP, of_smaller=True)
    boxes, points, strengths = (answer[name][kept].astype(np.float64) for name in ("boxes", "points", "strengths"))
    scores = 1 / (1 + np.exp(-strengths - math.log(min_score / (1 - min_score))))
    order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
    return Faces(boxes[order], points[order], scores[order], bool(found["missed"].any()))


def _kept(boxes, strengths, threshold, among=None, of_smaller=False):
    """The indices that suppression leaves, the strongest first: a box goes if any stronger one overlaps it.

    The package's rule: not the greedy one, in which a removed box removes none.
    """
    among = np.arange(len(boxes)) if among is None else among
    among = among[strengths[among] > 0]
    order = among[np.argsort(-strengths[among], kind="stable")]
    low, high = boxes[order, None, :2], boxes[order, None, 2:]
    sides = np.minimum(high, high.swapaxes(0, 1)) - np.maximum(low, low.swapaxes(0, 1))
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    areas = np.prod(boxes[order, 2:] - boxes[order, :2], axis=-1)
    whole = np.minimum(areas[:, None], areas) if of_smaller else areas[:, None] + areas - shared
    return order[~np.triu(shared > threshold * whole, 1).any(axis=0)]


def _squares(boxes):
    """The squares around the middles of boxes, of their longer sides, float32."""
    low, high = boxes[:, :2], boxes[:, 2:]
    side = (high - low).max(axis=1, keepdims=True)
    low = low + (high - low) * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([low, low + side], axis=1)


def _filled(boxes, count):
    """`count` boxes, the last one repeated."""
    return np.concatenate([boxes, np.repeat(boxes[-1:], count - len(boxes), axis=0)])

"""MTCNN's cascade as TensorFlow functions of static shapes and builtin LiteRT operators.

The conventions are those of the `mtcnn` package 1.0: boxes counted from the pixel 1, crops read over (H - 1, W - 1), a
non-maximum suppression that is not greedy. Two things differ: boxes are ranked by logits, and pyramid levels are
counted for the smallest face that is looked for.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_margin.detection import _boxes, _networks, _pyramid, sampling
from keras_margin.detection._thresholds import (
    LEVEL_OVERLAP,
    MERGED_OVERLAP,
    OUTPUT_OVERLAP,
    PROPOSAL_SCORE,
    REFINED_OVERLAP,
    REFINED_SCORE,
)

# Outside of the photograph, as the package's crops read it: 0 of [-1, 1].
_GREY = 127.5


class Slots(NamedTuple):
    """How many boxes each stage of `Cascade.detect` has room for.

    Attributes:
        level: Of a level of the pyramid, the strongest.
        merged: Of all levels, the strongest.
        refine: That R-Net looks at, the strongest.
        output: That O-Net looks at, the largest.
        faces: That are returned, the largest.
    """

    level: int = 96
    merged: int = 256
    refine: int = 64
    output: int = 16
    faces: int = 8


class Cascade:
    """The detector on a canvas: its stages one by one, and all of them in one function.

    A box is (x1, y1, x2, y2) in pixels of the photograph. Its strength is how far its logit lies above the stage's
    threshold, 0 where it does not.

    Args:
        min_face_size: Smallest face looked for, pixels of the canvas.
        min_score: Smallest score of a face, in (0, 1).
        slots: Slots.
    """

    def __init__(self, min_face_size=20, min_score=0.8, slots=None):
        self.min_face_size, self.slots = min_face_size, slots or Slots()
        self._limits = [math.log(score / (1 - score)) for score in (PROPOSAL_SCORE, REFINED_SCORE, min_score)]
        self._networks = _networks.Networks()

    def detect(self, photo, size):
        """Finds the faces of a photograph.

        Args:
            photo: uint8 (H, W, 3), RGB, the photograph at the top left of its canvas.
            size: int32 (2,), the photograph's height and width.

        Returns:
            Dict, n = `slots.faces`, faces by area, the largest first:
                boxes: float32 (n, 4) of (x1, y1, x2, y2), pixels, inside the photograph; 0 in empty slots.
                points: float32 (n, 5, 2) of (x, y); 0 in empty slots.
                scores: float32 (n,) in [0, 1]; 0 in empty slots.
                count: int32 scalar, slots taken.
                dropped: int32 (3,): boxes without room in front of R-Net, in front of O-Net, and faces without room.
        """
        slots = self.slots
        boxes, strengths, no_room = self._merged(photo, size)
        boxes, strengths = self._refined(photo, size, boxes, strengths)
        output_room = tf.nn.relu(_boxes.live_count(strengths) - slots.output)
        boxes, strengths, points = self._finished(photo, size, *_largest(slots.output, boxes, strengths))
        limit = tf.gather(tf.cast(size, tf.float32), [1, 0, 1, 0]) - 1
        boxes = tf.minimum(tf.maximum(boxes, 0.0), limit)
        room = tf.nn.relu(_boxes.live_count(strengths) - slots.faces)
        boxes, strengths, points = _largest(slots.faces, boxes, strengths, points)
        live = tf.cast(strengths > 0, tf.float32)
        return {
            "boxes": boxes * live[:, None],
            "points": points * live[:, None, None],
            "scores": tf.sigmoid(strengths + self._limits[2]) * live,
            "count": tf.cast(tf.reduce_sum(live), tf.int32),
            "dropped": tf.cast(tf.stack([no_room, output_room, room]), tf.int32),
        }

    def propose(self, photo, size):
        """Runs P-Net on every level of the pyramid.

        Args:
            photo: As for `detect`.
            size: As for `detect`.

        Returns:
            List of (boxes (n, 4), strengths (n,) falling, number without room (1,)), n <= `slots.level`, a level each.
        """
        levels = _pyramid.levels(photo, tf.cast(size, tf.float32), self.min_face_size)
        return [self._of_level(level) for level in levels]

    def refine(self, photo, size, boxes):
        """Runs R-Net on squares (n, 4): their boxes (n, 4) and strengths (n,)."""
        offsets, logits = self._networks.refine(_crops(photo, size, boxes, 24))
        return _boxes.moved(boxes, offsets), tf.nn.relu(logits - self._limits[1])

    def output(self, photo, size, boxes):
        """Runs O-Net on squares (n, 4): their boxes (n, 4), points (n, 5, 2) and strengths (n,)."""
        offsets, points, logits = self._networks.output(_crops(photo, size, boxes, 48))
        points = points * _boxes.sides(boxes)[:, None] + boxes[:, None, :2] - 1
        return _boxes.moved(boxes, offsets), points, tf.nn.relu(logits - self._limits[2])

    def _of_level(self, level):
        offsets, logits = self._networks.proposal(level.image, level.bound)
        columns = logits.shape[2]
        strengths = tf.reshape(tf.nn.relu(logits[0] - self._limits[0]) * level.live, [-1])
        missed = tf.nn.relu(_boxes.live_count(strengths) - self.slots.level)[None]
        place = tf.range(strengths.shape[0])
        strengths, place = _boxes.best(self.slots.level, strengths, strengths, place)
        offsets = tf.gather(tf.reshape(offsets, (-1, 4)), place)
        place = tf.cast(place, tf.float32)
        row = tf.floor((place + 0.5) / columns)
        # The package counts pixels from 1: a cell's first is 1, its last 12, its side 11.
        corner = tf.stack([place - row * columns, row], 1) * 2 + 1
        boxes = (tf.concat([corner, corner + 11], 1) + offsets * 11) / level.scale
        return boxes, strengths, missed

    def _merged(self, photo, size):
        """(squares, strengths, number of boxes without room) for R-Net."""
        slots, found = self.slots, self.propose(photo, size)
        strengths = tf.concat([_boxes.suppress(*each[:2], LEVEL_OVERLAP) for each in found], 0)
        boxes, missed = (tf.concat([each[part] for each in found], 0) for part in (0, 2))
        missed = tf.reduce_sum(missed) + tf.nn.relu(_boxes.live_count(strengths) - slots.merged)
        boxes, strengths = _boxes.best(slots.merged, strengths, boxes, strengths)
        strengths = _boxes.suppress(boxes, strengths, MERGED_OVERLAP)
        missed += tf.nn.relu(_boxes.live_count(strengths) - slots.refine)
        return *_boxes.best(slots.refine, strengths, _boxes.squares(boxes), strengths), missed

    def _refined(self, photo, size, boxes, strengths):
        """(squares, strengths) behind R-Net, sorted by strength."""
        moved, found = self.refine(photo, size, boxes)
        strengths = tf.where(strengths > 0, found, 0.0)
        boxes, strengths = _boxes.best(self.slots.refine, strengths, moved, strengths)
        return _boxes.squares(boxes), _boxes.suppress(boxes, strengths, REFINED_OVERLAP)

    def _finished(self, photo, size, boxes, strengths):
        """(boxes, strengths, points) behind O-Net, sorted by strength."""
        moved, points, found = self.output(photo, size, boxes)
        strengths = tf.where(strengths > 0, found, 0.0)
        boxes, strengths, points = _boxes.best(self.slots.output, strengths, moved, strengths, points)
        return boxes, _boxes.suppress(boxes, strengths, OUTPUT_OVERLAP, of_smaller=True), points


def _largest(count, boxes, strengths, *rows):
    """The `count` largest of the slots that are taken, the largest first."""
    # A box of no area is still before an empty slot.
    rank = tf.where(strengths > 0, _boxes.areas(boxes) + 1, 0.0)
    return _boxes.best(count, rank, boxes, strengths, *rows)


def _crops(photo, size, boxes, side):
    """Reads (n, side, side, 3) in [-1, 1] as tf.image.crop_and_resize does where the package calls it.

    It divides boxes by H and W, and the operator reads over H - 1 and W - 1.
    """
    size = tf.cast(size, tf.float32)
    scale = (size - 1) / size
    steps = np.arange(side, dtype=np.float32)[None] / (side - 1)
    x1, y1, x2, y2 = tf.split(boxes, 4, 1)
    ys, xs = (y1 + (y2 - y1) * steps) * scale[0], (x1 + (x2 - x1) * steps) * scale[1]
    reading = sampling.bilinear(photo, size, ys[:, :, None], xs[:, None, :])
    return (sampling.constant_outside(reading, _GREY) - 127.5) / 128

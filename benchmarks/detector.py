"""FaceDetector beside the mtcnn package on the same photographs in one run: processor time, agreement.

python -m benchmarks.detector PHOTOGRAPHS [--sample=100] [--crowds=10] [--canvas=480x640]

PHOTOGRAPHS: a folder of image files of any depth. CROWDS more photographs are put together of them in memory, 12 a
picture. The package is looked at one photograph after the other, the two detectors in turn, TensorFlow and LiteRT with
one thread each. A photograph larger than the canvas is shrunk beforehand, for both alike.
"""

import os
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_margin import alignment, detection
from keras_margin._utils import canvas
from keras_margin.alignment import images

_SAMPLE = flags.DEFINE_integer("sample", 100, "Photographs, evenly spread over the folder.")
_CROWDS = flags.DEFINE_integer("crowds", 10, "Pictures of twelve photographs each.")
_CANVAS = flags.DEFINE_string("canvas", "480x640", "HEIGHTxWIDTH.")
_MIN_FACE = flags.DEFINE_float("min_face_size", 20, "Pixels.")
_TILE = flags.DEFINE_integer("tile", 0, "Side of a photograph in a crowd, pixels; 0 for twelve to a canvas.")


def main(arguments):
    folder = arguments[1] if len(arguments) == 2 else None
    if folder is None or not os.path.isdir(folder):
        raise app.UsageError("Name a folder of photographs.")
    # As `num_threads=1` below.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    size = tuple(int(side) for side in _CANVAS.value.split("x"))
    photographs = _photographs(folder, size)
    crowds = _crowds(photographs, size, _CROWDS.value)
    ours = detection.FaceDetector(size, _MIN_FACE.value, num_threads=1)
    theirs = alignment.MTCNNDetector(_MIN_FACE.value)
    for name, pictures in (("photographs", photographs), ("crowds", crowds)):
        if pictures:
            _compare(name, pictures, ours, theirs)


def _photographs(folder, size):
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in images.EXTENSIONS)
    chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, min(_SAMPLE.value, len(paths))).astype(int)]
    return [_fitted(images.read_image(path), size) for path in chosen]


def _fitted(photo, size):
    placed = canvas.place(photo, size)
    return np.ascontiguousarray(placed.pixels[: placed.size[0], : placed.size[1]])


def _crowds(photographs, size, count):
    """Pictures of 3 x 4 photographs, drawn at random, each shrunk to its place."""
    generator, made = np.random.default_rng(0), []
    side = _TILE.value or min(size[0] // 3, size[1] // 4)
    rows, columns = size[0] // side, size[1] // side
    for _ in range(count if photographs else 0):
        picture = np.full((*size, 3), 90, np.uint8)
        for place in range(rows * columns):
            photo = _fitted(photographs[generator.integers(len(photographs))], (side, side))
            top, left = side * (place // columns), side * (place % columns)
            picture[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
        made.append(picture)
    return made


def _compare(name, pictures, ours, theirs):
    for detector in (ours, theirs):
        detector(pictures[0])  # What is built or traced at the first call.
    times = np.zeros((len(pictures), 2))
    ious, moves, extra, faces = [], [], 0, 0
    for number, picture in enumerate(pictures):
        answers = []
        for place, detector in enumerate((ours, theirs)):
            start = time.process_time()
            answers.append(detector(picture))
            times[number, place] = time.process_time() - start
        overlap = _iou(answers[1][0], answers[0][0])
        faces += len(overlap)
        extra += len(answers[0][0]) - int((overlap.max(0, initial=0) >= 0.5).sum())
        for face, row in enumerate(overlap):
            best = int(row.argmax()) if row.size else None
            ious.append(row[best] if best is not None else 0.0)
            if ious[-1] >= 0.5:
                moves.append(np.abs(answers[0][1][best] - answers[1][1][face]).max())
    _report(name, np.array(times), np.array(ious), np.array(moves), faces, extra, len(pictures))


def _report(name, times, ious, moves, faces, extra, count):
    ours, theirs = np.median(times, 0) * 1e3
    means = times.mean(0) * 1e3
    print(f"{name}: {count} pictures, {faces} faces of mtcnn")
    print(f"  processor ms a picture, median: ours {ours:.1f}, mtcnn {theirs:.1f}, ratio {theirs / ours:.2f}")
    print(f"  processor ms a picture, mean: ours {means[0]:.1f}, mtcnn {means[1]:.1f}, ratio {means[1] / means[0]:.2f}")
    print(f"  of its faces at IoU 0.9: {np.mean(ious >= 0.9):.2%}, at 0.5: {np.mean(ious >= 0.5):.2%}; extra: {extra}")
    shown = ", ".join(f"{np.quantile(moves, part):.4f}" for part in (0.5, 0.9, 0.95, 0.99, 1.0))
    print(f"  points within 1 pixel: {np.mean(moves <= 1):.2%}; moved by (50, 90, 95, 99, 100 %): {shown} pixels")


def _iou(first, second):
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], -1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


if __name__ == "__main__":
    app.run(main)

"""The gate in front of a file that takes photographs: its detector, its warp and its embeddings, each beside ours."""

import dataclasses
import logging
from typing import Any

import numpy as np

from keras_margin import alignment
from keras_margin._utils import canvas, progress
from keras_margin._utils.messages import install_hint
from keras_margin.alignment import transform
from keras_margin.export import _cosines, _graph
from keras_margin.export._parity import ParityError
from keras_margin.export._photo import Photo

_logger = logging.getLogger("keras_margin.export")

# A face that the Keras detector is sure of must be found; one at the threshold may be a matter of rounding.
_SURE = 0.95
# Boxes of equal scores may differ: mtcnn's order of equals is chance. One of ten faces, and one more.
_FOUND, _NEAR, _LEAST_NEAR = 0.5, 0.9, 0.9
# Grey levels between the file's crop and `align_points`, both rounded.
_WARP = 1
_COSINE = 0.9999

_PICTURES, _POSES = 3, 8


@dataclasses.dataclass(frozen=True)
class PhotoParity:
    """How far a file's signatures of a photograph are from the library's detector, aligner and network.

    Attributes:
        photo: Photo, what the file takes.
        photographs: How many were compared, over all canvases.
        synthetic: Whether they were put together of the sample images, for want of photographs.
        faces: Faces that the Keras detector is sure of, in all of them.
        found: How many of these the file finds, at an intersection over union of 0.5.
        near: How many at 0.9.
        crops: Crops compared: of the faces found, and of random poses on noise.
        worst_warp: Largest difference of a crop's pixel from `align_points`, grey levels.
        worst_cosine: Smallest cosine between the file's embedding and the model's on the crop of our aligner.

    Example:
        >>> parity = PhotoParity(Photo(), 3, False, faces=8, found=7, near=7, crops=15, worst_warp=1, worst_cosine=1.0)
        >>> parity.failures
        ['1 of 8 faces of the Keras detector are not found']
    """

    photo: Photo
    photographs: int
    synthetic: bool
    faces: int
    found: int
    near: int
    crops: int
    worst_warp: int
    worst_cosine: float

    @property
    def failures(self) -> list[str]:
        """What is beyond its limit, a phrase each."""
        failures = []
        if not self.synthetic and not self.faces:
            failures.append("the photographs show no face that the Keras detector is sure of")
        if self.found < self.faces:
            failures.append(f"{self.faces - self.found} of {self.faces} faces of the Keras detector are not found")
        if self.near < _LEAST_NEAR * self.faces - 1:
            failures.append(f"{self.near} of {self.faces} boxes have an overlap of {_NEAR}")
        if self.worst_warp > _WARP:
            failures.append(f"crops differ from align_points by {self.worst_warp} grey levels, limit {_WARP}")
        if not self.worst_cosine >= _COSINE:
            failures.append(f"worst cosine behind the crop {self.worst_cosine:.6f}, limit {_COSINE}")
        return failures

    def __str__(self) -> str:
        pictures = "pictures of the sample images" if self.synthetic else "photographs"
        return (
            f"On {self.photographs} {pictures}: {self.found} of the Keras detector's {self.faces} faces found, "
            f"{self.near} at an overlap of {_NEAR}; {self.crops} crops within {self.worst_warp} grey levels of "
            f"align_points, worst cosine {self.worst_cosine:.6f}."
        )

    def figures(self) -> dict[str, Any]:
        """The figures as a dict for the metadata."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "photo"}


def compare(content, judge, photo, photographs, path):
    """Runs the file on photographs, and the library on the same.

    Args:
        content: bytes of the model.
        judge: Judge, whose network, options and samples are used.
        photo: Photo.
        photographs: List of uint8 arrays (height, width, 3), or None for pictures of the samples.
        path: What an error calls the file.

    Returns:
        PhotoParity.

    Raises:
        ParityError: Where something is beyond its limit.
    """
    interpreter, detector = _interpreter(content), alignment.MTCNNDetector(photo.min_face_size)
    pictures, wanted, crops = 0, [], []
    for size in photo.canvases:
        detect, embed = (interpreter.get_signature_runner(name) for name in photo.names(size))
        given = photographs if photographs is not None else _of_samples(judge.samples, size)
        for picture in given:
            placed = canvas.place(picture, size)
            boxes, points = _detected(detect, placed)
            wanted.append(_overlaps(detector(placed.own), boxes, photo.faces))
            crops += [_crop(embed, placed, each, judge) for each in points]
        crops += [_crop(embed, *each, judge) for each in _poses(size, judge.network.input_shape[1:3])]
        pictures += len(given)
    overlaps = np.concatenate([*wanted, np.empty(0)])
    warp = max(difference for difference, _ in crops)
    cosine = min(cosine for _, cosine in crops)
    found, near = (int((overlaps >= least).sum()) for least in (_FOUND, _NEAR))
    report = PhotoParity(
        photo, pictures, photographs is None, len(overlaps), found, near, len(crops), int(warp), float(cosine)
    )
    if report.failures:
        raise ParityError(f"{path} was not written: {'; '.join(report.failures)}. {report}")
    if not report.faces:
        _logger.warning("The sample images show no face: the detector was not compared. Pass photographs=.")
    return report


def embed_photographs(content, photo, photographs):
    """Embeds the largest face of each photograph by the file itself, on its first canvas.

    Args:
        content: bytes of the model.
        photo: Photo.
        photographs: List of uint8 arrays (height, width, 3).

    Returns:
        (float64 array (k, d) of those with a face, bool array (n,), which ones have one).
    """
    interpreter = _interpreter(content)
    detect, embed = (interpreter.get_signature_runner(name) for name in photo.names(photo.canvases[0]))
    rows, found, reached = [], [], progress.Progress("Ran", "photographs", len(photographs))
    for picture in photographs:
        placed = canvas.place(picture, photo.canvases[0])
        _, points = _detected(detect, placed)
        found.append(len(points) > 0)
        if found[-1]:
            rows.append(embed(photo=placed.pixels, size=placed.size, points=points[0])["embedding"][0])
        reached.at(len(found))
    return np.array(rows, np.float64), np.array(found)


def _interpreter(content):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f"Checking a TFLite file needs LiteRT, an extra: {install_hint('litert')}.") from error
    return Interpreter(model_content=content)


def _of_samples(samples, size):
    """Pictures of sample images side by side, with grey between them."""
    side = min(*size, 160)
    rows, columns = (max(1, limit // side) for limit in size)
    made = []
    for start in range(0, min(len(samples), rows * columns * _PICTURES), rows * columns):
        picture = np.full((*size, 3), 128, np.uint8)
        for place, image in enumerate(samples[start : start + rows * columns]):
            small = canvas.place(image, (side * 3 // 4,) * 2)
            height, width = small.size
            top, left = side // 8 + side * (place // columns), side // 8 + side * (place % columns)
            picture[top : top + height, left : left + width] = small.pixels[:height, :width]
        made.append(picture)
    return made


def _detected(detect, placed):
    answer = detect(photo=placed.pixels, size=placed.size)
    count = int(answer["count"])
    return answer["boxes"][:count], answer["points"][:count]


def _overlaps(wanted, boxes, slots):
    """The best overlap with `boxes` of each face that the Keras detector is sure of; of the largest faces alone."""
    wanted, _, scores = wanted
    order = np.argsort(-np.prod(wanted[:, 2:] - wanted[:, :2], axis=1), kind="stable")
    # One face less than there are slots where there are more faces: two of nearly one size may change places.
    order = order if len(order) <= slots else order[: slots - 1]
    wanted = wanted[order[scores[order] >= _SURE]]
    low = np.maximum(wanted[:, None, :2], boxes[None, :, :2])
    high = np.minimum(wanted[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas, others = (np.prod(each[:, 2:] - each[:, :2], axis=-1) for each in (wanted, boxes))
    return (shared / (areas[:, None] + others - shared)).max(axis=1, initial=0)


def _crop(embed, placed, points, judge):
    """(largest difference of the file's crop from our aligner's, cosine of the file's and the model's embeddings)."""
    answer = embed(photo=placed.pixels, size=placed.size, points=points)
    face = alignment.align_points(placed.own, points.astype(np.float64), tuple(judge.network.input_shape[1:3]))
    wanted = np.asarray(_graph.embed(judge.network, face[None], judge.options.flip_sum), np.float64)
    difference = np.abs(answer["face"].astype(np.int64) - face).max()
    return difference, _cosines.cosines(wanted, answer["embedding"])[0]


def _poses(size, shape):
    """Noise on a canvas, and five points in random poses of it: turned, of many sizes, some over the edge."""
    generator, found = np.random.default_rng(0), []
    template = transform.landmark_template(tuple(shape))
    largest = max(0.6, 1.2 * max(size) / max(shape))
    for scale in np.geomspace(0.5, largest, _POSES):
        own = np.array([generator.integers(side // 2, side + 1) for side in size], np.int32)
        photo = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        cosine, sine = scale * np.array([np.cos(angle := generator.uniform(-0.8, 0.8)), np.sin(angle)])
        turned = (template - template.mean(0)) @ np.array([[cosine, sine], [-sine, cosine]])
        points = turned + generator.uniform(0, own[::-1]) + generator.normal(0, scale, (5, 2))
        found.append((canvas.Placed(photo, own, np.ones(2)), points.astype(np.float32)))
    return found

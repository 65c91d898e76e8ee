"""Pairs that an export is measured on: of aligned faces, or of photographs that the file finds the faces of itself."""

import dataclasses

import numpy as np

from keras_margin import alignment, evaluation
from keras_margin._utils import canvas, progress
from keras_margin.evaluation.protocols._pairs import NO_FACE, scores_of_found
from keras_margin.export import _graph

# All pairs of 3,000 images are 4.5 million; of more images, a sample of that order.
_ALL_PAIRS_OF, _MOST_GENUINE, _MOST_IMPOSTOR = 3000, 100_000, 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Verification:
    """Pairs, checked.

    Attributes:
        images: uint8 array (k, height, width, 3), what the model embeds: all n, or of photographs the crops of our
            aligner where the Keras detector finds a face.
        pairs: Integer array (m, 2) of images, or of photographs.
        is_same: bool array (m,).
        labels: Array (n,), whose image it is, or None where that is not known.
        photographs: List of n uint8 photographs that the images are cut from, or None.
        found: bool array (n,), in which of them the Keras detector finds a face, or None.
    """

    images: np.ndarray
    pairs: np.ndarray
    is_same: np.ndarray
    labels: np.ndarray | None
    photographs: list | None = None
    found: np.ndarray | None = None

    @classmethod
    def of(cls, network, given, far):
        """The Verification of (images, is_same) or (images, labels), images of the network's size.

        Raises:
            TypeError, ValueError: It is not that, has pairs of one kind alone, or too few of two people for `far`.
        """
        images, truth = _two(given, "pairs", "images")
        images = _graph.checked_images(network, images, "pairs' images")
        return cls(images, *_checked_truth(len(images), truth, far, "pairs"))

    @classmethod
    def of_photographs(cls, network, given, pairs, photo, far):
        """The same of photographs of any size, whose largest faces are cut as the file of a Photo would.

        Raises:
            TypeError, ValueError: As `of`; photographs that are none, or all without a face; pairs= too, or no photo=.
        """
        name = "photograph_pairs"
        if photo is None:
            raise ValueError(f"{name}= are for a file that takes photographs. Pass photo=True too, or pairs=.")
        if pairs is not None:
            raise ValueError(f"pairs= and {name}= both give the threshold. Pass one of them.")
        photographs, truth = _two(given, name, "photographs")
        photographs = list(photographs)
        for each in photographs:
            canvas.check_photograph(each)
        pairs, is_same, labels = _checked_truth(len(photographs), truth, far, name)
        images, found = _crops(photographs, photo, network.input_shape[1:3])
        if not found.any():
            raise ValueError(f"{name} needs faces. Received: {len(found)} photographs, in which none was found.")
        return cls(images, pairs, is_same, labels, photographs, found)

    def scores(self, embeddings, found=None):
        """The score of each pair: a cosine, or NO_FACE_SCORE where one of its photographs shows no face.

        Args:
            embeddings: Array (k, d), a row an image, or a row a photograph with a face.
            found: bool array (n,), which photographs those are, k of them; None for images.
        """
        if found is None:
            return evaluation.pair_scores(embeddings, self.pairs)
        rows = np.where(found, np.cumsum(found) - 1, NO_FACE)
        return scores_of_found(embeddings, rows[self.pairs])


def _two(given, name, what):
    try:
        images, truth = given
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be ({what}, is_same), image 2i next to image 2i + 1, or ({what}, labels) for every pair."
        ) from None
    return images, truth


def _checked_truth(number, truth, far, name):
    """(pairs, is_same, labels or None) of is_same or labels."""
    truth = np.asarray(truth)
    if truth.dtype == bool and truth.shape == (number // 2,) and number % 2 == 0:
        pairs, is_same, labels = np.arange(number).reshape(-1, 2), truth, None
    elif truth.dtype != bool and truth.shape == (number,):
        pairs, is_same = _pairs_of(truth)
        labels = truth
    else:
        raise ValueError(
            f"{name} needs one bool for each two images, or one label an image. "
            f"Received: {number} images with {truth.dtype} {truth.shape}."
        )
    impostors = int((~is_same).sum())
    if not 0 < impostors < len(is_same):
        raise ValueError(
            f"{name} needs pairs of one person and of two. Received: {len(is_same) - impostors} and {impostors}."
        )
    if far < 1 / impostors:
        raise ValueError(
            f"A threshold at far={far:g} cannot be measured on {impostors:,} impostor pairs, which show nothing "
            f"below {1 / impostors:.2g}. Give more pairs, or a higher far in Options."
        )
    return pairs, is_same, labels


def _pairs_of(labels):
    """(pairs, is_same): every pair of up to 3,000 images, a sample of those of more."""
    if len(labels) <= _ALL_PAIRS_OF:
        return evaluation.all_pairs(labels)
    counts = np.unique(labels, return_counts=True)[1].tolist()
    genuine = sum(count * (count - 1) // 2 for count in counts)
    impostor = len(labels) * (len(labels) - 1) // 2 - genuine
    return evaluation.make_pairs(labels, min(genuine, _MOST_GENUINE), min(impostor, _MOST_IMPOSTOR))


def _crops(photographs, photo, shape):
    """(crops, which photographs have a face) by the Keras detector and the aligner, on the file's first canvas."""
    detector, images, found = alignment.MTCNNDetector(photo.min_face_size), [], []
    reached = progress.Progress("Found faces by the Keras detector", "photographs", len(photographs))
    for each in photographs:
        own = canvas.place(each, photo.canvases[0]).own
        boxes, points, _ = detector(own)
        found.append(len(boxes) > 0)
        if found[-1]:
            largest = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).argmax()
            images.append(alignment.align_points(own, points[largest], tuple(shape)))
        reached.at(len(found))
    return np.array(images), np.array(found)

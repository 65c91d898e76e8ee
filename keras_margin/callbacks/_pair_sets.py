"""Sets of image pairs to verify on: what they are read from, and the figures of a network on them."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import PathLike, Size
from keras_margin.data.reader import Reader

# The FARs of which the smallest that a set can show is reported: one that some ten impostor pairs reach.
_FARS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_IMPOSTORS_AT_FAR = 10

# Lists of pairs by which folders are evaluated; other pairs than theirs would be another protocol.
_PAIR_LISTS = ("pairs.txt", "pairs.csv")


@dataclasses.dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images to verify on.

    Attributes:
        name: What the logs call it.
        images: uint8 array (n, height, width, 3), RGB.
        is_same: Bool array (m,); 0 and 1 will do.
        pairs: Int array (m, 2), indices of images; None for image 2 i with image 2 i + 1, as in a `.bin`.

    Raises:
        ValueError: Where images, pairs and is_same do not go together, or there are no pairs of a kind.

    Example:
        >>> PairSet("two", np.zeros((4, 2, 2, 3), "uint8"), np.array([True, False])).directions()
        {'two_accuracy': 'up', 'two_eer': 'down'}
    """

    name: str
    images: np.ndarray
    is_same: np.ndarray
    pairs: np.ndarray | None = None

    def __post_init__(self):
        is_same = np.asarray(self.is_same).astype(bool)
        object.__setattr__(self, "is_same", is_same)
        shape = (len(is_same), 2) if self.pairs is None else np.shape(self.pairs)
        most = 2 * len(is_same) - 1 if self.pairs is None else np.max(self.pairs, initial=0)
        if is_same.ndim != 1 or shape != (len(is_same), 2) or most >= len(self.images):
            raise ValueError(
                "A set of pairs needs pairs of shape (m, 2), indices of images, and is_same of shape (m,); without "
                f"pairs two images for each is_same. Received: {len(self.images)} images, is_same of shape "
                f"{is_same.shape}, pairs {'None' if self.pairs is None else f'of shape {shape}, up to image {most}'}."
            )
        if is_same.all() or not is_same.any():
            raise ValueError(
                "Verification needs genuine and impostor pairs. Received: is_same that is "
                f"{bool(is_same[0]) if len(is_same) else 'empty'} throughout."
            )

    def scores(self, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Cosines of the pairs, by a function from images to embeddings."""
        pairs = np.arange(2 * len(self.is_same)).reshape(-1, 2) if self.pairs is None else self.pairs
        return evaluation.pair_scores(embed(self.images), pairs)

    def accuracy(self, embed: Callable[[np.ndarray], np.ndarray]) -> float:
        """Ten-fold accuracy, or, of fewer than ten pairs of a kind, 1 - EER."""
        return self._accuracy(self.scores(embed))

    def figures(self, embed: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """Computes what verification logs of the set.

        Args:
            embed: Function from uint8 images to embeddings.

        Returns:
            Dict: NAME_accuracy as `accuracy`; NAME_eer; NAME_tar_at_far_F at the smallest F of 1e-1, 1e-2, ... 1e-5
            with F * impostor pairs >= 10, where there is one. All in [0, 1].
        """
        scores, far = self.scores(embed), self._far()
        found = [self._accuracy(scores), evaluation.eer(scores, self.is_same)]
        found += [] if far is None else [evaluation.tar_at_far(scores, self.is_same, far)]
        return dict(zip(self.directions(), map(float, found), strict=True))

    def directions(self):
        """Returns the names of the figures, and whether more ("up") or less ("down") of each is better."""
        found = {"accuracy": "up", "eer": "down"}
        if self._far() is not None:
            found[f"tar_at_far_{self._far():.0e}"] = "up"
        return {f"{self.name}_{key}": direction for key, direction in found.items()}

    def _far(self):
        """The smallest FAR that is measured; None of too few impostor pairs."""
        impostors = int((~self.is_same).sum())
        return next((far for far in _FARS if far * impostors >= _IMPOSTORS_AT_FAR), None)

    def _accuracy(self, scores):
        if min(self.is_same.sum(), (~self.is_same).sum()) < 10:
            return 1.0 - evaluation.eer(scores, self.is_same)
        return evaluation.k_fold_accuracy(scores, self.is_same, folds=10).mean


def read_pairs(path: PathLike, image_size: Size, seed: int = 0, most: int = 3000) -> PairSet:
    """Reads a set of pairs from a `.bin`, or draws one from labelled images.

    Args:
        path: A `.bin`; or a set of labelled images that keras_margin.data.open reads, such as a folder of identities,
            of which as many genuine as impostor pairs are drawn.
        image_size: (height, width), pixels.
        seed: Of the drawn pairs.
        most: Pairs of either kind that are drawn at most.

    Returns:
        PairSet, named as the file or folder.

    Raises:
        ValueError: Where a folder holds a pair list of its own, or the images make no pairs of a kind.
        OSError: Where nothing can be read there.

    Example:
        >>> try:
        ...     read_pairs("missing.bin", (112, 112))
        ... except FileNotFoundError as error:
        ...     print("missing.bin" in str(error))
        True
    """
    from keras_margin import data  # TensorFlow's; pairs of arrays do without.

    path = pathlib.Path(path)
    if not path.is_dir():
        images, is_same = data.load_bin(path, image_size)
        return PairSet(path.stem, images, is_same)
    lists = [name for name in _PAIR_LISTS if (path / name).is_file()]
    if lists:
        raise ValueError(
            f"Verification while training draws its pairs from a folder of identities, or takes a .bin. Received: "
            f"{path}, which has its own list {lists[0]}. `keras-margin evaluate` measures by such a list."
        )
    return drawn_pairs(path.name, data.open(path, image_size=image_size), seed, most)


def drawn_pairs(name: str, reader: Reader, seed: int = 0, most: int = 3000) -> PairSet:
    """Draws as many genuine as impostor pairs from a reader's images.

    Args:
        name: What the logs call the set.
        reader: From keras_margin.data.open.
        seed: Of the draw.
        most: Pairs of either kind at most.

    Returns:
        PairSet.

    Raises:
        ValueError: Where there is no pair of a kind.

    Example:
        >>> import types
        >>> arrays = np.zeros((6, 4, 4, 3), "uint8"), np.array([0, 0, 1, 1, 2, 2])
        >>> drawn_pairs("six", types.SimpleNamespace(arrays=lambda: arrays)).is_same.tolist().count(True)
        3
    """
    images, labels = reader.arrays()
    counts = np.bincount(labels)
    genuine = int((counts * (counts - 1) // 2).sum())
    number = min(most, genuine, len(labels) * (len(labels) - 1) // 2 - genuine)
    if not number:
        raise ValueError(
            "Verification needs two images of one person and images of two people. Received: "
            f"{len(labels)} images of {int((counts > 0).sum())} people in {name}."
        )
    pairs, is_same = evaluation.make_pairs(labels, number, number, seed)
    return PairSet(name, images, is_same, pairs)


def as_text(values: Mapping[str, float]) -> str:
    """Returns one line of what PairSet.figures computed.

    Example:
        >>> as_text({"lfw_accuracy": 0.9912, "lfw_eer": 0.012, "lfw_tar_at_far_1e-03": 0.95})
        'lfw: accuracy 0.9912, EER 1.20%, TAR 0.950 at FAR 1e-03'
    """
    sets: dict[str, list[str]] = {}
    for name, value in values.items():
        for key, words in (("_accuracy", "accuracy {:.4f}"), ("_eer", "EER {:.2%}")):
            if name.endswith(key):
                sets.setdefault(name.removesuffix(key), []).append(words.format(value))
        if "_tar_at_far_" in name:
            of, _, far = name.rpartition("_tar_at_far_")
            sets.setdefault(of, []).append(f"TAR {value:.3f} at FAR {far}")
    return "; ".join(f"{name}: {', '.join(words)}" for name, words in sets.items())

"""Splits of labelled images into training and test images, and the file that says who is held out."""

import dataclasses
import json

import numpy as np

from keras_margin._typing import ArrayLike, PathLike
from keras_margin._utils import files
from keras_margin.data.reader import LabelledImages

_FORMAT = "keras-margin split, version 1"
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Split:
    """An identity-disjoint split of a set, by the names of the identities that are held out.

    Names stay the same when images are added, removed or prepared as shards, which numbers do not.

    Attributes:
        held_out: Tuple of str, the identities that are not trained on, in the set's order.
        num_identities: Number of identities of the whole set.
        seed: The seed that chose them; None where something else did.
        source: Where the set was, for the reader of the file; None where that is not known.

    Example:
        >>> split = Split(held_out=("s1", "s2"), num_identities=40, seed=0)
        >>> train_indices, held_out_indices = split.indices(keras_margin.data.open("orl"))
        >>> len(train_indices), len(held_out_indices)
        (380, 20)
    """

    held_out: tuple
    num_identities: int
    seed: int | None = None
    source: str | None = None

    @classmethod
    def of(
        cls, reader: LabelledImages, held_out_indices: ArrayLike, seed: int | None = None, source: str | None = None
    ) -> "Split":
        """Makes the split that holds out the people on some images.

        Args:
            reader: From `keras_margin.data.open`, of the whole set.
            held_out_indices: Int array, one-dimensional; numbers of all images of the people that are held out, as
                `identity_disjoint_split` returns them.
            seed: What chose them; see `Split`.
            source: Where the set is; see `Split`.

        Returns:
            Split.

        Example:
            >>> reader = keras_margin.data.open("orl")
            >>> Split.of(reader, np.flatnonzero(reader.labels < 2)).held_out
            ('s1', 's2')
        """
        held_out = [reader.label_names[label] for label in np.unique(reader.labels[held_out_indices])]
        return cls(tuple(held_out), reader.num_classes, seed, source)

    def indices(self, reader: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
        """Finds the images of either part in a set.

        Args:
            reader: From `keras_margin.data.open`: the set that was split, or one with the same names. Identities that
                the split does not name belong to the training part.

        Returns:
            (train_indices, held_out_indices), int64 arrays of image numbers, each in ascending order; for
            `reader.subset`.

        Raises:
            ValueError: If the set lacks an identity that is held out, or has no others.

        Example:
            >>> reader = keras_margin.data.open("orl")
            >>> train_indices, held_out_indices = draw_split(reader, 10).indices(reader)
            >>> len(train_indices), len(held_out_indices)
            (300, 100)
        """
        missing = sorted(set(self.held_out) - set(reader.label_names))
        if missing:
            named = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
            raise ValueError(
                f"A split fits a set that has all {len(self.held_out):,} held-out identities. Received: {reader!r}, "
                f"which lacks {len(missing):,} of them: {named}. The split was made of {self.source or 'a set'} with "
                f"{self.num_identities:,} identities."
            )
        names = set(self.held_out)
        is_held_out = np.array([name in names for name in reader.label_names])[reader.labels]
        if is_held_out.all():
            raise ValueError(f"A split leaves identities to train on. Received: {reader!r}, all of which are held out.")
        return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def draw_split(
    reader: LabelledImages, num_held_out: int | None = None, seed: int = 0, source: str | None = None
) -> Split:
    """Draws the identities of a set that are held out, by `identity_disjoint_split`.

    Args:
        reader: From `keras_margin.data.open`.
        num_held_out: Number of identities, in [1, number of identities); None is a tenth, at least 2 and at most 500,
            as training holds out.
        seed: Int >= 0; the same seed holds out the same people of the same set.
        source: Where the set is, for the reader of the file.

    Returns:
        Split.

    Raises:
        ValueError: If one part would have no identity.

    Example:
        >>> split = draw_split(keras_margin.data.open("orl"), seed=1)
        >>> len(split.held_out), split.num_identities
        (4, 40)
    """
    if num_held_out is None:
        num_held_out = min(500, max(2, round(reader.num_classes / 10)))
    if not 1 <= num_held_out < reader.num_classes:
        raise ValueError(
            f"The number of identities held out must be in [1, {reader.num_classes}), for a set of "
            f"{reader.num_classes}. Received: {num_held_out}."
        )
    _, held_out = identity_disjoint_split(reader.labels, num_held_out, seed)
    return Split.of(reader, held_out, seed, source)


def write_split(path: PathLike, split: Split) -> None:
    """Writes a split as JSON; the file appears whole or not at all.

    Args:
        path: The file.
        split: Split.

    Raises:
        OSError: If it cannot be written.

    Example:
        >>> write_split("split.json", draw_split(keras_margin.data.open("orl")))
    """
    with files.atomic_write(path) as temporary:
        # ASCII, because names may hold bytes that are not characters.
        content = {"format": _FORMAT} | dataclasses.asdict(split)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


def read_split(path: PathLike) -> Split:
    """Reads what `write_split`, `keras-margin split` or a training run wrote.

    Args:
        path: The JSON file.

    Returns:
        Split.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a split.

    Example:
        >>> write_split("split.json", draw_split(keras_margin.data.open("orl"), 2))
        >>> len(read_split("split.json").held_out)
        2
    """
    with open(path, "rb") as file:
        text = file.read()
    try:
        content = json.loads(text)
        if content.pop("format") != _FORMAT:
            raise ValueError("its format is another")
        split = Split(**content | {"held_out": tuple(content["held_out"])})
        if not split.held_out or not all(isinstance(name, str) for name in split.held_out):
            raise ValueError("held_out is not a list of names")
        if type(split.num_identities) is not int or split.num_identities <= len(split.held_out):
            raise ValueError(f"num_identities is {split.num_identities!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"A split is a JSON file that keras-margin split wrote, with format, held_out and num_identities. "
            f"Received: {path}: {error}."
        ) from None
    return split


def identity_disjoint_split(labels: ArrayLike, num_test: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Splits the images by identity: nobody is in both parts. For verification of unseen people.

    Args:
        labels: Int array, (num_images,); the identity of every image.
        num_test: Number of identities to test on, in [1, number of identities).
        seed: Int >= 0; chooses the identities, all equally likely.

    Returns:
        (train_indices, test_indices), int64 arrays of image numbers, each in ascending order.

    Raises:
        ValueError: If one part would have no identity.

    Example:
        >>> train_indices, test_indices = identity_disjoint_split([0, 0, 1, 1, 2, 2], num_test=1)
        >>> len(train_indices), len(test_indices)
        (4, 2)
    """
    labels = _check_labels(labels)
    identities = np.unique(labels)
    if not 1 <= num_test < len(identities):
        raise ValueError(
            f"identity_disjoint_split needs num_test in [1, {len(identities)}), the number of identities. "
            f"Received: num_test={num_test}."
        )
    chosen = np.random.default_rng(seed).permutation(identities)[:num_test]
    is_test = np.isin(labels, chosen)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def per_identity_split(labels: ArrayLike, num_train: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Splits the images of each identity: everybody is in both parts. For identification of known people.

    Args:
        labels: Int array, (num_images,); the identity of every image.
        num_train: Number of images of each identity to train on, >= 1; the others are for the test.
        seed: Int >= 0; chooses the images, all equally likely.

    Returns:
        (train_indices, test_indices), int64 arrays of image numbers, each in ascending order.

    Raises:
        ValueError: If an identity would have no image in one part.

    Example:
        >>> train_indices, test_indices = per_identity_split([0, 0, 0, 1, 1, 1], num_train=2)
        >>> len(train_indices), len(test_indices)
        (4, 2)
    """
    labels = _check_labels(labels)
    identities, counts = np.unique(labels, return_counts=True)
    fewest = counts.argmin()
    if not 1 <= num_train < counts[fewest]:
        raise ValueError(
            f"per_identity_split needs num_train in [1, {counts[fewest]}), because identity {identities[fewest]} "
            f"has {counts[fewest]} images. Received: num_train={num_train}."
        )
    generator = np.random.default_rng(seed)
    is_train = np.zeros(len(labels), bool)
    for identity in identities:
        is_train[generator.permutation(np.flatnonzero(labels == identity))[:num_train]] = True
    return np.flatnonzero(is_train), np.flatnonzero(~is_train)


def _check_labels(labels: ArrayLike) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "A split needs one integer label per image, in a one-dimensional array. "
            f"Received shape {labels.shape}, dtype {labels.dtype}. Pass reader.labels."
        )
    return labels

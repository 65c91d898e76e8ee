"""Verification protocols made from any labelled set, and their files: a `.bin` with the images, a `.csv` by name."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import ArrayLike, PathLike
from keras_margin.data import bin as bin_file
from keras_margin.data import pair_lists
from keras_margin.data.pair_lists import read_pairs
from keras_margin.data.reader import LabelledImages, Reader

__all__ = [
    "ProtocolSize",
    "image_names",
    "make_protocol",
    "protocol_size",
    "read_pairs",
    "write_pairs",
    "write_protocol",
    "writer_for",
]

# Of LFW and the sets that follow it.
_DEFAULT_PAIRS, _DEFAULT_FOLDS = 3000, 10


class ProtocolSize(NamedTuple):
    """How many pairs of each kind a protocol has, and in how many folds.

    Attributes:
        num_genuine: Pairs of one person, a multiple of `folds`.
        num_impostor: Pairs of two persons, a multiple of `folds`.
        folds: Number of folds.
    """

    num_genuine: int
    num_impostor: int
    folds: int


def protocol_size(
    labels: ArrayLike,
    num_genuine: int | None = None,
    num_impostor: int | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> ProtocolSize:
    """Chooses the numbers of a protocol that are left open, and checks the others.

    Args:
        labels: Integer or string array (n,); who is on each image.
        num_genuine: Pairs of one person, a multiple of `folds`, >= 0. None is as many as of the other kind or, where
            that is open too, 3,000; fewer where there are fewer.
        num_impostor: Pairs of two persons, likewise.
        folds: Number of folds, >= 1. None is the largest from 10 to 2 in which every fold has its pairs of both kinds.
        seed: Int >= 0; deals the people to the folds.

    Returns:
        ProtocolSize.

    Raises:
        ValueError: If there are not so many pairs, or none of a kind that was left open; the error has the largest
            numbers.

    Example:
        >>> protocol_size(np.repeat(np.arange(40), 10))
        ProtocolSize(num_genuine=1800, num_impostor=1800, folds=10)
    """
    wanted = {"genuine": num_genuine, "impostor": num_impostor}
    identities, index = np.unique(labels, return_inverse=True)
    if folds is None:
        folds = _choose_folds(index, len(identities), wanted, seed)
    elif not 1 <= folds <= len(identities):
        raise ValueError(f"folds must be in [1, {len(identities)}], the number of identities. Received: folds={folds}.")
    for kind, count in wanted.items():
        if count is not None and (count < 0 or count % folds):
            raise ValueError(
                f"The number of {kind} pairs must be a multiple of folds={folds}, >= 0. Received: {count}."
            )
    largest = _largest(index, len(identities), folds, seed)
    most = min((count for count in wanted.values() if count), default=_DEFAULT_PAIRS)
    if wanted["genuine"] is None and wanted["impostor"] is None:
        most = min(most, *largest.values())
    numbers = {
        kind: min(most // folds * folds, largest[kind]) if count is None else count for kind, count in wanted.items()
    }
    if not _fits(numbers, wanted, largest):
        asked = " and ".join(f"{count:,} {kind}" for kind, count in wanted.items() if count is not None)
        raise ValueError(
            f"In {folds} folds that share nobody there are at most {largest['genuine']:,} genuine and "
            f"{largest['impostor']:,} impostor pairs, as many in each fold. Received: {asked or 'no number of'} pairs. "
            "Ask for fewer pairs or fewer folds, or add people with two images or more."
        )
    return ProtocolSize(numbers["genuine"], numbers["impostor"], folds)


def make_protocol(
    labels: ArrayLike,
    num_genuine: int | None = None,
    num_impostor: int | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pairs for k-fold verification in the layout of LFW's view 2: fold after fold, no person in two of them.

    The identities are dealt to the folds at random; in each fold the pairs are drawn uniformly, without replacement,
    by `evaluation.make_pairs`. Cut into `folds` runs of equal length, as insightface's evaluation and
    `evaluation.k_fold_accuracy(..., folds=folds)` do, the pairs give back these folds.

    Args:
        labels: Integer or string array (n,); who is on each image.
        num_genuine: Pairs of one person, a multiple of `folds`, >= 0; None as for `protocol_size`.
        num_impostor: Pairs of two persons, a multiple of `folds`, >= 0; None as for `protocol_size`.
        folds: Number of folds, >= 1; None as for `protocol_size`.
        seed: Int >= 0; the same seed gives the same pairs.

    Returns:
        (pairs, is_same): integer array (num_genuine + num_impostor, 2) of image numbers, and bool array.

    Raises:
        ValueError: As `protocol_size`.

    Example:
        >>> labels = np.repeat(np.arange(40), 10)
        >>> pairs, is_same = make_protocol(labels, num_genuine=30, num_impostor=30)
        >>> pairs.shape, int(is_same[:6].sum())  # three genuine pairs of the first of ten folds
        ((60, 2), 3)

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2.
    """
    labels = np.asarray(labels)
    num_genuine, num_impostor, folds = protocol_size(labels, num_genuine, num_impostor, folds, seed)
    identities, index = np.unique(labels, return_inverse=True)
    fold_of = _deal(len(identities), folds, seed)[index]
    parts = []
    for fold in range(folds):
        members = np.flatnonzero(fold_of == fold)
        pairs, is_same = evaluation.make_pairs(
            labels[members], num_genuine // folds, num_impostor // folds, seed=(seed, fold)
        )
        parts.append((members[pairs], is_same))
    pairs, is_same = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pairs, is_same


def _deal(people: int, folds: int, seed: int) -> np.ndarray:
    """The fold of every person."""
    return np.random.default_rng(seed).permutation(np.arange(people) % folds)


def _largest(index: np.ndarray, people: int, folds: int, seed: int) -> dict[str, int]:
    """{kind: the largest number of pairs that every fold can give an equal part of}."""
    images = np.bincount(index, minlength=people).astype(np.int64)
    fold_of = _deal(people, folds, seed)
    genuine = np.bincount(fold_of, images * (images - 1) // 2, folds).astype(np.int64)
    of_fold = np.bincount(fold_of, images, folds).astype(np.int64)
    impostor = of_fold * (of_fold - 1) // 2 - genuine
    return {"genuine": folds * int(genuine.min()), "impostor": folds * int(impostor.min())}


def _fits(numbers: Mapping[str, int], wanted: Mapping[str, int | None], largest: Mapping[str, int]) -> bool:
    """Whether there are so many pairs, and some of a kind whose number was left open."""
    return all(numbers[kind] <= largest[kind] and (numbers[kind] or wanted[kind] is not None) for kind in numbers)


def _choose_folds(index: np.ndarray, people: int, wanted: Mapping[str, int | None], seed: int) -> int:
    """The largest number of folds that has the wanted pairs or, where none has, some pairs of both kinds."""
    for counts in (wanted, dict.fromkeys(wanted)):
        for folds in range(min(_DEFAULT_FOLDS, people), 1, -1):
            numbers = {kind: folds if count is None else count for kind, count in counts.items()}
            divides = all(count % folds == 0 for count in numbers.values())
            if divides and _fits(numbers, counts, _largest(index, people, folds, seed)):
                return folds
    several = int((np.bincount(index) > 1).sum())
    raise ValueError(
        f"Each fold needs genuine and impostor pairs: two people, one of them with two images. Received: {people} "
        f"people, {several} of them with two images or more, which make no 2 to {_DEFAULT_FOLDS} such folds. Ask for "
        "one fold or another seed, or add people."
    )


def write_protocol(
    path: PathLike,
    reader: Reader,
    num_genuine: int | None = None,
    num_impostor: int | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a protocol from a reader's images and writes it as a verification `.bin`.

    Args:
        path: The `.bin` file.
        reader: From `keras_margin.data.open`; pass the people that were not trained on.
        num_genuine: Pairs of one person, a multiple of `folds`; None as for `protocol_size`.
        num_impostor: Pairs of two persons, a multiple of `folds`; None as for `protocol_size`.
        folds: Number of folds; None as for `protocol_size`.
        seed: Int >= 0.

    Returns:
        (pairs, is_same), as `make_protocol`.

    Raises:
        ValueError: As `make_protocol`, and if an image cannot be read.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> pairs, is_same = write_protocol("orl.bin", reader, num_genuine=30, num_impostor=30)
    """
    pairs, is_same = make_protocol(reader.labels, num_genuine, num_impostor, folds, seed)
    needed, rows = np.unique(pairs, return_inverse=True)
    images, _ = reader.subset(needed).arrays()
    if len(images) != len(needed):
        raise ValueError(
            f"Every image of a protocol must be readable. Received: {len(needed) - len(images)} of {len(needed)} that "
            "are not; the log names them. Remove them and draw again."
        )
    bin_file.write_bin(path, images[rows.ravel()], is_same)
    return pairs, is_same


def write_pairs(
    path: PathLike,
    reader: LabelledImages,
    num_genuine: int | None = None,
    num_impostor: int | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a protocol from a reader's images and writes it as a list: a `.csv` of fold, same, first, second.

    `fold` counts from 0; `same` is 1 for one person and 0 for two; `first` and `second` are the images' names: the file
    below the folder that all of them share, or the number of the image in a set that is not a folder.

    Args:
        path: The `.csv` file.
        reader: From `keras_margin.data.open`; pass the people that were not trained on.
        num_genuine: Pairs of one person, a multiple of `folds`; None as for `protocol_size`.
        num_impostor: Pairs of two persons, a multiple of `folds`; None as for `protocol_size`.
        folds: Number of folds; None as for `protocol_size`.
        seed: Int >= 0.

    Returns:
        (pairs, is_same), as `make_protocol`.

    Raises:
        ValueError: As `make_protocol`.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> pairs, is_same = write_pairs("orl.csv", reader, num_genuine=30, num_impostor=30)
    """
    size = protocol_size(reader.labels, num_genuine, num_impostor, folds, seed)
    pairs, is_same = make_protocol(reader.labels, *size, seed)
    fold_of = np.arange(len(pairs)) // max(1, len(pairs) // size.folds)
    name_of = image_names(reader)
    names = [(name_of[first], name_of[second]) for first, second in pairs.tolist()]
    pair_lists.write_pair_list(path, names, is_same.tolist(), fold_of.tolist())
    return pairs, is_same


def writer_for(path: PathLike) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`write_protocol` or `write_pairs`, by the extension of a file's name.

    Raises:
        ValueError: If it is another.
    """
    extension = os.path.splitext(os.fsdecode(path))[1].lower()
    if extension not in _WRITERS:
        raise ValueError(f"A protocol is written as {' or '.join(_WRITERS)}. Received: {os.fsdecode(path)}.")
    return _WRITERS[extension]


def image_names(reader: LabelledImages) -> list[str]:
    """Returns what lists call a reader's images: the file below their common folder, or the image's number.

    Args:
        reader: From `keras_margin.data.open`.

    Returns:
        List of str.
    """
    paths = getattr(reader, "paths", None)
    if paths is None:
        return list(map(str, range(reader.num_images)))
    root = os.path.commonpath([os.path.dirname(os.path.dirname(path)) for path in paths])
    # With slashes, so that the list is read on any system.
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]


_WRITERS = {".bin": write_protocol, ".csv": write_pairs}

"""Verification protocols made from any labelled set, and their files: a `.bin` with the images, a `.csv` by name."""

import csv
import os

import numpy as np

from keras_margin import evaluation, files
from keras_margin.data import bin as bin_file

_COLUMNS = ("fold", "same", "first", "second")


def make_protocol(labels, num_genuine=3000, num_impostor=3000, folds=10, seed=0):
    """Pairs for k-fold verification in the layout of LFW's view 2: the folds one after the other, no person in two.

    The identities are dealt to the folds at random; in each fold the pairs are drawn uniformly, without replacement,
    by `evaluation.make_pairs`. Cut into `folds` runs of equal length, as insightface's evaluation and
    `evaluation.k_fold_accuracy(..., folds=folds)` do, the pairs give back these folds.

    Args:
        labels: Integer or string array (n,); who is on each image.
        num_genuine: Pairs of one person, a multiple of `folds`, >= 0.
        num_impostor: Pairs of two persons, a multiple of `folds`, >= 0.
        folds: Number of folds, >= 1.
        seed: Int >= 0; the same seed gives the same pairs.

    Returns:
        (pairs, is_same): integer array (num_genuine + num_impostor, 2) of image numbers, and bool array.

    Raises:
        ValueError: If a count is no multiple of `folds`, or a fold's identities have not so many pairs; the error
            gives the number there is.

    Example:
        >>> labels = np.repeat(np.arange(40), 10)
        >>> pairs, is_same = make_protocol(labels, num_genuine=300, num_impostor=300)
        >>> pairs.shape, int(is_same[:60].sum())  # the first of the ten folds
        ((600, 2), 30)

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2.
    """
    labels = np.asarray(labels)
    identities, index = np.unique(labels, return_inverse=True)
    if not 1 <= folds <= len(identities):
        raise ValueError(f"folds must be in [1, {len(identities)}], the number of identities. Received: folds={folds}.")
    for name, count in (("num_genuine", num_genuine), ("num_impostor", num_impostor)):
        if count < 0 or count % folds:
            raise ValueError(f"{name} must be a multiple of folds={folds}, >= 0. Received: {name}={count}.")
    rng = np.random.default_rng(seed)
    fold_of = rng.permutation(np.arange(len(identities)) % folds)[index]
    parts = []
    for fold in range(folds):
        members = np.flatnonzero(fold_of == fold)
        try:
            pairs, is_same = evaluation.make_pairs(
                labels[members], num_genuine // folds, num_impostor // folds, seed=(seed, fold)
            )
        except ValueError as error:
            raise ValueError(f"Fold {fold} of {folds}, {len(members)} images: {error}") from None
        parts.append((members[pairs], is_same))
    pairs, is_same = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pairs, is_same


def write_protocol(path, reader, num_genuine=3000, num_impostor=3000, folds=10, seed=0):
    """Draws a protocol from a reader's images and writes it as a verification `.bin`.

    Args:
        path: The `.bin` file.
        reader: From `keras_margin.data.open`; pass the people that were not trained on.
        num_genuine: Pairs of one person, a multiple of `folds`.
        num_impostor: Pairs of two persons, a multiple of `folds`.
        folds: Number of folds.
        seed: Int >= 0.

    Returns:
        (pairs, is_same), as `make_protocol`.

    Raises:
        ValueError: As `make_protocol`, and if an image cannot be read.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> pairs, is_same = write_protocol("orl.bin", reader, num_genuine=300, num_impostor=300)
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


def write_pairs(path, reader, num_genuine=3000, num_impostor=3000, folds=10, seed=0):
    """Draws a protocol from a reader's images and writes it as a list: a `.csv` of fold, same, first, second.

    `fold` counts from 0; `same` is 1 for one person and 0 for two; `first` and `second` are the images' names: the file
    below the folder that all of them share, or the number of the image in a set that is no folder.

    Args:
        path: The `.csv` file.
        reader: From `keras_margin.data.open`; pass the people that were not trained on.
        num_genuine: Pairs of one person, a multiple of `folds`.
        num_impostor: Pairs of two persons, a multiple of `folds`.
        folds: Number of folds.
        seed: Int >= 0.

    Returns:
        (pairs, is_same), as `make_protocol`.

    Raises:
        ValueError: As `make_protocol`.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> pairs, is_same = write_pairs("orl.csv", reader, num_genuine=300, num_impostor=300)
    """
    pairs, is_same = make_protocol(reader.labels, num_genuine, num_impostor, folds, seed)
    fold_of = np.arange(len(pairs)) // max(1, len(pairs) // folds)
    name_of = _names(reader)
    with (
        files.written_whole(path) as temporary,
        # Names are bytes on most disks: those that are no characters go in and out as they are.
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for fold, same, (first, second) in zip(fold_of.tolist(), is_same.tolist(), pairs.tolist(), strict=True):
            writer.writerow([fold, int(same), name_of(first), name_of(second)])
    return pairs, is_same


def read_pairs(path):
    """Reads what `write_pairs` wrote.

    Args:
        path: The `.csv` file.

    Returns:
        (names, is_same, folds): list of (first, second), bool array (n,), integer array (n,) from 0;
        `evaluation.k_fold_accuracy(..., folds=folds)` takes the last.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a list; gives the line.

    Example:
        >>> names, is_same, folds = read_pairs("orl.csv")
    """
    names, is_same, folds = [], [], []
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.reader(file)
        try:
            if (head := next(rows, None)) != list(_COLUMNS):
                raise ValueError(f"its first line is {head}")
            for row in rows:
                fold, same, first, second = row
                if same not in ("0", "1") or not fold.isdecimal():
                    raise ValueError(f"fold={fold!r}, same={same!r}")
                names.append((first, second))
                is_same.append(same == "1")
                folds.append(int(fold))
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"A list of pairs has the columns {','.join(_COLUMNS)}, same being 0 or 1. Received: {path}, line "
                f"{max(rows.line_num, 1)}: {error}."
            ) from None
    return names, np.array(is_same, bool), np.array(folds, np.int64)


def writer_for(path):
    """`write_protocol` or `write_pairs`, by the extension of a file's name.

    Raises:
        ValueError: If it is another.
    """
    extension = os.path.splitext(os.fsdecode(path))[1].lower()
    if extension not in _WRITERS:
        raise ValueError(f"A protocol is written as {' or '.join(_WRITERS)}. Received: {os.fsdecode(path)}.")
    return _WRITERS[extension]


def _names(reader):
    """A function from the number of an image to its name."""
    paths = getattr(reader, "paths", None)
    if paths is None:
        return str
    root = os.path.commonpath([os.path.dirname(os.path.dirname(path)) for path in paths])
    return lambda number: os.path.relpath(paths[number], root)


_WRITERS = {".bin": write_protocol, ".csv": write_pairs}

"""Lists of image pairs by name, the `.csv` of `keras-margin pairs`, and text files as people save them."""

import codecs
import csv
import io
from collections.abc import Sequence

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils import files

COLUMNS = ("fold", "same", "first", "second")

_SAME = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
_MARKS_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: PathLike) -> str:
    """Reads a text file of names, whoever saved it.

    Args:
        path: A file in UTF-8 or UTF-16, with a byte-order mark or, for UTF-8, without.

    Returns:
        str. Bytes that are not UTF-8 stay as file names hold them (surrogate escapes).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it begins as UTF-16 and is not.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_MARKS_16):  # As spreadsheets save "Unicode text".
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} begins as UTF-16 and is not: {error}. Save it as UTF-8.") from None
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def write_pair_list(
    path: PathLike,
    names: Sequence[tuple[str, str]],
    is_same: Sequence[bool] | np.ndarray,
    folds: Sequence[int] | np.ndarray,
) -> None:
    """Writes a list of pairs; the file appears whole or not at all.

    Args:
        path: The `.csv` file.
        names: Sequence of (first, second), str.
        is_same: Bool sequence, as long.
        folds: Integer sequence, as long, from 0.
    """
    with (
        files.atomic_write(path) as temporary,
        # Names are bytes on most disks: those that are not characters go in and out as they are.
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for (first, second), same, fold in zip(names, is_same, folds, strict=True):
            writer.writerow([fold, int(same), first, second])


def read_pairs(path: PathLike) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Reads a list of pairs, as `write_pairs` wrote it or a spreadsheet saved it.

    The first line names the columns: `same` (0 or 1, false or true), `first`, `second` and, unless all pairs are of one
    fold, `fold` (whole numbers), in any order and next to any others. They are parted by commas, semicolons or tabs.
    Empty lines do not count.

    Args:
        path: The `.csv` file.

    Returns:
        (names, is_same, folds): list of (first, second), bool array (n,), integer array (n,);
        `evaluation.k_fold_accuracy(..., folds=folds)` takes the last, where it runs from 0.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a list; gives the line.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> _ = keras_margin.data.pairs.write_pairs("orl.csv", reader, num_genuine=20, num_impostor=20, folds=2)
        >>> names, is_same, folds = read_pairs("orl.csv")
        >>> len(names), int(is_same.sum()), int(folds.max())
        (40, 20, 1)
    """
    text = read_text(path)
    names, is_same, folds = [], [], []
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), skipinitialspace=True)
    try:
        places = _places(next(rows, []))
        for row in rows:
            if not row:
                continue
            fold, same, first, second = ("0" if place is None else _field(row, place) for place in places)
            if same.lower() not in _SAME or not fold.removesuffix(".0").isdecimal():
                raise ValueError(f"fold={fold!r}, same={same!r}")
            names.append((first, second))
            is_same.append(_SAME[same.lower()])
            folds.append(int(fold.removesuffix(".0")))
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"A list of pairs has the columns {','.join(COLUMNS)}, named in its first line, same being 0 or 1. "
            f"Received: {path}, line {max(rows.line_num, 1)}: {error}."
        ) from None
    return names, np.array(is_same, bool), np.array(folds, np.int64)


def delimiter(text: str) -> str:
    """Returns what parts the cells of a list: comma, semicolon or tab, the most frequent in its first line."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _places(head: Sequence[str]) -> list[int | None]:
    """The place of every column in a row, None for a fold that is not there."""
    head = [name.strip().lower() for name in head]
    if not set(COLUMNS[1:]) <= set(head):
        raise ValueError(f"its first line is {head}")
    return [head.index(name) if name in head else None for name in COLUMNS]


def _field(row: Sequence[str], place: int) -> str:
    if place >= len(row):
        raise ValueError(f"{len(row)} fields, {row}")
    return row[place].strip()

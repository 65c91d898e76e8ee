"""A folder of images and a list of pairs: LFW as its authors ship it, or what `keras-margin pairs` draws."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from keras_margin._typing import Size
from keras_margin.data import pair_lists
from keras_margin.evaluation.protocols._images import SUFFIXES, ImageFiles
from keras_margin.evaluation.protocols._pairs import measure_in_folds, some_of
from keras_margin.evaluation.protocols.base import Protocol, Settings

LISTS = ("pairs.txt", "pairs.csv")
_SUFFIXES = (".txt", ".csv")


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a `.csv` or `.txt` of pairs, or a folder with `pairs.txt` or `pairs.csv`."""
    return any((path / name).is_file() for name in LISTS) or (path.suffix.lower() in _SUFFIXES and path.is_file())


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "PairListProtocol":
    """`PairListProtocol` of a folder."""
    return PairListProtocol(path, name, image_size, fit)


class PairListProtocol(Protocol):
    """Verification over listed pairs, in the list's folds."""

    def __init__(
        self, path: pathlib.Path, name: str | None = None, image_size: Size | None = None, fit: str | None = None
    ) -> None:
        listing = path if path.is_file() else next(path / each for each in LISTS if (path / each).is_file())
        read = _read_lfw if listing.suffix.lower() == ".txt" else _read_csv
        files, self._is_same, self._folds, people = read(listing)
        names, index = np.unique(files, return_inverse=True)
        self._pairs = index.reshape(-1, 2)
        self._files = ImageFiles([listing.parent / each for each in names.tolist()], image_size, fit)
        who = None
        if people is not None:
            who = np.empty(len(names), np.asarray(people).dtype)
            who[self._pairs] = people
        super().__init__(
            name or (path.stem if path == listing else path.name),
            path,
            f"verification, folds of {listing.name}",
            len(names),
            who,
            [each.replace(os.sep, "/") for each in names.tolist()],
        )

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        return self._files.batches(batch_size)

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._files.load(rows)

    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return some_of(self._pairs, self._is_same, count, seed)

    def _measure(self, embeddings: np.ndarray, settings: Settings):
        return measure_in_folds(embeddings, self._pairs, self._is_same, self.people, self._folds, settings)


def _read_lfw(path: pathlib.Path):
    """LFW's pairs.txt: `folds TAB size`, then for each fold `name a b` size times and `name a other b` size times."""
    lines = [_fields(line) for line in pair_lists.read_text(path).splitlines() if line.strip()]
    header = lines[0] if lines else []
    if not 1 <= len(header) <= 2 or not all(field.isdecimal() for field in header):
        raise ValueError(
            f"{path}, line 1: LFW's list begins with the number of folds and of pairs of a kind in each. Received: "
            f"{' '.join(header)!r}."
        )
    count, size = (1, int(header[0])) if len(header) == 1 else map(int, header)
    if len(lines) - 1 != 2 * count * size:
        raise ValueError(
            f"{path} announces {count} folds of {size} + {size} pairs, {2 * count * size} lines. Received: "
            f"{len(lines) - 1}."
        )
    images = _PeoplesImages(path)
    files, is_same, people = [], [], []
    for number, fields in enumerate(lines[1:], 2):
        same = len(fields) == 3
        sides = _sides(fields)
        if not sides or same != ((number - 2) // size % 2 == 0):
            raise ValueError(
                f"{path}, line {number}: a fold is `name a b` {size} times, then `name a other b` {size} times. "
                f"Received: {' '.join(fields)!r}."
            )
        files.append([images.name_of(who, image) for who, image in sides])
        people.append([who for who, _ in sides])
        is_same.append(same)
    folds = np.arange(len(files)) // (2 * size)
    return np.array(files), np.array(is_same), folds, np.array(people)


def _fields(line):
    """LFW's lists are parted by tabs, and names of people may have spaces; some copies have spaces for tabs."""
    return [field.strip() for field in line.strip().split("\t")] if "\t" in line else line.split()


def _sides(fields):
    """((name, number), (name, number)) of a line, or None."""
    if len(fields) not in (3, 4):
        return None
    sides = (fields[0], fields[1]), (fields[-2] if len(fields) == 4 else fields[0], fields[-1])
    return sides if all(image.isdecimal() for _, image in sides) else None


class _PeoplesImages:
    """The files of LFW's layout: `name/name_0001.jpg` next to the list, or in one folder there, as lfw.tgz makes.

    Args:
        listing: Path of the list.
    """

    def __init__(self, listing):
        self._listing, self._folder, self._known = listing, None, {}

    def name_of(self, who, number):
        """The name, below the list's folder, of an image; its suffix is looked up, in any case."""
        if self._folder is None:
            self._folder = self._find(who)
        folder = self._listing.parent / self._folder / who
        if who not in self._known:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._known[who] = {name.rpartition(".")[0]: name for name in names if name.lower().endswith(SUFFIXES)}
        stem = f"{who}_{int(number):04d}"
        if stem not in self._known[who]:
            there = (
                f"That folder has {len(self._known[who]):,} images." if folder.is_dir() else "There is no such folder."
            )
            raise ValueError(
                f"{self._listing} names an image that is not there: {folder / stem} with {', '.join(SUFFIXES)}. {there}"
            )
        return os.path.join(self._folder, who, self._known[who][stem])

    def _find(self, who):
        """The folder, below the list's, that has the folder of a person."""
        root = self._listing.parent
        if (root / who).is_dir():
            return ""
        inside = [entry.name for entry in sorted(root.iterdir()) if (entry / who).is_dir()]
        return inside[0] if len(inside) == 1 else ""


def _read_csv(path: pathlib.Path):
    """pairs.csv, as `keras-margin pairs` writes it: fold, same, first and second, names of files in its folder."""
    names, is_same, folds = pair_lists.read_pairs(path)
    if not names:
        raise ValueError(f"{path} must hold pairs. Received: none.")
    if all(name.isdecimal() and not (path.parent / name).is_file() for name in names[0]):
        raise ValueError(
            f"{path} names images by their numbers, such as {names[0][0]}, as lists drawn from a set that is not a "
            "folder of image files do: the images cannot be found by them. Draw a .bin, which holds the images: "
            "keras-margin pairs SET OUT.bin."
        )
    names = [tuple(_found(path.parent, name) for name in pair) for pair in names]
    # Folders are people where that agrees with every pair; else nobody knows who is who.
    folders = np.array([[name.rpartition("/")[0] for name in pair] for pair in names])
    people = folders if ((folders[:, 0] == folders[:, 1]) == is_same).all() else None
    return np.array(names), is_same, np.unique(folds, return_inverse=True)[1], people


def _found(root, name):
    """A name with the slashes of this system, where the list was written on another."""
    return name.replace("\\", "/") if "\\" in name and not (root / name).is_file() else name

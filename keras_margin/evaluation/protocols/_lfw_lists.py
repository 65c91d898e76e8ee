"""LFW's lists of pairs: pairs.txt of View 2, pairsDevTrain.txt and pairsDevTest.txt of View 1."""

import os

import numpy as np

from keras_margin.data import pair_lists
from keras_margin.evaluation.protocols._aligned import AlignedImages
from keras_margin.evaluation.protocols._images import SUFFIXES
from keras_margin.evaluation.protocols._listed import ListedPairs


def read_lfw(path, root=None):
    """Reads LFW's pairs.txt: `folds TAB size`, then for each fold `name a b` size times, `name a other b` size times.

    Args:
        path: pathlib.Path of the list.
        root: pathlib.Path of the folder that the images are below; None for the list's.

    Returns:
        `ListedPairs`.

    Raises:
        ValueError: A list of another form, or an image that is not there.
    """
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
    images = _PeoplesImages(path, path.parent if root is None else root)
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
    return ListedPairs(np.array(files), np.array(is_same), folds, np.array(people), len(images.missing))


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
    """The files of LFW's layout: `name/name_0001.jpg` in a folder, or in one folder there, as lfw.tgz makes.

    Args:
        listing: Path of the list.
        root: Path of the folder.

    Attributes:
        missing: Set of the images, below the folder, that have no face.
    """

    def __init__(self, listing, root):
        self._listing, self._root, self._folder, self._known = listing, root, None, {}
        self._aligned = AlignedImages(root)
        self.missing = set()

    def name_of(self, who, number):
        """Returns the name, below the folder, of an image, its suffix looked up in any case; "" without a face."""
        if self._folder is None:
            self._folder = self._find(who)
        folder = self._root / self._folder / who
        if who not in self._known:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._known[who] = {name.rpartition(".")[0]: name for name in names if name.lower().endswith(SUFFIXES)}
        stem = f"{who}_{int(number):04d}"
        if stem in self._known[who]:
            return os.path.join(self._folder, who, self._known[who][stem])
        # A person without any crop has no folder here: the report knows where that would be.
        if self._aligned.is_faceless(f"{who}/{stem}") or self._aligned.faceless_ending_in(f"/{who}/{stem}"):
            self.missing.add(stem)
            return ""
        there = f"That folder has {len(self._known[who]):,} images." if folder.is_dir() else "There is no such folder."
        raise ValueError(
            f"{self._listing} names an image that is not there: {folder / stem} with {', '.join(SUFFIXES)}. {there}"
        )

    def _find(self, who):
        """The folder, below the root, that has the folder of a person."""
        if (self._root / who).is_dir():
            return ""
        inside = [entry.name for entry in sorted(self._root.iterdir()) if (entry / who).is_dir()]
        return inside[0] if len(inside) == 1 else ""

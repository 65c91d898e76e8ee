"""Celebrities in Frontal-Profile as its authors ship it: Protocol/Split/{FF,FP}, ten folds that share nobody."""

import numpy as np

from keras_margin.data import pair_lists
from keras_margin.evaluation.protocols._aligned import AlignedImages, lists_folder
from keras_margin.evaluation.protocols._listed import ListedPairs, ListedPairsProtocol

_SPLITS = "Protocol/Split"
_IMAGES = ("Data/Images", "Images", ".")
_KINDS = {"FF": "frontal to frontal", "FP": "frontal to profile"}

# How far above the photographs the lists are: where Data/Images was aligned, two folders.
_LEVELS = 2


class Format:
    """One of CFP's two sets of pairs, as a format of `protocols`.

    Args:
        kind: "FF" or "FP".
    """

    def __init__(self, kind):
        self._kind = kind

    def recognizes(self, path):
        """Whether this is a folder with `Protocol/Split/FF` or FP, or aligned from one."""
        return lists_folder(path, (f"{_SPLITS}/{self._kind}",), _LEVELS) is not None

    def open_protocol(self, path, name, image_size, fit):
        """`CFPProtocol` of a folder."""
        return CFPProtocol(path, self._kind, name, image_size, fit)


FRONTAL_FRONTAL, FRONTAL_PROFILE = Format("FF"), Format("FP")


class CFPProtocol(ListedPairsProtocol):
    """Verification over CFP's pairs of one kind, in its folds.

    Args:
        path: pathlib.Path of the folder of the images: CFP's own, or one that `keras-margin align` wrote.
        kind: "FF" or "FP".
        name, image_size, fit: As for `protocols.load_protocol`.

    Raises:
        ValueError: A list of another form, or an image that is not there.

    Reference: Sengupta et al., Frontal to Profile Face Verification in the Wild, WACV 2016.
    """

    def __init__(self, path, kind, name=None, image_size=None, fit=None):
        lists = lists_folder(path, (f"{_SPLITS}/{kind}",), _LEVELS) / "Protocol"
        sides = [_Side(path, lists / f"Pair_list_{letter}.txt") for letter in kind]
        numbers, is_same, folds = _read_splits(lists / "Split" / kind)
        people = _of_pairs(_Side.person, sides, numbers)
        _check_people(lists / "Split" / kind, people, is_same, numbers)
        files = _of_pairs(_Side.file, sides, numbers)
        missing = len({name for side in sides for name in side.missing})
        title = f"verification, {_KINDS[kind]}, {len(np.unique(folds))} folds of Protocol/Split/{kind}"
        listed = ListedPairs(files, is_same, folds, people, missing)
        super().__init__(path, name or f"cfp_{kind.lower()}", title, path, listed, image_size, fit)


def _of_pairs(what, sides, numbers):
    return np.array([[what(side, number) for side, number in zip(sides, pair, strict=True)] for pair in numbers])


class _Side:
    """The images of one of CFP's lists: a number, from 1, and a path that ends in person/kind/image.jpg.

    Args:
        root: Path of the folder of the images.
        listing: Path of Pair_list_F.txt or Pair_list_P.txt.
    """

    def __init__(self, root, listing):
        self._listing, self._paths = listing, {}
        self._folder = next(each for each in _IMAGES if (root / each).is_dir())
        self._aligned, self.missing = AlignedImages(root), set()
        for number, line in enumerate(pair_lists.read_text(listing).splitlines(), 1):
            fields = line.split()
            if fields and (len(fields) != 2 or not fields[0].isdecimal() or fields[1].count("/") < 2):
                raise ValueError(
                    f"{listing}, line {number}: a line is a number and a path that ends in person/kind/image.jpg. "
                    f"Received: {line!r}."
                )
            if fields:
                self._paths[int(fields[0])] = "/".join(fields[1].split("/")[-3:])

    def file(self, number):
        """Returns the name, below the root, of an image; "" where it has no face."""
        name = self._path(number) if self._folder == "." else f"{self._folder}/{self._path(number)}"
        found = self._aligned.find(name)
        if found is None:
            self.missing.add(name)
        return found or ""

    def person(self, number):
        """Returns who is on an image."""
        return self._path(number).split("/")[0]

    def _path(self, number):
        if number not in self._paths:
            raise ValueError(f"{self._listing} must have the images that the splits name. Received: no {number}.")
        return self._paths[number]


def _read_splits(folder):
    """Returns (list of m pairs of numbers, is_same (m,), folds (m,)) of 01/same.txt, 01/diff.txt, 02/same.txt ..."""
    numbers, is_same, folds = [], [], []
    for fold, part in enumerate(sorted(each for each in folder.iterdir() if each.name.isdecimal())):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            listing = part / name
            for line_number, line in enumerate(pair_lists.read_text(listing).splitlines(), 1):
                fields = [field.strip() for field in line.split(",")]
                if fields == [""]:
                    continue
                if len(fields) != 2 or not all(field.isdecimal() for field in fields):
                    raise ValueError(
                        f"{listing}, line {line_number}: a line is the numbers of two images, by a comma. "
                        f"Received: {line!r}."
                    )
                numbers.append([int(field) for field in fields])
                is_same.append(same)
                folds.append(fold)
    if not numbers:
        raise ValueError(f"{folder} must hold pairs, in 01/same.txt, 01/diff.txt and so on. Received: none.")
    return numbers, np.array(is_same), np.array(folds)


def _check_people(folder, identities, is_same, numbers):
    wrong = (identities[:, 0] == identities[:, 1]) != is_same
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{folder} must list pairs of one person in same.txt and of two in diff.txt. Received: "
            f"{numbers[at]} in {'same' if is_same[at] else 'diff'}.txt, of {' and '.join(identities[at])}. "
            "Does Pair_list_F.txt belong to it?"
        )

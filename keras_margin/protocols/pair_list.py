"""A folder of images and a list of pairs: LFW as its authors ship it, or what `keras-margin pairs` draws."""

import numpy as np

from keras_margin import pairs
from keras_margin.protocols._images import SUFFIXES, ImageFiles
from keras_margin.protocols._pairs import measure_pairs, some_of
from keras_margin.protocols.base import Protocol

LISTS = ("pairs.txt", "pairs.csv")


def recognises(path):
    """Whether this is a `.csv` of pairs, or a folder with `pairs.txt` or `pairs.csv`."""
    return any((path / name).is_file() for name in LISTS) or (path.suffix == ".csv" and path.is_file())


def open_protocol(path, name, image_size, fit):
    """`PairListProtocol` of a folder."""
    return PairListProtocol(path, name, image_size, fit)


class PairListProtocol(Protocol):
    """Verification over listed pairs, in the list's folds."""

    def __init__(self, path, name=None, image_size=None, fit=None):
        listing = path if path.is_file() else next(path / each for each in LISTS if (path / each).is_file())
        read = {".txt": _read_lfw, ".csv": _read_csv}[listing.suffix]
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
        )

    def batches(self, batch_size):
        return self._files.batches(batch_size)

    def images(self, rows):
        return self._files.load(rows)

    def sample_pairs(self, count, seed=0):
        return some_of(self._pairs, self._is_same, count, seed)

    def _measure(self, embeddings, settings):
        return measure_pairs(embeddings, self._pairs, self._is_same, self.people, self._folds, settings)


def _read_lfw(path):
    """LFW's pairs.txt: `folds TAB size`, then for each fold `name a b` size times and `name a other b` size times."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    header = lines[0] if lines else []
    if not 1 <= len(header) <= 2 or not all(field.isdigit() for field in header):
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
    root, suffixes = path.parent, {}
    files, is_same, people = [], [], []
    for number, fields in enumerate(lines[1:], 2):
        same = len(fields) == 3
        sides = (
            [(fields[0], fields[1]), (fields[0] if same else fields[2:3], fields[-1])] if len(fields) in (3, 4) else []
        )
        sides = [(side[0] if isinstance(side[0], str) else side[0][0], side[1]) for side in sides]
        if not sides or not all(side[1].isdigit() for side in sides) or same != ((number - 2) // size % 2 == 0):
            raise ValueError(
                f"{path}, line {number}: a fold is `name a b` {size} times, then `name a other b` {size} times. "
                f"Received: {' '.join(fields)!r}."
            )
        files.append([f"{who}/{who}_{int(image):04d}{_suffix(root, who, image, suffixes)}" for who, image in sides])
        people.append([who for who, _ in sides])
        is_same.append(same)
    folds = None if count == 1 else np.arange(len(files)) // (2 * size)
    return np.array(files), np.array(is_same), folds, np.array(people)


def _suffix(root, who, image, known):
    """The suffix of a person's images, looked up once a person."""
    if who not in known:
        stem = root / who / f"{who}_{int(image):04d}"
        found = next((suffix for suffix in SUFFIXES if stem.with_name(stem.name + suffix).is_file()), None)
        if found is None:
            raise ValueError(f"The list names an image that is not there: {stem} with {', '.join(SUFFIXES)}.")
        known[who] = found
    return known[who]


def _read_csv(path):
    """pairs.csv, as `keras-margin pairs` writes it: fold from 0, same 0 or 1, first and second in the folder."""
    names, is_same, folds = pairs.read_pairs(path)
    if not names:
        raise ValueError(f"{path} must hold pairs. Received: none.")
    # Folders are people where that agrees with every pair; else nobody knows who is who.
    folders = np.array([[name.rpartition("/")[0] for name in pair] for pair in names])
    people = folders if ((folders[:, 0] == folders[:, 1]) == is_same).all() else None
    return np.array(names), is_same, folds, people

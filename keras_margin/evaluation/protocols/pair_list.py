"""A folder of images and a list of pairs: LFW as its authors ship it, or what `keras-margin pairs` draws."""

import pathlib

import numpy as np

from keras_margin._typing import Size
from keras_margin.data import pair_lists
from keras_margin.evaluation.protocols._aligned import AlignedImages, lists_folder
from keras_margin.evaluation.protocols._lfw_lists import read_lfw
from keras_margin.evaluation.protocols._listed import ListedPairs, ListedPairsProtocol

LISTS = ("pairs.txt", "pairs.csv")
_SUFFIXES = (".txt", ".csv")


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a `.csv` or `.txt` of pairs, or a folder with `pairs.txt` or `pairs.csv`.

    A folder that `keras-margin align` wrote counts as one if the photographs' folder has the list.
    """
    return (path.suffix.lower() in _SUFFIXES and path.is_file()) or lists_folder(path, LISTS) is not None


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "PairListProtocol":
    """`PairListProtocol` of a folder."""
    return PairListProtocol(path, name, image_size, fit)


class PairListProtocol(ListedPairsProtocol):
    """Verification over listed pairs, in the list's folds."""

    def __init__(
        self, path: pathlib.Path, name: str | None = None, image_size: Size | None = None, fit: str | None = None
    ) -> None:
        listing, root = (path, path.parent) if path.is_file() else (_listing(path), path)
        listed = (read_lfw if listing.suffix.lower() == ".txt" else _read_csv)(listing, root)
        name = name or (path.stem if path == listing else path.name)
        super().__init__(path, name, f"verification, folds of {listing.name}", root, listed, image_size, fit)


def _listing(path):
    folder = lists_folder(path, LISTS)
    return next(folder / each for each in LISTS if (folder / each).is_file())


def _read_csv(path, root):
    """Reads pairs.csv, as `keras-margin pairs` writes it: fold, same, first and second, names of files below `root`."""
    names, is_same, folds = pair_lists.read_pairs(path)
    if not names:
        raise ValueError(f"{path} must hold pairs. Received: none.")
    if all(name.isdecimal() and not (root / name).is_file() for name in names[0]):
        raise ValueError(
            f"{path} names images by their numbers, such as {names[0][0]}, as lists drawn from a set that is not a "
            "folder of image files do: the images cannot be found by them. Draw a .bin, which holds the images: "
            "keras-margin pairs SET OUT.bin."
        )
    images = AlignedImages(root)
    folders, files, missing = [], [], set()
    for pair in names:
        below = [_found(root, name) for name in pair]
        there = [images.find(name) for name in below]
        missing.update(name for name, file in zip(below, there, strict=True) if file is None)
        files.append([file or "" for file in there])
        folders.append([name.rpartition("/")[0] for name in below])
    # Folders are people where that agrees with every pair; else nobody knows who is who.
    folders = np.array(folders)
    people = folders if ((folders[:, 0] == folders[:, 1]) == is_same).all() else None
    return ListedPairs(np.array(files), is_same, np.unique(folds, return_inverse=True)[1], people, len(missing))


def _found(root, name):
    """A name with the slashes of this system, where the list was written on another."""
    return name.replace("\\", "/") if "\\" in name and not (root / name).is_file() else name

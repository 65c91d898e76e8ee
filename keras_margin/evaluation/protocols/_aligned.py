"""Finds the images and the lists of a set that `keras-margin align` may have written into a folder of its own."""

import json
import pathlib

from keras_margin.evaluation.protocols._images import SUFFIXES

# What `alignment.align_folder` writes into its folder, by name: a protocol needs no detector to read it.
_REPORT = "alignment.json"

# Suffixes of photographs, those that `align` reads; crops have fewer.
_PHOTOGRAPHS = (*SUFFIXES, ".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".tif", ".tiff", ".webp")


def lists_folder(folder, names, levels=0):
    """Finds the folder that holds a set's lists: the folder itself, or that of the photographs it was aligned from.

    Args:
        folder: pathlib.Path of the images.
        names: Names of files or folders, one of which must be there.
        levels: How many folders above that of the photographs are looked into as well: where a part was aligned.

    Returns:
        pathlib.Path, or None where neither has any of them.
    """
    for candidate in (folder, *_sources(folder, levels)):
        if any((candidate / name).exists() for name in names):
            return candidate
    return None


def _sources(folder, levels):
    """Returns the folder that a folder was aligned from, and folders above it; none where it was not."""
    source = _report(folder).get("settings", {}).get("source")
    if not source:
        return []
    source = pathlib.Path(source)
    return [source, *source.parents][: levels + 1]


def _report(folder):
    """Reads alignment.json of a folder; an empty dict where there is none, or another program's."""
    try:
        found = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("settings"), dict) else {}


class AlignedImages:
    """The image files below a folder, by the names that a set's lists give them.

    `keras-margin align` keeps names but not suffixes, and writes nothing where it finds no face: its report,
    alignment.json in the folder, tells a face that was not found from a file that is missing.

    Args:
        folder: pathlib.Path.
    """

    def __init__(self, folder):
        self._folder = folder
        report = _report(folder)
        faceless = [*report.get("no_face", ()), *report.get("refused", ())]
        if report.get("settings", {}).get("policy") == "skip":
            faceless += report.get("several", ())
        self._faceless = {_stem(name) for name in faceless}

    def find(self, name):
        """Finds an image.

        Args:
            name: Path below the folder, with `/`; its suffix may differ or be missing.

        Returns:
            str, its own name below the folder; None where the alignment found no face in it.

        Raises:
            ValueError: The image is not there, and the alignment's report does not say why.
        """
        stem = _stem(name)
        for candidate in (name, *(f"{base}{suffix}" for base in (stem, name) for suffix in SUFFIXES)):
            if (self._folder / candidate).is_file():
                return candidate
        if self.is_faceless(name):
            return None
        raise ValueError(f"The lists name an image that is not there: {self._folder / name}.")

    def is_faceless(self, name):
        """Returns whether the alignment's report says that this image gave no crop; `name` as in `find`."""
        return _stem(name) in self._faceless

    def faceless_ending_in(self, end):
        """Returns the names, without suffix, of images that gave no crop and that end in `end`."""
        return [name for name in self._faceless if name.endswith(end)]

    def are_faceless(self, folder):
        """Returns whether the report names images of a folder that gave no crop."""
        return any(name.startswith(f"{folder}/") for name in self._faceless)


def _stem(name):
    """A path below a folder with `/` and without the suffix of an image."""
    name = str(name).replace("\\", "/")
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in _PHOTOGRAPHS else name

"""Verification over the pairs of a list, some of whose images may have no face."""

import dataclasses
import os

import numpy as np

from keras_margin.evaluation.protocols._images import ImageFiles
from keras_margin.evaluation.protocols._pairs import NO_FACE, measure_in_folds, measure_scores, scores_of_found, some_of
from keras_margin.evaluation.protocols.base import Protocol


@dataclasses.dataclass(frozen=True, eq=False)
class ListedPairs:
    """The pairs of a list.

    Attributes:
        files: String array (m, 2), names below the folder of the images; "" for one that has no face.
        is_same: Bool array (m,).
        folds: Integer array (m,), from 0.
        people: Array (m, 2), who is on either side; None where the list does not tell.
        num_missing: How many images have no face.
    """

    files: np.ndarray
    is_same: np.ndarray
    folds: np.ndarray
    people: np.ndarray | None
    num_missing: int = 0

    def rows(self):
        """Returns (sorted names of the files (n,), pairs (m, 2) of rows of them, NO_FACE for a missing one)."""
        names, index = np.unique(self.files, return_inverse=True)
        missing = int(names[0] == "")
        return names[missing:], index.reshape(-1, 2) - missing

    def people_of_rows(self):
        """Returns who is on each of the files of `rows`; None where the list does not tell."""
        if self.people is None:
            return None
        names, pairs = self.rows()
        who = np.empty(len(names), np.asarray(self.people).dtype)
        found = pairs != NO_FACE
        who[pairs[found]] = self.people[found]
        return who


class ListedPairsProtocol(Protocol):
    """Verification over listed pairs, in the list's folds.

    Args:
        path: As given by the user.
        name: What its numbers are called.
        title: The protocol in words.
        root: pathlib.Path of the folder that the files are below.
        listed: `ListedPairs`.
        image_size, fit: As for `protocols.load_protocol`.
    """

    def __init__(self, path, name, title, root, listed, image_size, fit):
        self.listed = listed
        names, self.pairs = listed.rows()
        self._files = ImageFiles([root / each for each in names.tolist()], image_size, fit)
        image_names = [each.replace(os.sep, "/") for each in names.tolist()]
        super().__init__(name, path, title, len(names), listed.people_of_rows(), image_names)

    def batches(self, batch_size):
        return self._files.batches(batch_size)

    def images(self, rows):
        return self._files.load(rows)

    def sample_pairs(self, count, seed=0):
        return some_of(self.pairs, self.listed.is_same, count, seed)

    def _measure(self, embeddings, settings):
        listed = self.listed
        found = (self.pairs != NO_FACE).all(axis=1)
        if found.all():
            return measure_in_folds(embeddings, self.pairs, listed.is_same, self.people, listed.folds, settings)
        scores = scores_of_found(embeddings, self.pairs)
        folds = listed.folds if len(np.unique(listed.folds)) > 1 else None
        return measure_scores(scores, found, listed.is_same, listed.people, folds, settings, self.missing_words())

    def missing_words(self):
        """Returns how many of the images have no face, in words."""
        return f"{self.listed.num_missing:,} of {self.num_images + self.listed.num_missing:,} images"

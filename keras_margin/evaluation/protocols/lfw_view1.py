"""LFW's View 1, for development: the threshold of pairsDevTrain.txt, tested on pairsDevTest.txt."""

import numpy as np

from keras_margin import evaluation
from keras_margin.evaluation.protocols._aligned import lists_folder
from keras_margin.evaluation.protocols._lfw_lists import read_lfw
from keras_margin.evaluation.protocols._listed import ListedPairs, ListedPairsProtocol
from keras_margin.evaluation.protocols._pairs import NO_FACE, measure_scores, scores_of_found
from keras_margin.evaluation.protocols.base import ProtocolResult

TRAIN, TEST = "pairsDevTrain.txt", "pairsDevTest.txt"


def recognizes(path):
    """Whether this is a folder with LFW's two development lists, or aligned from one."""
    return lists_folder(path, (TRAIN,)) is not None and lists_folder(path, (TEST,)) is not None


def open_protocol(path, name, image_size, fit):
    """`View1Protocol` of a folder."""
    return View1Protocol(path, name, image_size, fit)


class View1Protocol(ListedPairsProtocol):
    """Verification over pairsDevTest.txt, at the threshold that is best on pairsDevTrain.txt.

    Reference: Huang et al., Labeled Faces in the Wild, 2007, section III: View 1 is for choosing a model, View 2 for
    reporting it.
    """

    def __init__(self, path, name=None, image_size=None, fit=None):
        train, test = (read_lfw(lists_folder(path, (each,)) / each, path) for each in (TRAIN, TEST))
        # A fold for each list: k_fold_accuracy tests the second at the threshold of the first.
        listed = ListedPairs(
            np.concatenate([train.files, test.files]),
            np.concatenate([train.is_same, test.is_same]),
            np.repeat([0, 1], [len(train.files), len(test.files)]),
            np.concatenate([train.people, test.people]),
            train.num_missing + test.num_missing,
        )
        title = f"verification, {TEST} at the threshold of {TRAIN}"
        super().__init__(path, name or path.name, title, path, listed, image_size, fit)

    def _measure(self, embeddings, settings):
        listed, scores = self.listed, scores_of_found(embeddings, self.pairs)
        both = evaluation.k_fold_accuracy(scores, listed.is_same, listed.folds)
        tested = listed.folds == 1
        measured = measure_scores(
            scores[tested],
            (self.pairs[tested] != NO_FACE).all(axis=1),
            listed.is_same[tested],
            listed.people[tested],
            None,
            settings,
            self.missing_words(),
        )
        counts = {key: measured.values.pop(key) for key in ("num_genuine", "num_impostor")}
        accuracy = {"accuracy": float(both.accuracies[1]), "train_threshold": float(both.thresholds[1])}
        rows = {} if "found" in measured.arrays else {"pairs": self.pairs[tested]}
        return ProtocolResult(
            values=counts | accuracy | measured.values,
            unmeasurable=measured.unmeasurable,
            notes=measured.notes,
            arrays=measured.arrays | rows,
        )

"""What every protocol of image pairs measures, and a few of its pairs for quick looks."""

import dataclasses

import numpy as np

from keras_margin import evaluation
from keras_margin.evaluation.protocols.base import (
    ProtocolResult,
    accuracy_note,
    angle_values,
    interval_note,
    noted,
    verification_values,
)

_ONE_FOLD = "No accuracy: its threshold is chosen on other folds than it is tested on, and there is one fold."


def measure_pairs(embeddings, pairs, is_same, people, folds, settings):
    """`ProtocolResult` of verification over pairs of images, the folds given or None."""
    with noted() as notes:
        report = evaluation.verification_report(
            embeddings, pairs, is_same, people, folds, settings.far, settings.bootstrap(len(pairs))
        )
    scores = evaluation.pair_scores(embeddings, pairs)
    values, unmeasurable = verification_values(report)
    return ProtocolResult(
        values=values | angle_values(scores, is_same),
        unmeasurable=unmeasurable,
        notes=tuple(note for note in (*notes, accuracy_note(report), interval_note(report)) if note),
        arrays={"scores": scores, "is_same": is_same, "pairs": pairs},
    )


def measure_in_folds(embeddings, pairs, is_same, people, folds, settings):
    """`measure_pairs`, without accuracy and with a note that says so where there is one fold."""
    count = folds if np.ndim(folds) == 0 else len(np.unique(folds))
    if count != 1:
        return measure_pairs(embeddings, pairs, is_same, people, folds, settings)
    measured = measure_pairs(embeddings, pairs, is_same, people, None, settings)
    return dataclasses.replace(measured, notes=(*measured.notes, _ONE_FOLD))


def some_of(pairs, is_same, count, seed):
    """At most `count` of either kind, drawn without replacement, in order."""
    generator = np.random.default_rng(seed)
    kinds = [np.flatnonzero(is_same), np.flatnonzero(~is_same)]
    rows = np.sort(np.concatenate([generator.choice(kind, min(count, len(kind)), replace=False) for kind in kinds]))
    return pairs[rows], is_same[rows]

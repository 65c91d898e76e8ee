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

# Index of an image without a face, and the score of its pairs: the lowest cosine, below any threshold.
NO_FACE = -1
NO_FACE_SCORE = -1.0

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
        arrays={"scores": scores, "is_same": is_same, "pairs": pairs} | _folds_of(folds, len(pairs)),
    )


def _folds_of(folds, count):
    """{"folds": integer array (count,)} of folds as `evaluation.k_fold_accuracy` takes them; {} of None."""
    if folds is None:
        return {}
    if np.ndim(folds) == 0:  # Runs of consecutive pairs, the first ones longer by one.
        folds = np.repeat(np.arange(folds), [len(each) for each in np.array_split(np.arange(count), folds)])
    return {"folds": np.asarray(folds)}


def measure_in_folds(embeddings, pairs, is_same, people, folds, settings):
    """`measure_pairs`, without accuracy and with a note that says so where there is one fold."""
    count = folds if np.ndim(folds) == 0 else len(np.unique(folds))
    if count != 1:
        return measure_pairs(embeddings, pairs, is_same, people, folds, settings)
    measured = measure_pairs(embeddings, pairs, is_same, people, None, settings)
    return dataclasses.replace(measured, notes=(*measured.notes, _ONE_FOLD))


def scores_of_found(embeddings, pairs):
    """Returns the cosine of each pair; NO_FACE_SCORE of a pair with an image that has no face.

    Args:
        embeddings: Real array (n, embedding_size).
        pairs: Integer array (m, 2), rows of the embeddings or NO_FACE.
    """
    found = (pairs != NO_FACE).all(axis=1)
    scores = np.full(len(pairs), NO_FACE_SCORE)
    if found.any():
        scores[found] = evaluation.pair_scores(embeddings, pairs[found])
    return scores


def measure_scores(scores, found, is_same, identities, folds, settings, missing):
    """Measures verification over scores, some of them of pairs without a face.

    Args:
        scores: Real array (m,), NO_FACE_SCORE where a face is missing.
        found: Bool array (m,), whether both sides have a face.
        is_same: Bool array (m,).
        identities: String array (m, 2), who is on either side; or None.
        folds: As for `evaluation.k_fold_accuracy`; None for no accuracy.
        settings: `Settings`.
        missing: Words for what has no face, such as "3 of 40 images".

    Returns:
        `ProtocolResult`; where faces are missing, with the accuracy over the pairs that have both, a note, and `found`
        among the arrays.
    """
    with noted() as notes:
        report = evaluation.score_report(
            scores, is_same, identities, folds, settings.far, settings.bootstrap(len(scores))
        )
    values, unmeasurable = verification_values(report)
    notes = [note for note in (*notes, accuracy_note(report), interval_note(report)) if note]
    if not found.all():
        values |= _found_accuracy(scores, found, is_same, folds)
        lost = ~found
        notes.append(
            f"{missing} have no face, by alignment.json. Their {int(lost.sum()):,} pairs, "
            f"{int((lost & is_same).sum()):,} genuine and {int((lost & ~is_same).sum()):,} impostor, get the score "
            f"{NO_FACE_SCORE:g}: never the same person. Angles are those of the other pairs."
        )
    return ProtocolResult(
        values=values | angle_values(scores[found], is_same[found]),
        unmeasurable=unmeasurable,
        notes=tuple(notes),
        arrays={"scores": scores, "is_same": is_same}
        | _folds_of(folds, len(scores))
        | ({} if found.all() else {"found": found})
        | ({} if identities is None else {"identities": np.asarray(identities, str)}),
    )


def _found_accuracy(scores, found, is_same, folds):
    """How many pairs lack a face, and the accuracy over the others where every fold still has both kinds."""
    values = {"num_pairs_without_face": int((~found).sum())}
    kinds = None if folds is None else {(fold, same) for fold, same in zip(folds[found], is_same[found], strict=True)}
    if kinds is None or len(kinds) < 2 * len(np.unique(folds)):
        return values
    folds = np.unique(folds, return_inverse=True)[1]
    accuracy = evaluation.k_fold_accuracy(scores[found], is_same[found], folds[found])
    return {"accuracy_faces_found": accuracy.mean, "accuracy_faces_found_std": accuracy.std} | values


def some_of(pairs, is_same, count, seed):
    """At most `count` of either kind, drawn without replacement, in order; none that has no face."""
    found = (pairs != NO_FACE).all(axis=1)
    generator = np.random.default_rng(seed)
    kinds = [np.flatnonzero(is_same & found), np.flatnonzero(~is_same & found)]
    rows = np.sort(np.concatenate([generator.choice(kind, min(count, len(kind)), replace=False) for kind in kinds]))
    return pairs[rows], is_same[rows]

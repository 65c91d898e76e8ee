"""What `keras-margin evaluate` adds to a set's numbers where asked: rates by group, errors against quality."""

import dataclasses

import numpy as np

from keras_margin import evaluation
from keras_margin._utils import progress
from keras_margin.evaluation import protocols, verification
from keras_margin.evaluation.protocols import grouping

# FAR of the threshold of an error-versus-discard curve, where so many impostors are there, and shares that are printed.
_FAR, _SHARES = 1e-3, (0.1, 0.2)


def read_groups(given, named):
    """Returns the `GroupList` of each set for which one was given.

    Args:
        given: List of FILE.csv, for all sets, or NAME=FILE.csv.
        named: Names of the sets.

    Raises:
        OSError, ValueError: As `protocols.read_groups`; a set that is not evaluated.
    """
    found = {}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and "/" not in name and name not in named:
            raise ValueError(
                f"--groups takes FILE.csv, or NAME=FILE.csv of one of {', '.join(named)}. Received: {text}."
            )
        whose = [name] if equals and name in named else named
        if again := found.keys() & set(whose):
            raise ValueError(f"--groups takes one list a set. Received: two for {min(again)}.")
        found |= dict.fromkeys(whose, grouping.read_groups(path if equals and name in named else text))
    return found


def groups(arguments, protocol, measured, listed):
    """Returns a set's `ProtocolResult` with the rates of its groups, or as it was without groups."""
    if listed is None:
        return measured
    pairs = len(measured.arrays.get("scores", ())) or 1
    settings = protocols.Settings(resamples=arguments.resamples, seed=arguments.seed)
    with progress.stage(f"Measuring the groups of {protocol.name}"):
        found = grouping.measure_groups(protocol, measured, listed, arguments.group_far, settings.bootstrap(pairs))
    return dataclasses.replace(
        measured,
        values=measured.values | found.values,
        notes=(*measured.notes, *found.notes),
        arrays=measured.arrays | found.arrays,
    )


def split_lengths(embeddings, arguments):
    """Returns (what is measured, the lengths of the embeddings): unit rows, unless --lengths lets lengths weigh.

    Raises:
        ValueError: With --flip, where a row is a sum of two images'.
    """
    if arguments.flip:
        raise ValueError(f"--quality is that of single images. Received: --flip={arguments.flip}. Leave one out.")
    rows = np.asarray(embeddings)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    if arguments.lengths or not lengths.all():  # A zero row is refused where it is measured.
        return rows, lengths
    return (rows / lengths[:, None]).astype(np.float32), lengths


def quality(protocol, measured, lengths):
    """Returns a set's `ProtocolResult` with its error-versus-discard curve, by the lengths of its embeddings.

    Raises:
        ValueError: A protocol without pairs of images; lengths that are all 1.
    """
    if "pairs" not in measured.arrays:
        raise ValueError(f"--quality needs pairs of images. {protocol.name} ({protocol.title}) has none.")
    if np.ptp(lengths) < 1e-4 * lengths.max():
        raise ValueError(
            "--quality needs embeddings that keep their length. Received: all of one. Evaluate the Keras file, or a "
            "file that was exported with --length."
        )
    scores, is_same, pairs = (measured.arrays[name] for name in ("scores", "is_same", "pairs"))
    far = max(_FAR, verification.least_far(int((~is_same).sum())))
    threshold = evaluation.threshold_at_far(scores, is_same, far)
    curve = evaluation.error_versus_discard(scores, is_same, pairs, lengths, threshold)
    values = {"edc_fnmr": float(curve.fnmr[0]), "edc_area": curve.area}
    for share in _SHARES:
        if share <= curve.discarded[-1]:
            at = int(np.searchsorted(curve.discarded, share, side="right")) - 1
            values[f"edc_fnmr_without_{share:g}"] = float(curve.fnmr[at])
    note = f"Quality is the embedding's length; FNMR at the threshold of FAR {far:g}, {threshold:.4f}, of all images."
    arrays = {"edc_discarded": curve.discarded, "edc_fnmr": curve.fnmr, "quality": lengths}
    return dataclasses.replace(
        measured,
        values=measured.values | values,
        notes=(*measured.notes, note),
        arrays=measured.arrays | arrays,
    )

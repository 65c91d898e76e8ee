"""Verification in one call: every number that a set of pairs gives, under one name each, with its uncertainty."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays
from keras_margin.evaluation._intervals import DEFAULT_BOOTSTRAP, Bootstrap, tar_interval
from keras_margin.evaluation.k_fold import KFoldAccuracy, centered_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.pairs import pair_scores
from keras_margin.evaluation.thresholds import auc, eer, lowest_above

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

# Impostor pairs that a threshold must let pass before it, its TAR and the interval of that can be relied on.
FEWEST_ACCEPTED = 10


def is_measurable(far: float, num_impostor: int) -> bool:
    """Returns whether a FAR lets at least ten (`FEWEST_ACCEPTED`) of so many impostor pairs pass.

    Args:
        far: FAR in (0, 1].
        num_impostor: Number of impostor pairs, >= 1.

    Returns:
        bool.

    Example:
        >>> is_measurable(1e-3, 10_000), is_measurable(1e-3, 9_999)
        (True, False)
    """
    return bool(_arrays.most_accepted(_arrays.check_far(far), num_impostor) >= FEWEST_ACCEPTED)


def least_far(num_impostor: int) -> float:
    """Returns the smallest FAR of two digits that so many impostor pairs can show, as `is_measurable` decides.

    Args:
        num_impostor: Number of impostor pairs, >= 1.

    Returns:
        Float in (0, 1]; 1 also where there are fewer than ten pairs, which can show none.

    Example:
        >>> least_far(4500), least_far(10_000)
        (0.0023, 0.001)
    """
    least = FEWEST_ACCEPTED / num_impostor
    places = 1 - math.floor(math.log10(least))
    rounded = round(least, places)
    return min(1.0, rounded if rounded >= least else round(rounded + 10.0**-places, places))


@dataclass(frozen=True)
class TarAtFar:
    """One row of the table that papers print.

    Attributes:
        far: Wanted FAR.
        tar: Highest TAR that keeps to it, in [0, 1].
        low: Lower end of its confidence interval; None without a bootstrap.
        high: Upper end, or None.
        threshold: The operating threshold to ship: accept a pair where score >= threshold.
        measurable: Whether far * impostors >= 10, the impostor pairs that may pass. With fewer, threshold, TAR and
            interval are guesses: at far = 1 / impostors a nominal 95 % interval covered 86 % of 300 simulated sets.

    Example:
        >>> report = score_report([0.9, 0.8, 0.3, 0.1], [True, False, True, False], bootstrap=None)
        >>> row = report.tar_at_far[0]
        >>> isinstance(row, TarAtFar), row.far, row.tar, row.measurable
        (True, 0.1, 0.5, False)
    """

    far: float
    tar: float
    low: float | None
    high: float | None
    threshold: float
    measurable: bool


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """Every number of a set of pairs.

    Attributes:
        num_genuine: How many genuine pairs.
        num_impostor: How many impostor pairs.
        accuracy: Dict from a search ("exact", "grid", "sphereface") to its `KFoldAccuracy`; empty without folds.
        auc: Area under the ROC.
        eer: Equal error rate.
        tar_at_far: Tuple of `TarAtFar`, in the order of the wanted FARs.
        resampled: What the bootstrap of the intervals drew: "identity", "pair" or None.

    Example:
        >>> report = score_report([0.9, 0.8, 0.3, 0.1], [True, False, True, False], bootstrap=None)
        >>> isinstance(report, VerificationReport), report.num_genuine, report.auc
        (True, 2, 0.75)
    """

    num_genuine: int
    num_impostor: int
    accuracy: dict[str, KFoldAccuracy]
    auc: float
    eer: float
    tar_at_far: tuple[TarAtFar, ...]
    resampled: str | None

    def named_values(self) -> dict[str, Any]:
        """A flat dict of plain numbers, ready for JSON and for bounds in CI: "accuracy", "tar_at_far_1e-04" ...

        "accuracy" is that of the exact search; the others carry its name, "accuracy_grid". Intervals end in "_low" and
        "_high", and are missing without a bootstrap.
        """
        values: dict[str, Any] = {"num_genuine": self.num_genuine, "num_impostor": self.num_impostor}
        for search, result in self.accuracy.items():
            name = "accuracy" if search == "exact" else f"accuracy_{search}"
            values |= {name: result.mean, f"{name}_std": result.std}
        values |= {"auc": self.auc, "eer": self.eer}
        for row in self.tar_at_far:
            short = f"{row.far:.0e}"
            name = f"tar_at_far_{short if float(short) == row.far else row.far}"
            values[name] = row.tar
            if row.low is not None:
                values |= {f"{name}_low": row.low, f"{name}_high": row.high}
            values[name.replace("tar_at", "threshold_at")] = row.threshold
        return values


def verification_report(
    embeddings: ArrayLike,
    pairs: ArrayLike,
    is_same: ArrayLike,
    labels: ArrayLike | None = None,
    folds: int | np.ndarray | Sequence[int] | None = 10,
    far: float | ArrayLike | None = None,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
) -> VerificationReport:
    """Computes all verification numbers of embeddings and their pairs, as LFW, CFP-FP and the like print them.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        pairs: Integer array (m, 2), indices in [0, n); of a `.bin` set, image 2 i next to image 2 i + 1.
        is_same: Bool array (m,); True is a genuine pair. 0 and 1 will do.
        labels: Integer or string array (n,), who is on each image; or None where the set does not tell. Intervals
            then resample pairs, which share people, and come out too narrow.
        folds: As for `k_fold_accuracy`; or None for no accuracy.
        far: Wanted FARs, each in (0, 1]; one that lets fewer than ten of the impostor pairs pass warns and is marked
            as not measurable. None for `FARS`, 1e-1 to 1e-6, which are marked likewise but do not warn.
        bootstrap: `Bootstrap`; or None for no intervals.

    Returns:
        `VerificationReport`, with the accuracies of all three searches.

    Raises:
        TypeError, ValueError: As `pair_scores`, `k_fold_accuracy` and `tar_at_far`; labels that contradict is_same.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(8, 4)).repeat(5, axis=0)
        >>> pairs, is_same = make_pairs(np.arange(40) // 5, num_genuine=80, num_impostor=100)
        >>> verification_report(x, pairs, is_same, far=[0.1]).named_values()["accuracy"]
        1.0

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2; Deng et al., ArcFace, CVPR 2019, section 3.
    """
    scores = pair_scores(embeddings, pairs)
    is_same = _arrays.check_truth(is_same, len(scores))
    identities = None
    if labels is not None:
        identities = _arrays.check_labels(labels, len(embeddings))[np.asarray(pairs)]
    accuracy = {}
    if folds is not None:
        accuracy = {search: k_fold_accuracy(scores, is_same, folds, search) for search in ("exact", "grid")}
        accuracy["sphereface"] = centered_k_fold_accuracy(embeddings, pairs, is_same, folds)
    return _report(scores, is_same, identities, accuracy, far, bootstrap)


def score_report(
    scores: ArrayLike,
    is_same: ArrayLike,
    identities: ArrayLike | None = None,
    folds: int | np.ndarray | Sequence[int] | None = None,
    far: float | ArrayLike | None = None,
    bootstrap: Bootstrap | None = DEFAULT_BOOTSTRAP,
) -> VerificationReport:
    """Computes all verification numbers of scores: `verification_report` where pairs were scored before.

    Args:
        scores: Real array (n,), finite; higher is more similar.
        is_same: Bool array (n,); True is a genuine pair. 0 and 1 will do.
        identities: Integer or string array (n, 2), who is on either side of each pair; or None.
        folds: As for `k_fold_accuracy`, whose exact search it uses; or None, the default, for no accuracy.
        far: As for `verification_report`.
        bootstrap: `Bootstrap`; or None for no intervals. 15.6 million pairs take
            seconds a resample.

    Returns:
        `VerificationReport`.

    Raises:
        TypeError, ValueError: As `verification_report`.

    Example:
        >>> report = score_report([0.9, 0.5, 0.5, 0.1], [True, True, False, False], bootstrap=None)
        >>> report.auc, report.tar_at_far[0].tar, report.tar_at_far[0].measurable
        (0.875, 0.5, False)
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    accuracy = {} if folds is None else {"exact": k_fold_accuracy(scores, is_same, folds)}
    return _report(scores, is_same, identities, accuracy, far, bootstrap)


def _report(scores, is_same, identities, accuracy, far, bootstrap):
    asked = far is not None
    far = np.atleast_1d(_arrays.check_far(far if asked else FARS))
    num_impostor = int((~is_same).sum())
    passing = _arrays.most_accepted(far, num_impostor)
    if asked and (passing < FEWEST_ACCEPTED).any():
        _warn_unmeasurable(far.min(), passing.min(), num_impostor)
    refused = _arrays.best_refused(scores[~is_same], far)
    tar, threshold = _arrays.tar_above(scores[is_same], refused), lowest_above(scores, refused)
    low = high = [None] * len(far)
    if bootstrap is not None:
        low, high = tar_interval(scores, is_same, far, identities, bootstrap)
    rows = zip(far.tolist(), tar.tolist(), low, high, threshold.tolist(), passing >= FEWEST_ACCEPTED, strict=True)
    return VerificationReport(
        num_genuine=len(scores) - num_impostor,
        num_impostor=num_impostor,
        accuracy=accuracy,
        auc=auc(scores, is_same),
        eer=eer(scores, is_same),
        tar_at_far=tuple(TarAtFar(*row, measurable=bool(measurable)) for *row, measurable in rows),
        resampled=None if bootstrap is None else "pair" if identities is None else "identity",
    )


def _warn_unmeasurable(far, passing, num_impostor):
    needed = math.ceil(FEWEST_ACCEPTED / far - 1e-9)  # 10 / 0.001 is a whole number, rounding or not.
    warnings.warn(
        f"FAR={far:g} lets {passing} of {num_impostor:,} impostor pairs pass, and a TAR that can be relied on needs "
        f"{FEWEST_ACCEPTED}: threshold, TAR and interval are guesses. Score {needed:,} impostor pairs.",
        stacklevel=4,
    )

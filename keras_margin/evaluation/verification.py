"""Verification in one call: every number that a set of pairs gives, under one name each, with its uncertainty."""

from dataclasses import dataclass

import numpy as np

from keras_margin.evaluation import _arrays
from keras_margin.evaluation.k_fold import KFoldAccuracy, centred_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.pairs import pair_scores
from keras_margin.evaluation.thresholds import auc, eer, lowest_above

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals are drawn.

    Attributes:
        resamples: How many times, >= 1; the ends of a 95 % interval rest on a fortieth of them.
        level: Share of the resampled values between the ends, in (0, 1).
        seed: Seed of numpy's default generator.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class TarAtFar:
    """One row of the table that papers print.

    Attributes:
        far: Wanted FAR.
        tar: Highest TAR that keeps to it, in [0, 1].
        low: Lower end of its confidence interval; None without a bootstrap.
        high: Upper end, or None.
        threshold: The operating threshold to ship: accept a pair where score >= threshold.
        measurable: Whether far >= 1 / impostors. Where not, the row tells of no impostor accepted, no more.
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
        resampled: What the intervals drew anew: "identity", "pair" or None.
    """

    num_genuine: int
    num_impostor: int
    accuracy: dict[str, KFoldAccuracy]
    auc: float
    eer: float
    tar_at_far: tuple[TarAtFar, ...]
    resampled: str | None

    def named_values(self):
        """A flat dict of plain numbers, ready for JSON and for bounds in CI: "accuracy", "tar_at_far_1e-04" ...

        "accuracy" is that of the exact search; the others carry its name, "accuracy_grid". Intervals end in "_low" and
        "_high", and are missing without a bootstrap.
        """
        values = {"num_genuine": self.num_genuine, "num_impostor": self.num_impostor}
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


def verification_report(embeddings, pairs, is_same, labels=None, folds=10, far=FARS, bootstrap=Bootstrap()):
    """All verification numbers of embeddings and their pairs, as LFW, CFP-FP, AgeDB-30, CALFW and CPLFW print them.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        pairs: Integer array (m, 2), indices in [0, n); of a `.bin` set, image 2 i beside image 2 i + 1.
        is_same: Bool array (m,); True is a genuine pair. 0 and 1 will do.
        labels: Integer or string array (n,), who is on each image; or None where the set does not tell. Intervals
            then draw pairs anew, which share people, and come out too narrow.
        folds: As for `k_fold_accuracy`; or None for no accuracy.
        far: Wanted FARs, each in (0, 1]. One under 1 / impostors warns and is marked.
        bootstrap: `Bootstrap`; or None for no intervals.

    Returns:
        `VerificationReport`, with the accuracies of all three searches.

    Raises:
        TypeError, ValueError: As `pair_scores`, `k_fold_accuracy` and `tar_at_far`; labels that contradict is_same.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(8, 4)).repeat(5, axis=0)
        >>> pairs, is_same = make_pairs(np.arange(40) // 5, num_genuine=80, num_impostor=80)
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
        accuracy["sphereface"] = centred_k_fold_accuracy(embeddings, pairs, is_same, folds)
    return _report(scores, is_same, identities, accuracy, far, bootstrap)


def score_report(scores, is_same, identities=None, folds=None, far=FARS, bootstrap=Bootstrap()):
    """All verification numbers of scores: `verification_report` where pairs were scored before, as of templates.

    Args:
        scores: Real array (n,), finite; higher is more alike.
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
        >>> report = score_report([0.9, 0.5, 0.5, 0.1], [True, True, False, False], far=[0.5], bootstrap=None)
        >>> report.auc, report.tar_at_far[0].tar
        (0.875, 1.0)
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    accuracy = {} if folds is None else {"exact": k_fold_accuracy(scores, is_same, folds)}
    return _report(scores, is_same, identities, accuracy, far, bootstrap)


def _report(scores, is_same, identities, accuracy, far, bootstrap):
    far = np.atleast_1d(_arrays.check_far(far))
    num_impostor = int((~is_same).sum())
    _arrays.warn_unmeasurable(far, num_impostor, stacklevel=3)
    refused = _arrays.best_refused(scores[~is_same], far)
    tar, threshold = _arrays.tar_above(scores[is_same], refused), lowest_above(scores, refused)
    low = high = [None] * len(far)
    if bootstrap is not None:
        low, high = tar_interval(scores, is_same, far, identities, bootstrap)
    rows = zip(far.tolist(), tar.tolist(), low, high, threshold.tolist(), strict=True)
    return VerificationReport(
        num_genuine=len(scores) - num_impostor,
        num_impostor=num_impostor,
        accuracy=accuracy,
        auc=auc(scores, is_same),
        eer=eer(scores, is_same),
        tar_at_far=tuple(TarAtFar(*row, measurable=bool(row[0] >= 1 / num_impostor)) for row in rows),
        resampled=None if bootstrap is None else "pair" if identities is None else "identity",
    )


def tar_interval(scores, is_same, far, identities=None, bootstrap=Bootstrap()):
    """Bootstrap confidence interval of TAR at a FAR, the threshold chosen anew in every resample.

    By identity: P people are drawn from the P people with replacement; with c[p] the times that p was drawn, a genuine
    pair of p counts c[p] times, an impostor pair of p and q counts c[p] * c[q] times. Pairs of one person stand and
    fall together, so intervals that draw pairs are too narrow; those are what `identities=None` gives.
    Resamples without a genuine or without an impostor pair are left out.

    Args:
        scores: Real array (n,), finite; higher is more alike.
        is_same: Bool array (n,); True is a genuine pair.
        far: Wanted FARs, numbers in (0, 1], array (k,).
        identities: Integer or string array (n, 2), who is on either side of each pair; or None.
        bootstrap: `Bootstrap`.

    Returns:
        (low, high): lists of k floats in [0, 1].

    Raises:
        TypeError, ValueError: As `roc`; identities that contradict is_same, a level outside (0, 1), fewer than half
            of the resamples with both kinds of pair.

    Example:
        >>> low, high = tar_interval([0.9, 0.4, 0.5, 0.1], [True, True, False, False], [0.5])
        >>> low, high
        ([0.0], [1.0])

    Reference: Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    far = _arrays.check_far(far)
    resamples = _arrays.check_count(bootstrap.resamples, "resamples", 1)
    if not 0 < bootstrap.level < 1:
        raise ValueError(f"level must be in (0, 1). Received: level={bootstrap.level}. 95 % is 0.95.")
    order = np.argsort(-scores, kind="stable")
    genuine, impostor = order[is_same[order]], order[~is_same[order]]
    weigh = _weights(genuine, impostor, _check_identities(identities, is_same))
    negative = -scores[genuine]
    rng, drawn = np.random.default_rng(bootstrap.seed), []
    for _ in range(resamples):
        of_genuine, of_impostor = (np.cumsum(weights) for weights in weigh(rng))
        if of_genuine[-1] and of_impostor[-1]:
            allowed = _arrays.most_accepted(far, of_impostor[-1])
            refused = np.searchsorted(of_impostor, allowed, side="right")
            bound = np.append(-scores[impostor], np.inf)[refused]
            accepted = np.append(0, of_genuine)[np.searchsorted(negative, bound)]
            drawn.append(accepted / of_genuine[-1])
    if 2 * len(drawn) < resamples:
        raise ValueError(
            f"A bootstrap needs both kinds of pair in its resamples. Received: {resamples - len(drawn)} of {resamples} "
            "without. Score pairs of more people, or pass bootstrap=None."
        )
    return np.quantile(drawn, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2], axis=0).tolist()


def _weights(genuine, impostor, identities):
    """Function of a generator to how often a resample holds each genuine and each impostor pair."""
    if identities is None:
        count = len(genuine) + len(impostor)

        def weigh(rng):
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            return times[genuine], times[impostor]
    else:
        own, (first, second) = identities[genuine, 0], identities[impostor].T
        count = int(identities.max()) + 1

        def weigh(rng):
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            return times[own], times[first] * times[second]

    return weigh


def _check_identities(identities, is_same):
    """Identities as indices (n, 2), or None; ValueError where they contradict the truth."""
    if identities is None:
        return None
    identities = np.asarray(identities)
    if identities.shape != (len(is_same), 2):
        raise ValueError(
            f"identities must be shaped (n, 2), both sides of each pair. Received: {identities.shape} for "
            f"{len(is_same)} pairs."
        )
    _arrays.check_labels(identities[:, 0], name="identities")
    wrong = (identities[:, 0] == identities[:, 1]) != is_same
    if wrong.any():
        first = wrong.argmax()
        raise ValueError(
            f"Labels and is_same must agree. Received: {wrong.sum()} pairs where they do not, the first is pair "
            f"{first}: {identities[first].tolist()} with is_same={bool(is_same[first])}."
        )
    return _as_indices(identities)


def _as_indices(identities):
    """The same identities numbered from 0 without gaps."""
    if identities.dtype.kind in "iu" and int(identities.max()) - int(identities.min()) < 4 * identities.size:
        # A table instead of a sort, which takes longer than everything else on millions of pairs.
        shifted = (identities - identities.min()).astype(np.intp)
        present = np.bincount(shifted.ravel()) > 0
        return (np.cumsum(present) - 1)[shifted]
    return np.unique(identities, return_inverse=True)[1].reshape(identities.shape)

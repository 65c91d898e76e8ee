"""From cosines to likelihood ratios: fitted on some people, judged on others, with intervals over people."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin._utils.decisions import Calibration, Zone, checked_prior, posterior
from keras_margin.evaluation import _arrays, _intervals
from keras_margin.evaluation._knots import fit_knots, resampled_band
from keras_margin.evaluation.probabilities import Reliability, cllr, min_cllr, reliability
from keras_margin.evaluation.thresholds import threshold_at_far

METHODS = ("auto", "logistic", "isotonic")
# A calibration on fewer people says more of them than of anybody else.
FEWEST_PEOPLE = 10
# Pairs of either kind from which "auto" considers isotonic regression, which has as many parameters as blocks.
_ISOTONIC_PAIRS = 1000
# Errors that must be seen before a threshold at their rate can be relied on.
_FEWEST_ERRORS = 10
_FOLDS = 5
DEFAULT_BOOTSTRAP = _intervals.Bootstrap(resamples=200)


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """A calibration, fitted on all pairs, and how good its kind is on people that it was not fitted on.

    Attributes:
        calibration: The log-likelihood ratio over the cosine; `probability`, `as_metadata`.
        method: "logistic" or "isotonic".
        cllr: Log-likelihood-ratio cost in bits of held-out people, or pairs where nobody says who is on them.
        min_cllr: The least that any monotone recalibration of those held-out likelihood ratios could have.
        reliability: `Reliability` of them at the prior; its `ece`.
        num_genuine: Pairs of one person, of the fit.
        num_impostor: Pairs of two people.
        num_people: People on them; None where the pairs do not tell.
        resampled: "identity" or "pair": what the intervals drew.
        no_zone: Why there is no zone, a sentence; None where there is one.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(120, 8)) + 2 * np.repeat(np.eye(30, 8) - np.eye(30, 8, -8), 4, 0)
        >>> pairs, is_same = all_pairs(np.repeat(np.arange(30), 4))
        >>> report = fit_calibration(pair_scores(x, pairs), is_same, bootstrap=Bootstrap(resamples=20))
        >>> isinstance(report, CalibrationReport), report.num_genuine, report.resampled
        (True, 180, 'pair')
    """

    calibration: Calibration
    method: str
    cllr: float
    min_cllr: float
    reliability: Reliability
    num_genuine: int
    num_impostor: int
    num_people: int | None
    resampled: str
    no_zone: str | None

    def as_metadata(self):
        """Returns what a file's metadata hold under "calibration", a dict of plain JSON values."""
        return {
            **self.calibration.as_metadata(),
            "method": self.method,
            "cllr": self.cllr,
            "min_cllr": self.min_cllr,
            "ece": self.reliability.ece,
            "num_genuine": self.num_genuine,
            "num_impostor": self.num_impostor,
            "num_people": self.num_people,
            "resampled": self.resampled,
            "no_zone": self.no_zone,
        }

    def __str__(self):
        """Returns the report in a few sentences."""
        people = f" of {self.num_people:,} people" if self.num_people else ""
        judged = "people" if self.resampled == "identity" else "pairs"
        zone = self.calibration.zone
        decides = self.no_zone or (
            f"Ask a person between {zone.different_below:.4f} (FRR {zone.frr:g}) and {zone.same_from:.4f} "
            f"(FAR {zone.far:g})."
        )
        return (
            f"{self.method} on {self.num_genuine:,} genuine and {self.num_impostor:,} impostor pairs{people}. On held-"
            f"out {judged}: Cllr {self.cllr:.4f} (at best {self.min_cllr:.4f}), ECE {self.reliability.ece:.2%} at a "
            f"prior of {self.calibration.prior:g}. {decides}"
        )


def fit_calibration(
    scores: ArrayLike,
    is_same: ArrayLike,
    identities: ArrayLike | None = None,
    *,
    method: Literal["auto", "logistic", "isotonic"] = "auto",
    prior: float = 0.5,
    far: float = 1e-3,
    frr: float = 1e-2,
    folds: ArrayLike | None = None,
    bootstrap: _intervals.Bootstrap = DEFAULT_BOOTSTRAP,
) -> CalibrationReport:
    """Fits the log-likelihood ratio of a cosine, and judges the fit on people that it has not seen.

    logistic: llr = slope * cosine + intercept, each kind of pair worth a half (`fit_logistic`)
    isotonic: llr = ln(genuine share / impostor share) of blocks of equal value, straight lines between them

    Both never fall. |llr| is at most ln(k + 1) with k the different couples of people among the impostor pairs
    (upwards) or the different people among the genuine pairs (downwards): more than that so many people cannot show.
    Judged by five folds of people: fitted on the pairs without anybody of a fold, judged on the pairs within it.
    Intervals: people are drawn with replacement, as for `tar_interval`, and the fit is done again.

    Args:
        scores: Real array (n,), finite cosines.
        is_same: Bool array (n,); True is a genuine pair.
        identities: Integer or string array (n, 2), who is on either side of each pair; or None, and pairs are drawn
            and counted in place of people.
        method: "auto" takes isotonic where there are 1,000 pairs of either kind and its held-out Cllr is lower.
        prior: Probability of one person that the file states, in (0, 1).
        far: Wanted FAR of the zone's upper threshold.
        frr: Wanted FRR of the zone's lower threshold.
        folds: Of pairs without identities alone, an integer array (n,), people of one fold in no other, -1 for a pair
            in none, which is not judged on; None for five runs of consecutive pairs, as published sets have them.
        bootstrap: `Bootstrap`.

    Returns:
        `CalibrationReport`.

    Raises:
        TypeError, ValueError: As `tar_interval`; fewer than ten people, scores that are all equal or rank the wrong
            way round, a fold without both kinds of pair, another method, a prior or rate out of range.

    Example:
        >>> people = np.repeat(np.arange(30), 4)
        >>> x = np.random.default_rng(0).normal(size=(30, 8))[people] + np.random.default_rng(1).normal(size=(120, 8))
        >>> pairs, is_same = all_pairs(people)
        >>> report = fit_calibration(pair_scores(x, pairs), is_same, people[pairs])
        >>> report.method, report.calibration.probability(0.9).probability > 0.8
        ('logistic', True)

    Reference: Brummer and du Preez, 2006; Vergeer et al., Numerical likelihood ratios outputted by LR systems are
    often based on extrapolation, Science and Justice 56, 2016, for the bounds.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    identities = _intervals._check_identities(identities, is_same)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: method={method!r}.")
    checked_prior(prior)
    scores = _checked_range(scores.astype(np.float64), is_same)
    limits, num_people = _limits(is_same, identities)
    parts = list(_parts(is_same, identities, folds))
    tried = {name: _held_out(name, scores, is_same, parts, limits) for name in _candidates(method, is_same)}
    method = min(tried, key=lambda name: cllr(*tried[name]))
    llr, truth = tried[method]
    zone, no_zone = _zone(scores, is_same, far, frr)
    knots, values = fit_knots(method, scores, is_same.astype(float), (~is_same).astype(float), limits)
    low, high = resampled_band(method, knots, values, scores, is_same, identities, limits, bootstrap)
    return CalibrationReport(
        calibration=Calibration(knots, values, low, high, prior, zone),
        method=method,
        cllr=cllr(llr, truth),
        min_cllr=min_cllr(llr, truth),
        reliability=reliability(posterior(llr, prior), truth, prior),
        num_genuine=int(is_same.sum()),
        num_impostor=int((~is_same).sum()),
        num_people=num_people,
        resampled="pair" if identities is None else "identity",
        no_zone=no_zone,
    )


def _candidates(method, is_same):
    if method != "auto":
        return [method]
    enough = min(is_same.sum(), (~is_same).sum()) >= _ISOTONIC_PAIRS
    return ["logistic", "isotonic"] if enough else ["logistic"]


def _checked_range(scores, is_same):
    if scores.min() == scores.max():
        raise ValueError(f"A calibration needs scores that differ. Received: {len(scores)} times {scores[0]:g}.")
    if np.abs(scores).max() > 1 + 1e-6:
        raise ValueError(
            f"A calibration needs cosines in [-1, 1]. Received: {scores.min():g} to {scores.max():g}. Bring embeddings "
            "to unit length first, as pair_scores does."
        )
    if not scores[is_same].mean() > scores[~is_same].mean():
        raise ValueError(
            f"A calibration needs genuine pairs that score higher. Received: a mean of {scores[is_same].mean():.4f}, "
            f"and of {scores[~is_same].mean():.4f} of the impostor pairs. Is is_same the wrong way round?"
        )
    return scores


def _limits(is_same, identities):
    """Returns ((lowest, highest) log-likelihood ratio that so many people can show, how many people)."""
    if identities is None:
        return (-np.log(is_same.sum() + 1), np.log((~is_same).sum() + 1)), None
    people = int(identities.max()) + 1
    if people < FEWEST_PEOPLE:
        raise ValueError(
            f"A calibration needs at least {FEWEST_PEOPLE} people. Received: {people}. Give pairs of more people."
        )
    own = len(np.unique(identities[is_same, 0]))
    first, second = np.sort(identities[~is_same], axis=1).T
    return (-np.log(own + 1), np.log(len(np.unique(first * people + second)) + 1)), people


def _parts(is_same, identities, folds):
    """Yields bool arrays (pairs to fit on, pairs to judge on); no person is on both."""
    if identities is not None and folds is not None:
        raise ValueError("Folds are drawn of people where identities are given. Received: both. Leave folds out.")
    if identities is None:
        fold_of = np.arange(len(is_same)) * _FOLDS // len(is_same) if folds is None else np.asarray(folds)
        if fold_of.shape != is_same.shape or len(np.unique(fold_of[fold_of >= 0])) < 2:
            raise ValueError(
                f"folds must be an integer array ({len(is_same)},), a fold for each pair, two folds at least. "
                f"Received: shape {fold_of.shape}."
            )
        sides = np.stack([fold_of, fold_of], axis=1)
    else:
        people = int(identities.max()) + 1
        sides = (np.random.default_rng(0).permutation(people) % _FOLDS)[identities]
    in_a_fold = (sides >= 0).all(axis=1)
    for fold in np.unique(sides[in_a_fold]):
        yield (sides != fold).all(axis=1) & in_a_fold, (sides == fold).all(axis=1)


def _held_out(method, scores, is_same, parts, limits):
    """Returns (log-likelihood ratios, truths) of the pairs within the folds."""
    found, truths = [], []
    for fit, judge in parts:
        counts = is_same[fit]
        if counts.all() or not counts.any():
            raise ValueError(
                "A calibration is fitted on all folds but one and needs both kinds of pair there. Received: "
                f"{counts.sum()} genuine of {len(counts)}. Give pairs of more people."
            )
        knots, values = fit_knots(method, scores[fit], counts.astype(float), (~counts).astype(float), limits)
        found.append(np.interp(scores[judge], knots, values))
        truths.append(is_same[judge])
    truth = np.concatenate(truths)
    if truth.all() or not truth.any():
        raise ValueError(
            "A calibration is judged on the pairs within its folds and needs both kinds there. Received: "
            f"{truth.sum()} genuine of {len(truth)} pairs. Give more pairs, or more people."
        )
    return np.concatenate(found), truth


def _zone(scores, is_same, far, frr):
    """Returns (Zone, None), or (None, why there is none)."""
    num_genuine, num_impostor = int(is_same.sum()), int((~is_same).sum())
    for name, rate, count, kind in (("FAR", far, num_impostor, "impostor"), ("FRR", frr, num_genuine, "genuine")):
        _arrays.check_far(rate, name.lower())
        if _arrays.most_accepted(np.float64(rate), count) < _FEWEST_ERRORS:
            return None, (
                f'No "ask a person" zone: {name} {rate:g} on {count:,} {kind} pairs lets fewer than {_FEWEST_ERRORS} '
                f"of them pass. Give more pairs, or a higher {name}."
            )
    same_from = threshold_at_far(scores, is_same, far)
    genuine = np.sort(scores[is_same])
    # At most frr of the genuine scores lie below the k-th lowest.
    below = float(genuine[min(int(_arrays.most_accepted(np.float64(frr), num_genuine)), num_genuine - 1)])
    return Zone(min(below, same_from), same_from, far, frr), None

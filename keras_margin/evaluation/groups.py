"""Error rates by group of people at one common threshold, with intervals over people, and the gaps between groups."""

from dataclasses import dataclass

import numpy as np

from keras_margin.evaluation import _arrays, _intervals
from keras_margin.evaluation._binomial import clopper_pearson

# With fewer people a group's rates are shown, and left out of gaps and ratios.
FEWEST_IN_GROUP = 10


@dataclass(frozen=True)
class Rate:
    """A share with its confidence interval.

    Attributes:
        value: In [0, 1]; None where there is nothing to count.
        low: Lower end, or None.
        high: Upper end, or None.
        errors: How many of the pairs.
        pairs: How many pairs there are.
    """

    value: float | None
    low: float | None
    high: float | None
    errors: int
    pairs: int


@dataclass(frozen=True)
class GroupRates:
    """One group at the common threshold.

    Attributes:
        name: The group.
        people: People with a genuine pair in it.
        fnmr: Share of its genuine pairs that are refused; TAR is 1 less that.
        fmr: Share of its impostor pairs, both sides in the group, that are accepted.
        few: Whether its people are too few for a comparison.
    """

    name: str
    people: int
    fnmr: Rate
    fmr: Rate
    few: bool


@dataclass(frozen=True)
class Gap:
    """How far the groups are apart.

    Attributes:
        gap: Largest rate less the smallest.
        low: Lower end of its interval over people, or None without a bootstrap.
        high: Upper end, or None.
        ratio: Largest rate over the smallest; None where the smallest is 0.
        worst: Name of the group with the largest rate.
        best: Of the smallest.
    """

    gap: float
    low: float | None
    high: float | None
    ratio: float | None
    worst: str
    best: str


@dataclass(frozen=True)
class GroupReport:
    """Every group of one column.

    Attributes:
        threshold: The common threshold: accept a pair where score >= threshold.
        groups: Tuple of `GroupRates`, by name.
        fnmr: `Gap` of the FNMRs of groups with enough people; None with fewer than two of those.
        fmr: `Gap` of the FMRs, likewise.
        within: `Rate` at which impostors of one group, whichever, are accepted.
        across: `Rate` at which impostors of different groups are.
        mixed: Genuine pairs whose sides are in different groups, which count for none.
        unknown: Pairs with a side of no group, which are left out.
    """

    threshold: float
    groups: tuple[GroupRates, ...]
    fnmr: Gap | None
    fmr: Gap | None
    within: Rate
    across: Rate
    mixed: int
    unknown: int

    def named_values(self):
        """Returns a flat dict of plain numbers, such as "fnmr_gap" and "female.fnmr_low"; what is None is left out."""
        values = {}
        for kind, gap in (("fnmr", self.fnmr), ("fmr", self.fmr)):
            if gap is not None:
                values |= {f"{kind}_gap": gap.gap, f"{kind}_gap_low": gap.low, f"{kind}_gap_high": gap.high}
                values[f"{kind}_ratio"] = gap.ratio
        values |= _named("fmr_within", self.within) | _named("fmr_across", self.across)
        for group in self.groups:
            values[f"{group.name}.people"] = group.people
            rate = group.fnmr
            if rate.value is not None:
                ends = {"_low": rate.high, "": rate.value, "_high": rate.low}
                values |= {
                    f"{group.name}.tar{end}": None if share is None else 1 - share for end, share in ends.items()
                }
            values |= _named(f"{group.name}.fnmr", rate) | _named(f"{group.name}.fmr", group.fmr)
        return {name: value for name, value in values.items() if value is not None}


def _named(name, rate):
    return {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}


def group_report(scores, is_same, identities, groups, threshold, bootstrap=_intervals.DEFAULT_BOOTSTRAP):
    """Computes FNMR and FMR of each group at one threshold, as a system has one.

    FNMR(g) = share of genuine pairs with both sides in g and score < threshold
    FMR(g)  = share of impostor pairs with both sides in g and score >= threshold

    Intervals are the wider of a bootstrap over people, all groups in one draw, and Clopper-Pearson's of the people who
    have such pairs, so that a group of few people without an error is not called perfect. The interval of a gap is the
    bootstrap's alone.

    Args:
        scores: Real array (n,), finite; higher is more alike.
        is_same: Bool array (n,); True is a genuine pair.
        identities: Integer or string array (n, 2), who is on either side of each pair.
        groups: String array (n, 2), the group of either side; "" for none.
        threshold: The common threshold, a score.
        bootstrap: `Bootstrap`; or None for no intervals.

    Returns:
        `GroupReport`.

    Raises:
        TypeError, ValueError: As `tar_interval`; groups of another shape, or that name nobody.

    Example:
        >>> people = np.repeat(np.arange(40), 3)
        >>> sex = np.where(people % 2 == 0, "female", "male")
        >>> pairs, is_same = all_pairs(people)
        >>> scores = np.where(is_same, 0.6, 0.1) - 0.2 * (is_same & (people[pairs[:, 0]] % 4 == 1))
        >>> report = group_report(scores, is_same, people[pairs], sex[pairs], threshold=0.5, bootstrap=None)
        >>> report.fnmr.gap, report.fnmr.worst, report.across.value
        (0.5, 'male', 0.0)

    Reference: Grother, Ngan and Hanaoka, FRVT part 3: demographic effects, NISTIR 8280, 2019.
    """
    scores, is_same, identities, groups = _checked(scores, is_same, identities, groups, threshold)
    known = (groups != "").all(axis=1)
    sides, wrong = groups[known], np.where(is_same, scores < threshold, scores >= threshold)[known]
    genuine, one = is_same[known], sides[:, 0] == sides[:, 1]
    names = np.unique(sides).tolist()
    chosen = {(name, "fnmr"): genuine & one & (sides[:, 0] == name) for name in names}
    chosen |= {(name, "fmr"): ~genuine & one & (sides[:, 0] == name) for name in names}
    chosen |= {"within": ~genuine & one, "across": ~genuine & ~one}
    tallies = {key: _Tally(identities[known], wrong, mask, genuine) for key, mask in chosen.items()}
    drawn = {} if bootstrap is None else _resampled(tallies, int(identities.max()) + 1, bootstrap)
    level = None if bootstrap is None else bootstrap.level
    rates = {key: tally.rate(drawn.get(key), level) for key, tally in tallies.items()}
    found = tuple(
        GroupRates(
            name,
            tallies[name, "fnmr"].people,
            rates[name, "fnmr"],
            rates[name, "fmr"],
            tallies[name, "fnmr"].people < FEWEST_IN_GROUP,
        )
        for name in names
    )
    enough = [group.name for group in found if not group.few]
    return GroupReport(
        threshold=float(threshold),
        groups=found,
        fnmr=_gap(enough, "fnmr", rates, drawn, level),
        fmr=_gap(enough, "fmr", rates, drawn, level),
        within=rates["within"],
        across=rates["across"],
        mixed=int((genuine & ~one).sum()),
        unknown=int((~known).sum()),
    )


def _checked(scores, is_same, identities, groups, threshold):
    """Returns scores, is_same, identities as indices and groups, once they are sound."""
    scores, is_same = _arrays.check_scores(scores, is_same)
    if identities is None:
        raise ValueError("Rates by group need who is on each image: intervals are over people. Received: None.")
    identities = _intervals._check_identities(identities, is_same)
    groups = np.asarray(groups)
    if groups.shape != identities.shape or groups.dtype.kind != "U":
        raise ValueError(
            f"groups must be strings shaped (n, 2), the group of either side. Received: {groups.dtype} {groups.shape}."
        )
    if not (groups != "").all(axis=1).any():
        raise ValueError("groups must name somebody. Received: no pair with both sides in a group.")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold must be finite. Received: threshold={threshold}.")
    return scores, is_same, identities, groups


class _Tally:
    """The pairs of one rate, counted by person (genuine) or by couple of people (impostor)."""

    def __init__(self, identities, wrong, mask, genuine):
        first, second = np.sort(identities[mask], axis=1).T
        self._impostor = bool(mask.any() and not genuine[mask.argmax()])
        # Pairs of one couple always have one weight.
        couples, index = np.unique(first * (int(identities.max()) + 1) + second, return_inverse=True)
        self._first, self._second = np.divmod(couples, int(identities.max()) + 1)
        self._pairs = np.bincount(index, minlength=len(couples))
        self._errors = np.bincount(index, wrong[mask], len(couples))
        self.people = len(np.unique(identities[mask]))

    def resampled(self, times):
        """Returns the rate where person p counts times[p] times; NaN where nothing counts."""
        weights = times[self._first]
        if self._impostor:
            weights = weights * times[self._second]
        total = weights @ self._pairs
        return weights @ self._errors / total if total else np.nan

    def rate(self, drawn, level):
        """Returns the `Rate`, with an interval where there are resamples."""
        pairs, errors = int(self._pairs.sum()), int(self._errors.sum())
        if not pairs:
            return Rate(None, None, None, 0, 0)
        value = errors / pairs
        if drawn is None:
            return Rate(value, None, None, errors, pairs)
        drawn = drawn[np.isfinite(drawn)]
        tail = (1 - level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (0.0, 1.0)
        trials = self.people
        if 0 < errors < pairs and len(drawn) and drawn.var() > 0:
            trials = min(max(value * (1 - value) / drawn.var(), 1.0), pairs)
        exact = clopper_pearson(value * trials, trials, level)
        return Rate(value, float(min(low, exact[0])), float(max(high, exact[1])), errors, pairs)


def _resampled(tallies, people, bootstrap):
    """Returns a dict from a rate's key to its values (resamples,), all of one resample from one draw of people."""
    rng, drawn = np.random.default_rng(bootstrap.seed), {key: [] for key in tallies}
    for _ in range(_arrays.check_count(bootstrap.resamples, "resamples", 1)):
        times = np.bincount(rng.integers(people, size=people), minlength=people)
        for key, tally in tallies.items():
            drawn[key].append(tally.resampled(times))
    return {key: np.array(values) for key, values in drawn.items()}


def _gap(names, kind, rates, drawn, level):
    names = [name for name in names if rates[name, kind].value is not None]
    if len(names) < 2:
        return None
    values = np.array([rates[name, kind].value for name in names])
    worst, best = int(values.argmax()), int(values.argmin())
    low = high = None
    if drawn:
        resampled = np.array([drawn[name, kind] for name in names])
        resampled = resampled[:, np.isfinite(resampled).all(axis=0)]
        tail = (1 - level) / 2
        if resampled.size:
            ends = np.quantile(resampled.max(axis=0) - resampled.min(axis=0), [tail, 1 - tail])
            low, high = ends.tolist()
    ratio = float(values[worst] / values[best]) if values[best] > 0 else None
    return Gap(float(values[worst] - values[best]), low, high, ratio, names[worst], names[best])

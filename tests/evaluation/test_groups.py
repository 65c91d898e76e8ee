"""Tests of evaluation.groups: synthetic scores whose gaps are known, and every rate counted one by one."""

import numpy as np
import pytest

from keras_margin.evaluation import Bootstrap, all_pairs, group_report

QUICK = Bootstrap(resamples=50)


def two_groups(per_group=60, images=4, fnmr=(0.02, 0.10), fmr=(0.01, 0.01), seed=0):
    """(scores, is_same, identities, groups) of groups "a" and "b", whose pairs fail at threshold 0.5 at these rates."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(2 * per_group), images)
    group = np.where(people < per_group, "a", "b")
    pairs, is_same = all_pairs(people)
    sides = group[pairs]
    second = (sides[:, 0] == "b").astype(int)
    fails = rng.uniform(size=len(pairs)) < np.where(is_same, np.array(fnmr)[second], np.array(fmr)[second])
    return np.where(is_same ^ fails, 0.7, 0.3), is_same, people[pairs], sides


def by_name(report):
    return {group.name: group for group in report.groups}


def test_rates_are_those_counted_one_by_one():
    """FNMR and FMR of each group, and of impostors within and across groups, by plain loops."""
    scores, is_same, identities, groups = two_groups(per_group=12)
    found = group_report(scores, is_same, identities, groups, 0.5, bootstrap=None)
    counted = {}
    for score, same, (one, other) in zip(scores, is_same, groups, strict=True):
        keys = [(one, "fnmr")] if same else [(one, "fmr"), "within"] if one == other else ["across"]
        for key in keys:
            counted.setdefault(key, []).append(score < 0.5 if same else score >= 0.5)
    for name, group in by_name(found).items():
        assert group.fnmr.value == pytest.approx(np.mean(counted[name, "fnmr"]))
        assert group.fmr.value == pytest.approx(np.mean(counted[name, "fmr"]))
        assert group.people == 12 and not group.few
    assert found.within.value == pytest.approx(np.mean(counted["within"]))
    assert found.across.value == pytest.approx(np.mean(counted["across"]))


def test_a_known_gap_is_found_with_its_interval():
    """FNMRs of 2 % and 10 %: the gap's interval holds 8 %, and the worst group is named."""
    found = group_report(*two_groups(per_group=150), 0.5)
    assert found.fnmr.low < 0.08 < found.fnmr.high
    assert (found.fnmr.worst, found.fnmr.best) == ("b", "a")
    assert found.fnmr.gap == pytest.approx(0.08, abs=0.03)
    values = {name: group.fnmr.value for name, group in by_name(found).items()}
    assert found.fnmr.ratio == pytest.approx(values["b"] / values["a"])


def test_an_interval_is_over_people():
    """Where a person's pairs fail all together, the interval is as wide as that of so many people, not pairs."""
    scores, is_same, identities, groups = two_groups(per_group=50, images=6, fnmr=(0, 0))
    scores[is_same & (identities[:, 0] % 10 == 0)] = 0.3  # Five people of fifty in each group, with 15 pairs each.
    rate = by_name(group_report(scores, is_same, identities, groups, 0.5))["a"].fnmr
    assert rate.value == pytest.approx(0.1)
    assert rate.high - rate.low > 2 * 1.96 * np.sqrt(0.1 * 0.9 / 50) * 0.8


def test_no_error_among_few_people_is_no_perfection():
    """Without an error the upper end is that of as many people: 1 - 0.025 ** (1 / people)."""
    scores, is_same, identities, groups = two_groups(per_group=20, fnmr=(0, 0), fmr=(0, 0))
    rate = by_name(group_report(scores, is_same, identities, groups, 0.5, QUICK))["a"].fnmr
    assert (rate.value, rate.low) == (0, 0)
    assert rate.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_too_few_people_are_said_and_not_compared():
    """A group of nine has its rates, is marked, and is in no gap."""
    scores, is_same, identities, groups = two_groups(per_group=30)
    groups = np.where(np.isin(identities, np.arange(9)), "few", groups)
    found = group_report(scores, is_same, identities, groups, 0.5, QUICK)
    assert [group.name for group in found.groups if group.few] == ["few"]
    assert "few" not in (found.fnmr.worst, found.fnmr.best)
    assert by_name(found)["few"].fnmr.pairs == 9 * 6


def test_pairs_of_nobody_and_of_two_groups_are_counted():
    """Sides without a group are left out, and a genuine pair in two groups counts for neither."""
    scores, is_same, identities, groups = two_groups(per_group=12)
    groups = groups.copy()
    first = np.flatnonzero(is_same)[:3]
    groups[first[0], 1], groups[first[1]] = "b", ("", "a")
    found = group_report(scores, is_same, identities, groups, 0.5, bootstrap=None)
    assert (found.mixed, found.unknown) == (1, 1)
    assert by_name(found)["a"].fnmr.pairs == 12 * 6 - 2


def test_values_have_flat_names_and_no_none():
    """What --require takes: the gap, the ratio where there is one, the rates with their ends; TAR is 1 - FNMR."""
    values = group_report(*two_groups(), 0.5, QUICK).named_values()
    assert {"fnmr_gap", "fnmr_gap_low", "fnmr_ratio", "fmr_gap", "fmr_within", "fmr_across", "a.tar"} <= set(values)
    assert values["a.tar"] == pytest.approx(1 - values["a.fnmr"])
    assert values["a.tar_low"] == pytest.approx(1 - values["a.fnmr_high"])
    perfect = group_report(*two_groups(fnmr=(0, 0.1)), 0.5, bootstrap=None)
    assert perfect.fnmr.ratio is None and "fnmr_ratio" not in perfect.named_values()
    assert all(value is not None for value in perfect.named_values().values())


SCORES, IS_SAME, IDENTITIES, GROUPS = two_groups(per_group=12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": np.full(GROUPS.shape, "")}, "must name somebody"),
        ({"groups": GROUPS[:, 0]}, "strings shaped"),
        ({"groups": np.zeros(GROUPS.shape)}, "strings shaped"),
        ({"identities": None}, "who is on each image"),
        ({"scores": np.full(len(SCORES), np.nan)}, "scores must be finite"),
        ({"threshold": np.nan}, "threshold must be finite"),
        ({"is_same": np.ones(len(SCORES), bool)}, "no impostor one"),
    ],
)
def test_what_cannot_be_grouped_is_refused(changes, message):
    """Each error names the rule and what came."""
    arguments = {"scores": SCORES, "is_same": IS_SAME, "identities": IDENTITIES, "groups": GROUPS, "threshold": 0.5}
    with pytest.raises(ValueError, match=message):
        group_report(**arguments | changes)

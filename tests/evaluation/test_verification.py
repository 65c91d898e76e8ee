import itertools
import json
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scored import few, rates, scored_pairs

from keras_margin import evaluation
from keras_margin.evaluation import verification

rng = np.random.default_rng(3)


def best_tar(scores, is_same, far):
    points = [rates(scores, is_same, t) for t in [math.inf, *sorted(set(scores.tolist()))]]
    return max(tar for rate, tar in points if rate <= far)


def limits_by_copies(scores, is_same, far, identities, bootstrap):
    """Every resample as a list of pairs, each as often as its people (or the pair) were drawn; and the limits."""
    generator, values = np.random.default_rng(bootstrap.seed), []
    people = None if identities is None else sorted(set(np.asarray(identities).ravel().tolist()))
    count = len(scores) if people is None else len(people)
    for _ in range(bootstrap.resamples):
        drawn = generator.integers(count, size=count).tolist()
        if people is None:
            copies = drawn
        else:
            times = {person: drawn.count(index) for index, person in enumerate(people)}
            copies = []
            for index, (a, b) in enumerate(np.asarray(identities).tolist()):
                copies += [index] * (times[a] if a == b else times[a] * times[b])
        if is_same[copies].any() and not is_same[copies].all():
            values.append([best_tar(scores[copies], is_same[copies], rate) for rate in far])
    if 2 * len(values) < bootstrap.resamples:
        return None
    tail = (1 - bootstrap.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    genuine = int(is_same.sum())
    units = genuine if people is None else len({a for a, b in np.asarray(identities).tolist() if a == b})
    for at, rate in enumerate(far):
        tar, variance = best_tar(scores, is_same, rate), np.var([row[at] for row in values])
        trials = units if tar in (0, 1) else min(genuine, max(1, tar * (1 - tar) / variance) if variance else genuine)
        failed = (1 - tar) * trials
        exact_low = stats.beta.ppf(tail, tar * trials, failed + 1) if tar else 0
        exact_high = stats.beta.ppf(1 - tail, tar * trials + 1, failed) if tar < 1 else 1
        low[at] = min(low[at], exact_low, tail ** (1 / units))
        high[at] = max(high[at], exact_high, 1 - tail ** (1 / units))
    return low, high


@pytest.mark.slow
@few
@given(scored_pairs(minimum=4), st.sampled_from([None, 1, 10**6]), st.sampled_from([0.6, 0.95]))
def test_intervals_are_resamples_and_limits_written_out(data, step, level):
    """Each interval is the union of the resamples' percentiles and of the binomial limits, computed by scipy."""
    scores, is_same = data
    generator = np.random.default_rng(len(scores))
    first = generator.integers(0, 4, len(scores))
    other = (first + generator.integers(1, 4, len(scores))) % 4
    identities = None if step is None else 3 + step * np.stack([first, np.where(is_same, first, other)], axis=1)
    bootstrap = evaluation.Bootstrap(resamples=12, level=level, seed=2)
    far = [0.05, 0.3, 1.0]
    expected = limits_by_copies(scores, is_same, far, identities, bootstrap)
    if expected is None:
        with pytest.raises(ValueError, match="both kinds of pair in its resamples"):
            evaluation.tar_interval(scores, is_same, far, identities, bootstrap)
        return
    found = evaluation.tar_interval(scores, is_same, far, identities, bootstrap)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("people", "images"), [(None, 0), (8, 6)])
def test_without_a_failure_the_limit_is_that_of_the_units(people, images):
    """Of n pairs (or P people) without a failure the lower limit is 0.025 ** (1 / n), the width is not 0."""
    if people is None:
        is_same, identities, units = np.arange(200) < 80, None, 80
    else:
        labels = np.repeat(np.arange(people), images)
        pairs, is_same = evaluation.all_pairs(labels)
        identities, units = labels[pairs], people
    scores = np.where(is_same, 1.0, 0.0) + np.linspace(0, 0.1, len(is_same))
    bootstrap = evaluation.Bootstrap(resamples=50)
    ((low,), (high,)) = evaluation.tar_interval(scores, is_same, [0.1], identities, bootstrap)
    assert low == pytest.approx(0.025 ** (1 / units), abs=1e-12) and high == 1.0
    ((low,), (high,)) = evaluation.tar_interval(-scores, is_same, [0.1], identities, bootstrap)
    assert high == pytest.approx(1 - 0.025 ** (1 / units), abs=1e-12) and low == 0.0


def test_more_failures_never_raise_the_lower_limit():
    """A single failed pair of 450 of ten people proves no more than none: the limits fall with the TAR."""
    labels = np.repeat(np.arange(10), 10)
    pairs, is_same = evaluation.all_pairs(labels)
    genuine = np.flatnonzero(is_same)
    lows = []
    for failed in (0, 1, 5, 45, 200):
        scores = np.where(is_same, 1.0, 0.0) + np.linspace(0, 0.1, len(is_same))
        scores[genuine[:failed]] -= 2
        lows += evaluation.tar_interval(scores, is_same, [0.01], labels[pairs], evaluation.Bootstrap(resamples=50))[0]
    assert lows == sorted(lows, reverse=True)


def shifted_normals(seed, shift, people):
    """Impostor scores N(0, 1), genuine ones N(shift, 1), those of a person moved together by N(0, 1)."""
    generator = np.random.default_rng(seed)
    if people is None:
        scores = np.concatenate([generator.normal(shift, 1, 200), generator.normal(0, 1, 1000)])
        return scores, np.arange(1200) < 200, None
    own = np.repeat(np.arange(people), 10)
    genuine = generator.normal(shift + generator.normal(size=people)[own], 1)
    first = generator.integers(0, people, 1000)
    second = (first + generator.integers(1, people, 1000)) % people
    identities = np.concatenate([np.stack([own, own], axis=1), np.stack([first, second], axis=1)])
    scores = np.concatenate([genuine, generator.normal(size=1000)])
    return scores, np.arange(len(scores)) < len(own), identities


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "people"), [(6.0, None), (4.5, None), (3.0, None), (6.0, 20), (4.0, 20)])
def test_intervals_cover_the_true_tar(shift, people):
    """Nominal 95 % intervals at FAR 0.02 cover the TAR of the distributions in at least 92 % of 200 data sets."""
    deviation = 1 if people is None else math.sqrt(2)
    true = stats.norm.sf((stats.norm.isf(0.02) - shift) / deviation)
    covered = 0
    for seed in range(200):
        scores, is_same, identities = shifted_normals(seed, shift, people)
        bootstrap = evaluation.Bootstrap(resamples=100, seed=seed)
        ((low,), (high,)) = evaluation.tar_interval(scores, is_same, [0.02], identities, bootstrap)
        covered += low <= true <= high
    assert covered >= 184  # 190 less twice sqrt(200 * 0.95 * 0.05) = 3.1.


def test_pairs_of_few_people_have_wider_intervals():
    """Widens the intervals of pairs of few people, compared with as many strangers."""
    # Six people of eight images: all genuine pairs of four of them are found, none of the other two.
    labels = np.repeat(np.arange(6), 8)
    pairs, is_same = evaluation.all_pairs(labels)
    scores = np.where(is_same, np.where(labels[pairs[:, 0]] < 4, 1, -1), 0) + 0.1 * rng.normal(size=len(pairs))
    widths = []
    for identities in (labels[pairs], None):
        ((low,), (high,)) = evaluation.tar_interval(
            scores, is_same, [0.01], identities, evaluation.Bootstrap(resamples=200)
        )
        widths.append(high - low)
    assert widths[0] > 3 * widths[1]


def labelled_set(seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12), 5)
    embeddings = generator.normal(size=(12, 6))[labels] + 0.8 * generator.normal(size=(60, 6)) + 1
    pairs, is_same = evaluation.make_pairs(labels, 100, 100)
    return embeddings, labels, pairs, is_same


def test_a_report_holds_what_each_metric_says():
    """Holds the value of each metric."""
    embeddings, labels, pairs, is_same = labelled_set()
    bootstrap = evaluation.Bootstrap(resamples=20)
    report = evaluation.verification_report(embeddings, pairs, is_same, labels, 5, [0.3, 0.1], bootstrap)
    scores = evaluation.pair_scores(embeddings, pairs)
    low, high = evaluation.tar_interval(scores, is_same, [0.3, 0.1], labels[pairs], bootstrap)
    assert (report.num_genuine, report.num_impostor, report.resampled) == (100, 100, "identity")
    assert (report.auc, report.eer) == (evaluation.auc(scores, is_same), evaluation.eer(scores, is_same))
    for index, row in enumerate(report.tar_at_far):
        assert row.tar == evaluation.tar_at_far(scores, is_same, row.far) == best_tar(scores, is_same, row.far)
        assert row.threshold == evaluation.threshold_at_far(scores, is_same, row.far)
        assert (row.low, row.high, row.measurable) == (low[index], high[index], True)
        assert row.low < row.tar < row.high
    for search in ("exact", "grid"):
        assert report.accuracy[search].mean == evaluation.k_fold_accuracy(scores, is_same, 5, search).mean
    assert report.accuracy["sphereface"].mean == evaluation.centered_k_fold_accuracy(embeddings, pairs, is_same, 5).mean


def test_named_values_are_plain_numbers_under_one_name_each():
    """Lists plain numbers under one name each."""
    embeddings, labels, pairs, is_same = labelled_set()
    bootstrap = evaluation.Bootstrap(resamples=5)
    report = evaluation.verification_report(embeddings, pairs, is_same, labels, 5, [0.1, 0.125], bootstrap)
    values = json.loads(json.dumps(report.named_values()))
    assert (
        values["accuracy"] == report.accuracy["exact"].mean and values["accuracy_std"] == report.accuracy["exact"].std
    )
    assert values["accuracy_grid"] == report.accuracy["grid"].mean
    assert values["accuracy_sphereface"] == report.accuracy["sphereface"].mean
    assert values["tar_at_far_1e-01"] == report.tar_at_far[0].tar
    assert values["tar_at_far_0.125"] == report.tar_at_far[1].tar
    assert values["tar_at_far_0.125_low"] == report.tar_at_far[1].low
    assert values["threshold_at_far_1e-01"] == report.tar_at_far[0].threshold
    assert values["auc"] == report.auc and values["num_impostor"] == 100


def test_a_far_with_fewer_than_ten_impostors_warns_if_asked_for():
    """Of 100 impostor pairs FAR 0.09 lets nine pass: a warning at the caller's line, and the row is marked."""
    embeddings, labels, pairs, is_same = labelled_set()
    far = [0.1, 0.09, 0.001]
    with pytest.warns(UserWarning, match=r"FAR=0.001 lets 0 of 100 impostor pairs pass.*Score 10,000") as record:
        report = evaluation.verification_report(embeddings, pairs, is_same, labels, None, far, bootstrap=None)
    assert len(record) == 1 and record[0].filename == __file__
    assert [row.measurable for row in report.tar_at_far] == [True, False, False]
    with pytest.warns(UserWarning, match="FAR=0.09 lets 9 of 100 impostor pairs pass.*Score 112 impostor"):
        evaluation.verification_report(embeddings, pairs, is_same, labels, None, [0.09], bootstrap=None)


def test_fars_that_nobody_asked_for_do_not_warn():
    """The default FARs are marked where too few impostors may pass; warnings are errors in these tests."""
    embeddings, labels, pairs, is_same = labelled_set()
    report = evaluation.verification_report(embeddings, pairs, is_same, labels, None, bootstrap=None)
    assert [row.far for row in report.tar_at_far] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert [row.measurable for row in report.tar_at_far] == [True, False, False, False, False, False]
    assert report.accuracy == {} and report.resampled is None and report.tar_at_far[0].low is None
    assert not any(name.endswith(("_low", "_high")) for name in report.named_values())


@given(st.integers(10, 10**7))
@few
def test_the_least_far_is_the_smallest_of_two_digits(num_impostor):
    """The least FAR lets ten impostor pairs pass, and a hundredth to a tenth less of it does not."""
    far = verification.least_far(num_impostor)
    assert float(f"{far:.1e}") == far and verification.is_measurable(far, num_impostor)
    step = 10.0 ** (math.floor(math.log10(far)) - 1)
    assert not verification.is_measurable(far - step, num_impostor)


def test_a_report_of_scores_equals_that_of_the_embeddings():
    """Reports the same of scores as of their embeddings."""
    embeddings, labels, pairs, is_same = labelled_set()
    scores = evaluation.pair_scores(embeddings, pairs)
    bootstrap = evaluation.Bootstrap(resamples=5)
    far = [0.1]
    expected = evaluation.verification_report(embeddings, pairs, is_same, labels, 10, far, bootstrap).named_values()
    found = evaluation.score_report(scores, is_same, labels[pairs], 10, far, bootstrap).named_values()
    assert found == {name: value for name, value in expected.items() if "grid" not in name and "sphere" not in name}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"is_same": [True, False]}, ValueError, "one truth per pair. Received: shape=(2,) for 4 pairs"),
        ({"is_same": [True] * 4}, ValueError, "no impostor one"),
        (
            {"labels": [0, 0, 0, 1, 1]},
            ValueError,
            "2 pairs where they do not, the first is pair 1: [0, 0] with is_same",
        ),
        ({"labels": [0, 1]}, ValueError, "one entry per embedding"),
        ({"pairs": [[0, 9], [1, 2], [3, 4], [0, 4]]}, ValueError, "pairs out of range, the first is pair 0: [0, 9]"),
        ({"embeddings": np.full((5, 2), np.nan)}, ValueError, "must be finite"),
        ({"folds": 4}, ValueError, "no genuine pair in fold 1 of 4"),
        ({"far": 2.0}, ValueError, "far must be in (0, 1]"),
        ({"bootstrap": evaluation.Bootstrap(resamples=0)}, ValueError, "resamples must be >= 1"),
        ({"bootstrap": evaluation.Bootstrap(level=95)}, ValueError, "95 % is 0.95"),
    ],
)
def test_a_report_refuses(change, error, words):
    """Refuses invalid input."""
    arguments = {
        "embeddings": np.array([[1.0, 0.1], [1.0, 0.2], [0.3, 1.0], [0.0, 1.0], [-1.0, 0.4]]),
        "pairs": [[0, 1], [1, 2], [2, 3], [0, 4]],
        "is_same": [True, False, True, False],
        "folds": 2,
    }
    with pytest.raises(error, match=re.escape(words)):
        evaluation.verification_report(**(arguments | change))


def test_resamples_mostly_of_one_kind_are_refused():
    """Refuses resamples of one kind alone once they are most."""
    # Two people: half of the draws hold one of them alone, hence no impostor pair, and some of the rest no genuine.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="both kinds of pair in its resamples"):
            evaluation.tar_interval([0.9, 0.1, 0.2], [True, False, False], [0.5], [["a", "a"], ["b", "c"], ["b", "d"]])


def test_identities_must_be_two_a_pair():
    """Requires two identities for each pair."""
    with pytest.raises(ValueError, match=re.escape("(n, 2), both sides of each pair. Received: (2,) for 2 pairs")):
        evaluation.tar_interval([0.9, 0.1], [True, False], [0.5], [0, 1])


def test_all_searches_agree_where_the_kinds_are_far_apart():
    """Agrees in all searches where the kinds are far apart."""
    embeddings = np.array(list(itertools.chain(*[[[1.0, 0.0], [1.0, 0.01]], [[1.0, 0.0], [0.0, 1.0]]])) * 4)
    pairs = np.arange(16).reshape(8, 2)
    report = evaluation.verification_report(embeddings, pairs, [True, False] * 4, folds=2, bootstrap=None)
    assert {search: result.mean for search, result in report.accuracy.items()} == dict.fromkeys(
        ("exact", "grid", "sphereface"), 1.0
    )

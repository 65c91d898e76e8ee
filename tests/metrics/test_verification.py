"""EqualErrorRate, TARAtFAR and AUC are those of NumPy's float64 over the same pairs, to what the bins can tell."""

import keras
import numpy as np
import pytest

from keras_margin import metrics


def scattered(count=120, classes=12, size=6, spread=1.2, seed=0):
    """Embeddings of classes that overlap, and their labels, in a random order."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % classes)
    centers = 2 * generator.normal(size=(classes, size))
    return (centers[labels] + spread * generator.normal(size=(count, size))).astype("float32"), labels.astype("int32")


def pairs_of(embeddings, labels, keep=lambda first, second: True):
    """Cosines in float64 and is_same of the pairs first < second that are kept."""
    x = embeddings.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = [(i, j) for j in range(len(x)) for i in range(j) if keep(i, j)]
    first, second = np.array(found).T
    return np.sum(x[first] * x[second], axis=1), labels[first] == labels[second]


def rates_of(cosines, is_same):
    """FAR and TAR of every threshold, from accepting all to accepting none."""
    thresholds = np.append(np.unique(cosines), np.inf)
    far = np.array([(cosines[~is_same] >= each).mean() for each in thresholds])
    return far, np.array([(cosines[is_same] >= each).mean() for each in thresholds])


def eer_of(cosines, is_same):
    far, tar = rates_of(cosines, is_same)
    surplus = far - (1 - tar)
    behind = np.argmax(surplus <= 0)
    share = surplus[behind - 1] / (surplus[behind - 1] - surplus[behind])
    return far[behind - 1] + share * (far[behind] - far[behind - 1])


def tar_of(cosines, is_same, at):
    far, tar = rates_of(cosines, is_same)
    return tar[far <= at].max()


def auc_of(cosines, is_same):
    difference = cosines[is_same][:, None] - cosines[~is_same][None, :]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


def shares_of(cosines, is_same, bins):
    """(impostor, genuine) shares of each bin."""
    places = np.clip(np.floor((cosines + 1) * bins / 2), 0, bins - 1).astype(int)
    counts = [np.bincount(places[kind], minlength=bins) for kind in (~is_same, is_same)]
    return [each / each.sum() for each in counts]


def value_of(metric, embeddings, labels, batch=17, weights=None):
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metric.update_state(labels[part], embeddings[part], None if weights is None else weights[part])
    return float(metric.result())


METRICS = {
    "eer": (metrics.EqualErrorRate, eer_of),
    "tar": (lambda **options: metrics.TARAtFAR(0.05, **options), lambda *pairs: tar_of(*pairs, 0.05)),
    "auc": (metrics.AUC, auc_of),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METRICS)
def test_fine_bins_give_the_exact_value(name):
    """Of all pairs, whatever the batches: the memory is larger than the set."""
    embeddings, labels = scattered()
    make, exact = METRICS[name]
    wanted = exact(*pairs_of(embeddings, labels))
    assert 0.02 < wanted < 0.98
    for batch in (120, 17):
        assert value_of(make(memory=128, bins=200_000), embeddings, labels, batch) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
def test_coarse_bins_err_by_what_the_docstring_says():
    """EER and TAR move by no more than one bin's share, AUC by half the sum of the products of both."""
    embeddings, labels = scattered()
    cosines, is_same = pairs_of(embeddings, labels)
    for bins in (20, 100):
        impostor, genuine = shares_of(cosines, is_same, bins)
        found = {name: value_of(make(memory=128, bins=bins), embeddings, labels) for name, (make, _) in METRICS.items()}
        wanted = {name: exact(cosines, is_same) for name, (_, exact) in METRICS.items()}
        assert abs(found["eer"] - wanted["eer"]) <= max(impostor.max(), genuine.max())
        assert wanted["tar"] - genuine.max() - 1e-6 <= found["tar"] <= wanted["tar"] + 1e-6
        assert abs(found["auc"] - wanted["auc"]) <= 0.5 * np.sum(impostor * genuine) + 1e-6


def test_pairs_are_those_within_batch_and_memory():
    """With a memory of 10, an image meets its batch and the 10 before the batch."""
    embeddings, labels = scattered()
    wanted = auc_of(*pairs_of(embeddings, labels, lambda i, j: i >= j // 8 * 8 - 10))
    assert value_of(metrics.AUC(memory=10, bins=100_000), embeddings, labels, 8) == pytest.approx(wanted, abs=1e-4)


def test_a_batch_larger_than_the_memory_is_remembered_by_its_end():
    """Remembers the end of a batch that is larger than the memory."""
    embeddings, labels = scattered()
    wanted = auc_of(*pairs_of(embeddings, labels, lambda i, j: i >= j // 30 * 30 - 4))
    assert value_of(metrics.AUC(memory=4, bins=100_000), embeddings, labels, 30) == pytest.approx(wanted, abs=1e-4)


def test_a_pair_weighs_the_product_of_its_samples():
    """Weights 0, 1 and 2 are as images that are left out, there once and there twice, less the pairs of the two."""
    embeddings, labels = scattered(60, 6)
    weights = np.arange(60) % 3
    x, y = (np.repeat(each, weights, axis=0) for each in (embeddings, labels))
    source = np.repeat(np.arange(60), weights)
    wanted = auc_of(*pairs_of(x, y, lambda i, j: source[i] != source[j]))
    found = value_of(metrics.AUC(memory=64, bins=200_000), embeddings, labels, 7, weights.astype("float32"))
    assert found == pytest.approx(wanted, abs=1e-4)


def test_rows_that_are_not_finite_are_left_out():
    """Leaves out rows that are not finite."""
    embeddings, labels = scattered()
    wanted = auc_of(*pairs_of(embeddings[2:], labels[2:]))
    embeddings[0], embeddings[1, 3] = np.nan, np.inf
    assert value_of(metrics.AUC(memory=128, bins=100_000), embeddings, labels) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("make", [metrics.EqualErrorRate, metrics.TARAtFAR, metrics.AUC])
def test_without_pairs_of_a_kind_the_value_is_nan(make):
    """Neither a perfect nor a bad number: none."""
    metric = make()
    assert np.isnan(float(metric.result()))
    for labels in ([1, 1, 1], [1, 2, 3]):
        metric.reset_state()
        metric.update_state(np.array(labels), np.eye(3, dtype="float32"))
        assert np.isnan(float(metric.result()))


def test_a_reset_forgets_the_images():
    """Forgets the images at a reset."""
    embeddings, labels = scattered()
    metric = metrics.EqualErrorRate()
    value_of(metric, embeddings, labels)
    metric.reset_state()
    other, others = scattered(seed=1)
    assert value_of(metric, other, others) == value_of(metrics.EqualErrorRate(), other, others)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.TARAtFAR(0), r"TARAtFAR needs far in \(0, 1\]. Received: far=0"),
        (lambda: metrics.AUC(memory=-1), "AUC needs memory, an int >= 0. Received: memory=-1"),
        (lambda: metrics.EqualErrorRate(bins=1.5), "EqualErrorRate needs bins, an int >= 2. Received: bins=1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    """Refuses numbers out of range."""
    with pytest.raises(ValueError, match=message):
        make()


def test_embeddings_of_another_size_are_refused():
    """Refuses embeddings of another size."""
    metric = metrics.AUC()
    metric.update_state(np.array([0, 1]), np.eye(2, dtype="float32"))
    with pytest.raises(ValueError, match="embeddings of 2 numbers. Received: embeddings of 3"):
        metric.update_state(np.array([0, 1]), np.eye(3, dtype="float32")[:2])


@pytest.mark.parametrize(
    "metric",
    [metrics.EqualErrorRate(memory=7, bins=9), metrics.TARAtFAR(0.0123, name="tar"), metrics.AUC(memory=3)],
    ids=lambda metric: type(metric).__name__,
)
def test_a_metric_is_built_again_from_its_config(metric):
    """Builds an equal metric from its config."""
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()


def test_a_far_of_more_digits_has_its_own_name():
    """Names a FAR of more digits by all of them."""
    assert [metrics.TARAtFAR(far).name for far in (1e-3, 0.0123)] == ["tar_at_far_1e-03", "tar_at_far_0.0123"]

"""RecallAtK and MeanAveragePrecisionAtR are those of NumPy's float64, over the images that are kept."""

import keras
import numpy as np
import pytest

from keras_margin import metrics


def scattered(count=90, classes=14, size=5, seed=0):
    """Embeddings of classes that overlap, of different sizes, and their labels in a random order."""
    generator = np.random.default_rng(seed)
    labels = np.minimum(generator.geometric(0.15, count), classes) * 10
    labels[count // 2] = 0  # The only one of its class: it is no query.
    centers = 2 * generator.normal(size=(classes * 10 + 1, size))
    return (centers[labels] + generator.normal(size=(count, size))).astype("float32"), labels


def matches_of(embeddings, labels):
    """For each image that has another of its class: the matches of all others, most alike first."""
    x = embeddings.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, :-1]
    matches = labels[order] == labels[:, None]
    return matches, matches.any(axis=1)


def recall_of(embeddings, labels, k, weights=None):
    matches, queries = matches_of(embeddings, labels)
    return np.average(matches[queries, :k].any(axis=1), weights=None if weights is None else weights[queries])


def map_of(embeddings, labels, longest=10**6):
    matches, queries = matches_of(embeddings, labels)
    values = []
    for row in matches[queries]:
        r = min(int(row.sum()), longest)
        precision = np.cumsum(row[:r]) / np.arange(1, r + 1)
        values.append(np.sum(precision * row[:r]) / r)
    return np.mean(values)


def value_of(metric, embeddings, labels, batch=13, weights=None):
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metric.update_state(labels[part], embeddings[part], None if weights is None else weights[part])
    return float(metric.result())


@pytest.mark.parametrize("batch", [90, 13])
def test_the_values_are_numpys_whatever_the_batches(batch):
    """Computes NumPy's values, whatever the batches."""
    embeddings, labels = scattered()
    for k in (1, 3):
        wanted = recall_of(embeddings, labels, k)
        assert 0 < wanted < 1
        assert value_of(metrics.RecallAtK(k, memory=128), embeddings, labels, batch) == pytest.approx(wanted, abs=1e-6)
    wanted = map_of(embeddings, labels)
    assert value_of(metrics.MeanAveragePrecisionAtR(memory=128), embeddings, labels, batch) == pytest.approx(
        wanted, abs=1e-6
    )


def test_images_beyond_the_memory_are_left_out():
    """The first fifty alone are queries and gallery."""
    embeddings, labels = scattered()
    found = value_of(metrics.RecallAtK(1, memory=50), embeddings, labels)
    assert found == pytest.approx(recall_of(embeddings[:50], labels[:50], 1), abs=1e-6)
    found = value_of(metrics.MeanAveragePrecisionAtR(memory=50), embeddings, labels)
    assert found == pytest.approx(map_of(embeddings[:50], labels[:50]), abs=1e-6)


def test_lists_of_large_classes_are_cut_to_the_longest():
    """Cuts lists of large classes to the longest."""
    embeddings, labels = scattered()
    found = value_of(metrics.MeanAveragePrecisionAtR(longest=4, memory=90), embeddings, labels)
    assert found == pytest.approx(map_of(embeddings, labels, 4), abs=1e-6)
    assert abs(found - map_of(embeddings, labels)) > 1e-3


def test_a_sample_weighs_as_a_query_and_0_leaves_it_out():
    """Weighs a sample as a query, and leaves it out at weight 0."""
    embeddings, labels = scattered()
    weights = (np.arange(90) % 3).astype("float32")
    kept = weights > 0
    wanted = recall_of(embeddings[kept], labels[kept], 1, weights[kept])
    assert value_of(metrics.RecallAtK(1, memory=90), embeddings, labels, 13, weights) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("make", [metrics.RecallAtK, metrics.MeanAveragePrecisionAtR])
def test_without_a_query_the_value_is_nan(make):
    """Returns NaN without a query."""
    metric = make()
    assert np.isnan(float(metric.result()))
    metric.update_state(np.arange(3), np.eye(3, dtype="float32"))
    assert np.isnan(float(metric.result()))


def test_a_reset_forgets_the_images():
    """Forgets the images at a reset."""
    embeddings, labels = scattered()
    metric = metrics.MeanAveragePrecisionAtR(memory=90)
    value_of(metric, embeddings, labels)
    metric.reset_state()
    other, others = scattered(60, seed=1)
    assert value_of(metric, other, others) == pytest.approx(map_of(other, others), abs=1e-6)


def test_numbers_out_of_range_are_refused():
    """Refuses numbers out of range."""
    with pytest.raises(ValueError, match="RecallAtK needs k, an int >= 1. Received: k=0"):
        metrics.RecallAtK(0)
    with pytest.raises(ValueError, match="MeanAveragePrecisionAtR needs longest, an int >= 1. Received: longest=2.5"):
        metrics.MeanAveragePrecisionAtR(2.5)
    with pytest.raises(ValueError, match="RecallAtK needs memory, an int >= 2. Received: memory=1"):
        metrics.RecallAtK(memory=1)


@pytest.mark.parametrize("metric", [metrics.RecallAtK(5, memory=9), metrics.MeanAveragePrecisionAtR(7, name="map")])
def test_a_metric_is_built_again_from_its_config(metric):
    """Builds an equal metric from its config."""
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()

"""Every implementation gives a head's loss, gradient and correct samples; and how one is chosen."""

import functools

import keras
import numpy as np
import pytest
from gradients import relative_error
from head_formulas import CASES, batch, everything, gradients_of, make
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM
from keras_margin.ops import memory

BY_HAND = [name for name in CASES if name not in ("softmax", "l2softmax", "lsoftmax", "subcenter_arcface")]


# Every head has all regularisers on TensorFlow. Elsewhere, where compiling takes most of this file's time, these have,
# which have each kind of negative logits; the rest has the one that reads the log-sum.
WITH_EVERYTHING = ("arcface", "qamface", "curricularface")


def found_by(implementation, name):
    """Loss, correct predictions and the gradients of a head with its regularisers in a training batch."""
    whole = keras.backend.backend() == "tensorflow" or name in WITH_EVERYTHING
    auxiliary_loss = everything(name) if whole else IAM(0.9)
    head = make(name, implementation=implementation, auxiliary_loss=auxiliary_loss)
    embeddings, prototypes, labels = batch(head, seed=11)
    labels = ops.array(labels, "int32")
    value, gradients = gradients_of(
        head, lambda x: head.compute_loss(x, labels, training=True), embeddings, prototypes, jit=True
    )
    head.prototypes.assign(prototypes)
    return value, *gradients, ops.convert_to_numpy(head.loss_and_correct(embeddings, labels)[1])


# Computed once for both implementations.
reference_of = functools.cache(functools.partial(found_by, "reference"))


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("implementation", ["fused", "streaming"])
def test_every_implementation_agrees_with_the_reference(implementation, name):
    """Agrees with the reference in every implementation."""
    for got, want in zip(found_by(implementation, name), reference_of(name), strict=True):
        assert relative_error(got, want) < 1e-5


def test_implementation_is_chosen_by_memory(monkeypatch):
    """Chooses the implementation by memory."""
    gigabyte = 2**30
    monkeypatch.setattr(memory, "device_memory", lambda: 8 * gigabyte)
    head = km.ArcFaceHead(500_000)
    assert head.implementation_for(512) == "fused"  # 2 x 512 x 500,000 x 4 bytes = 1.9 GiB of a quarter of 8.
    assert head.implementation_for(600) == head.implementation_for() == "streaming"
    assert km.ArcFaceHead(500_000, implementation="fused").implementation_for(600) == "fused"
    assert km.QAMFaceHead(500_000).implementation_for(600) == "streaming"
    assert km.SoftmaxHead(500_000).implementation_for(600) == "reference"


def test_unknown_implementation_is_refused():
    """Refuses an unknown implementation."""
    with pytest.raises(ValueError, match="'auto', 'reference', 'fused', 'streaming'.*'quick'"):
        km.ArcFaceHead(10, implementation="quick")


def trained(implementation, **options):
    """Weights of a small QAMFace model after four batches."""
    keras.utils.set_random_seed(3)
    head = km.QAMFaceHead(9, implementation=implementation)
    model = km.EmbeddingModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]), head)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), **options)
    x, y = np.random.default_rng(0).normal(size=(16, 4)), np.arange(16) % 9
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [np.array(weight) for weight in model.get_weights()]


def assert_same(found, wanted):
    for got, want in zip(found, wanted, strict=True):
        assert relative_error(got, want) < 1e-5


@pytest.fixture(scope="module")
def trained_by_reference():
    """The weights that the reference trains on one device."""
    return trained("reference", jit_compile=False)


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("implementation", ["fused", "streaming"])
def test_implementations_train_equally_on_two_replicas(implementation, trained_by_reference):
    """Trains on two replicas with each implementation as with the reference on one device."""
    from keras_margin import training

    with training.make_strategy(2).scope():
        assert_same(trained(implementation, jit_compile=False), trained_by_reference)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_streaming_trains_equally_under_xla(trained_by_reference):
    """Trains under XLA with the streaming implementation as with the reference without."""
    assert_same(trained("streaming", jit_compile=True), trained_by_reference)


MIB = 2**20
# Implementation, batch, classes, size and the peak in MiB above embeddings and prototypes, as
# `python -m benchmarks.head` measured it on TensorFlow's CPU build.
PEAKS = [
    ("fused", 128, 85_742, 512, 354),
    ("fused", 512, 85_742, 512, 367),
    ("fused", 1024, 85_742, 512, 693),
    ("fused", 512, 20_000, 512, 108),
    ("fused", 256, 200_000, 512, 819),
    ("fused", 512, 85_742, 128, 347),
    ("streaming", 128, 85_742, 512, 202),
    ("streaming", 512, 85_742, 512, 207),
    ("streaming", 1024, 85_742, 512, 248),
    ("streaming", 512, 20_000, 512, 88),
    ("streaming", 256, 200_000, 512, 430),
    ("streaming", 512, 85_742, 128, 89),
    ("reference", 128, 85_742, 512, 1247),
    ("reference", 512, 85_742, 512, 1356),
    ("reference", 1024, 85_742, 512, 1546),
    ("reference", 512, 20_000, 512, 334),
    ("reference", 256, 200_000, 512, 2698),
    ("reference", 512, 85_742, 128, 598),
]


@pytest.mark.once
@pytest.mark.parametrize(("implementation", "batch_size", "classes", "size", "measured"), PEAKS)
def test_memory_estimate_is_near_the_measured_peak(implementation, batch_size, classes, size, measured):
    """Estimates the memory near the measured peak."""
    estimate = km.layers.memory_of(km.ArcFaceHead(classes), batch_size, size, implementation=implementation)
    assert estimate.working / MIB == pytest.approx(measured, rel=0.15)
    assert estimate.prototypes == estimate.optimizer == 4 * classes * size
    assert estimate.total == estimate.prototypes + estimate.optimizer + estimate.working


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(
    ("rate", "classes", "measured"), [(0.1, 360_232, 354), (0.3, 200_000, 520), (0.1, 100_000, 113)]
)
def test_sampled_memory_estimate_is_near_the_measured_peak(rate, classes, measured):
    """Estimates the memory of sampling near the measured peak."""
    estimate = km.layers.memory_of(km.ArcFaceHead(classes, sample_rate=rate), 256, 512)
    assert estimate.working / MIB == pytest.approx(measured, rel=0.15)
    assert estimate.classes_used == pytest.approx(rate * classes, abs=1)


def test_a_head_without_a_size_needs_one_to_estimate():
    """Requires a size to estimate a head that has none."""
    with pytest.raises(ValueError, match="memory.. needs embedding_size"):
        km.layers.memory_of(km.ArcFaceHead(10), 8)
    with pytest.raises(ValueError, match="reference, fused, streaming.*'quick'"):
        km.layers.memory_of(km.ArcFaceHead(10), 8, 4, implementation="quick")

"""Every engine that a head can have gives the head's loss, gradient and hits; and how one is chosen."""

import keras
import numpy as np
import pytest
from gradients import relative_error
from head_formulas import CASES, batch, everything, gradients_of, make
from keras import ops

import keras_margin as km
from keras_margin import engines
from keras_margin.losses import IAM

BY_HAND = [name for name in CASES if name not in ("softmax", "l2softmax", "lsoftmax", "subcenter_arcface")]


# Every head has all regularisers on TensorFlow. Elsewhere, where compiling takes most of this file's time, these have,
# which bend the others' logits in each way there is; the rest has the one that reads what an engine sums up.
WITH_EVERYTHING = ("arcface", "qamface", "curricularface")


def found_by(engine, name):
    """Loss, hits and the gradients of a head with its regularisers in a training batch."""
    whole = keras.backend.backend() == "tensorflow" or name in WITH_EVERYTHING
    auxiliary_loss = everything(name) if whole else IAM(0.9)
    head = make(name, engine=engine, auxiliary_loss=auxiliary_loss)
    embeddings, prototypes, labels = batch(head, seed=11)
    labels = ops.array(labels, "int32")
    value, gradients = gradients_of(
        head, lambda x: head.compute_loss(x, labels, training=True), embeddings, prototypes, jit=True
    )
    head.prototypes.assign(prototypes)
    assert head.engine_in_use == engine
    return value, *gradients, ops.convert_to_numpy(head.loss_and_correct(embeddings, labels)[1])


@pytest.mark.parametrize("name", BY_HAND)
def test_every_engine_agrees_with_the_plain_one(name):
    wanted = found_by("plain", name)
    for engine in ("fused", "streaming"):
        found = found_by(engine, name)
        for got, want in zip(found, wanted, strict=True):
            assert relative_error(got, want) < 1e-5, engine


def test_the_engine_is_chosen_by_memory(monkeypatch):
    gigabyte = 2**30
    monkeypatch.setattr(engines, "device_memory", lambda: 8 * gigabyte)
    head = km.ArcFaceHead(500_000)
    assert head.implementation_for(512) == "fused"  # 2 x 512 x 500,000 x 4 bytes = 1.9 GiB of a quarter of 8.
    assert head.implementation_for(600) == head.implementation_for() == "streaming"
    assert km.ArcFaceHead(500_000, engine="fused").implementation_for(600) == "fused"
    assert km.QAMFaceHead(500_000).implementation_for(600) == "streaming"
    assert km.SoftmaxHead(500_000).implementation_for(600) == "plain"


def test_the_engine_that_ran_is_reported(monkeypatch):
    head = make("arcface")
    embeddings, prototypes, labels = batch(head)
    assert head.engine_in_use == "fused"
    monkeypatch.setattr(engines, "device_memory", lambda: 100)
    head.compute_loss(embeddings, labels)
    assert head.engine_in_use == "streaming"


def test_an_unknown_engine_is_refused_by_the_names():
    with pytest.raises(ValueError, match="auto, plain, fused, streaming.*'quick'"):
        km.ArcFaceHead(10, engine="quick")


def trained(engine, **options):
    """Weights of a small QAMFace model after four batches."""
    keras.utils.set_random_seed(3)
    head = km.QAMFaceHead(9, engine=engine)
    model = km.EmbeddingModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]), head)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), **options)
    x, y = np.random.default_rng(0).normal(size=(16, 4)), np.arange(16) % 9
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [np.array(weight) for weight in model.get_weights()]


def assert_same(found, wanted):
    for got, want in zip(found, wanted, strict=True):
        assert relative_error(got, want) < 1e-5


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_every_engine_trains_alike_compiled_whole_and_in_two_replicas():
    from keras_margin import training

    wanted = trained("plain", jit_compile=False)
    for engine in ("fused", "streaming"):
        with training.make_strategy(2).scope():
            assert_same(trained(engine, jit_compile=False), wanted)
    assert_same(trained("streaming", jit_compile=True), wanted)


MIB = 2**20
# Engine, batch, classes, size and the peak in MiB above embeddings and prototypes, as `python -m benchmarks.head`
# measured it on TensorFlow's CPU build.
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
    ("plain", 128, 85_742, 512, 1247),
    ("plain", 512, 85_742, 512, 1356),
    ("plain", 1024, 85_742, 512, 1546),
    ("plain", 512, 20_000, 512, 334),
    ("plain", 256, 200_000, 512, 2698),
    ("plain", 512, 85_742, 128, 598),
]


@pytest.mark.once
@pytest.mark.parametrize(("engine", "batch_size", "classes", "size", "measured"), PEAKS)
def test_the_estimate_of_memory_is_within_15_percent_of_what_was_measured(engine, batch_size, classes, size, measured):
    memory = km.ArcFaceHead(classes).memory(batch_size, size, engine=engine)
    assert memory.working / MIB == pytest.approx(measured, rel=0.15)
    assert memory.prototypes == memory.optimizer == 4 * classes * size
    assert memory.total == memory.prototypes + memory.optimizer + memory.working


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(
    ("rate", "classes", "measured"), [(0.1, 360_232, 354), (0.3, 200_000, 520), (0.1, 100_000, 113)]
)
def test_the_estimate_of_a_sampled_step_is_within_15_percent_of_what_was_measured(rate, classes, measured):
    memory = km.ArcFaceHead(classes, sample_rate=rate).memory(256, 512)
    assert memory.working / MIB == pytest.approx(measured, rel=0.15)
    assert memory.classes_met == pytest.approx(rate * classes, abs=1)


def test_a_head_without_a_size_needs_one_to_estimate():
    with pytest.raises(ValueError, match="memory.. needs embedding_size"):
        km.ArcFaceHead(10).memory(8)
    with pytest.raises(ValueError, match="plain, fused, streaming.*'quick'"):
        km.ArcFaceHead(10).memory(8, 4, engine="quick")

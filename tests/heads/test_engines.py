"""Every engine that a head can have gives the head's loss, gradient and hits; and how one is chosen."""

import keras
import numpy as np
import pytest
from gradients import relative_error
from head_formulas import CASES, batch, everything, gradients_of, make
from keras import ops

import keras_margin as km
from keras_margin import engines

BY_HAND = [name for name in CASES if name not in ("softmax", "l2softmax", "lsoftmax", "subcenter_arcface")]


def found_by(engine, name):
    """Loss, hits and the gradients of a head with all regularisers in a training batch."""
    head = make(name, engine=engine, regularizer=everything(name))
    embeddings, prototypes, labels = batch(head, seed=11)
    labels = ops.array(labels, "int32")
    value, gradients = gradients_of(
        head, lambda x: head.compute_loss(x, labels, training=True), embeddings, prototypes, jit=True
    )
    head.prototypes.assign(prototypes)
    assert head.engine_in_use == engine
    return value, *gradients, ops.convert_to_numpy(head.loss_and_hits(embeddings, labels)[1])


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
    assert head.engine_for(512) == "fused"  # 2 x 512 x 500,000 x 4 bytes = 1.9 GiB of a quarter of 8.
    assert head.engine_for(600) == head.engine_for() == "streaming"
    assert km.ArcFaceHead(500_000, engine="fused").engine_for(600) == "fused"
    assert km.QAMFaceHead(500_000).engine_for(600) == "streaming"
    assert km.SoftmaxHead(500_000).engine_for(600) == "plain"


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


@pytest.mark.tensorflow_only
def test_streaming_trains_as_fused_does_under_fit():
    weights = {}
    for engine in ("fused", "streaming"):
        keras.utils.set_random_seed(3)
        head = km.ArcFaceHead(9, engine=engine)
        model = km.EmbeddingModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]), head)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), jit_compile=True)
        x, y = np.random.default_rng(0).normal(size=(16, 4)), np.arange(16) % 9
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights[engine] = [np.asarray(weight) for weight in model.get_weights()]
    for fused, streaming in zip(*weights.values(), strict=True):
        np.testing.assert_allclose(fused, streaming, atol=1e-5)

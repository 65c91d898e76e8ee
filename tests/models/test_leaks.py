"""Models that are built, trained and dropped in a loop, as tuners do, leave nothing behind."""

import gc
import weakref

import keras
import numpy as np
import pytest

import keras_margin as km

CLASSES = 4
JIT = keras.backend.backend() == "jax"
IMAGES = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
LABELS = np.arange(8) % CLASSES


def network():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])


def by_cosines(head):
    model = keras.Sequential([keras.Input((5,)), network(), head])
    model.compile("sgd", loss=head.loss, jit_compile=JIT)
    return model


def by_embedding_model(head):
    model = km.EmbeddingModel(network(), head)
    model.compile("sgd", jit_compile=JIT)
    return model


def registered_gradients():
    """The entries of TensorFlow's registry of custom gradients, which holds each with its graph for good."""
    from tensorflow.python.framework import ops

    return len(ops.gradient_registry.list())


# Among the heads one that needs more than cosines, and one whose negative logits have a program of their own.
LOOPS = {
    "head.loss": (by_cosines, "arcface", {}),
    "head.loss of norms": (by_cosines, "adaface", {}),
    "fused": (by_embedding_model, "arcface", {"implementation": "fused"}),
    "streaming": (by_embedding_model, "arcface", {"implementation": "streaming"}),
    "fused, own negative logits": (by_embedding_model, "qamface", {"implementation": "fused"}),
    "streaming, own negative logits": (by_embedding_model, "qamface", {"implementation": "streaming"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_dropped_models_are_freed(loop):
    """Model, head and prototypes die with the last reference to the model, after training and evaluation."""
    way, name, options = LOOPS[loop]
    for _ in range(2):
        head = km.layers.HEADS[name](CLASSES, **options)
        model = way(head)
        model.fit(IMAGES, LABELS, batch_size=8, verbose=0)
        model.evaluate(IMAGES, LABELS, batch_size=8, verbose=0)
        remains = [weakref.ref(each) for each in (model, head, head.prototypes)]
        del model, head
        gc.collect()
        assert [each() for each in remains] == [None, None, None]


def plain_model(head):
    model = keras.Sequential([keras.Input((5,)), network(), keras.layers.Dense(CLASSES)])
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=JIT)
    return model


def registered_by(way, name, options):
    """The gradients that the third model of a kind registers: in evaluation, and in training."""
    for _ in range(3):
        model = way(km.layers.HEADS[name](CLASSES, **options))
        before = registered_gradients()
        model.evaluate(IMAGES, LABELS, batch_size=8, verbose=0)
        between = registered_gradients()
        model.fit(IMAGES, LABELS, batch_size=8, verbose=0)
        after = registered_gradients()
    return between - before, after - between


@pytest.fixture(scope="module")
def registered_by_keras():
    """The gradients that training a model without a head registers."""
    return registered_by(plain_model, "arcface", {})[1]


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("loop", LOOPS)
def test_no_gradient_is_registered_for_each_model(loop, registered_by_keras):
    """None in evaluation; in training those that each Keras model has, from the all_reduce of its optimizer."""
    in_evaluation, in_training = registered_by(*LOOPS[loop])
    assert in_evaluation == 0
    assert in_training == registered_by_keras

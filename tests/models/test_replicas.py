"""The ways of training under two replicas of one machine: as one device does it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM

pytestmark = pytest.mark.tensorflow_only

CLASSES = 3
IMAGES = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
LABELS = np.arange(16) % CLASSES
BASE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(norm=False):
    layers = [keras.Input((5,)), keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=1))]
    return keras.Sequential([*layers, keras.layers.BatchNormalization(momentum=0.5)] if norm else layers)


def arcface(**options):
    return km.ArcFaceHead(CLASSES, prototypes_initializer=keras.initializers.RandomNormal(seed=2), **options)


def way_1():
    head = arcface()
    model = keras.Sequential([keras.Input((5,)), network(), head])
    model.compile(keras.optimizers.SGD(0.05), loss=head.loss, metrics=["accuracy"], jit_compile=False)
    return model


def with_base():
    dense = keras.layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(seed=3))
    model = keras.Sequential([network(), dense])
    model.compile(keras.optimizers.SGD(0.05), loss=IAM(0.1).as_loss(BASE), jit_compile=False)
    return model


def as_it_is():
    """ContrastiveLoss is a mean over the pairs of a replica's part: IAM alone has the same value in two parts."""
    dense = keras.layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(seed=3))
    model = keras.Sequential([network(), dense])
    model.compile(keras.optimizers.SGD(0.05), loss=IAM(0.1), jit_compile=False)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("make", [way_1, with_base, as_it_is])
@pytest.mark.parametrize("weighted", [False, True])
def test_two_replicas_train_as_one_device(make, weighted):
    """Trains on two replicas as on one device."""
    from keras_margin import training

    weights = np.linspace(0, 2, 16).astype("float32") if weighted else None

    def trained(model):
        model.fit(IMAGES, LABELS, sample_weight=weights, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return [ops.convert_to_numpy(weight) for weight in model.trainable_weights]

    one = trained(make())
    with training.make_strategy(2).scope():
        model = make()
    for found, wanted in zip(trained(model), one, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_batch_norms_are_synchronized_by_a_compile_outside():
    """A model made inside the scope and compiled outside of it trains as one device all the same."""
    from keras_margin import training

    def trained(model):
        model.compile(keras.optimizers.SGD(0.05), jit_compile=False)
        model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
        return [ops.convert_to_numpy(weight) for weight in model.weights]

    one = trained(km.EmbeddingModel(network(norm=True), arcface()))
    with training.make_strategy(2).scope():
        model = km.EmbeddingModel(network(norm=True), arcface())
    assert not model.embedder.layers[-1].synchronized
    for found, wanted in zip(trained(model), one, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert model.embedder.layers[-1].synchronized

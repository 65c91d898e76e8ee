"""What travels with a head's cosines to its loss, and what a loss that does not know of it gets: an error."""

import keras
import numpy as np
import pytest
from gradients import value_and_gradients
from head_formulas import CLASSES, batch, make
from keras import ops

import keras_margin as km

JIT = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(12, 6)).astype("float32"), np.arange(12) % CLASSES


BARE = {
    "Keras's": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "by name": lambda: "sparse_categorical_crossentropy",
    "the user's": lambda: lambda labels, cosines: ops.mean(1.0 - cosines, axis=1),
}


@pytest.mark.parametrize("kind", BARE)
def test_training_bare_cosines_is_refused(kind, data):
    """Way 1 compiled with another loss, Keras's or the user's own, also after head.loss was read."""
    images, labels = data
    head = km.ArcFaceHead(CLASSES)
    assert head.loss is not None
    model = keras.Sequential([keras.layers.Dense(4), head])
    model.compile("sgd", loss=BARE[kind](), jit_compile=JIT)
    with pytest.raises(ValueError, match="(?s)bare cosines, without margin.*loss=head.loss"):
        model.fit(images, labels, verbose=0)


@pytest.mark.slow
def test_bare_cosines_on_one_of_two_outputs_are_refused(data):
    """The other output's own loss does not excuse them."""
    images, labels = data
    inputs = keras.Input((6,))
    embedding = keras.layers.Dense(4)(inputs)
    one, two = km.ArcFaceHead(CLASSES, name="one"), km.CosFaceHead(CLASSES, name="two")
    model = keras.Model(inputs, {"one": one(embedding), "two": two(embedding)})
    losses = {"one": one.loss, "two": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile("sgd", loss=losses, jit_compile=JIT)
    with pytest.raises(ValueError, match="bare cosines"):
        model.fit(images, {"one": labels, "two": labels}, verbose=0)
    # JAX's trainer has the model's weights in its hands when the error comes.
    one, two = km.ArcFaceHead(CLASSES, name="one"), km.CosFaceHead(CLASSES, name="two")
    embedding = keras.layers.Dense(4)(inputs)
    model = keras.Model(inputs, {"one": one(embedding), "two": two(embedding)})
    model.compile("sgd", loss={"one": one.loss, "two": two.loss}, jit_compile=JIT)
    assert np.isfinite(model.fit(images, {"one": labels, "two": labels}, verbose=0).history["loss"][0])


def test_bare_cosines_are_refused_outside_of_a_model():
    """The gradient of a training call's cosines is an error without Keras's fit too; their value is not."""
    head = make("arcface")
    embeddings, _, labels = batch()
    head.loss(labels, head(embeddings, training=True))

    def bare(x):
        return ops.sum(head(x, training=True), axis=1)

    with pytest.raises(ValueError, match="bare cosines"):
        value_and_gradients(bare, embeddings)

    def altered(x):
        return ops.reshape(head.loss(labels, head(x, training=True) * 1.0), (1,))

    with pytest.raises(ValueError, match="bare cosines"):
        value_and_gradients(altered, embeddings)


def test_exchanged_losses_are_those_of_the_heads(data):
    """A loss of one head on another's cosines is the loss of the head that made them: margin, scale, state."""
    embeddings, _, labels = batch()
    one, other = make("arcface"), make("cosface", margin=0.1, scale=3.0)
    for head in (one, other):
        head.prototypes.assign(batch(head)[1])
    for head, loss in ((one, other.loss), (other, one.loss)):
        found = ops.convert_to_numpy(loss(labels, head(embeddings)))
        assert found == pytest.approx(ops.convert_to_numpy(head.compute_loss(embeddings, labels)).mean(), rel=1e-5)


@pytest.mark.slow
def test_loaded_losses_belong_to_their_own_heads(data, tmp_path):
    """Two sub-models with heads of one name are read back with a loss each, of the right margin."""
    images, labels = data
    found = []
    for margin in (0.0, 1.0):
        keras.utils.set_random_seed(1)
        head = km.CosFaceHead(CLASSES, margin=margin, scale=16.0, name="head")
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), head])
        model.compile("sgd", loss=head.loss, jit_compile=JIT)
        model.save(tmp_path / f"{margin}.keras")
        found.append(model.evaluate(images, labels, verbose=0))
    again = [keras.saving.load_model(tmp_path / f"{margin}.keras") for margin in (0.0, 1.0)]
    assert [model.evaluate(images, labels, verbose=0) for model in again] == pytest.approx(found)
    assert found[1] > found[0] + 5


@pytest.mark.slow
def test_clones_do_not_share_state(data):
    """A clone trained with the original's loss moves its own lambda, and not the original's."""
    images, labels = data
    head = km.SphereFaceHead(CLASSES, name="head")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), head])
    clone = keras.models.clone_model(model)
    clone.compile("sgd", loss=head.loss, jit_compile=JIT)
    clone.fit(images, labels, batch_size=4, verbose=0)
    assert clone.layers[-1].annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 3), rel=1e-6)
    assert head.annealing_lambda == 1000.0


@pytest.mark.slow
def test_many_calls_of_a_head_keep_their_sources():
    """Ten crops through one head in one step: each output is the loss of its own cosines, values and gradients."""
    head = make("sphereface")
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)

    def way_1(x):
        outputs = [head(x * (1.0 + crop), training=True) for crop in range(10)]
        return ops.reshape(sum(head.loss(labels, output) for output in outputs), (1,))

    def direct(x):
        losses = [head.compute_loss(x * (1.0 + crop), labels, training=True) for crop in range(10)]
        return ops.reshape(sum(ops.mean(loss) for loss in losses), (1,))

    state = [ops.convert_to_numpy(weight) for weight in head.weights]
    found = value_and_gradients(way_1, embeddings)
    head.set_weights(state)
    for one, other in zip(found, value_and_gradients(direct, embeddings), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("compiled", [True, False])
def test_a_persistent_tape_takes_the_gradient_of_the_loss(compiled):
    """TensorFlow traces every gradient under such a tape; that of the bare cosines is an error only when used."""
    import tensorflow as tf

    head = make("arcface")
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    embeddings = tf.constant(embeddings)

    def gradient(loss):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(embeddings)
            value = loss(head(embeddings, training=True))
        return tape.gradient(value, embeddings)

    run = tf.function(gradient, autograph=False) if compiled else gradient
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = tf.reduce_mean(head.compute_loss(embeddings, labels))
    want = tape.gradient(value, embeddings)
    np.testing.assert_allclose(run(lambda cosines: head.loss(labels, cosines)), want, rtol=1e-5, atol=1e-7)
    with pytest.raises((ValueError, LookupError), match="bare cosines, without margin"):
        run(tf.reduce_sum)

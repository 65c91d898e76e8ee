"""The engines against a float64 formula and against one another."""

import keras
import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from keras import ops

from keras_margin import fused, numerics

BATCH, SIZE = 5, 6


def batch(num_classes, seed=0):
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(BATCH, SIZE)).astype("float32")
    prototypes = (generator.uniform(0.01, 3, (num_classes, 1)) * generator.normal(size=(num_classes, SIZE))).astype(
        "float32"
    )
    return embeddings, prototypes, generator.integers(0, num_classes, BATCH)


def reference(labels, scale):
    def log_sum(embeddings, prototypes):
        norms = np.linalg.norm(embeddings, axis=1)
        s = norms if scale is None else np.full(len(norms), scale)
        unit = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
        logits = s[:, None] * (embeddings / norms[:, None]) @ unit.T
        logits[np.arange(len(labels)), labels] = -np.inf
        top = logits.max(axis=1)
        return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))

    return log_sum


def run(engine, labels, scale, output="log_sum"):
    labels = ops.array(labels, "int32")

    def function(embeddings, prototypes):
        unit, norm = numerics.unit_normalize(embeddings)
        return getattr(fused.ENGINES[engine](unit, prototypes, labels, norm if scale is None else scale), output)

    return function


@pytest.mark.parametrize("engine", fused.ENGINES)
@pytest.mark.parametrize(("num_classes", "scale"), [(2, 16.0), (9, 64.0), (40, 256.0), (9, 1.0), (9, None)])
def test_each_engine_is_the_log_sum_over_the_other_classes(engine, num_classes, scale):
    embeddings, prototypes, labels = batch(num_classes)
    formula = reference(labels, scale)
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    value, gradients = value_and_gradients(run(engine, labels, scale), embeddings, prototypes)
    wanted = formula(*exact)
    np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=3e-7 * (scale or 8))
    # Near-zero prototypes have a large gradient: a finer step keeps the differences exact enough.
    for found, want in zip(gradients, differences(formula, *exact, step=1e-7), strict=True):
        assert relative_error(found, want) < 2e-5 * max(1, (scale or 1) / 64)


@pytest.mark.parametrize("engine", fused.ENGINES)
def test_each_engine_hands_back_the_own_prototype_with_its_gradient(engine):
    embeddings, prototypes, labels = batch(7)
    labels[1] = labels[0]
    value, (by_embeddings, by_prototypes) = value_and_gradients(
        run(engine, labels, 8.0, "own_prototype"), embeddings, prototypes
    )
    np.testing.assert_array_equal(value, prototypes[labels].astype("float64"))
    assert np.all(by_embeddings == 0)
    np.testing.assert_array_equal(by_prototypes, np.bincount(labels, minlength=7)[:, None] * np.ones(SIZE))


@pytest.mark.parametrize("engine", fused.ENGINES)
@pytest.mark.parametrize("scale", [8.0, 200.0])
def test_each_engine_finds_the_best_other_class(engine, scale):
    embeddings, prototypes, labels = batch(11)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    cosines[np.arange(BATCH), labels] = -2
    found = run(engine, labels, scale, "best_cosine")(ops.array(embeddings), ops.array(prototypes))
    np.testing.assert_allclose(ops.convert_to_numpy(found), cosines.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("engine", fused.ENGINES)
@pytest.mark.parametrize("scale", [64.0, 256.0, None])
def test_each_engine_stays_finite_for_zero_and_equal_and_opposite_vectors(engine, scale):
    prototypes = np.array([[1.0, 0, 0], [-2, 0, 0], [0, 0, 0], [1, 0, 0]])
    embeddings = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0], [3, 0, 0]])
    value, gradients = value_and_gradients(run(engine, np.array([1, 0, 2, 0]), scale), embeddings, prototypes)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert np.all(gradients[0][2] == 0) and np.all(gradients[1][2] == 0)


def test_the_fused_engine_equals_the_plain_one_in_a_compiled_program():
    embeddings, prototypes, labels = batch(9)
    value, gradients = value_and_gradients(run("plain", labels, 32.0), embeddings, prototypes)
    compiled = compiled_gradients(run("fused", labels, 32.0), embeddings, prototypes)
    np.testing.assert_allclose(compiled[0], value, rtol=1e-5)
    assert all(relative_error(np.asarray(got), want) < 1e-5 for got, want in zip(compiled[1], gradients, strict=True))


def compiled_gradients(function, *arrays):
    backend = keras.backend.backend()
    if backend == "torch":
        pytest.skip("PyTorch runs eagerly here")
    if backend == "jax":
        import jax

        value, pull = jax.vjp(jax.jit(function), *arrays)
        return value, pull(np.ones(value.shape, "float32"))
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def step(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return value, tape.gradient(value, tensors)

    return step(*map(tf.constant, arrays))


@pytest.mark.tensorflow_only
def test_the_fused_gradient_survives_a_persistent_tape_and_a_second_call():
    import tensorflow as tf

    embeddings, prototypes, labels = batch(9)
    function = run("fused", labels, 32.0)
    variable = tf.Variable(prototypes)
    with tf.GradientTape(persistent=True) as tape:
        first = function(tf.constant(embeddings), variable)
        second = function(tf.constant(embeddings), variable)
    gradients = [tape.gradient(value, variable).numpy() for value in (first, first, second)]
    np.testing.assert_array_equal(gradients[0], gradients[1])
    np.testing.assert_array_equal(gradients[0], gradients[2])

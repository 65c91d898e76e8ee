"""The engines against a float64 formula and against one another."""

import keras
import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from keras import ops

from keras_margin import engines, margins, numerics
from keras_margin.engines import _streaming

BATCH, SIZE = 5, 6


@pytest.fixture(autouse=True, scope="module")
def short_chunks():
    """Chunks of 4 classes, so that 9 classes are three chunks of which the last reaches into the one before."""
    chunk, _streaming.CHUNK = _streaming.CHUNK, 4
    _streaming._tensorflow.cache_clear()
    yield
    _streaming.CHUNK = chunk
    _streaming._tensorflow.cache_clear()


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


def run(engine, labels, scale, output="log_sum", bend=None):
    labels = ops.array(labels, "int32")

    def function(embeddings, prototypes):
        unit, norm = numerics.unit_normalize(embeddings)
        meet = engines.ENGINES[engine]
        return getattr(meet(unit, prototypes, labels, norm if scale is None else scale, bend), output)

    return function


@pytest.mark.parametrize("engine", engines.ENGINES)
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


def quadratic(cosine):
    return (2 * np.pi - np.arccos(cosine)) ** 2


def hard_others(cosine):
    return np.where(cosine > TARGETS, cosine * (0.3 + cosine), cosine)


TARGETS = np.linspace(-0.2, 0.3, BATCH)[:, None]
BENDS = {
    "quadratic": (quadratic, 6.0, lambda: engines.Bend(margins.quadratic_by_cosine)),
    "hard others": (
        hard_others,
        64.0,
        lambda: engines.Bend(margins.curricular_by_cosine, (ops.array(TARGETS, "float32"), ops.array(0.3))),
    ),
}


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("name", BENDS)
@pytest.mark.parametrize("num_classes", [2, 9])
def test_each_engine_bends_the_others_logits(engine, name, num_classes):
    formula, scale, bend = BENDS[name]
    embeddings, prototypes, labels = batch(num_classes, seed=1)

    def log_sum(embeddings, prototypes):
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        logits = scale * formula(unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T)
        logits[np.arange(BATCH), labels] = -np.inf
        top = logits.max(axis=1)
        return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))

    exact = embeddings.astype("float64"), prototypes.astype("float64")
    value, gradients = value_and_gradients(run(engine, labels, scale, bend=bend()), embeddings, prototypes)
    np.testing.assert_allclose(value, log_sum(*exact), rtol=1e-6)
    for found, want in zip(gradients, differences(log_sum, *exact, step=1e-7), strict=True):
        assert relative_error(found, want) < 1e-5


def test_a_bend_with_each_embedding_s_own_norm_as_scale_is_refused():
    embeddings, prototypes, labels = batch(9)
    with pytest.raises(ValueError, match="a number, not each embedding's own norm"):
        run("fused", labels, None, bend=BENDS["quadratic"][2]())(ops.array(embeddings), ops.array(prototypes))


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_each_engine_hands_back_the_own_prototype_with_its_gradient(engine):
    embeddings, prototypes, labels = batch(7)
    labels[1] = labels[0]
    value, (by_embeddings, by_prototypes) = value_and_gradients(
        run(engine, labels, 8.0, "own_prototype"), embeddings, prototypes
    )
    np.testing.assert_array_equal(value, prototypes[labels].astype("float64"))
    assert np.all(by_embeddings == 0)
    np.testing.assert_array_equal(by_prototypes, np.bincount(labels, minlength=7)[:, None] * np.ones(SIZE))


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("scale", [8.0, 200.0])
def test_each_engine_finds_the_best_other_class(engine, scale):
    embeddings, prototypes, labels = batch(11)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    cosines[np.arange(BATCH), labels] = -2
    found = run(engine, labels, scale, "best_cosine")(ops.array(embeddings), ops.array(prototypes))
    np.testing.assert_allclose(ops.convert_to_numpy(found), cosines.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("scale", [64.0, 256.0, None])
def test_each_engine_stays_finite_for_zero_and_equal_and_opposite_vectors(engine, scale):
    prototypes = np.array([[1.0, 0, 0], [-2, 0, 0], [0, 0, 0], [1, 0, 0]])
    embeddings = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0], [3, 0, 0]])
    value, gradients = value_and_gradients(run(engine, np.array([1, 0, 2, 0]), scale), embeddings, prototypes)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert np.all(gradients[0][2] == 0) and np.all(gradients[1][2] == 0)


@pytest.mark.parametrize("engine", ["fused", "streaming"])
def test_an_engine_by_hand_equals_the_plain_one_in_a_compiled_program(engine):
    embeddings, prototypes, labels = batch(9)
    value, gradients = value_and_gradients(run("plain", labels, 32.0), embeddings, prototypes)
    compiled = compiled_gradients(run(engine, labels, 32.0), embeddings, prototypes)
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
@pytest.mark.parametrize("engine", ["fused", "streaming"])
def test_a_gradient_by_hand_survives_a_persistent_tape_and_a_second_call(engine):
    import tensorflow as tf

    embeddings, prototypes, labels = batch(9)
    function = run(engine, labels, 32.0)
    variable = tf.Variable(prototypes)
    with tf.GradientTape(persistent=True) as tape:
        first = function(tf.constant(embeddings), variable)
        second = function(tf.constant(embeddings), variable)
    gradients = [tape.gradient(value, variable).numpy() for value in (first, first, second)]
    np.testing.assert_array_equal(gradients[0], gradients[1])
    np.testing.assert_array_equal(gradients[0], gradients[2])

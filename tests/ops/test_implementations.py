"""The implementations of the sum over the other classes, against a float64 formula and one another."""

import keras
import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from keras import ops

from keras_margin import margins
from keras_margin.ops import _analytic, _streaming, numerics
from keras_margin.ops._margin_softmax import IMPLEMENTATIONS
from keras_margin.ops.negatives import NegativeLogits
from keras_margin.ops.sample import Sample

BATCH, SIZE = 5, 6


@pytest.fixture(autouse=True, scope="module")
def short_chunks():
    """Chunks of 4 classes, so that 9 classes are three chunks of which the last reaches into the one before."""
    chunk, _streaming.CHUNK = _streaming.CHUNK, 4
    _analytic._shared_program.cache_clear()
    yield
    _streaming.CHUNK = chunk
    _analytic._shared_program.cache_clear()


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


def run(implementation, labels, scale, output="log_sum", negatives=None):
    """Returns a function of embeddings and prototypes to one of an implementation's outputs."""
    labels = ops.array(labels, "int32")

    def function(embeddings, prototypes):
        unit, norm = numerics.unit_normalize(embeddings)
        scales = norm if scale is None else ops.zeros_like(norm) + scale
        found = IMPLEMENTATIONS[implementation](
            unit, numerics.as_tensor(prototypes), labels, scales, negatives or NegativeLogits()
        )
        return getattr(found, output)

    return function


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("num_classes", "scale"), [(2, 16.0), (9, 64.0), (40, 256.0), (9, 1.0), (9, None)])
def test_log_sum_over_the_other_classes(implementation, num_classes, scale):
    """Computes the log-sum-exp over the other classes."""
    embeddings, prototypes, labels = batch(num_classes)
    formula = reference(labels, scale)
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    value, gradients = value_and_gradients(run(implementation, labels, scale), embeddings, prototypes)
    wanted = formula(*exact)
    np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=3e-7 * (scale or 8))
    # Near-zero prototypes have a large gradient: a finer step keeps the differences exact enough.
    for found, want in zip(gradients, differences(formula, *exact, step=1e-7), strict=True):
        assert relative_error(found, want) < 2e-5 * max(1, (scale or 1) / 64)


def quadratic(cosine):
    return (2 * np.pi - np.arccos(cosine)) ** 2


def hard_others(cosine):
    return np.where(cosine > TARGETS, cosine * (0.3 + cosine), cosine)


# Target logits of CurricularFace without a margin: the cosine of theta itself.
TARGETS = np.linspace(-0.2, 0.3, BATCH)[:, None]


def curricular():
    """CurricularFace's negative logits at t = 0.3 and these target logits."""
    margin = margins.CurricularFace(0.0)
    theta = ops.array(np.arccos(TARGETS[:, 0]), "float32")
    sample = Sample(theta, ops.cos(theta), None, ops.zeros(BATCH, "int32"), ops.ones(BATCH, "bool"))
    return NegativeLogits(margin, sample, margin.initial_state()._replace(t=ops.array(0.3, "float32")))


NEGATIVES = {
    "quadratic": (quadratic, 6.0, lambda: NegativeLogits(margins.QAMFace())),
    "curricular": (hard_others, 64.0, curricular),
}


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", NEGATIVES)
@pytest.mark.parametrize("num_classes", [2, 9])
def test_negative_logits_of_a_margin(implementation, name, num_classes):
    """Applies the negative logits of a margin."""
    formula, scale, negatives = NEGATIVES[name]
    embeddings, prototypes, labels = batch(num_classes, seed=1)

    def log_sum(embeddings, prototypes):
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        logits = scale * formula(unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T)
        logits[np.arange(BATCH), labels] = -np.inf
        top = logits.max(axis=1)
        return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))

    exact = embeddings.astype("float64"), prototypes.astype("float64")
    value, gradients = value_and_gradients(
        run(implementation, labels, scale, negatives=negatives()), embeddings, prototypes
    )
    np.testing.assert_allclose(value, log_sum(*exact), rtol=1e-6)
    for found, want in zip(gradients, differences(log_sum, *exact, step=1e-7), strict=True):
        assert relative_error(found, want) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_own_prototype_comes_with_its_gradient(implementation):
    """Returns the own prototype with its gradient."""
    embeddings, prototypes, labels = batch(7)
    labels[1] = labels[0]
    value, (by_embeddings, by_prototypes) = value_and_gradients(
        run(implementation, labels, 8.0, "own_prototype"), embeddings, prototypes
    )
    np.testing.assert_array_equal(value, prototypes[labels].astype("float64"))
    assert np.all(by_embeddings == 0)
    np.testing.assert_array_equal(by_prototypes, np.bincount(labels, minlength=7)[:, None] * np.ones(SIZE))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [8.0, 200.0])
def test_best_other_class(implementation, scale):
    """Finds the best other class."""
    embeddings, prototypes, labels = batch(11)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    cosines[np.arange(BATCH), labels] = -2
    found = run(implementation, labels, scale, "best_cosine")(ops.array(embeddings), ops.array(prototypes))
    np.testing.assert_allclose(ops.convert_to_numpy(found), cosines.max(axis=1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [64.0, 256.0, None])
def test_finite_for_degenerate_vectors(implementation, scale):
    """Stays finite for degenerate vectors."""
    prototypes = np.array([[1.0, 0, 0], [-2, 0, 0], [0, 0, 0], [1, 0, 0]])
    embeddings = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0], [3, 0, 0]])
    value, gradients = value_and_gradients(run(implementation, np.array([1, 0, 2, 0]), scale), embeddings, prototypes)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert np.all(gradients[0][2] == 0) and np.all(gradients[1][2] == 0)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["fused", "streaming"])
def test_compiled_program_equals_the_reference(implementation):
    """Equals the reference in a compiled program."""
    embeddings, prototypes, labels = batch(9)
    value, gradients = value_and_gradients(run("reference", labels, 32.0), embeddings, prototypes)
    compiled = compiled_gradients(run(implementation, labels, 32.0), embeddings, prototypes)
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


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("implementation", ["fused", "streaming"])
def test_persistent_tape_and_a_second_call(implementation):
    """Computes gradients from a persistent tape and in a second call."""
    import tensorflow as tf

    embeddings, prototypes, labels = batch(9)
    function = run(implementation, labels, 32.0)
    variable = tf.Variable(prototypes)
    with tf.GradientTape(persistent=True) as tape:
        first = function(tf.constant(embeddings), variable)
        second = function(tf.constant(embeddings), variable)
    gradients = [tape.gradient(value, variable).numpy() for value in (first, first, second)]
    np.testing.assert_array_equal(gradients[0], gradients[1])
    np.testing.assert_array_equal(gradients[0], gradients[2])


LENGTHS = [1e-32, 1e-20, 1e-11, 1e-3, 1.0, 1e9, 1e19, 1e30]


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [8.0, 64.0, None])
def test_prototypes_of_any_length_have_the_same_cosine(implementation, scale):
    """Computes the cosine of the direction for prototypes of any length.

    Lengths from 1e-32 to 1e30 change no value, and divide the gradient.
    """
    embeddings, directions, labels = batch(len(LENGTHS))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    prototypes = (directions * np.array(LENGTHS)[:, None]).astype("float32")
    value, (by_embeddings, by_prototypes) = value_and_gradients(
        run(implementation, labels, scale), embeddings, prototypes
    )
    exact = embeddings.astype("float64"), directions.astype("float64")
    formula = reference(labels, scale)
    np.testing.assert_allclose(value, formula(*exact), rtol=1e-5)
    wanted, by_directions = differences(formula, *exact)
    assert relative_error(by_embeddings, wanted) < 1e-4
    for found, want, length in zip(by_prototypes, by_directions, LENGTHS, strict=True):
        assert relative_error(found * length, want) < 1e-4 or np.max(np.abs(want)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [64.0, 100.0, 1e4, 1e18, None])
def test_two_far_classes_are_finite_at_any_scale(implementation, scale):
    """Few classes, long embeddings, large scales: every other class far away, no zero prototype anywhere."""
    embeddings = 100.0 * np.array([[1.0, 0, 0], [-1, 0, 0]])
    prototypes = np.array([[1.0, 0.1, 0], [-1, 0.1, 0]])
    run_it = run(implementation, np.array([0, 1]), scale)
    value, gradients = value_and_gradients(run_it, embeddings, prototypes)
    s = 100.0 if scale is None else scale
    wanted = -s / np.sqrt(1.01)
    np.testing.assert_allclose(value, [wanted, wanted], rtol=1e-6)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)

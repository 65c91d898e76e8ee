"""No value and no gradient is ever NaN or infinite: every head with every regulariser, on everything degenerate at once."""

import keras
import numpy as np
import pytest
from gradients import of_head, value_and_gradients
from head_formulas import CASES, four_ways, make
from keras import ops

import keras_margin as km
from keras_margin import losses

# Two of them twins, one zero, one opposite to another.
PROTOTYPES = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0], [-2, 0, 0], [0, 0, 0], [1e-30, 0, 0]], "float32")
# Equal to the own prototype, opposite, zero, all but zero, near a zero prototype, huge, ordinary.
EMBEDDINGS = np.array(
    [[3, 0, 0], [-3, 0, 0], [0, 0, 0], [1e-30, 0, 0], [1, 0, 0], [0, 1e18, 0], [0.3, -0.2, 0.5]], "float32"
)
LABELS = np.array([0, 0, 1, 3, 5, 1, 2])
BATCHES = {
    "degenerate": (EMBEDDINGS, LABELS),
    "a batch of one": (EMBEDDINGS[:1], LABELS[:1]),
    "a batch of one zero": (EMBEDDINGS[2:3], LABELS[2:3]),
    "all one label": (EMBEDDINGS, np.zeros_like(LABELS)),
}


def everything(name):
    """The sum of all regularisers that the head can have: whichever is NaN, the sum is."""
    without = {"inter"} if name == "subcenter_arcface" else set()
    terms = [make_term() for key, make_term in losses.LOSSES.items() if key not in without]
    return sum(terms[1:], start=terms[0])


def prototypes_for(head):
    shape = tuple(head.prototypes.shape)
    rows = PROTOTYPES[: shape[0]]
    return rows if len(shape) == 2 else np.repeat(rows[:, None], shape[1], axis=1)


def assert_finite(head, embeddings, labels, training=False):
    label_tensor = ops.array(labels, "int32")
    ways = {"compute_loss": lambda x: head.compute_loss(x, label_tensor, training=training)}
    if not training:
        ways = four_ways(head, labels)
    for way, function in ways.items():
        value, gradients = value_and_gradients(of_head(head, function), embeddings, prototypes_for(head))
        assert np.all(np.isfinite(value)), way
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients), way
    return gradients


@pytest.mark.parametrize("name", CASES)
def test_every_head_alone_is_finite_in_every_way(name):
    head = make(name, size=3)
    by_embeddings, _ = assert_finite(head, *BATCHES["degenerate"])
    # Softmax and L-Softmax multiply the embedding itself, and their formula has a gradient at zero.
    assert np.all(by_embeddings[2] == 0) == (name not in ("softmax", "lsoftmax"))


@pytest.mark.parametrize("name", CASES)
def test_every_head_with_every_regulariser_is_finite_in_a_training_step(name):
    for embeddings, labels in BATCHES.values():
        head = make(name, regularizer=everything(name), size=3)
        assert_finite(head, embeddings, labels, training=True)
        assert all(np.all(np.isfinite(ops.convert_to_numpy(weight))) for weight in head.weights)


@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_with_two_classes_and_at_any_scale(name):
    takes_scale = name not in ("softmax", "l2softmax", "lsoftmax")
    for scale in (1.0, 256.0) if takes_scale else (None,):
        options = {} if scale is None else {"scale": scale}
        head = make(name, num_classes=2, size=3, **options)
        head.prototypes.assign(prototypes_for(head))
        labels = np.minimum(LABELS, 1)
        value = ops.convert_to_numpy(head.compute_loss(EMBEDDINGS, labels))
        assert np.all(np.isfinite(value)) and np.all(value >= 0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_on_half_precision_embeddings(name, policy):
    head = km.HEADS[name](7, regularizer=losses.IAM(0.9), dtype=keras.DTypePolicy(policy))
    largest = 60_000.0 if policy == "mixed_float16" else 1e18
    embeddings = ops.cast(np.clip(EMBEDDINGS, -largest, largest), policy.removeprefix("mixed_"))
    value = head.compute_loss(embeddings, LABELS)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert np.all(np.isfinite(ops.convert_to_numpy(value)))


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_under_xla(name):
    import tensorflow as tf

    head = make(name, regularizer=losses.IAM(0.9), size=3)
    head.prototypes.assign(prototypes_for(head))

    @tf.function(jit_compile=True)
    def step(embeddings, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = head.compute_loss(embeddings, labels, training=True)
        return value, tape.gradient(value, embeddings)

    value, gradient = step(tf.constant(EMBEDDINGS), tf.constant(LABELS))
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(gradient))
    assert all(np.all(np.isfinite(weight)) for weight in head.get_weights())


def test_qamface_reaches_its_largest_logit_of_237():
    head = make("qamface", size=3)
    head.prototypes.assign(PROTOTYPES)
    logits = ops.convert_to_numpy(head(EMBEDDINGS, ops.array(LABELS, "int32")))
    assert logits.max() == pytest.approx(6 * 4 * np.pi**2, rel=1e-6)

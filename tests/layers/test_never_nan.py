"""No value and no gradient is NaN or infinite: every head with every regulariser, on everything degenerate at once."""

import keras
import numpy as np
import pytest
from head_formulas import CASES, everything, gradients_of, loss_implementations, make
from keras import ops

import keras_margin as km
from keras_margin import losses

# Twins, one opposite to them, two that are zero or all but zero.
PROTOTYPES = np.array(
    [[2, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 2, 0, 0], [2, 0, 0, 0, 0], [-2, 0, 0, 0, 0], [0] * 5, [1e-30, 0, 0, 0, 0]]
)
# Equal to the own prototype, opposite, zero, all but zero, near a zero prototype, huge.
EMBEDDINGS = np.array(
    [[3, 0, 0, 0, 0], [-3, 0, 0, 0, 0], [0] * 5, [1e-30, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1e18, 0, 0, 0]], "float32"
)
LABELS = np.array([0, 0, 1, 3, 5, 1])


def prototypes_for(head):
    shape = tuple(head.prototypes.shape)
    rows = PROTOTYPES[: shape[0]].astype("float32")
    return rows if len(shape) == 2 else np.repeat(rows[:, None], shape[1], axis=1)


def assert_finite(head, function, embeddings=EMBEDDINGS, **options):
    value, gradients = gradients_of(head, function, embeddings, prototypes_for(head), **options)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert all(np.all(np.isfinite(ops.convert_to_numpy(weight))) for weight in head.weights)
    return gradients


def training_loss(head, labels=LABELS):
    labels = ops.array(labels, "int32")
    return lambda embeddings: head.compute_loss(embeddings, labels, training=True)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["compute_loss", "loss on cosines", "logits"])
@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_in_every_way(name, way):
    """Keeps every head finite in every way of use."""
    head = make(name)
    by_embeddings, _ = assert_finite(head, loss_implementations(head, LABELS)[way])
    # Softmax and L-Softmax multiply the embedding itself, and their formula has a gradient at zero.
    assert np.all(by_embeddings[2] == 0) == (name not in ("softmax", "lsoftmax"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_head_with_every_regulariser_is_finite_in_training(name):
    """Keeps every head finite in training with every auxiliary loss."""
    head = make(name, auxiliary_loss=everything(name))
    assert_finite(head, training_loss(head))
    if name in ("arcface", "adaface", "curricularface", "softmax"):
        all_one_label = training_loss(head, np.zeros(6))
        assert_finite(head, all_one_label)


@pytest.mark.parametrize("name", ["adaface", "curricularface"])
def test_a_batch_of_one_is_finite_for_what_looks_at_the_batch(name):
    """Keeps a batch of one finite for heads that use batch statistics."""
    head = make(name, auxiliary_loss=everything(name))
    assert_finite(head, training_loss(head, LABELS[:1]), EMBEDDINGS[:1], jit=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("softmax", "l2softmax", "lsoftmax")])
@pytest.mark.parametrize("scale", [1.0, 256.0])
def test_every_head_that_has_a_scale_is_finite_at_any(name, scale):
    """Keeps every head with a scale finite at any scale."""
    head = make(name, scale=scale)
    assert_finite(head, loss_implementations(head, LABELS)["compute_loss"])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_on_half_precision_embeddings(name, policy):
    """Keeps every head finite on half-precision embeddings."""
    largest = 60_000.0 if policy == "mixed_float16" else 1e18
    embeddings = ops.cast(np.clip(EMBEDDINGS, -largest, largest), policy.removeprefix("mixed_"))
    head = km.layers.HEADS[name](7, auxiliary_loss=losses.IAM(0.9), dtype=keras.DTypePolicy(policy))
    value = head.compute_loss(embeddings, LABELS)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert np.all(np.isfinite(ops.convert_to_numpy(value)))


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("name", CASES)
def test_every_head_is_finite_under_xla(name):
    """Keeps every head finite under XLA."""
    import tensorflow as tf

    head = make(name)
    head.prototypes.assign(prototypes_for(head))

    @tf.function(jit_compile=True, autograph=False)
    def step(embeddings, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = head.compute_loss(embeddings, labels, training=True)
        return value, tape.gradient(value, embeddings)

    value, gradient = step(tf.constant(EMBEDDINGS), tf.constant(LABELS))
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(gradient))
    assert all(np.all(np.isfinite(weight)) for weight in head.get_weights())


def test_qamface_reaches_its_largest_logit_of_237():
    """Reaches QAMFace's largest logit of 237."""
    head = make("qamface")
    head.prototypes.assign(PROTOTYPES)
    logits = ops.convert_to_numpy(head(EMBEDDINGS, ops.array(LABELS, "int32")))
    assert logits.max() == pytest.approx(6 * 4 * np.pi**2, rel=1e-6)


FAR_APART = {
    "sphereface": (lambda: km.SphereFaceHead(2), 100.0),
    "arcface": (lambda: km.ArcFaceHead(2, scale=100.0), 1.0),
    "arcface by norm": (lambda: km.ArcFaceHead(2, scale=None), 1e6),
    "cosface": (lambda: km.CosFaceHead(3, scale=1e4), 1e-3),
    "curricularface": (lambda: km.CurricularFaceHead(2, scale=300.0), 5.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["reference", "fused", "streaming"])
@pytest.mark.parametrize("name", FAR_APART)
def test_few_classes_far_apart_train_without_nan(name, implementation):
    """Two or three classes, long embeddings, large scales, no zero prototype: loss and gradients stay finite."""
    make_head, length = FAR_APART[name]
    head = make_head()
    head.implementation = implementation
    head.build((None, 4))
    directions = np.eye(4)[: head.num_classes] - 0.5
    head.prototypes.assign(directions)
    embeddings = (length * directions[[0, 1, 0]]).astype("float32")
    labels = ops.array([0, 1, 0], "int32")
    value, gradients = gradients_of(
        head, lambda x: head.compute_loss(x, labels, training=True), embeddings, directions.astype("float32")
    )
    assert np.all(np.isfinite(value)) and np.all(value < 100)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)

"""Every head of the table, in every way of use, against float64 formulas spelt out here."""

import math

import keras
import numpy as np
import pytest
from gradients import differences, of_head, relative_error, value_and_gradients
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM

CLASSES, SIZE, BATCH = 7, 5, 6


def monotone(u):
    k = np.floor(u / np.pi)
    return (-1.0) ** k * np.cos(u) - 2 * k


# Head's name -> (arguments, target logit / s, other logits / s, s or None for the embedding's norm); t in radians.
FORMULAS = {
    "normsoftmax": ({"scale": 16.0}, np.cos, np.cos, 16.0),
    "arcface": ({"scale": 16.0}, lambda t: monotone(t + 0.5), np.cos, 16.0),
    "cosface": ({"scale": 16.0}, lambda t: np.cos(t) - 0.35, np.cos, 16.0),
    "sphereface": ({}, lambda t: (1000 * np.cos(t) + monotone(4 * t)) / 1001, np.cos, None),
    "sphereface_arccos": ({"scale": 16.0}, lambda t: monotone(1.35 * t), np.cos, 16.0),
    "combined": ({"scale": 16.0}, lambda t: monotone(t + 0.3) - 0.2, np.cos, 16.0),
    "qamface": ({}, lambda t: (2 * np.pi - (t + 0.5)) ** 2, lambda t: (2 * np.pi - t) ** 2, 6.0),
}
SETTINGS = [
    *((name, {}) for name in FORMULAS),
    ("arcface", {"beyond_pi": "none"}),
    ("arcface", {"margin": 0.3, "scale": 64.0}),
    ("combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15}),
    ("sphereface", {"scale": 30.0, "margin": 3, "base": 5.0}),
]
FORMULA_OF = {
    ("arcface", "beyond_pi"): lambda t: np.cos(t + 0.5),
    ("arcface", "margin"): lambda t: monotone(t + 0.3),
    ("combined", "m1"): lambda t: monotone(0.9 * t + 0.4) - 0.15,
    ("sphereface", "scale"): lambda t: (5 * np.cos(t) + monotone(3 * t)) / 6,
}


def make(name, options=(), regularizer=None, num_classes=CLASSES, size=SIZE):
    head = km.HEADS[name](num_classes, regularizer=regularizer, **{**FORMULAS[name][0], **dict(options)})
    head.build((None, size))
    head.built = True
    return head


def batch(seed=0):
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(BATCH, SIZE)).astype("float32")
    prototypes = generator.normal(size=(CLASSES, SIZE)).astype("float32")
    return embeddings, prototypes, generator.integers(0, CLASSES, BATCH)


def reference(name, options=(), beta=0.0):
    """Loss per sample of a head as a float64 function of embeddings, prototypes and labels."""
    options = dict(options)
    _, target, other, scale = FORMULAS[name]
    target = next((f for (head, key), f in FORMULA_OF.items() if head == name and key in options), target)
    scale = options.get("scale", scale)

    def loss(embeddings, prototypes, labels):
        norms = np.linalg.norm(embeddings, axis=1)
        cosines = (embeddings / norms[:, None]) @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
        theta = np.arccos(np.clip(cosines, -1, 1))
        rows = np.arange(len(labels))
        s = norms if scale is None else np.full(len(labels), scale)
        logits = s[:, None] * other(theta)
        logits[rows, labels] = s * target(theta[rows, labels])
        largest = logits.max(axis=1, keepdims=True)
        log_all = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
        value = log_all - logits[rows, labels]
        if beta:
            negatives = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits)
            top = negatives.max(axis=1, keepdims=True)
            log_negatives = top[:, 0] + np.log(np.exp(negatives - top).sum(axis=1))
            value = value + beta * (log_negatives - log_all - np.log(logits.shape[1] - 1))
        return value

    return loss


def four_ways(head, labels):
    """The head's loss per sample by each way of use, as functions of the embeddings."""
    labels = ops.array(labels, "int32")

    def by_logits(embeddings):
        logits = head.call(embeddings, labels)
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    return {
        "compute_loss": lambda embeddings: head.compute_loss(embeddings, labels),
        "loss on cosines": lambda embeddings: head.loss_from_cosines(labels, head.call(embeddings)),
        "logits": by_logits,
    }


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_every_way_gives_the_published_loss_and_its_gradients(name, options):
    embeddings, prototypes, labels = batch()
    head = make(name, options)
    formula = reference(name, options)
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    wanted = formula(*exact, labels)
    wanted_gradients = differences(lambda x, w: formula(x, w, labels), *exact)
    for way, function in four_ways(head, labels).items():
        value, gradients = value_and_gradients(of_head(head, function), embeddings, prototypes)
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=2e-6, err_msg=way)
        for found, want in zip(gradients, wanted_gradients, strict=True):
            assert relative_error(found, want) < 1e-5, way


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("beta", [0.1, 0.9])
def test_iam_adds_equation_7_to_every_head(name, beta):
    embeddings, prototypes, labels = batch(1)
    head = make(name, regularizer=IAM(beta))
    formula = reference(name, beta=beta)
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    ways = four_ways(head, labels)
    for way in ("compute_loss", "loss on cosines"):
        value, gradients = value_and_gradients(of_head(head, ways[way]), embeddings, prototypes)
        np.testing.assert_allclose(value, formula(*exact, labels), rtol=2e-6, atol=3e-6, err_msg=way)
        wanted = differences(lambda x, w: formula(x, w, labels), *exact)
        assert all(relative_error(found, want) < 1e-5 for found, want in zip(gradients, wanted, strict=True))


def test_called_with_labels_a_head_adds_its_regulariser_to_the_model_s_losses():
    embeddings, prototypes, labels = batch(2)
    head = make("arcface", regularizer=IAM(0.5))
    head.prototypes.assign(prototypes)
    head(embeddings, ops.array(labels, "int32"))
    exact = embeddings.astype("float64"), prototypes.astype("float64"), labels
    wanted = np.mean(reference("arcface", beta=0.5)(*exact) - reference("arcface")(*exact))
    assert float(head.losses[0]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_loss_rises_with_the_angle_to_the_own_class(name):
    head = make(name, num_classes=2, size=3)
    # The other prototype stands upright on the plane of the embeddings: its logit is the same for all.
    head.prototypes.assign([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    angles = np.linspace(0, math.pi, 200)
    embeddings = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1).astype("float32")
    loss = ops.convert_to_numpy(head.compute_loss(embeddings, np.zeros(200, "int32")))
    assert np.all(np.diff(loss) > -1e-5)
    assert loss[-1] > loss[0] + 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("arcface", {"margin": 0.0}),
        ("cosface", {"margin": 0.0}),
        ("combined", {"m1": 1.0, "m2": 0.0, "m3": 0.0}),
        ("sphereface_arccos", {"margin": 1}),
        ("sphereface", {"margin": 1, "scale": 16.0}),
    ],
)
def test_a_neutral_margin_is_norm_softmax(name, options):
    embeddings, prototypes, labels = batch(3)
    head, plain = make(name, options), make("normsoftmax")
    for each in (head, plain):
        each.prototypes.assign(prototypes)
    found = ops.convert_to_numpy(head.compute_loss(embeddings, labels))
    np.testing.assert_allclose(found, ops.convert_to_numpy(plain.compute_loss(embeddings, labels)), rtol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_labels_change_their_own_logit_alone(name):
    embeddings, _, labels = batch(4)
    head = make(name)
    logits = ops.convert_to_numpy(head(embeddings, ops.array(labels, "int32")))
    shifted = ops.convert_to_numpy(head(embeddings, ops.array((labels + 1) % CLASSES, "int32")))
    differs = np.abs(logits - shifted) > 1e-4
    own = np.zeros_like(differs)
    own[np.arange(BATCH), labels] = own[np.arange(BATCH), (labels + 1) % CLASSES] = True
    assert not np.any(differs & ~own)
    assert np.any(differs) == (name != "normsoftmax")


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("regularizer", [None, IAM(0.9)])
def test_gradients_stay_finite_at_the_ends_and_for_zero_vectors(name, regularizer):
    head = make(name, regularizer=regularizer, size=3)
    prototypes = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]] * 2.0
    prototypes[6] = 0.0
    embeddings = np.array([[3.0, 0, 0], [-3.0, 0, 0], [0, 0, 0], [1e-30, 0, 0], [1.0, 0, 0], [0, 1e18, 0]])
    labels = np.array([0, 0, 1, 3, 6, 1])
    for way, function in four_ways(head, labels).items():
        value, gradients = value_and_gradients(of_head(head, function), embeddings, prototypes)
        assert np.all(np.isfinite(value)), way
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients), way
        assert np.all(gradients[0][2] == 0), way


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_policies_leave_weights_and_logits_in_float32(dtype):
    head = km.ArcFaceHead(CLASSES, dtype=keras.DTypePolicy(dtype))
    embeddings, _, labels = batch(5)
    half = ops.cast(embeddings, "float16")
    logits = head(half, ops.array(labels, "int32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(head.prototypes.dtype) == "float32"
    full = head(ops.cast(half, "float32"), ops.array(labels, "int32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(logits), ops.convert_to_numpy(full))


def test_straight_through_keeps_the_value_and_gives_the_target_cosine_slope_one():
    embeddings, prototypes, labels = batch(6)
    head, straight = make("arcface"), make("arcface", {"gradient": "straight_through"})
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    value, _ = value_and_gradients(of_head(head, four_ways(head, labels)["compute_loss"]), embeddings, prototypes)

    def with_frozen_margin(x, w):
        """The loss whose target is cos + (psi - cos), the bracket held at the batch's own values."""
        cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
        rows = np.arange(BATCH)
        logits = 16 * cosines
        logits[rows, labels] = 16 * (cosines[rows, labels] + frozen)
        return np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels]

    x, w = exact
    own = np.sum(x / np.linalg.norm(x, axis=1, keepdims=True) * w[labels], axis=1) / np.linalg.norm(w[labels], axis=1)
    frozen = monotone(np.arccos(own) + 0.5) - own
    wanted = differences(with_frozen_margin, *exact)
    for way, function in four_ways(straight, labels).items():
        found, gradients = value_and_gradients(of_head(straight, function), embeddings, prototypes)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        assert all(relative_error(got, want) < 1e-5 for got, want in zip(gradients, wanted, strict=True)), way


def test_hits_are_nearest_prototypes_without_margin():
    head = make("arcface", num_classes=3, size=2)
    head.prototypes.assign([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    embeddings = np.array([[1.0, 0.9], [1.0, 1.1], [0.0, 0.0]], "float32")
    _, hits = head.loss_and_hits(embeddings, np.array([0, 0, 0]))
    np.testing.assert_array_equal(ops.convert_to_numpy(hits), [1.0, 0.0, 0.0])


def test_cosines_are_cosines_whatever_the_lengths():
    embeddings, prototypes, _ = batch(7)
    head = make("cosface")
    head.prototypes.assign(prototypes)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    wanted = unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    np.testing.assert_allclose(ops.convert_to_numpy(head(100 * embeddings)), wanted, atol=1e-6)
    same = ops.convert_to_numpy(head(prototypes))
    assert same.max() <= 1.0


@pytest.mark.parametrize("name", FORMULAS)
def test_a_head_survives_its_config(name):
    head = make(name, regularizer=IAM(0.2))
    again = type(head).from_config(head.get_config())
    assert again.get_config() == head.get_config()
    assert isinstance(again.regularizer, IAM) and again.regularizer.beta == 0.2


# --- Misuse --------------------------------------------------------------------------------------------------------

MISUSE = [
    (lambda: km.ArcFaceHead(1), ValueError, "num_classes, an int >= 2.*num_classes=1"),
    (lambda: km.ArcFaceHead(10.0), ValueError, "num_classes=10.0"),
    (lambda: km.ArcFaceHead(10, margin=28.6), ValueError, r"\[0, pi\) radians.*28.6.*math.radians\(28.6\)"),
    (lambda: km.ArcFaceHead(10, margin=-0.1), ValueError, "margin=-0.1"),
    (lambda: km.ArcFaceHead(10, margin=math.nan), ValueError, "margin=nan"),
    (lambda: km.QAMFaceHead(10, margin=30), ValueError, "math.radians"),
    (lambda: km.CosFaceHead(10, margin=20), ValueError, r"\[0, 2\] of cosine"),
    (lambda: km.SphereFaceHead(10, margin=1.35), ValueError, "integer margin.*SphereFaceArccosHead"),
    (lambda: km.SphereFaceHead(10, base=1.0), ValueError, "base=1.0 < lambda_min=5.0"),
    (lambda: km.SphereFaceHead(10, gradient_accumulation_steps=0), ValueError, "int >= 1.*0"),
    (lambda: km.ArcFaceHead(10, scale=0), ValueError, "scale > 0.*scale=0"),
    (lambda: km.NormSoftmaxHead(10, margin=0.5), ValueError, "has no margin"),
    (lambda: km.CombinedMarginHead(10, m1=0.9, beyond_pi="linear"), ValueError, "m1=0.9"),
    (lambda: km.QAMFaceHead(10, gradient="straight_through"), ValueError, "QAMFaceHead"),
    (lambda: km.ArcFaceHead(10, gradient="none"), ValueError, "exact, straight_through"),
    (lambda: km.ArcFaceHead(10, engine="warp"), ValueError, "auto.*'warp'"),
    (lambda: km.ArcFaceHead(10, regularizer="iam"), TypeError, "IAM"),
    (lambda: km.ArcFaceHead(10)(np.zeros((2, 3, 4), "float32")), ValueError, "Flatten"),
    (lambda: km.heads.get("arcfase"), ValueError, "arcface, combined, cosface"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISUSE)
def test_misuse_is_an_error_that_says_what_came_and_how_to_mend_it(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


BAD_LABELS = [
    (np.eye(CLASSES, dtype="float32")[:BATCH], TypeError, "one-hot"),
    (np.eye(CLASSES, dtype="int32")[:BATCH], ValueError, "argmax"),
    (np.zeros(BATCH, "float32"), TypeError, "astype"),
    (np.array([0, 1, 2, 3, 4, CLASSES]), ValueError, r"\[0, 6\].*7 at sample 5"),
    (np.array([0, 1, -1, 3, 4, 5]), ValueError, "-1 at sample 2"),
]


@pytest.mark.parametrize(("labels", "error", "message"), BAD_LABELS)
def test_bad_labels_are_refused_in_every_way_of_use(labels, error, message):
    embeddings, _, _ = batch()
    head = make("arcface")
    for call in (
        lambda: head.compute_loss(embeddings, labels),
        lambda: head.loss(labels, head(embeddings)),
        lambda: head.call(ops.array(embeddings), labels),
    ):
        with pytest.raises(error, match=f"(?s){message}"):
            call()


def test_labels_of_shape_batch_by_one_are_the_same_labels():
    embeddings, _, labels = batch()
    head = make("arcface")
    column = head.compute_loss(embeddings, labels[:, None])
    flat = head.compute_loss(embeddings, labels)
    np.testing.assert_array_equal(ops.convert_to_numpy(column), ops.convert_to_numpy(flat))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_no_number_is_named(bad):
    embeddings, _, labels = batch()
    embeddings[3, 1] = bad
    head = make("arcface")
    with pytest.raises(ValueError, match="(?s)finite embeddings.*at sample 3"):
        head.compute_loss(embeddings, labels)


def test_where_nothing_can_be_raised_a_bad_sample_has_infinite_loss_and_no_gradient():
    embeddings, prototypes, labels = batch()
    labels[1], embeddings[4, 0] = CLASSES, np.nan
    head = make("arcface")
    head.prototypes.assign(prototypes)
    good = np.array([0, 2, 3, 5])
    wanted = ops.convert_to_numpy(head.compute_loss(embeddings[good], labels[good]))
    value, gradient = compiled_loss_and_gradient(head, embeddings, labels)
    np.testing.assert_allclose(value[good], wanted, rtol=1e-5)
    assert np.all(np.isinf(value[[1, 4]]))
    assert np.all(np.isfinite(gradient)) and np.all(gradient[[1, 4]] == 0) and np.all(np.any(gradient[good], axis=1))


def compiled_loss_and_gradient(head, embeddings, labels):
    """Loss and its gradient by the embeddings out of a compiled program."""
    backend = keras.backend.backend()
    if backend == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    if backend == "jax":
        import jax

        value, pull = jax.vjp(jax.jit(lambda x: head.compute_loss(x, labels)), ops.array(embeddings))
        return np.asarray(value), np.asarray(pull(np.ones_like(value))[0])
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def compiled(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = head.compute_loss(x, y)
        return value, tape.gradient(value, x)

    value, gradient = compiled(tf.constant(embeddings), tf.constant(labels))
    return value.numpy(), gradient.numpy()


@pytest.mark.tensorflow_only
def test_a_bad_label_is_refused_in_a_tensorflow_graph():
    import tensorflow as tf

    embeddings, _, labels = batch()
    labels[0] = CLASSES
    head = make("arcface")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"labels must be in \[0, 6\]"):
        tf.function(head.compute_loss)(tf.constant(embeddings), tf.constant(labels))


def test_cosines_of_another_head_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, 7\).*\(6, 9\)"):
        make("arcface").loss_from_cosines(np.zeros(6, "int32"), ops.zeros((6, 9)))


def test_scale_by_norm_needs_more_than_cosines():
    head = make("sphereface")
    cosines = ops.array(ops.convert_to_numpy(head(batch()[0])))
    with pytest.raises(ValueError, match="norm, which cosines do not carry"):
        head.loss_from_cosines(batch()[2], cosines)


# --- lambda --------------------------------------------------------------------------------------------------------


def test_lambda_moves_with_training_batches_alone_in_every_way_of_use():
    embeddings, _, labels = batch()
    labels = ops.array(labels, "int32")
    head = make("sphereface")
    assert head.loss is head.loss
    for call in (
        lambda training: head.compute_loss(embeddings, labels, training=training),
        lambda training: head(embeddings, labels, training=training),
        lambda training: head.loss(labels, head(embeddings, training=training)),
    ):
        before = int(head.step)
        call(training=False)
        assert int(head.step) == before
        call(training=True)
        assert int(head.step) == before + 1
    assert head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 3), rel=1e-6)


def test_training_cosines_that_lost_their_embeddings_are_refused_by_a_head_that_learns():
    embeddings, _, labels = batch()
    head = make("sphereface", {"scale": 30.0})
    assert head.loss is not None
    altered = head(embeddings, training=True) * 1.0
    with pytest.raises(ValueError, match="whether this is a training batch"):
        head.loss(labels, altered)


def test_lambda_counts_updates_under_gradient_accumulation():
    head = make("sphereface", {"gradient_accumulation_steps": 4})
    head.step.assign(11)
    assert head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 2), rel=1e-6)
    head.step.assign(12)
    assert head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 3), rel=1e-6)

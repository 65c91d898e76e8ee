"""Whatever a user can get wrong with a head is an error that names the rule, what came and a fix."""

import math

import keras
import numpy as np
import pytest
from head_formulas import BATCH, CLASSES, batch, make
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM
from keras_margin.ops.sample import Sample

JIT = keras.backend.backend() == "jax"
ARGUMENTS = [
    (lambda: km.ArcFaceHead(1), ValueError, "num_classes, an int >= 2.*num_classes=1"),
    (lambda: km.ArcFaceHead(10.0), ValueError, "num_classes=10.0"),
    (lambda: km.ArcFaceHead(True), ValueError, "num_classes=True"),
    (lambda: km.ArcFaceHead(10, margin=28.6), ValueError, r"\[0, pi\) radians.*28.6.*math.radians\(28.6\)"),
    (lambda: km.ArcFaceHead(10, margin=-0.1), ValueError, "margin=-0.1"),
    (lambda: km.ArcFaceHead(10, margin=math.nan), ValueError, "margin=nan"),
    (lambda: km.QAMFaceHead(10, margin=30), ValueError, "math.radians"),
    (lambda: km.CurricularFaceHead(10, margin=28.6), ValueError, "math.radians"),
    (lambda: km.SubCenterArcFaceHead(10, margin=28.6), ValueError, "math.radians"),
    (lambda: km.CombinedMarginHead(10, m2=17.2), ValueError, r"m2=17.2.*math.radians\(17.2\)"),
    (lambda: km.MagFaceHead(10, upper_margin=45), ValueError, "upper_margin=45.*math.radians"),
    (lambda: km.AdaFaceHead(10, margin=23), ValueError, "radians of an angle"),
    (lambda: km.CosFaceHead(10, margin=20), ValueError, r"\[0, 2\] of cosine"),
    (lambda: km.SphereFaceHead(10, margin=1.35), ValueError, "margin=1.35.*SphereFaceArccosHead"),
    (lambda: km.LSoftmaxHead(10, margin=2.5), ValueError, "margin=2.5"),
    (lambda: km.SphereFaceHead(10, base=1.0), ValueError, "base=1.0 < lambda_min=5.0"),
    (lambda: km.SphereFaceHead(10, gamma=0.0), ValueError, "gamma > 0.*gamma=0.0"),
    (lambda: km.SphereFaceHead(10, gradient_accumulation_steps=0), ValueError, "an int >= 1.*=0"),
    (lambda: km.ArcFaceHead(10, scale=0), ValueError, "scale > 0.*scale=0"),
    (lambda: km.NormSoftmaxHead(10, margin=0.5), ValueError, "has no margin"),
    (lambda: km.CombinedMarginHead(10, margin=0.5), ValueError, "m1, m2 and m3.*margin=0.5"),
    (lambda: km.CombinedMarginHead(10, m1=0.9, beyond_pi="linear"), ValueError, "m1=0.9"),
    (lambda: km.SphereFaceArccosHead(10, beyond_pi="linear"), ValueError, "m1=1.35"),
    (lambda: km.MagFaceHead(10, beyond_pi="steep"), ValueError, "'monotone', 'none', 'linear'"),
    (lambda: km.QAMFaceHead(10, gradient="straight_through"), ValueError, "QAMFaceHead"),
    (lambda: km.MagFaceHead(10, gradient="straight_through"), ValueError, "embedding's length"),
    (lambda: km.SoftmaxHead(10, gradient="straight_through"), ValueError, "no margin"),
    (lambda: km.LSoftmaxHead(10, gradient="straight_through"), ValueError, "not a cosine"),
    (lambda: km.ArcFaceHead(10, gradient="none"), ValueError, "'exact', 'straight_through'"),
    (lambda: km.ArcFaceHead(10, implementation="warp"), ValueError, "'auto'.*'warp'"),
    (lambda: km.SoftmaxHead(10, implementation="fused"), ValueError, "only the reference"),
    (lambda: km.SubCenterArcFaceHead(10, implementation="fused"), ValueError, "several prototypes.*'fused'"),
    (lambda: km.SubCenterArcFaceHead(10, centers=0), ValueError, "centers, an int >= 1"),
    (lambda: km.AdaFaceHead(10, h=0), ValueError, "h > 0"),
    (lambda: km.AdaFaceHead(10, momentum=1.0), ValueError, r"\[0, 1\).*momentum=1.0"),
    (lambda: km.CurricularFaceHead(10, momentum=-0.1), ValueError, "momentum=-0.1"),
    (lambda: km.MagFaceHead(10, margin=0.5), ValueError, "lower_margin and upper_margin.*margin=0.5"),
    (lambda: km.MagFaceHead(10, lower_norm=120), ValueError, "lower_norm < upper_norm.*120"),
    (lambda: km.MagFaceHead(10, lower_margin=0.9), ValueError, "lower_margin=0.9"),
    (lambda: km.MagFaceHead(10, lambda_g=-1), ValueError, "lambda_g >= 0"),
    (lambda: km.SoftmaxHead(10, scale=64), ValueError, "neither margin nor scale.*scale=64"),
    (lambda: km.SoftmaxHead(10, margin=km.margins.ArcFace()), ValueError, "neither margin nor scale.*ArcFace"),
    (lambda: km.SoftmaxHead(10, use_bias="no"), ValueError, "use_bias='no'"),
    (lambda: km.L2SoftmaxHead(10, alpha=0), ValueError, "alpha > 0"),
    (lambda: km.LSoftmaxHead(10, scale=64), ValueError, "scale=64"),
    (lambda: km.ArcFaceHead(10, auxiliary_loss=3.5), TypeError, "IAM"),
    (lambda: km.ArcFaceHead(10)(np.zeros((2, 3, 4), "float32")), ValueError, "Flatten"),
    (lambda: km.layers.get("arcfase", 3), ValueError, "adaface, arcface, combined"),
]


@pytest.mark.parametrize(("call", "error", "message"), ARGUMENTS)
def test_a_wrong_argument_is_refused_with_a_fix(call, error, message):
    """Refuses a wrong argument, with what was received and how to fix it."""
    with pytest.raises(error, match=f"(?s){message}"):
        call()


BAD_LABELS = [
    (np.eye(CLASSES, dtype="float32")[:BATCH], TypeError, "one-hot"),
    (np.eye(CLASSES, dtype="int32")[:BATCH], ValueError, "argmax"),
    (np.zeros(BATCH, "float32"), TypeError, "astype"),
    (np.array([0, 1, 2, 3, 4, CLASSES]), ValueError, r"\[0, 6\].*7 at sample 5"),
    (np.array([0, 1, -1, 3, 4, 5]), ValueError, "-1 at sample 2"),
]


WAYS_OF_USE = {
    "compute_loss": lambda head, embeddings, labels: head.compute_loss(embeddings, labels),
    "loss on cosines": lambda head, embeddings, labels: head.loss(labels, head(embeddings)),
    "logits": lambda head, embeddings, labels: head.call(ops.array(embeddings), labels),
}


@pytest.mark.parametrize("way", WAYS_OF_USE)
@pytest.mark.parametrize(("labels", "error", "message"), BAD_LABELS)
def test_bad_labels_are_refused_in_every_way_of_use(labels, error, message, way):
    """Refuses bad labels in every way of use."""
    with pytest.raises(error, match=f"(?s){message}"):
        WAYS_OF_USE[way](make("arcface"), batch()[0], labels)


def test_labels_of_shape_batch_by_one_are_the_same_labels():
    """Accepts labels of shape (batch, 1) like labels of shape (batch,)."""
    embeddings, _, labels = batch()
    head = make("arcface")
    column = head.compute_loss(embeddings, labels[:, None])
    flat = head.compute_loss(embeddings, labels)
    np.testing.assert_array_equal(ops.convert_to_numpy(column), ops.convert_to_numpy(flat))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_no_number_is_named(bad):
    """Names an embedding that is NaN."""
    embeddings, _, labels = batch()
    embeddings[3, 1] = bad
    head = make("arcface")
    for call in (lambda: head.compute_loss(embeddings, labels), lambda: head(embeddings, ops.array(labels, "int32"))):
        with pytest.raises(ValueError, match="(?s)finite embeddings.*at sample 3"):
            call()
    with pytest.raises(ValueError, match="(?s)NaN comes from the network.*at sample 3"):
        head.loss(labels, head(embeddings))


@pytest.mark.slow
def test_a_bad_sample_has_infinite_loss_and_no_gradient():
    """Gives a bad sample infinite loss and no gradient in every way of use, where nothing can be raised."""
    head = make("magface")
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    good = np.array([0, 2, 3, 5])
    wanted = ops.convert_to_numpy(head.compute_loss(embeddings[good], labels[good]))
    good_norms = ops.norm(ops.array(embeddings[good]), axis=1)
    penalty = head.margin.extra_loss(Sample(None, None, good_norms, None, None), ())
    labels[1], embeddings[4, 0] = CLASSES, np.nan

    def loss(x, y):
        logits = head.call(x, y)
        own = ops.equal(ops.expand_dims(y, 1), ops.arange(CLASSES, dtype=y.dtype))
        # Keras's cross-entropy of a label that is not a class is its own affair: here no logit is the target's.
        target = ops.sum(ops.where(own, logits, 0.0), axis=1) + ops.where(ops.any(own, axis=1), 0.0, -np.inf)
        by_logits = ops.logsumexp(logits, axis=1) - target
        return ops.stack([head.compute_loss(x, y), head.loss_from_cosines(y, head.call(x)), by_logits], axis=1)

    value, gradient = compiled_value_and_gradient(loss, embeddings, labels)
    np.testing.assert_allclose(value[good, :2], np.stack([wanted, wanted], axis=1), rtol=1e-5)
    np.testing.assert_allclose(value[good, 2], wanted - ops.convert_to_numpy(penalty), rtol=1e-5)
    assert np.all(np.isinf(value[[1, 4]]))
    assert np.all(np.isfinite(gradient)) and np.all(gradient[[1, 4]] == 0) and np.all(np.any(gradient[good], axis=1))


def compiled_value_and_gradient(function, embeddings, labels):
    """A loss and its gradient by the embeddings out of a compiled program, which cannot raise."""
    backend = keras.backend.backend()
    if backend == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    if backend == "jax":
        import jax

        @jax.jit
        def compiled(x):
            value, pull = jax.vjp(lambda x: function(x, ops.array(labels)), x)
            return value, pull(jax.numpy.ones_like(value))[0]

        value, gradient = compiled(jax.numpy.asarray(embeddings))
        return np.asarray(value), np.asarray(gradient)
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def compiled(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x, y)
        return value, tape.gradient(value, x)

    value, gradient = compiled(tf.constant(embeddings), tf.constant(labels))
    return value.numpy(), gradient.numpy()


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_bad_labels_are_refused_in_a_tensorflow_graph():
    """Refuses bad labels, and logits in place of cosines, in a TensorFlow graph."""
    import tensorflow as tf

    embeddings, _, labels = batch()
    head = make("arcface")
    logits = head(embeddings, ops.array(labels, "int32"))
    labels[0] = CLASSES
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"labels must be in \[0, 6\]"):
        tf.function(head.compute_loss)(tf.constant(embeddings), tf.constant(labels))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"cosines, numbers in \[-1, 1\]"):
        tf.function(head.loss_from_cosines)(tf.zeros(BATCH, "int32"), tf.constant(logits.numpy()))


# --- The three ways, mixed up ---------------------------------------------------------------------------------------


def test_cosines_of_another_head_are_refused():
    """Refuses the cosines of another head."""
    with pytest.raises(ValueError, match=r"\(batch, 7\).*\(6, 9\)"):
        make("arcface").loss_from_cosines(np.zeros(6, "int32"), ops.zeros((6, 9)))


@pytest.mark.parametrize(("name", "needs"), [("sphereface", "norm"), ("adaface", "norm"), ("softmax", "norm")])
def test_cosines_of_unknown_origin_are_refused(name, needs):
    """Refuses cosines of unknown origin where the loss needs the embeddings."""
    head = make(name)
    cosines = ops.array(ops.convert_to_numpy(head(batch()[0])))
    with pytest.raises(ValueError, match=f"{needs}, which cosines do not carry"):
        head.loss_from_cosines(batch()[2], cosines)


def test_logits_that_have_their_margin_do_not_get_it_twice():
    """Refuses to add the margin twice to logits that have it."""
    head = make("arcface")
    embeddings, _, labels = batch()
    logits = head(embeddings, ops.array(labels, "int32"))
    with pytest.raises(ValueError, match="(?s)these are logits.*from_logits=True"):
        head.loss(labels, logits)
    with pytest.raises(ValueError, match=r"(?s)cosines, numbers in \[-1, 1\].*from_logits=True"):
        head.loss(labels, logits * 1.0)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(12, 6)).astype("float32"), np.arange(12) % CLASSES


def two_inputs(head):
    image, label = keras.Input((6,)), keras.Input((), dtype="int32")
    return keras.Model([image, label], head(keras.layers.Dense(4)(image), label))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("sparse_categorical_crossentropy", "takes probabilities.*from_logits=True"),
        (keras.losses.SparseCategoricalCrossentropy(), "takes probabilities.*from_logits=True"),
        (keras.losses.sparse_categorical_crossentropy, "takes probabilities.*from_logits=True"),
        ("head", "these are logits.*from_logits=True"),
    ],
)
def test_a_loss_that_does_not_fit_the_logits_is_refused(loss, message, data):
    """Refuses a loss that does not fit the logits."""
    images, labels = data
    head = km.ArcFaceHead(CLASSES)
    model = two_inputs(head)
    model.compile("sgd", loss=head.loss if loss == "head" else loss, jit_compile=JIT)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit([images, labels], labels, verbose=0)


CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    "loss", [CROSS_ENTROPY, [CROSS_ENTROPY], lambda y, p: CROSS_ENTROPY(y, p)], ids=["alone", "list", "function"]
)
def test_a_cross_entropy_on_logits_fits_however_given(loss, data):
    """Accepts a cross-entropy on logits, by itself, in a list and inside a function."""
    images, labels = data
    model = two_inputs(km.ArcFaceHead(CLASSES))
    model.compile("sgd", loss=loss, jit_compile=JIT)
    assert np.isfinite(model.evaluate([images, labels], labels, verbose=0))


@pytest.mark.parametrize("labels", [np.arange(12), [-1] * 12, np.arange(12)[:, None]])
def test_labels_beyond_the_classes_are_named_first(labels, data):
    """Names labels beyond the head's classes before training."""
    model = km.EmbeddingModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]), km.ArcFaceHead(CLASSES))
    model.compile("sgd", jit_compile=JIT)
    with pytest.raises(ValueError, match=r"(?s)has 7 classes.*\[0, 6\].*labels from .*num_classes="):
        model.fit(data[0], labels, verbose=0)
    with pytest.raises(ValueError, match="labels from 0 to 7.*num_classes=8"):
        model.fit(data[0], data[1], validation_data=(data[0][:8], np.arange(8)), verbose=0)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_labels_beyond_the_classes_are_named_by_batch(data):
    """Names the batch of a data set whose labels are beyond the head's classes."""
    import tensorflow as tf

    model = km.EmbeddingModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]), km.ArcFaceHead(CLASSES))
    model.compile("sgd", jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="ArcFaceHead has 7 classes"):
        model.fit(tf.data.Dataset.from_tensors((data[0], np.arange(12))), shuffle=False, verbose=0)


def test_auxiliary_losses_refuse_cosines_of_unknown_origin():
    """Refuses cosines of unknown origin where an auxiliary loss reads embeddings."""
    head = make("arcface", auxiliary_loss=km.losses.RingLoss() + IAM(0.1))
    cosines = ops.array(ops.convert_to_numpy(head(batch()[0])))
    with pytest.raises(ValueError, match="the embeddings, which cosines do not carry"):
        head.loss_from_cosines(batch()[2], cosines)

"""Every row of LOSSES outside of a head: as a Keras loss, and those with weights as a Keras layer."""

import keras
import numpy as np
import pytest
from auxiliary import CLASSES, LABELS, SIZE, backbone, batch, clusters, inputs_of, unit
from keras import ops

import keras_margin as km
from keras_margin.losses import (
    IAM,
    AngularTripletLoss,
    CenterLoss,
    ContrastiveLoss,
    InterLoss,
    IntraLoss,
    RingLoss,
)
from keras_margin.losses._with_base import LossWithBase

# XLA compiles small models slowly on TensorFlow; JAX without it runs operation by operation.
JIT = keras.backend.backend() == "jax"
BASE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def data():
    return clusters()


def arrays(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def test_iam_as_a_keras_loss_on_logits_adds_to_its_base():
    """Adds IAM to its base as a Keras loss on logits."""
    logits = 3 * np.random.default_rng(0).normal(size=(9, CLASSES)).astype("float32")
    p = np.exp(logits.astype("float64"))
    p = (p / p.sum(axis=1, keepdims=True))[np.arange(9), LABELS]
    both = IAM(0.9).as_loss(BASE)
    wanted = np.mean(-np.log(p) + 0.9 * np.log((1 - p) / (CLASSES - 1)))
    assert float(both(LABELS, logits)) == pytest.approx(wanted, rel=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(both))
    assert float(again(LABELS[:, None], logits)) == pytest.approx(wanted, rel=1e-6)


def test_intra_as_a_keras_loss_reads_cosines():
    """Reads cosines with Intra as a Keras loss."""
    x, w = batch()
    cosines = (unit(x.astype("float64")) @ unit(w.astype("float64")).T).astype("float32")
    wanted = np.sum(np.arccos(cosines.astype("float64"))[np.arange(9), LABELS]) / np.pi
    assert float(IntraLoss(reduction="sum")(LABELS, cosines)) == pytest.approx(wanted, rel=1e-6)


def test_a_keras_loss_keeps_large_labels_and_weighs_samples():
    """Keeps large labels and weighs samples."""
    x, _ = batch()
    # In float32 these two are one label.
    labels = np.where(LABELS == 0, 2**24, 2**24 + 1)
    values = ContrastiveLoss().weighted(inputs_of(ops.array(x), labels % 2))
    weights = np.arange(9.0)
    found = ContrastiveLoss()(labels, x, sample_weight=weights)
    assert float(found) == pytest.approx(np.mean(weights * ops.convert_to_numpy(values)), rel=1e-6)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_keras_loss_is_scaled_for_the_replicas():
    """Scales a Keras loss for the replicas."""
    import tensorflow as tf

    from keras_margin import training

    strategy = training.make_strategy(2)
    logits, labels = tf.constant(batch()[0][:8]), tf.constant(LABELS[:8] % SIZE)
    loss = IAM(0.5).as_loss(BASE)

    @tf.function
    def step():
        def share():
            half = 4 * tf.distribute.get_replica_context().replica_id_in_sync_group
            return loss(labels[half : half + 4], logits[half : half + 4])

        return strategy.reduce("SUM", strategy.run(share), axis=None)

    assert float(step()) == pytest.approx(float(loss(labels, logits)), rel=1e-6)


@pytest.mark.slow
def test_a_plain_model_trains_on_embeddings_alone(data, tmp_path):
    """Trains a plain model on embeddings alone."""
    images, labels = data
    model = keras.Sequential([backbone()])
    loss = AngularTripletLoss() + ContrastiveLoss()
    model.compile(keras.optimizers.Adam(0.02), loss=loss, jit_compile=JIT)
    history = model.fit(images, labels, batch_size=40, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    assert again.evaluate(images, labels, batch_size=40, verbose=0) < history["loss"][-1]


def two_inputs(layer):
    """A model of (images, labels) with a layer of auxiliary losses between embedding and classifier."""
    image, label = keras.Input((6,)), keras.Input((), dtype="int32")
    network = backbone()
    model = keras.Model([image, label], keras.layers.Dense(CLASSES)(layer(network(image), label)))
    model.compile(keras.optimizers.SGD(0.01), loss=BASE, jit_compile=JIT)
    return model, network


@pytest.mark.slow
def test_a_loss_with_weights_trains_as_a_layer_with_labels(data, tmp_path):
    """Its weights learn in training batches alone, are saved, and go on learning."""
    images, labels = data
    loss = CenterLoss(1.0, num_classes=CLASSES) + RingLoss(0.1)
    model, _ = two_inputs(loss)
    assert len(model.trainable_weights) == 7, "the radius among them"
    model.fit([images, labels], labels, batch_size=20, epochs=2, verbose=0)
    trained = arrays(model.weights)
    assert np.any(ops.convert_to_numpy(loss.parts[0].centers) != 0)
    assert float(ops.convert_to_numpy(loss.parts[1].offset)) != 0
    model.evaluate([images, labels], labels, verbose=0)
    for found, want in zip(arrays(model.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want, err_msg="evaluate moved a weight")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for found, want in zip(arrays(again.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want)
    again.fit([images, labels], labels, batch_size=20, verbose=0)
    moved = next(layer for layer in again.layers if layer.name == "sum").parts[0].centers
    assert np.any(ops.convert_to_numpy(moved) != ops.convert_to_numpy(loss.parts[0].centers))


@pytest.mark.slow
def test_a_layers_loss_is_the_mean_over_the_batch(data):
    """A weighted loss called with labels adds 1/batch sum_i w_i L_i, w_i the sample weights it is given."""
    images, labels = data
    center = CenterLoss(0.5, num_classes=CLASSES)
    model, network = two_inputs(center)
    model.fit([images, labels], labels, batch_size=40, verbose=0)
    centers = ops.convert_to_numpy(center.centers)
    assert np.any(centers != 0)
    loss = model.evaluate([images, labels], labels, batch_size=40, verbose=0)
    x = network.predict(images, verbose=0).astype("float64")
    logits = model.predict([images, labels], verbose=0).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_center = 0.5 * np.sum((x - centers[labels]) ** 2, axis=1) / 2
    wanted = -np.mean(log_p[np.arange(40), labels]) + np.mean(of_center)
    assert loss == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(center.centers), centers)
    weights = np.arange(40.0)
    center(ops.array(x, "float32"), labels, sample_weight=weights)
    assert float(center.losses[-1]) == pytest.approx(np.mean(weights * of_center), rel=1e-5)


MISUSE = [
    (lambda: IAM(0.1).as_loss("mse"), TypeError, "as_loss adds to a keras.losses.Loss.*'mse'"),
    (lambda: LossWithBase("iam", BASE), TypeError, "needs a keras_margin.losses.StatelessLoss.*'iam'"),
    (lambda: InterLoss().as_loss(BASE), ValueError, "InterLoss reads the head's prototypes.*auxiliary_loss="),
    (
        lambda: (IAM(0.1) + IntraLoss())([0], ops.ones((1, 3))),
        ValueError,
        "several things; a Keras loss sees one output",
    ),
    (lambda: InterLoss()([0, 1], ops.ones((2, 3))), ValueError, "InterLoss reads the head's prototypes"),
    (lambda: IAM(0.1).as_loss(BASE)([0, 5], np.zeros((2, 5), "float32")), ValueError, r"in \[0, 4\].*5 at sample 1"),
    (lambda: IAM(0.1)([0.0, 1.0], np.zeros((2, 5), "float32")), TypeError, "IAM needs integer labels"),
    (lambda: ContrastiveLoss()([0, 1], np.array([[1.0], [np.nan]])), ValueError, "finite.*at sample 1"),
    (lambda: ContrastiveLoss()([0], np.zeros((1, 2, 3))), ValueError, r"reads embeddings.*\(1, 2, 3\)"),
    (lambda: RingLoss()(ops.ones((1, 3))), TypeError, "missing a required argument: 'labels'"),
    (lambda: CenterLoss()(ops.ones((2, 3)), np.array([0, 1])), ValueError, "outside of a head needs num_classes="),
    (lambda: CenterLoss(num_classes=2)(ops.ones((2, 3)), np.array([0, 2])), ValueError, r"2 classes.*2 at sample 1"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISUSE)
def test_misuse_is_an_error_with_rule_value_and_hint(call, error, message):
    """Raises for misuse with the rule, the value and a hint."""
    with pytest.raises(error, match=f"(?s){message}"):
        call()


def test_a_base_without_a_value_per_sample_is_refused():
    """Refuses a base without a value per sample."""
    head = km.ArcFaceHead(CLASSES)
    cosines = head(ops.array(batch()[0]))
    with pytest.raises(ValueError, match="one value a sample.*Received: base=.*which gave shape.*auxiliary_loss="):
        IntraLoss().as_loss(head.loss)(LABELS, cosines)


def head_model(loss):
    model = keras.Sequential([keras.Input((6,)), backbone(), km.NormSoftmaxHead(CLASSES)])
    model.compile(keras.optimizers.Adam(0.02), loss=loss, jit_compile=JIT)
    return model


@pytest.mark.slow
def test_intra_trains_on_the_cosines_of_a_head(data):
    """Trains Intra on the cosines of a head."""
    images, labels = data
    history = head_model(IntraLoss()).fit(images, labels, batch_size=40, epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_base_that_knows_no_margin_takes_no_cosines(data):
    """A head's cosines are guarded against training without margin and scale, by the base of a loss too."""
    images, labels = data
    with pytest.raises(ValueError, match="bare cosines, without margin and scale"):
        head_model(IntraLoss().as_loss(BASE)).fit(images, labels, batch_size=40, verbose=0)


# --- Bad samples of no weight, half precision ------------------------------------------------------------------------

OF_OUTPUTS = {
    "embeddings": ContrastiveLoss() + AngularTripletLoss(),
    "logits": IAM(0.1).as_loss(BASE),
    "cosines": IntraLoss(),
}


@pytest.mark.slow
@pytest.mark.parametrize("reads", OF_OUTPUTS)
def test_a_bad_sample_of_weight_0_is_left_out_under_xla(reads):
    """Where nothing raises: the loss and its gradient are those of the batch with a good label there."""
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    loss, outputs = OF_OUTPUTS[reads], np.tanh(batch()[0])
    bad, good = LABELS.copy(), LABELS.copy()
    # Where any label names a class among embeddings, the sample is bad by its embedding.
    bad[3], good[3] = (2, 2) if reads == "embeddings" else (SIZE + 7, 2)
    bad_outputs = outputs.copy()
    if reads == "embeddings":
        bad_outputs[3] = np.nan
    weights = np.ones(9, "float32")
    weights[3] = 0.0

    def weighed(outputs, labels):
        return loss(labels, outputs, sample_weight=ops.array(weights))

    value, gradient = compiled_gradient(weighed, bad_outputs, bad)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    assert np.all(gradient[3] == 0)
    if reads != "embeddings":
        wanted, wanted_gradient = compiled_gradient(weighed, outputs, good)
        assert value == pytest.approx(wanted, rel=1e-6)
        np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-5, atol=1e-8)


def test_a_layers_bad_sample_of_weight_0_is_left_out_under_xla():
    """Leaves a bad sample of weight 0 out under XLA."""
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    layer = CenterLoss(1.0, num_classes=CLASSES, centers_initializer="ones")
    layer.build((None, SIZE))
    weights = np.ones(9, "float32")
    weights[3] = 0.0

    def added(x, labels):
        layer(x, labels, sample_weight=ops.array(weights))
        return layer.losses[-1]

    x = batch()[0]
    wanted = np.sum(np.sum((x.astype("float64") - 1) ** 2, axis=1) / 2 * weights) / 9
    value, gradient = compiled_gradient(added, x, np.where(np.arange(9) == 3, CLASSES, LABELS))
    assert value == pytest.approx(wanted, rel=1e-5)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[3] == 0)


def compiled_gradient(function, x, labels):
    """Value and gradient by x of a scalar function of (x, labels), out of a program that cannot raise."""
    if keras.backend.backend() == "jax":
        import jax

        found = jax.jit(jax.value_and_grad(function))(x, labels.astype("int32"))
    else:
        import tensorflow as tf

        @tf.function(jit_compile=True, autograph=False)
        def program(x, labels):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x, labels)
            return value, tape.gradient(value, x)

        found = program(tf.constant(x), tf.constant(labels, "int32"))
    return [np.asarray(each) for each in found]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_layer_passes_embeddings_on_as_they_are(dtype):
    """In their own dtype, for symbols as for numbers."""
    layer = CenterLoss(num_classes=CLASSES)
    x = batch()[0].astype(dtype)
    passed = layer(ops.array(x), LABELS)
    np.testing.assert_array_equal(ops.convert_to_numpy(passed), x)
    symbol = layer(keras.Input((SIZE,), dtype=dtype), keras.Input((), dtype="int32"))
    assert keras.backend.standardize_dtype(passed.dtype) == symbol.dtype == dtype
    assert symbol.shape == (None, SIZE)

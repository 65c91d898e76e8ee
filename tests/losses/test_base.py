"""Every row of LOSSES, in a head and as a plain Keras loss: sums, edges, misuse, training, files."""

import functools
import operator

import keras
import numpy as np
import pytest
from gradients import of_head, relative_error, value_and_gradients
from keras import ops
from terms import CLASSES, LABELS, SCALE, SIZE, batch, head_with, terms_of, unit

import keras_margin as km
from keras_margin import losses
from keras_margin.losses import (
    IAM,
    LOSSES,
    AngularTripletLoss,
    CenterLoss,
    ContrastiveLoss,
    InterLoss,
    IntraLoss,
    RingLoss,
)

# XLA compiles small models slowly on TensorFlow; JAX without it runs operation by operation.
JIT = keras.backend.backend() == "jax"
BASE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


X = batch()[0]


def everything():
    """The sum of every loss there is, each mining and each distance."""
    terms = [loss() for loss in LOSSES.values()]
    terms += [AngularTripletLoss(mining="hard"), ContrastiveLoss(normalize=False)]
    return functools.reduce(operator.add, terms)


def arrays(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


# --- In a head -----------------------------------------------------------------------------------------------------


def test_a_sum_is_the_sum_of_its_parts():
    parts = [RingLoss(0.1, radius=1.0), RingLoss(0.2, radius=2.0), RingLoss(0.3, radius=3.0)]
    whole = parts[0] + (parts[1] + parts[2])
    assert whole.terms == tuple(parts)
    whole.build((None, SIZE))
    value, _ = value_and_gradients(lambda x: whole(terms_of(x)), X)
    norm = np.linalg.norm(X.astype("float64"), axis=1)
    wanted = sum(weight * (norm - radius) ** 2 / 2 for weight, radius in ((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)))
    assert relative_error(value, wanted) < 1e-6


def test_a_sum_survives_its_config():
    head = head_with(everything())
    again = type(head).from_config(head.get_config())
    assert [type(term) for term in again.auxiliary_loss.terms] == [type(term) for term in head.auxiliary_loss.terms]
    # The weights of the first are not in the config: both say the same, built or not.
    assert again.get_config() == head.get_config()


def test_get_takes_a_regulariser_none_or_a_config():
    term = IAM(0.3)
    assert losses.get(term) is term
    assert losses.get(None) is None
    assert losses.get(keras.saving.serialize_keras_object(term)).beta == 0.3
    with pytest.raises(TypeError, match="Received: 'iam' of type str"):
        losses.get("iam")


def test_what_is_no_regulariser_cannot_be_added():
    with pytest.raises(TypeError):
        IAM(0.1) + 1.0


EDGES = {
    "one label": (X, np.zeros(9)),
    "zero embeddings": (0 * X, LABELS),
    "identical embeddings": (0 * X + 1, LABELS),
    "opposite embeddings": (np.where(np.arange(9)[:, None] % 2, 1e6, -1e6) * np.eye(1, SIZE), LABELS),
    "vanishing embeddings": (1e-25 * X, LABELS),
}


@pytest.fixture(scope="module")
def with_everything():
    """A head's loss with everything, of embeddings, prototypes and labels."""
    head = head_with(everything())

    def loss(embeddings, prototypes, labels):
        with keras.StatelessScope(state_mapping=[(head.prototypes, prototypes)]):
            return head.compute_loss(embeddings, ops.cast(labels, "int32"))

    return loss


@pytest.mark.parametrize("edge", EDGES)
def test_values_and_gradients_are_finite_at_the_edges(edge, with_everything):
    x, labels = EDGES[edge]
    # All prototypes in one place but one, which is zero.
    prototypes = np.ones((CLASSES, SIZE))
    prototypes[2] = 0.0
    value, gradients = value_and_gradients(with_everything, x, prototypes, labels)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients[:2])


def test_a_single_sample_of_two_classes_is_finite():
    head = head_with(everything(), num_classes=2)
    function = of_head(head, lambda x: head.compute_loss(x, ops.array([1])))
    value, gradients = value_and_gradients(function, X[:1], np.eye(2, SIZE))
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_where_nothing_can_be_raised_a_bad_sample_spoils_no_other():
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    head = head_with(CenterLoss(1.0) + RingLoss(1.0) + AngularTripletLoss() + ContrastiveLoss())
    centers = head.auxiliary_loss.terms[0].centers

    def step(x, labels):
        with keras.StatelessScope() as scope:
            value = head.compute_loss(x, labels, training=True)
        return value, scope.get_current_value(centers)

    x, labels, good = X.copy(), LABELS.copy(), np.delete(np.arange(9), [3, 4])
    x[3], labels[4] = np.nan, CLASSES
    wanted, wanted_centers = compiled(step, x[good], labels[good])
    value, moved = compiled(step, x, labels)
    np.testing.assert_allclose(value[good], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved, wanted_centers, rtol=1e-5, atol=1e-7)
    assert np.all(np.isinf(value[[3, 4]]))


def compiled(function, *arrays):
    """Arrays that `function` returns out of a compiled program."""
    if keras.backend.backend() == "torch":
        return [ops.convert_to_numpy(found) for found in function(*map(ops.array, arrays))]
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(found) for found in jax.jit(function)(*arrays)]
    import tensorflow as tf

    program = tf.function(function, jit_compile=True, autograph=False)
    return [found.numpy() for found in program(*map(tf.constant, arrays))]


def backbone():
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(SIZE)(keras.layers.Dense(8, activation="relu")(inputs)))


@pytest.fixture(scope="module")
def data():
    """Five Gaussian clusters."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % CLASSES
    centres = 2 * generator.normal(size=(CLASSES, 6))
    return (centres[labels] + generator.normal(size=(40, 6))).astype("float32"), labels.astype("int32")


def test_a_model_trains_saves_and_goes_on_with_what_its_terms_have_learnt(data, tmp_path):
    images, labels = data
    term = CenterLoss(0.1) + RingLoss(0.1) + IAM(0.1)
    model = km.EmbeddingModel(backbone(), km.ArcFaceHead(CLASSES, scale=SCALE, auxiliary_loss=term))
    model.compile(keras.optimizers.SGD(0.02), jit_compile=JIT)
    history = model.fit(images, labels, batch_size=20, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    paths = ["/".join(weight.path.split("/")[-2:]) for weight in term.weights]
    assert paths == ["center_loss/centers", "ring_loss/offset", "ring_loss/start"]
    center, ring = term.terms[:2]
    assert float(ops.convert_to_numpy(ring.offset)) != 0, "the radius has learnt"
    trained = arrays(model.weights)
    model.evaluate(images, labels, verbose=0)
    for found, want in zip(arrays(model.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want, err_msg="evaluate moved a weight")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for found, want in zip(arrays(again.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want)
    assert again.head.get_config() == model.head.get_config()
    again.fit(images, labels, batch_size=20, verbose=0)
    moved = again.head.auxiliary_loss.terms[0].centers
    assert np.any(ops.convert_to_numpy(moved) != ops.convert_to_numpy(center.centers))
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    for found, want in zip(arrays(again.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want)


def test_half_precision_leaves_terms_and_their_weights_in_float32():
    half, labels, found = X.astype("float16"), LABELS.astype("int32"), []
    for x, policy in ((half, "mixed_float16"), (half.astype("float32"), "float32")):
        term = CenterLoss(1.0) + RingLoss(1.0) + ContrastiveLoss()
        head = km.NormSoftmaxHead(CLASSES, scale=SCALE, auxiliary_loss=term, dtype=keras.DTypePolicy(policy))
        head.build((None, SIZE))
        head.prototypes.assign(batch()[1])
        assert {keras.backend.standardize_dtype(weight.dtype) for weight in head.weights} == {"float32"}

        def step(x, labels, head=head):
            with keras.StatelessScope() as scope:
                value = head.compute_loss(x, labels, training=True)
            learnt = [weight for weight in head.auxiliary_loss.weights if not weight.trainable]
            return [value, *(scope.get_current_value(weight) for weight in learnt)]

        found.append(compiled(step, x, labels))
    for of_half, of_float in zip(*found, strict=True):
        assert of_half.dtype == "float32"
        np.testing.assert_array_equal(of_half, of_float)


@pytest.mark.tensorflow_only
def test_two_replicas_keep_the_centres_and_the_radius_of_one_device():
    import tensorflow as tf

    from keras_margin import training

    strategy = training.make_strategy(2)
    x, labels = batch()[0][:8], LABELS[:8]
    alone = head_with(CenterLoss(1.0) + RingLoss(1.0))
    with strategy.scope():
        head = head_with(CenterLoss(1.0) + RingLoss(1.0))
    shares = tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)

    @tf.function
    def step(x, labels):
        return strategy.run(lambda x, y: head.compute_loss(x, y, training=True), (x, labels))

    for _ in range(2):
        alone.compute_loss(x, labels, training=True)
        for share in strategy.experimental_distribute_dataset(shares):
            step(*share)
    for mirrored, single in zip(head.auxiliary_loss.weights, alone.auxiliary_loss.weights, strict=True):
        copies = strategy.experimental_local_results(mirrored.value)
        assert len(copies) == 2
        for copy in copies:
            np.testing.assert_allclose(copy.numpy(), ops.convert_to_numpy(single), rtol=1e-5)


# --- As a plain Keras loss -----------------------------------------------------------------------------------------


def test_iam_as_a_keras_loss_on_logits_adds_to_its_base():
    logits = 3 * np.random.default_rng(0).normal(size=(9, CLASSES)).astype("float32")
    p = np.exp(logits.astype("float64"))
    p = (p / p.sum(axis=1, keepdims=True))[np.arange(9), LABELS]
    both = IAM(0.9).as_loss(BASE)
    wanted = np.mean(-np.log(p) + 0.9 * np.log((1 - p) / (CLASSES - 1)))
    assert float(both(LABELS, logits)) == pytest.approx(wanted, rel=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(both))
    assert float(again(LABELS[:, None], logits)) == pytest.approx(wanted, rel=1e-6)


def test_intra_as_a_keras_loss_reads_cosines():
    x, w = batch()
    cosines = (unit(x.astype("float64")) @ unit(w.astype("float64")).T).astype("float32")
    wanted = np.sum(np.arccos(cosines.astype("float64"))[np.arange(9), LABELS]) / np.pi
    assert float(IntraLoss().as_loss(reduction="sum")(LABELS, cosines)) == pytest.approx(wanted, rel=1e-6)


def test_a_keras_loss_keeps_large_labels_whole_and_weighs_samples():
    x, _ = batch()
    # In float32 these two are one label.
    labels = np.where(LABELS == 0, 2**24, 2**24 + 1)
    values = ContrastiveLoss()(terms_of(ops.array(x), labels % 2))
    weights = np.arange(9.0)
    found = ContrastiveLoss().as_loss()(labels, x, sample_weight=weights)
    assert float(found) == pytest.approx(np.mean(weights * ops.convert_to_numpy(values)), rel=1e-6)


@pytest.mark.tensorflow_only
def test_a_keras_loss_is_scaled_for_the_replicas():
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


def test_a_plain_model_trains_on_embeddings_alone(data, tmp_path):
    images, labels = data
    model = keras.Sequential([backbone()])
    loss = (AngularTripletLoss() + ContrastiveLoss()).as_loss()
    model.compile(keras.optimizers.Adam(0.02), loss=loss, jit_compile=JIT)
    history = model.fit(images, labels, batch_size=40, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    assert again.evaluate(images, labels, batch_size=40, verbose=0) < history["loss"][-1]


def test_a_term_with_weights_trains_as_the_model_s_last_layer(data, tmp_path):
    images, labels = data
    term = CenterLoss(1.0, num_classes=CLASSES) + RingLoss(0.1)
    model = keras.Sequential([keras.Input((6,)), backbone(), term])
    model.compile(keras.optimizers.SGD(0.01), loss=term.as_loss(), jit_compile=JIT)
    assert len(model.trainable_weights) == 5, "the radius among them"
    model.fit(images, labels, batch_size=20, epochs=2, verbose=0)
    trained = arrays(model.weights)
    assert np.any(ops.convert_to_numpy(term.terms[0].centers) != 0)
    assert float(ops.convert_to_numpy(term.terms[1].offset)) != 0
    model.evaluate(images, labels, verbose=0)
    for found, want in zip(arrays(model.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want, err_msg="evaluate moved a weight")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for found, want in zip(arrays(again.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want)
    again.fit(images, labels, batch_size=20, verbose=0)
    moved = again.layers[-1].terms[0].centers
    assert np.any(ops.convert_to_numpy(moved) != ops.convert_to_numpy(term.terms[0].centers))


def test_called_with_labels_a_term_adds_its_mean_to_the_model_s_losses(data):
    images, labels = data
    image, label = keras.Input((6,)), keras.Input((), dtype="int32")
    center = CenterLoss(0.5, num_classes=CLASSES)
    network = backbone()
    model = keras.Model([image, label], keras.layers.Dense(CLASSES)(center(network(image), label)))
    model.compile(keras.optimizers.SGD(0.01), loss=BASE, jit_compile=JIT)
    model.fit([images, labels], labels, batch_size=40, verbose=0)
    centers = ops.convert_to_numpy(center.centers)
    assert np.any(centers != 0)
    loss = model.evaluate([images, labels], labels, batch_size=40, verbose=0)
    x = network.predict(images, verbose=0).astype("float64")
    logits = model.predict([images, labels], verbose=0).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -np.mean(log_p[np.arange(40), labels]) + 0.5 * np.mean(np.sum((x - centers[labels]) ** 2, axis=1)) / 2
    assert loss == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(center.centers), centers)


MISUSE = [
    (lambda: IAM(0.1).as_loss("mse"), TypeError, "as_loss adds to a keras.losses.Loss.*'mse'"),
    (lambda: losses.TermLoss("iam"), TypeError, "needs a keras_margin.losses.Regularizer.*'iam'"),
    (lambda: (IAM(0.1) + IntraLoss()).as_loss(), ValueError, "several things; a Keras loss sees one output"),
    (lambda: InterLoss()(ops.ones((2, 3)), ops.array([0, 1])), ValueError, "InterLoss reads the head's prototypes"),
    (lambda: IAM(0.1).as_loss(BASE)([0, 5], np.zeros((2, 5), "float32")), ValueError, r"in \[0, 4\].*5 at sample 1"),
    (lambda: IAM(0.1).as_loss()([0.0, 1.0], np.zeros((2, 5), "float32")), TypeError, "IAM needs integer labels"),
    (lambda: ContrastiveLoss().as_loss()([0, 1], np.array([[1.0], [np.nan]])), ValueError, "finite.*at sample 1"),
    (lambda: ContrastiveLoss().as_loss()([0], np.zeros((1, 2, 3))), ValueError, r"reads embeddings.*\(1, 2, 3\)"),
    (lambda: RingLoss().as_loss()([0], np.zeros((1, 3))), ValueError, r"must be the last layer.*Sequential"),
    (lambda: CenterLoss()(ops.ones((2, 3))), ValueError, "outside of a head needs num_classes="),
]


@pytest.mark.parametrize(("call", "error", "message"), MISUSE)
def test_misuse_is_an_error_that_says_what_came_and_how_to_mend_it(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


def test_a_base_that_gives_no_value_a_sample_is_refused():
    head = km.ArcFaceHead(CLASSES)
    cosines = head(ops.array(batch()[0]))
    with pytest.raises(ValueError, match="must give one loss a sample.*Received: shape"):
        IntraLoss().as_loss(head.loss)(LABELS, cosines)

"""Every row of LOSSES in a head: sums, edges, training, files, replicas. test_keras_losses.py has them alone."""

import functools
import operator

import keras
import numpy as np
import pytest
from auxiliary import CLASSES, LABELS, SCALE, SIZE, backbone, batch, clusters, compiled, head_with, inputs_of
from gradients import of_head, relative_error, value_and_gradients
from keras import ops
from layer_contract import check_config

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
X = batch()[0]


def everything():
    """The sum of every loss there is, each mining and each distance."""
    parts = [loss() for loss in LOSSES.values()]
    parts += [AngularTripletLoss(mining="hard"), ContrastiveLoss(normalize=False)]
    return functools.reduce(operator.add, parts)


def arrays(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def test_a_sum_is_the_sum_of_its_parts():
    """Adds up the parts of a sum."""
    parts = [RingLoss(0.1, radius=1.0), RingLoss(0.2, radius=2.0), RingLoss(0.3, radius=3.0)]
    whole = parts[0] + (parts[1] + parts[2])
    assert whole.parts == tuple(parts)
    whole.build((None, SIZE))
    value, _ = value_and_gradients(lambda x: whole.weighted(inputs_of(x)), X)
    norm = np.linalg.norm(X.astype("float64"), axis=1)
    wanted = sum(weight * (norm - radius) ** 2 / 2 for weight, radius in ((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)))
    assert relative_error(value, wanted) < 1e-6


# Every argument of each loss other than its default.
WITH_OPTIONS = {
    "iam": IAM(0.2, reduction="sum", name="mine"),
    "intra": IntraLoss(0.5),
    "inter": InterLoss(0.3),
    "angular_triplet": AngularTripletLoss(0.2, "hard", 2.0),
    "contrastive": ContrastiveLoss(5.0, False, 2.0),
    "center": CenterLoss(0.1, 0.2, 3, "ones"),
    "ring": RingLoss(0.3, 4.0, name="mine"),
    "sum of them": IAM(0.2) + RingLoss(0.3),
}


@pytest.mark.once
@pytest.mark.parametrize("name", [*LOSSES, "sum of them"])
def test_a_config_builds_an_equal_loss(name):
    """Holds every argument in a config of JSON, which builds an equal loss."""
    check_config(WITH_OPTIONS[name])


def test_a_sum_survives_its_config():
    """Builds an equal sum from its config."""
    head = head_with(everything())
    again = type(head).from_config(head.get_config())
    assert [type(part) for part in again.auxiliary_loss.parts] == [type(part) for part in head.auxiliary_loss.parts]
    # Equal, though the first is built and the second is not.
    assert again.get_config() == head.get_config()


def test_get_takes_a_loss_a_name_a_config_or_none():
    """Accepts a loss, a name, a config or None."""
    loss = IAM(0.3)
    assert losses.get(loss) is loss
    assert losses.get(None) is None
    assert losses.get(keras.saving.serialize_keras_object(loss)).beta == 0.3
    assert isinstance(losses.get("iam"), IAM)
    with pytest.raises(ValueError, match="Unknown auxiliary loss 'aim'. Did you mean 'iam'.*angular_triplet, "):
        losses.get("aim")
    with pytest.raises(TypeError, match="Received: 0.1 of type float"):
        losses.get(0.1)


def test_only_an_auxiliary_loss_can_be_added():
    """Refuses to add anything but an auxiliary loss."""
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


@pytest.mark.slow
@pytest.mark.parametrize("edge", EDGES)
def test_values_and_gradients_are_finite_at_the_edges(edge, with_everything):
    """Keeps values and gradients finite at the edges."""
    x, labels = EDGES[edge]
    # All prototypes in one place but one, which is zero.
    prototypes = np.ones((CLASSES, SIZE))
    prototypes[2] = 0.0
    value, gradients = value_and_gradients(with_everything, x, prototypes, labels)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients[:2])


def test_a_single_sample_of_two_classes_is_finite():
    """Keeps a single sample of two classes finite."""
    head = head_with(everything(), num_classes=2)
    function = of_head(head, lambda x: head.compute_loss(x, ops.array([1])))
    value, gradients = value_and_gradients(function, X[:1], np.eye(2, SIZE))
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


@pytest.mark.slow
def test_a_bad_sample_spoils_no_other_where_nothing_raises():
    """Under XLA and JAX's jit a bad sample's loss is +inf; the others' are as without it."""
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad sample is an error")
    head = head_with(CenterLoss(1.0) + RingLoss(1.0) + AngularTripletLoss() + ContrastiveLoss())
    centers = head.auxiliary_loss.parts[0].centers

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


@pytest.fixture(scope="module")
def data():
    return clusters()


@pytest.mark.slow
def test_a_model_saves_and_resumes_the_losses_weights(data, tmp_path):
    """It trains, saves, and goes on with what its losses have learnt."""
    images, labels = data
    loss = CenterLoss(0.1) + RingLoss(0.1) + IAM(0.1)
    model = km.EmbeddingModel(backbone(), km.ArcFaceHead(CLASSES, scale=SCALE, auxiliary_loss=loss))
    model.compile(keras.optimizers.SGD(0.02), jit_compile=JIT)
    history = model.fit(images, labels, batch_size=20, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    paths = ["/".join(weight.path.split("/")[-2:]) for weight in loss.weights]
    assert paths == ["center_loss/centers", "ring_loss/offset", "ring_loss/start"]
    center, ring = loss.parts[:2]
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
    moved = again.head.auxiliary_loss.parts[0].centers
    assert np.any(ops.convert_to_numpy(moved) != ops.convert_to_numpy(center.centers))
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    for found, want in zip(arrays(again.weights), trained, strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.slow
def test_half_precision_leaves_the_losses_in_float32():
    """With their weights."""
    half, labels, found = X.astype("float16"), LABELS.astype("int32"), []
    for x, policy in ((half, "mixed_float16"), (half.astype("float32"), "float32")):
        loss = CenterLoss(1.0) + RingLoss(1.0) + ContrastiveLoss()
        head = km.NormSoftmaxHead(CLASSES, scale=SCALE, auxiliary_loss=loss, dtype=keras.DTypePolicy(policy))
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


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_two_replicas_keep_centers_and_radius_of_one_device():
    """Keeps the centers and the radius of one device on two replicas."""
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

import keras
import numpy as np
import pytest
from auxiliary import (
    CLASSES,
    LABELS,
    SIZE,
    assert_exact_in_a_head,
    batch,
    head_with,
    inputs_of,
    unit,
)
from gradients import differences, relative_error, value_and_gradients
from keras import ops

from keras_margin.losses import CenterLoss, ContrastiveLoss, RingLoss


def rows(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(loss):
    loss.build_for(CLASSES, SIZE)
    return loss


def contrastive(x, labels, margin):
    """Mean over each sample's pairs."""
    distance = np.linalg.norm(x[:, None] - x[None, :], axis=2)
    same = labels[:, None] == labels[None, :]
    loss = np.where(same, distance**2 / 2, np.maximum(0, margin - distance) ** 2 / 2)
    return np.where(np.eye(len(x), dtype=bool), 0.0, loss).sum(axis=1) / (len(x) - 1)


# --- Center --------------------------------------------------------------------------------------------------------


def test_center_adds_half_the_squared_distance_to_the_center():
    """Adds half the squared distance to the center."""
    centers = rows(1, (CLASSES, SIZE))
    loss = CenterLoss(0.2, centers_initializer=lambda shape, dtype=None: ops.array(centers))

    def formula(x, w, labels):
        return 0.2 * np.sum((x - centers.astype("float64")[labels]) ** 2, axis=1) / 2

    assert_exact_in_a_head(loss, formula, from_cosines=True)
    # None of it was training.
    np.testing.assert_array_equal(ops.convert_to_numpy(loss.centers), centers)


def moved(centers, x, labels, alpha):
    """Equation 4, class by class."""
    after = centers.astype("float64").copy()
    for j in range(len(centers)):
        mine = x[labels == j].astype("float64")
        after[j] -= alpha * np.sum(centers[j].astype("float64") - mine, axis=0) / (1 + len(mine))
    return after


def test_two_training_batches_move_the_centers_by_equation_4():
    """Moves the centers by equation 4 in two training batches."""
    loss = built(CenterLoss(0.5, alpha=0.3))
    wanted = np.zeros((CLASSES, SIZE))
    for seed, labels in ((2, LABELS), (3, np.array([1, 1, 4, 1, 1, 2, 1, 1, 0]))):
        x = rows(seed, (9, SIZE))
        wanted = moved(wanted, x, labels, 0.3)
        loss.weighted(inputs_of(ops.array(x), labels, training=True))
        loss.weighted(inputs_of(ops.array(2 * x), labels, training=False))
        np.testing.assert_allclose(ops.convert_to_numpy(loss.centers), wanted, rtol=1e-5, atol=1e-7)


def test_center_takes_the_centers_before_they_move():
    """And gives them no gradient."""
    x = rows(4, (9, SIZE))
    loss = built(CenterLoss(1.0, alpha=1.0))

    def function(x, centers):
        with keras.StatelessScope(state_mapping=[(loss.centers, centers)]):
            return loss.weighted(inputs_of(x, training=True))

    value, (by_x, by_centers) = value_and_gradients(function, x, np.zeros((CLASSES, SIZE)))
    np.testing.assert_allclose(value, np.sum(x.astype("float64") ** 2, axis=1) / 2, rtol=1e-6)
    np.testing.assert_allclose(by_x, x, rtol=1e-6)
    assert np.all(by_centers == 0)


def test_an_invalid_sample_moves_no_center():
    """Moves no center by an invalid sample."""
    loss = built(CenterLoss())
    valid = LABELS != 1
    loss.weighted(inputs_of(ops.ones((9, SIZE)), training=True, valid=ops.array(valid)))
    moved_by = np.any(ops.convert_to_numpy(loss.centers) != 0, axis=1)
    np.testing.assert_array_equal(moved_by, [True, False, True, True, False])


# --- Ring ----------------------------------------------------------------------------------------------------------


def test_ring_adds_half_the_squared_difference_to_the_radius():
    """Adds half the squared difference to the radius."""

    def formula(x, w, labels):
        return 0.4 * (np.linalg.norm(x, axis=1) - 2.5) ** 2 / 2

    assert_exact_in_a_head(RingLoss(0.4, radius=2.5), formula)


def test_the_radius_learns_by_its_gradient():
    """Trains the radius by its gradient."""
    x, _ = batch(1)
    loss = built(RingLoss(0.1, radius=3.0))
    assert [weight.path for weight in loss.trainable_variables] == [loss.offset.path]

    def function(x, offset):
        with keras.StatelessScope(state_mapping=[(loss.offset, offset)]):
            return loss.weighted(inputs_of(x))

    value, (by_x, by_radius) = value_and_gradients(function, x, np.float32(0.5))
    norm = np.linalg.norm(x.astype("float64"), axis=1)
    assert relative_error(value, 0.1 * (norm - 3.5) ** 2 / 2) < 1e-6
    assert relative_error(by_x, 0.1 * (1 - 3.5 / norm)[:, None] * x) < 1e-6
    assert relative_error(by_radius, -0.1 * np.sum(norm - 3.5)) < 1e-6


def test_the_radius_starts_at_the_first_batchs_mean_length():
    """Of the first training batch."""
    first, second = rows(5, (9, SIZE)), 10 * rows(6, (9, SIZE))
    loss = built(RingLoss(1.0))
    mean = np.mean(np.linalg.norm(first.astype("float64"), axis=1))
    assert loss.radius is None
    loss.weighted(inputs_of(ops.array(second)))
    assert loss.radius is None, "no training batch yet"
    loss.weighted(inputs_of(ops.array(first), training=True))
    assert loss.radius == pytest.approx(mean, rel=1e-6)
    loss.weighted(inputs_of(ops.array(second), training=True))
    assert loss.radius == pytest.approx(mean, rel=1e-6)
    found = ops.convert_to_numpy(loss.weighted(inputs_of(ops.array(second))))
    wanted = (np.linalg.norm(second.astype("float64"), axis=1) - mean) ** 2 / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


# --- Contrastive ---------------------------------------------------------------------------------------------------


def test_contrastive_adds_equation_4_over_the_batchs_pairs():
    """Adds equation 4 over the pairs of the batch."""
    loss = ContrastiveLoss(1.2, weight=2.0)
    assert_exact_in_a_head(loss, lambda x, w, labels: 2.0 * contrastive(unit(x), labels, 1.2))


def test_contrastive_is_exact_far_from_the_origin():
    """Shifted by 20, squared lengths are 400 times the squared distances that are left of them."""
    x = batch(1)[0] + np.float32(20.0)
    exact = x.astype("float64")
    loss = ContrastiveLoss(5.0, normalize=False)
    value, (gradient,) = value_and_gradients(lambda x: loss.weighted(inputs_of(x)), x)
    assert relative_error(value, contrastive(exact, LABELS, 5.0)) < 1e-6
    assert relative_error(gradient, differences(lambda x: contrastive(x, LABELS, 5.0), exact)[0]) < 1e-5


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e6])
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_embeddings_have_a_finite_contrastive_gradient(normalize, size):
    """Their loss is that of distance 0: half the margin's square where the classes differ."""
    loss = ContrastiveLoss(1.0, normalize=normalize)

    def function(x):
        return loss.weighted(inputs_of(x, np.array([0, 0, 1])))

    value, (gradient,) = value_and_gradients(function, size * np.ones((3, SIZE)))
    np.testing.assert_allclose(value, [0.25, 0.25, 0.5], atol=1e-3)
    assert np.all(np.abs(gradient) <= 1.0)


# --- All three -----------------------------------------------------------------------------------------------------

MISUSE = [
    (lambda: CenterLoss(alpha=1.5), r"alpha in \[0, 1\].*alpha=1.5"),
    (lambda: CenterLoss(num_classes=0), "num_classes, an int >= 1.*0"),
    (lambda: CenterLoss(weight=None), "CenterLoss needs weight >= 0. Received: weight=None"),
    (lambda: head_with(CenterLoss(num_classes=7)), r"num_classes=7.*head of 5 classes.*leave num_classes out"),
    (lambda: CenterLoss().build((None, 3)), "outside of a head needs num_classes="),
    (lambda: RingLoss(radius=0), "radius > 0, or None.*radius=0"),
    (lambda: ContrastiveLoss(margin=2.5), r"\(0, 2\], a distance of unit vectors.*margin=2.5"),
    (lambda: ContrastiveLoss(margin=0, normalize=False), "margin > 0.*margin=0"),
]


@pytest.mark.parametrize(("call", "message"), MISUSE)
def test_misuse_is_an_error_with_the_value_received(call, message):
    """Raises for misuse with the value received."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_a_loss_with_weights_belongs_to_one_head():
    """Refuses to share a loss with weights between two heads."""
    loss = RingLoss()
    head_with(loss)
    with pytest.raises(ValueError, match="RingLoss has weights and belongs to another head"):
        head_with(loss)

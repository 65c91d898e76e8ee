import math

import numpy as np
import pytest
from auxiliary import (
    CLASSES,
    LABELS,
    angles,
    assert_exact_in_a_head,
    batch,
    head_with,
    inputs_of,
)
from gradients import differences, relative_error, value_and_gradients
from keras import ops

from keras_margin.losses import AngularTripletLoss, InterLoss, IntraLoss
from keras_margin.ops.sample import LossInputs, Sample


def intra(x, w, labels):
    return angles(x, w)[np.arange(len(labels)), labels] / np.pi


def inter(x, w, labels):
    between = np.where(np.eye(len(w), dtype=bool), 0.0, angles(w, w))
    return -between.sum(axis=1)[labels] / (np.pi * (len(w) - 1))


def hinges(x, labels, anchor, margin):
    """Of every triplet of an anchor, (positives, negatives)."""
    theta = angles(x, x)[anchor]
    others = np.arange(len(labels)) != anchor
    positives, negatives = theta[others & (labels == labels[anchor])], theta[labels != labels[anchor]]
    return np.maximum(0.0, positives[:, None] + margin - negatives[None, :])


def all_triplets(x, labels, margin):
    found = [hinges(x, labels, anchor, margin) for anchor in range(len(labels))]
    return np.array([each.mean() if each.size else 0.0 for each in found])


def hardest_triplets(x, labels, margin):
    # The farthest positive and the nearest negative make the largest hinge.
    found = [hinges(x, labels, anchor, margin) for anchor in range(len(labels))]
    return np.array([each.max() if each.size else 0.0 for each in found])


TRIPLETS = {"all": all_triplets, "hard": hardest_triplets}


def test_intra_adds_the_angle_to_the_own_prototype_over_pi():
    """Adds the angle to the own prototype over pi."""
    assert_exact_in_a_head(IntraLoss(1.5), lambda x, w, labels: 1.5 * intra(x, w, labels), from_cosines=True)


def test_inter_adds_the_negative_mean_angle_between_prototypes():
    """Minus the mean angle to the other prototypes, over pi."""
    assert_exact_in_a_head(InterLoss(2.0), lambda x, w, labels: 2.0 * inter(x, w, labels))


@pytest.mark.parametrize("mining", TRIPLETS)
def test_triplets_add_their_hinges(mining):
    """Adds the hinges of triplets."""
    loss = AngularTripletLoss(0.2, mining, weight=3.0)
    assert_exact_in_a_head(loss, lambda x, w, labels: 3.0 * TRIPLETS[mining](x, labels, 0.2))


@pytest.mark.parametrize("mining", TRIPLETS)
@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_triplets_are_exact_alone(mining, margin):
    """With margin 3 nearly every hinge is active, with margin 0 about half are."""
    x, _ = batch(1)
    value, (gradient,) = value_and_gradients(lambda x: AngularTripletLoss(margin, mining).weighted(inputs_of(x)), x)
    exact = x.astype("float64")
    assert relative_error(value, TRIPLETS[mining](exact, LABELS, margin)) < 1e-6
    (wanted,) = differences(lambda x: TRIPLETS[mining](x, LABELS, margin), exact)
    assert relative_error(gradient, wanted) < 1e-5
    assert value[6] == 0, "an anchor without positive"


def test_batch_all_of_many_is_still_exact():
    """A sorted row of 120: counts, not a cube of triplets, and no digits lost to their size."""
    generator = np.random.default_rng(2)
    labels = np.arange(120) % 12
    x = (generator.normal(size=(12, 6))[labels] + 0.5 * generator.normal(size=(120, 6))).astype("float32")
    value, _ = value_and_gradients(lambda x: AngularTripletLoss().weighted(inputs_of(x, labels)), x)
    assert relative_error(value, all_triplets(x.astype("float64"), labels, 0.35)) < 1e-6


@pytest.mark.parametrize("mining", TRIPLETS)
def test_the_hinge_of_equal_embeddings_is_the_margin(mining):
    """Gives equal embeddings a hinge of the margin."""
    x = np.ones((4, 3))
    value, (gradient,) = value_and_gradients(
        lambda x: AngularTripletLoss(0.4, mining).weighted(inputs_of(x, np.array([0, 0, 1, 1]))), x
    )
    # A float32 cosine of 1 may come out one rounding below, which is an angle of 3.5e-4.
    np.testing.assert_allclose(value, 0.4, atol=1e-3)
    assert np.all(np.isfinite(gradient))


def test_invalid_samples_are_in_no_triplet():
    """Leaves invalid samples out of triplets."""
    x, _ = batch(3)
    valid = np.ones(len(LABELS), bool)
    valid[[2, 5]] = False
    both = AngularTripletLoss(0.2) + AngularTripletLoss(0.2, "hard", weight=2.0)
    found, (gradient,) = value_and_gradients(lambda x: both.weighted(inputs_of(x, valid=ops.array(valid)))[valid], x)
    x, labels = x[valid].astype("float64"), LABELS[valid]
    assert relative_error(found, all_triplets(x, labels, 0.2) + 2.0 * hardest_triplets(x, labels, 0.2)) < 1e-6
    assert np.all(gradient[~valid] == 0)


def of_prototypes(prototypes, labels):
    sample = Sample(None, None, None, ops.array(labels), None)
    return LossInputs(sample, num_classes=2, prototypes=prototypes)


def test_inter_of_two_classes_is_the_angle_between_them():
    """Computes the angle between two classes."""

    def function(w):
        return InterLoss().weighted(of_prototypes(w, [0, 1, 1]))

    value, _ = value_and_gradients(function, [[2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(value, -0.5, rtol=1e-6)


def test_inter_refuses_several_centers_a_class():
    """Refuses several centers a class."""
    with pytest.raises(ValueError, match=r"one prototype a class.*\(2, 3, 4\)"):
        InterLoss().weighted(of_prototypes(ops.ones((2, 3, 4)), [0]))


MISUSE = [
    (lambda: AngularTripletLoss(margin=20), r"\[0, pi\) radians.*margin=20.*math.radians"),
    (lambda: AngularTripletLoss(margin=-0.1), r"\[0, pi\) radians.*-0.1\.$"),
    (lambda: AngularTripletLoss(margin=math.pi), "radians"),
    (lambda: AngularTripletLoss(margin=True), "margin=True"),
    (lambda: AngularTripletLoss(mining="semi"), "'all', 'hard'.*mining='semi'"),
    (lambda: IntraLoss(-1), "IntraLoss needs weight >= 0. Received: weight=-1"),
    (lambda: InterLoss()([0], ops.ones((1, 3))), "InterLoss reads the head's prototypes.*auxiliary_loss="),
]


@pytest.mark.parametrize(("call", "message"), MISUSE)
def test_misuse_is_an_error_with_the_value_received(call, message):
    """Raises for misuse with the value received."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_a_loss_of_embeddings_refuses_bare_cosines():
    """Cosines of unknown origin carry no embeddings; losses of angles need none."""
    assert not (IntraLoss() + InterLoss()).needs_embeddings
    head = head_with(AngularTripletLoss())
    with pytest.raises(ValueError, match="AngularTripletLoss needs the embeddings"):
        value_and_gradients(lambda cosines: head.loss(ops.array(LABELS), cosines), np.zeros((len(LABELS), CLASSES)))

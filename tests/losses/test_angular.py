import math

import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from keras import ops
from terms import (
    CLASSES,
    LABELS,
    angles,
    assert_exact_in_a_head,
    assert_survives_its_config,
    batch,
    head_with,
    terms_of,
)

from keras_margin.losses import AngularTripletLoss, InterLoss, IntraLoss, Terms


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
    assert_exact_in_a_head(IntraLoss(1.5), lambda x, w, labels: 1.5 * intra(x, w, labels), from_cosines=True)


def test_inter_adds_minus_the_mean_angle_to_the_other_prototypes_over_pi():
    assert_exact_in_a_head(InterLoss(2.0), lambda x, w, labels: 2.0 * inter(x, w, labels))


@pytest.mark.parametrize("mining", TRIPLETS)
def test_triplets_add_their_hinges(mining):
    term = AngularTripletLoss(0.2, mining, weight=3.0)
    assert_exact_in_a_head(term, lambda x, w, labels: 3.0 * TRIPLETS[mining](x, labels, 0.2))


@pytest.mark.parametrize("mining", TRIPLETS)
@pytest.mark.parametrize("margin", [0.0, 3.0])
def test_triplets_are_exact_alone(mining, margin):
    """With margin 3 nearly every hinge is active, with margin 0 about half are."""
    x, _ = batch(1)
    value, (gradient,) = value_and_gradients(lambda x: AngularTripletLoss(margin, mining)(terms_of(x)), x)
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
    value, _ = value_and_gradients(lambda x: AngularTripletLoss()(terms_of(x, labels)), x)
    assert relative_error(value, all_triplets(x.astype("float64"), labels, 0.35)) < 1e-6


@pytest.mark.parametrize("mining", TRIPLETS)
def test_at_the_same_place_a_triplet_s_hinge_is_the_margin(mining):
    x = np.ones((4, 3))
    value, (gradient,) = value_and_gradients(
        lambda x: AngularTripletLoss(0.4, mining)(terms_of(x, np.array([0, 0, 1, 1]))), x
    )
    # A float32 cosine of 1 may come out one rounding below, which is an angle of 3.5e-4.
    np.testing.assert_allclose(value, 0.4, atol=1e-3)
    assert np.all(np.isfinite(gradient))


def test_invalid_samples_are_no_one_s_neighbours():
    x, _ = batch(3)
    valid = np.ones(len(LABELS), bool)
    valid[[2, 5]] = False
    both = AngularTripletLoss(0.2) + AngularTripletLoss(0.2, "hard", weight=2.0)
    found, (gradient,) = value_and_gradients(lambda x: both(terms_of(x, valid=ops.array(valid)))[valid], x)
    x, labels = x[valid].astype("float64"), LABELS[valid]
    assert relative_error(found, all_triplets(x, labels, 0.2) + 2.0 * hardest_triplets(x, labels, 0.2)) < 1e-6
    assert np.all(gradient[~valid] == 0)


def test_with_two_classes_inter_is_the_one_angle_between_them():
    def function(w):
        return InterLoss()(Terms(labels=ops.array([0, 1, 1]), num_classes=2, prototypes=w))

    value, _ = value_and_gradients(function, [[2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(value, -0.5, rtol=1e-6)


def test_inter_refuses_several_centres_a_class():
    terms = Terms(labels=ops.array([0]), num_classes=2, prototypes=ops.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"one prototype a class.*\(2, 3, 4\)"):
        InterLoss()(terms)


MISUSE = [
    (lambda: AngularTripletLoss(margin=20), r"\[0, pi\) radians.*margin=20.*math.radians"),
    (lambda: AngularTripletLoss(margin=-0.1), r"\[0, pi\) radians.*-0.1\.$"),
    (lambda: AngularTripletLoss(margin=math.pi), "radians"),
    (lambda: AngularTripletLoss(margin=True), "margin=True"),
    (lambda: AngularTripletLoss(mining="semi"), "'all', 'hard'.*mining='semi'"),
    (lambda: IntraLoss(-1), "finite weight >= 0.*-1"),
    (lambda: InterLoss().as_loss(), "InterLoss reads the head's prototypes.*auxiliary_loss="),
]


@pytest.mark.parametrize(("call", "message"), MISUSE)
def test_misuse_is_an_error_that_says_what_came(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


@pytest.mark.parametrize("term", [IntraLoss(0.5), InterLoss(0.3), AngularTripletLoss(0.2, "hard", 2.0)])
def test_configs_build_the_same_again(term):
    assert_survives_its_config(term)


def test_the_head_s_own_loss_refuses_bare_cosines_to_terms_of_embeddings_alone():
    assert not (IntraLoss() + InterLoss()).needs_embeddings
    head = head_with(AngularTripletLoss())
    with pytest.raises(ValueError, match="AngularTripletLoss needs the embeddings"):
        value_and_gradients(lambda cosines: head.loss(ops.array(LABELS), cosines), np.zeros((len(LABELS), CLASSES)))

"""A trained head made larger for new people."""

import numpy as np
import pytest
from head_formulas import CASES, CLASSES, SIZE, batch, make
from keras import ops

import keras_margin as km

NEW = CLASSES + 3


def expandable(name="arcface", **options):
    head = make(name, **options)
    head.prototypes.assign(batch(head)[1])
    return head


@pytest.mark.parametrize("name", CASES)
def test_old_rows_and_state_are_kept(name):
    """Keeps old rows and the state, and changes nothing for old samples."""
    head = expandable(name, auxiliary_loss=km.losses.CenterLoss())
    if head.margin.anneals:
        head.state.step.assign(500)
    bigger = head.expand(NEW)
    assert type(bigger) is type(head)
    assert bigger.get_config() == {**head.get_config(), "num_classes": NEW}
    for old, new in zip(head.get_weights(), bigger.get_weights(), strict=True):
        np.testing.assert_array_equal(new[: len(old)] if old.shape else new, old)
        assert new.shape == old.shape or len(new) == NEW
    embeddings = batch()[0]
    np.testing.assert_allclose(
        ops.convert_to_numpy(bigger(embeddings))[:, :CLASSES],
        ops.convert_to_numpy(head(embeddings)),
        # A product with more columns may round otherwise in the last place.
        atol=3e-7,
    )
    fresh = np.asarray(ops.convert_to_numpy(bigger.prototypes))[CLASSES:]
    assert np.all(np.linalg.norm(fresh, axis=-1) > 0)


def test_centers_of_a_stated_number_grow_with_the_head():
    """CenterLoss(num_classes=n) in a head of n classes: the expanded head has a center more a new class."""
    head = expandable(auxiliary_loss=km.losses.CenterLoss(num_classes=CLASSES))
    assert head.expand(NEW).auxiliary_loss.centers.shape == (NEW, SIZE)


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface"])
def test_new_rows_are_the_mean_directions_of_their_samples(name):
    """Sets new rows to the mean directions of their samples."""
    head = expandable(name)
    generator = np.random.default_rng(5)
    embeddings = generator.normal(size=(8, SIZE)) * np.array([[1], [100], [1], [1], [1], [1], [0], [1]])
    labels = np.array([7, 7, 7, 9, 9, 9, 9, 9])
    prototypes = ops.convert_to_numpy(head.expand(NEW, embeddings, labels).prototypes)
    rows = prototypes if prototypes.ndim == 2 else prototypes[:, 0]
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(lengths > 0, lengths, 1)
    old = ops.convert_to_numpy(head.prototypes)
    length = np.mean(np.linalg.norm(old, axis=-1))
    for label in (7, 9):
        mean = unit[labels == label].sum(axis=0)
        np.testing.assert_allclose(rows[label], length * mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)
    # Class 8 has no samples, a second centre none of its own: both are the initializer's.
    others = [rows[8]] if prototypes.ndim == 2 else [rows[8], *prototypes[7, 1:]]
    assert all(0 < np.linalg.norm(row) < 0.1 for row in others)


def test_an_expanded_head_goes_on_training():
    """Trains on after the expansion."""
    bigger = expandable().expand(NEW)
    embeddings, _, _ = batch()
    loss = ops.convert_to_numpy(bigger.compute_loss(embeddings, np.array([0, 1, 6, 7, 8, 9]), training=True))
    assert np.all(np.isfinite(loss))
    assert bigger.expand(NEW + 1).num_classes == NEW + 1


SAMPLES = np.ones((2, SIZE))
MISUSE = [
    (lambda head: head.expand(CLASSES), "num_classes, an int >= 8: more than the head has.*num_classes=7"),
    (lambda head: head.expand(3), "num_classes=3"),
    (lambda head: head.expand(NEW, SAMPLES), "embeddings and their labels together"),
    (lambda head: head.expand(NEW, labels=np.array([7, 8])), "together"),
    (lambda head: head.expand(NEW, SAMPLES, np.array([7, 6])), r"\[7, 9\].*6 at sample 1"),
    (lambda head: head.expand(NEW, SAMPLES, np.array([10, 7])), "10 at sample 0"),
    (lambda head: head.expand(NEW, SAMPLES[:, :3], np.array([7, 8])), r"\(n, 5\).*\(2, 3\)"),
    (lambda head: head.expand(NEW, SAMPLES * np.nan, np.array([7, 8])), "finite"),
    (lambda head: km.ArcFaceHead(7).expand(NEW), "built"),
]


@pytest.mark.parametrize(("call", "message"), MISUSE)
def test_what_cannot_be_expanded_says_why(call, message):
    """Says why a head cannot be expanded."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(expandable())


def test_dominant_centers_are_those_nearest_to_most():
    """Keeps the centers to which most samples are nearest."""
    head = make("subcenter_arcface", num_classes=3)
    axes = np.eye(5)
    head.prototypes.assign(np.stack([axes[:3], axes[2:5], -axes[:3]]))
    embeddings = np.stack([axes[1], axes[1] + 0.1 * axes[0], axes[0], 7 * axes[4], -axes[0], -axes[1]])
    found = head.dominant_centers(embeddings, np.array([0, 0, 0, 1, 1, 1]))
    # Class 1: one sample at its third centre; two at right angles to all three, which the first takes.
    np.testing.assert_array_equal(found, [1, 0, -1])
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        head.dominant_centers(embeddings, np.full(6, 3))

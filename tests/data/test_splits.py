import numpy as np
import pytest

from keras_margin.data import identity_disjoint_split, per_identity_split

# Seven identities with 3 to 9 images each, their images not in order.
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5, 8, 13, 21], [3, 4, 5, 6, 7, 8, 9]))


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_on_both_sides_of_an_identity_disjoint_split(seed):
    train, test = identity_disjoint_split(LABELS, num_test=3, seed=seed)
    assert len(set(LABELS[test])) == 3
    assert set(LABELS[train]) | set(LABELS[test]) == set(LABELS)
    assert not set(LABELS[train]) & set(LABELS[test])
    assert sorted([*train, *test]) == list(range(len(LABELS)))


@pytest.mark.parametrize("seed", range(5))
def test_everybody_has_as_many_training_images_in_a_per_identity_split(seed):
    train, test = per_identity_split(LABELS, num_train=2, seed=seed)
    assert [np.sum(LABELS[train] == identity) for identity in (0, 1, 2, 5, 8, 13, 21)] == [2] * 7
    assert [np.sum(LABELS[test] == identity) for identity in (0, 1, 2, 5, 8, 13, 21)] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted([*train, *test]) == list(range(len(LABELS)))


@pytest.mark.parametrize("split", [identity_disjoint_split, per_identity_split])
def test_a_seed_gives_one_split_and_another_seed_another(split):
    first, again, other = (split(LABELS, 2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_every_identity_is_tested_on_as_often_as_any_other():
    counts = np.zeros(10)
    for seed in range(1000):
        counts[identity_disjoint_split(np.arange(10), num_test=3, seed=seed)[1]] += 1
    # 300 expected; the standard deviation is sqrt(1000 * 0.3 * 0.7) = 14.5.
    assert np.all(np.abs(counts - 300) < 5 * 14.5)


@pytest.mark.parametrize("num_test", [0, 7])
def test_an_identity_disjoint_split_that_leaves_a_side_empty_is_refused(num_test):
    with pytest.raises(ValueError, match=rf"num_test in \[1, 7\).*Received: num_test={num_test}"):
        identity_disjoint_split(LABELS, num_test)


@pytest.mark.parametrize("num_train", [0, 3])
def test_a_per_identity_split_that_leaves_someone_out_names_him(num_train):
    with pytest.raises(ValueError, match=rf"because identity 0 has 3 images\. Received: num_train={num_train}"):
        per_identity_split(LABELS, num_train)


@pytest.mark.parametrize("labels", [np.eye(3), [], [0.0, 1.0], [[0, 1]]])
def test_labels_that_are_not_one_integer_per_image_are_refused(labels):
    with pytest.raises(ValueError, match=r"one integer label per image.*Pass reader\.labels"):
        identity_disjoint_split(labels, 1)

import json

import numpy as np
import pytest

from keras_margin.data import (
    ArrayReader,
    Split,
    draw_split,
    identity_disjoint_split,
    per_identity_split,
    read_split,
    write_split,
)

# Seven identities with 3 to 9 images each, their images not in order.
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5, 8, 13, 21], [3, 4, 5, 6, 7, 8, 9]))


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_on_both_sides_of_an_identity_disjoint_split(seed):
    """Puts nobody on both sides of an identity-disjoint split."""
    train, test = identity_disjoint_split(LABELS, num_test=3, seed=seed)
    assert len(set(LABELS[test])) == 3
    assert set(LABELS[train]) | set(LABELS[test]) == set(LABELS)
    assert not set(LABELS[train]) & set(LABELS[test])
    assert sorted([*train, *test]) == list(range(len(LABELS)))


@pytest.mark.parametrize("seed", range(5))
def test_a_per_identity_split_gives_equal_training_images(seed):
    """Gives every identity as many training images in a per-identity split."""
    train, test = per_identity_split(LABELS, num_train=2, seed=seed)
    assert [np.sum(LABELS[train] == identity) for identity in (0, 1, 2, 5, 8, 13, 21)] == [2] * 7
    assert [np.sum(LABELS[test] == identity) for identity in (0, 1, 2, 5, 8, 13, 21)] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted([*train, *test]) == list(range(len(LABELS)))


@pytest.mark.parametrize("split", [identity_disjoint_split, per_identity_split])
def test_a_seed_gives_one_split_and_another_seed_another(split):
    """Splits the same for one seed, and otherwise for another."""
    first, again, other = (split(LABELS, 2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_every_identity_is_tested_on_as_often_as_any_other():
    """Tests every identity as often as any other."""
    counts = np.zeros(10)
    for seed in range(1000):
        counts[identity_disjoint_split(np.arange(10), num_test=3, seed=seed)[1]] += 1
    # 300 expected; the standard deviation is sqrt(1000 * 0.3 * 0.7) = 14.5.
    assert np.all(np.abs(counts - 300) < 5 * 14.5)


@pytest.mark.parametrize("num_test", [0, 7])
def test_an_identity_split_with_an_empty_side_is_refused(num_test):
    """Refuses an identity-disjoint split that leaves a side empty."""
    with pytest.raises(ValueError, match=rf"num_test in \[1, 7\).*Received: num_test={num_test}"):
        identity_disjoint_split(LABELS, num_test)


@pytest.mark.parametrize("num_train", [0, 3])
def test_a_per_identity_split_that_leaves_someone_out_names_him(num_train):
    """Names the identity that a per-identity split leaves out."""
    with pytest.raises(ValueError, match=rf"because identity 0 has 3 images\. Received: num_train={num_train}"):
        per_identity_split(LABELS, num_train)


@pytest.mark.parametrize("labels", [np.eye(3), [], [0.0, 1.0], [[0, 1]]])
def test_labels_that_are_not_one_integer_per_image_are_refused(labels):
    """Refuses labels that are not one integer per image."""
    with pytest.raises(ValueError, match=r"one integer label per image.*Pass reader\.labels"):
        identity_disjoint_split(labels, 1)


def reader_of(names, images=3):
    pixels = np.full((len(names) * images, 4, 4), 99, np.uint8)
    return ArrayReader(pixels, np.repeat(np.arange(len(names)), images), names)


PEOPLE = [f"person {number}" for number in range(20)]


def test_a_split_is_the_identity_disjoint_one_by_names():
    """draw_split holds out the people of identity_disjoint_split."""
    reader = reader_of(PEOPLE)
    split = draw_split(reader, 5, seed=3, source="faces")
    train, held_out = identity_disjoint_split(reader.labels, 5, seed=3)
    assert split.held_out == tuple(f"person {label}" for label in sorted(set(reader.labels[held_out].tolist())))
    assert (split.num_identities, split.seed, split.source) == (20, 3, "faces")
    for found, expected in zip(split.indices(reader), (train, held_out), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert Split.of(reader, held_out, 3, "faces") == split


@pytest.mark.parametrize(("people", "expected"), [(4, 2), (25, 2), (100, 10), (6000, 500)])
def test_a_tenth_is_held_out_unless_told(people, expected):
    """The default is a tenth of the people, from 2 to 500."""
    assert len(draw_split(reader_of([str(number) for number in range(people)], 1)).held_out) == expected


def test_a_split_is_read_as_it_was_written(tmp_path):
    """Names of any script, and bytes that are not characters, come back."""
    split = Split(("Ünïcödé", "\udcff\udce9"), 9, None, "faces")
    write_split(tmp_path / "a.json", split)
    assert read_split(tmp_path / "a.json") == split


def test_a_split_holds_the_same_people_out_of_a_set_that_grew():
    """Names decide, whatever number a person has in the new set."""
    split = draw_split(reader_of(PEOPLE), 5)
    grown = reader_of(["a newcomer", *reversed(PEOPLE)], images=4)
    train, held_out = split.indices(grown)
    assert {grown.label_names[label] for label in grown.labels[held_out]} == set(split.held_out)
    assert sorted([*train, *held_out]) == list(range(grown.num_images))


def test_a_split_of_another_set_is_refused_with_the_names():
    """A set without a held-out identity is an error that names it."""
    split = Split(("ann", "person 3"), 20, source="faces")
    with pytest.raises(ValueError, match=r"lacks 1 of them: ann\. The split was made of faces with 20 identities"):
        split.indices(reader_of(PEOPLE))


def test_a_set_of_held_out_people_alone_has_nobody_to_train_on():
    """A split of which one part is empty in this set is an error."""
    with pytest.raises(ValueError, match="all of which are held out"):
        Split(("ann", "bob"), 3).indices(reader_of(["ann", "bob"]))


@pytest.mark.parametrize("count", [0, 20])
def test_a_split_that_leaves_a_part_empty_is_refused(count):
    """Nobody or everybody held out is an error."""
    with pytest.raises(ValueError, match=rf"in \[1, 20\), for a set of 20\. Received: {count}"):
        draw_split(reader_of(PEOPLE), count)


SOUND = {"format": "keras-margin split, version 1", "held_out": ["ann"], "num_identities": 2, "seed": 0, "source": None}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps(SOUND | {"format": "another"}),
        json.dumps(SOUND | {"held_out": [1]}),
        json.dumps(SOUND | {"held_out": []}),
        json.dumps(SOUND | {"num_identities": 1}),
        json.dumps(SOUND | {"people": 1}),
    ],
)
def test_a_file_that_is_not_a_split_is_refused_by_name(tmp_path, text):
    """JSON of another content is an error that names the file."""
    (tmp_path / "a.json").write_text(json.dumps(SOUND))
    assert read_split(tmp_path / "a.json") == Split(("ann",), 2, 0)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"A split is a JSON file .* Received: .*a\.json: "):
        read_split(tmp_path / "a.json")

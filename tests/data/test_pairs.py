"""Protocols drawn from labels, and the .bin files made of them."""

import numpy as np
import pytest

import keras_margin.data
from keras_margin.data import ArrayReader, load_bin, pairs

LABELS = np.repeat(np.arange(20), 5)


def test_folds_are_equal_balanced_and_disjoint():
    """Draws folds as runs of equal length, with as many pairs of each kind, that share no person."""
    drawn, is_same = pairs.make_protocol(LABELS, num_genuine=100, num_impostor=50, folds=5, seed=3)
    assert drawn.shape == (150, 2) and is_same.sum() == 100
    np.testing.assert_array_equal(LABELS[drawn[:, 0]] == LABELS[drawn[:, 1]], is_same)
    people = [set(LABELS[fold].ravel()) for fold in drawn.reshape(5, 30, 2)]
    assert all(not people[a] & people[b] for a in range(5) for b in range(a))
    assert is_same.reshape(5, 30).sum(axis=1).tolist() == [20] * 5
    assert len({tuple(pair) for pair in drawn.tolist()}) == 150
    assert (drawn[:, 0] != drawn[:, 1]).all()


def test_the_seed_alone_decides_the_pairs():
    """Draws the pairs by the seed alone."""
    first, again, other = (pairs.make_protocol(LABELS, 20, 20, 2, seed)[0].tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_genuine": 101, "folds": 5},
            "number of genuine pairs must be a multiple of folds=5, >= 0. Received: 101",
        ),
        ({"num_impostor": -10, "folds": 10}, "number of impostor pairs must be a multiple"),
        ({"folds": 0}, r"folds must be in \[1, 20\], the number of identities"),
        ({"folds": 21}, r"Received: folds=21"),
        # Two people with five images each in every fold: 20 genuine and 25 impostor pairs.
        (
            {"num_genuine": 210, "num_impostor": 0, "folds": 10},
            r"In 10 folds .* at most 200 genuine and 250 impostor pairs.*Received: 210 genuine and 0 impostor pairs",
        ),
        (
            {"num_genuine": 30_000},
            "In 10 folds .* at most 200 genuine and 250 impostor pairs.*Received: 30,000 genuine",
        ),
        ({"num_impostor": 260, "folds": 10}, "at most 200 genuine and 250 impostor.*Received: 260 impostor pairs"),
        ({"folds": 20}, "at most 200 genuine and 0 impostor pairs.*Received: no number of pairs"),
    ],
)
def test_an_impossible_protocol_is_refused(arguments, message):
    """Refuses a protocol that cannot be drawn, and says what there is."""
    with pytest.raises(ValueError, match=message):
        pairs.make_protocol(LABELS, **arguments)


@pytest.mark.tensorflow_only
def test_the_file_holds_the_images_of_the_pairs(tmp_path):
    """Writes the images of the pairs into the file."""
    images = np.random.default_rng(0).integers(0, 256, (100, 4, 5, 3), np.uint8)
    reader = ArrayReader(images, LABELS, [str(label) for label in range(20)])
    drawn, is_same = pairs.write_protocol(tmp_path / "our.bin", reader, 20, 10, folds=2)
    loaded, loaded_same = load_bin(tmp_path / "our.bin")
    np.testing.assert_array_equal(loaded, images[drawn.ravel()])
    np.testing.assert_array_equal(loaded_same, is_same)


@pytest.mark.tensorflow_only
def test_an_image_that_cannot_be_read_stops_the_drawing(tmp_path):
    """Stops at an image that cannot be read."""
    from records import jpeg

    for label in range(4):
        (tmp_path / "set" / str(label)).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "set" / str(label) / f"{number}.jpg").write_bytes(jpeg(label))
    broken = bytearray(jpeg(0))
    place = broken.index(b"\xff\xc4") + 4
    broken[place : place + 20] = b"\xff" * 20
    (tmp_path / "set" / "1" / "0.jpg").write_bytes(broken)
    reader = keras_margin.data.open(tmp_path / "set")
    with pytest.raises(ValueError, match=r"Every image of a protocol must be readable\. Received: 1 of 8"):
        pairs.write_protocol(tmp_path / "our.bin", reader, 4, 4, folds=1)
    assert not (tmp_path / "our.bin").exists()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([10] * 40, (1800, 1800, 10)),  # Four people of ten: 4 * 45 genuine pairs in each fold.
        ([60] * 40, (3000, 3000, 10)),
        ([3] * 12, (36, 36, 6)),  # Two people of three: 6 genuine and 9 impostor pairs in each of 6 folds.
        ([2] * 4, (4, 4, 2)),
    ],
)
def test_numbers_that_are_left_open_are_as_many_as_fit(sizes, expected):
    """Without numbers, every fold gives the same number of both kinds, up to 3,000 in all."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert pairs.protocol_size(labels) == expected
    drawn, is_same = pairs.make_protocol(labels)
    assert (is_same.sum(), (~is_same).sum()) == expected[:2]
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_a_number_that_is_left_open_follows_the_other():
    """One open number becomes the other, or the largest there is."""
    assert pairs.protocol_size(LABELS, num_genuine=40, folds=5) == (40, 40, 5)
    assert pairs.protocol_size(LABELS, num_impostor=250, folds=10) == (200, 250, 10)
    assert pairs.protocol_size(LABELS, num_genuine=12, num_impostor=6) == (12, 6, 6)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3], [0, 0]])
def test_people_too_few_for_two_folds_are_refused(labels):
    """Fewer than two folds' people is an error with what is needed."""
    with pytest.raises(ValueError, match=r"two people, one of them with two images\. Received: .* people, "):
        pairs.protocol_size(labels)

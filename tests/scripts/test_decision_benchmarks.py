"""The arithmetic of the benchmarks on decisions, galleries and quality, by brute force."""

import itertools
import math

import numpy as np
import pytest

from benchmarks import decisions, galleries, quality


@pytest.mark.parametrize("size", [1, 3, 6])
def test_observed_fpir_is_the_mean_over_every_gallery(size):
    """Of each probe, the share of all galleries of so many of the seven others that hold somebody it reaches."""
    reached = [set(), {2}, {0, 1, 6}, set(range(7))]
    galleries_of = list(itertools.combinations(range(7), size))
    wanted = np.mean([[bool(each & set(gallery)) for gallery in galleries_of] for each in reached])
    found = decisions.observed_fpir(np.array([len(each) for each in reached]), 7, size)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_a_path_names_the_person_by_its_first_folder():
    """Of crops in a common folder, the folder right below it; of plain names, the names."""
    paths = np.array(["cfp/Images/001/frontal/1.jpg", "cfp/Images/002/frontal/1.jpg", "cfp/Images/001/profile/1.jpg"])
    assert decisions.who(paths).tolist() == [0, 1, 0]
    assert decisions.who(np.array(["Ada", "Grace", "Ada"])).tolist() == [0, 1, 0]


def test_photographs_of_one_person_have_the_wanted_cosine():
    """0.7 on average, whichever others are made with them."""
    rows, others = (galleries.photographs(np.arange(2000), take, 256) for take in (0, 1))
    assert (rows * others).sum(axis=1).mean() == pytest.approx(0.7, abs=0.02)
    alone = galleries.photographs(np.array([17]), 1, 256)
    assert (alone @ rows.T).argmax() == 17


def test_each_photograph_has_noise_of_its_own():
    """What two people's other photographs differ by is not what the people differ by alone."""
    first, second = (galleries.photographs(np.array([person]), 1, 512)[0] for person in (3, 4))
    own = [galleries.photographs(np.array([person]), 0, 512)[0] for person in (3, 4)]
    noises = [(one - (one @ two) * two) for one, two in zip((first, second), own, strict=True)]
    cosine = noises[0] @ noises[1] / np.linalg.norm(noises[0]) / np.linalg.norm(noises[1])
    assert abs(cosine) < 0.3


def test_an_interval_over_people_is_that_of_their_means():
    """Of people with equally many images, the normal one of n people."""
    people = np.repeat(np.arange(400), 3)
    own = np.random.default_rng(0).normal(size=400)
    mean, low, high = quality.over_people(own[people], people)
    half = 1.96 * own.std() / math.sqrt(400)
    assert mean == pytest.approx(own.mean(), abs=1e-3)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)

"""Random scores with ties and what thresholds do to them, counted one by one: for the tests of evaluation."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

few = settings(derandomize=True, database=None, deadline=None, max_examples=60)


@st.composite
def scored_pairs(draw, minimum=1, maximum=12):
    """Scores on a coarse grid, so that ties within and between the kinds are common; shuffled, both kinds present."""
    score = st.integers(-4, 4).map(lambda number: number / 4)
    genuine = draw(st.lists(score, min_size=minimum, max_size=maximum))
    impostor = draw(st.lists(score, min_size=minimum, max_size=maximum))
    order = draw(st.permutations(range(len(genuine) + len(impostor))))
    scores = np.array(genuine + impostor)[order]
    return scores, np.array([True] * len(genuine) + [False] * len(impostor))[order]


def rates(scores, is_same, threshold):
    """FAR and TAR of accepting score >= threshold, counted one by one."""
    accepted = [bool(score >= threshold) for score in scores]
    far = sum(a and not s for a, s in zip(accepted, is_same, strict=True)) / int(np.sum(~is_same))
    tar = sum(a and bool(s) for a, s in zip(accepted, is_same, strict=True)) / int(np.sum(is_same))
    return far, tar


def operating_points(scores, is_same):
    return [rates(scores, is_same, t) for t in [math.inf, *sorted(set(scores.tolist()), reverse=True)]]

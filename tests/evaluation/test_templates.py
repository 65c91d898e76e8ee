import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few

from keras_margin import evaluation

rng = np.random.default_rng(5)


def template_by_hand(embeddings, templates, media, scores, keep_length):
    """Each template's images by medium, in Python lists; {template: unit vector}."""
    expected = {}
    for name in sorted(set(templates)):
        by_medium = {}
        for x, template, medium, score in zip(embeddings, templates, media, scores, strict=True):
            if template == name:
                image = x if keep_length else x / math.sqrt(float(x @ x))
                by_medium.setdefault(medium, []).append(score * image)
        total = sum(sum(images) / len(images) for images in by_medium.values())
        expected[name] = total / math.sqrt(float(total @ total))
    return expected


@few
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=14),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 50, 2**20]),
)
def test_templates_are_means_of_media_means(names, keep_length, weighted, block_bytes):
    """Averages the means of media into templates."""
    templates, media = [f"t{template}" for template, _ in names], [medium for _, medium in names]
    generator = np.random.default_rng(len(names))
    embeddings = generator.normal(size=(len(names), 5)) * generator.uniform(0.1, 9, (len(names), 1))
    scores = generator.uniform(0.1, 1, len(names)) if weighted else None
    expected = template_by_hand(
        embeddings, templates, media, np.ones(len(names)) if scores is None else scores, keep_length
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_margin.evaluation._arrays.BLOCK_BYTES", block_bytes)
        unit, ids = evaluation.template_embeddings(embeddings, templates, media, scores, keep_length)
    assert ids.tolist() == list(expected)
    np.testing.assert_allclose(unit, list(expected.values()), atol=1e-12)


def test_frames_of_a_video_without_media_count_alike():
    """Weighs frames of a video without media equally."""
    frames = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 4.0]], np.float32)
    unit, ids = evaluation.template_embeddings(frames, ["a/0"] * 3)
    assert ids.tolist() == ["a/0"] and unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[2 / math.sqrt(20), 4 / math.sqrt(20)]], rtol=1e-6)


def test_flips_are_summed_or_set_side_by_side():
    """Sums flips, or concatenates them."""
    a, b = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(evaluation.combine_flips(a, b), a + b)
    both = evaluation.combine_flips(a, b, how="concatenate")
    assert both[2].tolist() == [*a[2].tolist(), *b[2].tolist()] and both.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1.0]], [[1.0]], "mean"), "how='mean'"),
        (([[1.0, 2.0]], [[1.0]]), "one shape. Received: (1, 2) and (1, 1)"),
        (([[1.0], [2.0]], [[1.0], [-2.0]]), "embeddings + flipped must not be zero"),
        (([[1.0]], [[math.nan]]), "flipped must be finite"),
    ],
)
def test_flips_refuse(arguments, words):
    """Refuses invalid flips."""
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluation.combine_flips(*arguments)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"templates": [1, 2]}, ValueError, "templates must have one entry per embedding. Received: 2 for 3"),
        ({"media": [1]}, ValueError, "media must have one entry per embedding"),
        ({"detector_scores": [1.0, -0.5, 1.0]}, ValueError, "Received: -0.5 for image 1"),
        ({"detector_scores": [1.0, 1.0, math.nan]}, ValueError, "Received: nan for image 2"),
        ({"detector_scores": [1.0]}, ValueError, "one number per embedding. Received: (1,) for 3"),
        ({"detector_scores": ["1", "1", "1"]}, TypeError, "detector_scores must be numbers"),
        ({"detector_scores": [0.0, 0.0, 1.0]}, ValueError, "template 7 cancel out, or their detector scores"),
        ({"embeddings": [[0.1, 0.7], [-0.1, -0.7], [1.0, 0.0]]}, ValueError, "template 7 cancel out"),
        ({"embeddings": [[0.0, 0.0], [0.1, 0.7], [1.0, 0.0]]}, ValueError, "embeddings must not be zero"),
    ],
)
def test_templates_refuse(change, error, words):
    """Refuses invalid templates."""
    arguments = {"embeddings": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "templates": [7, 7, 8], "media": [1, 2, 3]}
    with pytest.raises(error, match=re.escape(words)):
        evaluation.template_embeddings(**(arguments | change))


def test_template_scores_look_templates_up_by_name():
    """Looks templates up by name."""
    unit = rng.normal(size=(5, 4))
    ids = [3, 8, 20, 21, 90]
    pairs = np.array([[90, 3], [8, 8], [20, 21]])
    found = evaluation.template_scores(unit, ids, pairs)
    for (a, b), score in zip(pairs.tolist(), found, strict=True):
        x, y = unit[ids.index(a)], unit[ids.index(b)]
        assert score == pytest.approx(x @ y / math.sqrt((x @ x) * (y @ y)), abs=1e-12)


@pytest.mark.parametrize(
    ("ids", "pairs", "error", "words"),
    [
        ([1, 2], [[1, 2], [1, 5]], ValueError, "1 names without, the first is 5"),
        ([1, 2], [[0, 2]], ValueError, "the first is 0"),
        ([2, 1], [[1, 2]], ValueError, "must be in order"),
        ([1, 1], [[1, 1]], ValueError, "each once"),
        ([1, 2], [["1", "2"]], TypeError, "of one type"),
        ([1, 2], [1, 2], ValueError, "(m, 2)"),
        ([1, 2, 3], [[1, 2]], ValueError, "Received: 3 for 2"),
    ],
)
def test_template_scores_refuse(ids, pairs, error, words):
    """Refuses invalid pairs of templates."""
    with pytest.raises(error, match=re.escape(words)):
        evaluation.template_scores(np.eye(2), ids, pairs)

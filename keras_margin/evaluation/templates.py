"""Templates, sets of images of one person: IJB-B and IJB-C one to one, YTF's videos, and mirror images.

The road of IJB: `combine_flips`, `template_embeddings`, `template_scores`, `score_report`. That of YTF: the same, a
video being a template whose frames count equally, then `k_fold_accuracy` with the folds of its split file.
"""

from typing import Literal

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays
from keras_margin.evaluation.pairs import pair_scores


def combine_flips(embeddings: ArrayLike, flipped: ArrayLike, how: Literal["sum", "concatenate"] = "sum") -> np.ndarray:
    """Combines the embeddings of each image and of its mirror image into one.

    sum: embeddings + flipped;  concatenate: [embeddings, flipped] side by side

    Both of the raw embeddings, as published: the longer one weighs more. Sums are the usual choice of ArcFace's sets
    and of IJB; SphereFace concatenates.

    Args:
        embeddings: Real array (n, embedding_size).
        flipped: Those of the mirror images, in the same order, the same shape.
        how: "sum" or "concatenate".

    Returns:
        Array (n, embedding_size), or (n, 2 * embedding_size) where concatenated, at least float32.

    Raises:
        TypeError: Embeddings that are not numbers.
        ValueError: Another `how`, shapes that differ, a zero, NaN or infinite embedding; a sum that is zero.

    Example:
        >>> combine_flips([[1.0, 2.0]], [[3.0, -1.0]]).tolist()
        [[4.0, 1.0]]

    Reference: Liu et al., SphereFace, CVPR 2017, section 4.1.
    """
    if how not in ("sum", "concatenate"):
        raise ValueError(f'how must be "sum" or "concatenate". Received: how={how!r}.')
    embeddings, flipped = _arrays.check_embeddings(embeddings), _arrays.check_embeddings(flipped, "flipped")
    if embeddings.shape != flipped.shape:
        raise ValueError(
            f"embeddings and flipped must have one shape. Received: {embeddings.shape} and {flipped.shape}."
        )
    dtype = np.result_type(embeddings.dtype, flipped.dtype, np.float32)
    if how == "concatenate":
        return np.concatenate([embeddings, flipped], axis=1, dtype=dtype)
    return _arrays.check_embeddings(np.add(embeddings, flipped, dtype=dtype), "embeddings + flipped")


def template_embeddings(
    embeddings: ArrayLike,
    templates: ArrayLike,
    media: ArrayLike | None = None,
    detector_scores: ArrayLike | None = None,
    keep_length: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes one unit embedding for each template: the mean of its media's means.

    image    = embedding * detector_score, brought to unit length before where keep_length is False
    medium   = mean of its images within the template;  template = unit(sum of its media)

    A video of 300 frames thus weighs as much as one still image. `keep_length` is what insightface's script calls
    use_norm_score: the length of an embedding, small for poor images, stays in as a weight. Other scripts use the same
    name for the opposite.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0, an image or frame a row.
        templates: Integer or string array (n,), the template of each image.
        media: Integer or string array (n,), the still image or video that each image comes from; None where each is
            one of its own, as YTF's frames are.
        detector_scores: Real array (n,), >= 0, how sure the detector was of each face; None for equal weights.
        keep_length: Whether an embedding's length weighs.

    Returns:
        (unit, template_ids): float32 (float64 for float64 embeddings) array (num_templates, embedding_size) of unit
        rows; the templates' names in order, array (num_templates,).

    Raises:
        TypeError: Embeddings or scores that are not numbers, names of another type.
        ValueError: A zero, NaN or infinite embedding, lengths that differ, a detector score that is negative or not
            finite, a template that cancels out or whose scores are all zero.

    Example:
        >>> x = np.array([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
        >>> unit, ids = template_embeddings(x, templates=[5, 5, 5, 9], media=[1, 1, 2, 3])
        >>> np.round(unit, 3).tolist(), ids.tolist()
        ([[0.707, 0.707], [0.707, 0.707]], [5, 9])

    Reference: Whitelam et al., IARPA Janus Benchmark-B, CVPRW 2017; Maze et al., IARPA Janus Benchmark-C, ICB 2018.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    ids, template = np.unique(_arrays.check_labels(templates, len(embeddings), "templates"), return_inverse=True)
    medium = np.arange(len(embeddings))
    if media is not None:
        medium = np.unique(_arrays.check_labels(media, len(embeddings), "media"), return_inverse=True)[1]
    weights = _check_detector_scores(detector_scores, len(embeddings))
    order = np.lexsort((medium, template))
    starts = np.searchsorted(template[order], np.arange(len(ids) + 1))
    unit = np.empty((len(ids), embeddings.shape[1]), np.result_type(embeddings.dtype, np.float32))
    for first, last in _runs(starts, 8 * embeddings.shape[1]):
        rows = order[starts[first] : starts[last]]
        images = _arrays.unit_rows(embeddings, rows, np.float64) if not keep_length else embeddings[rows]
        images = images.astype(np.float64) * weights[rows, None]
        sums, scales = _sums_of_media(images, template[rows], medium[rows])
        unit[first:last] = _unit_or_error(sums, scales, ids[first:last])
    return unit, ids


def template_scores(unit: ArrayLike, template_ids: ArrayLike, pairs: ArrayLike) -> np.ndarray:
    """Computes the cosine score of each pair of templates, named as in the list file.

    Args:
        unit: Real array (num_templates, embedding_size), as `template_embeddings` returns it.
        template_ids: Integer or string array (num_templates,), in order, as it returns them.
        pairs: Integer or string array (m, 2) of names of templates.

    Returns:
        Array (m,) in [-1, 1]; memory grows by the scores alone, never by gathered embeddings.

    Raises:
        TypeError, ValueError: As `pair_scores`; a name that is not among the templates (it is named), names out of
            order.

    Example:
        >>> template_scores(np.eye(2), [5, 9], [[5, 9], [9, 9]]).tolist()
        [0.0, 1.0]

    Reference: Maze et al., IARPA Janus Benchmark-C, ICB 2018, 1:1 verification.
    """
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"pairs must be shaped (m, 2), m >= 1. Received: shape={pairs.shape}.")
    index = [rows_of_templates(template_ids, names, len(unit)) for names in pairs.T]
    return pair_scores(unit, np.stack(index, axis=1))


def rows_of_templates(template_ids: ArrayLike, names: np.ndarray, count: int) -> np.ndarray:
    """The row of each named template, integers; ValueError where there is none."""
    template_ids = _arrays.check_labels(template_ids, count, "template_ids")
    if not (template_ids[1:] > template_ids[:-1]).all():
        raise ValueError("template_ids must be in order, each once, as template_embeddings returns them.")
    names = np.asarray(names)
    _arrays.check_same_kind(names, template_ids)
    rows = np.minimum(np.searchsorted(template_ids, names), count - 1)
    missing = template_ids[rows] != names
    if missing.any():
        raise ValueError(
            f"Each named template needs images. Received: {np.count_nonzero(missing)} names without, the first is "
            f"{names[missing.argmax()].item()!r}. Do the list files belong to one set?"
        )
    return rows


def _check_detector_scores(scores: ArrayLike | None, count: int) -> np.ndarray:
    if scores is None:
        return np.ones(count)
    scores = np.asarray(scores)
    if scores.dtype.kind not in "fiu":
        raise TypeError(f"detector_scores must be numbers. Received: dtype={scores.dtype}.")
    if scores.shape != (count,):
        raise ValueError(f"detector_scores must hold one number per embedding. Received: {scores.shape} for {count}.")
    if not (np.isfinite(scores) & (scores >= 0)).all():
        bad = ~(np.isfinite(scores) & (scores >= 0))
        raise ValueError(
            f"detector_scores must be finite and >= 0. Received: {scores[bad.argmax()]} for image {bad.argmax()}."
        )
    return scores.astype(np.float64)


def _runs(starts, row_bytes):
    """(first, last) templates of runs whose images fit a block, or of one template that does not."""
    most, first = max(1, _arrays.BLOCK_BYTES // row_bytes), 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + most, side="right")) - 1)
        yield first, last
        first = last


def _sums_of_media(images, template, medium):
    """Sum over each template's media of the mean of their images, and the largest entry that went into it."""
    new_template = np.concatenate([[True], template[1:] != template[:-1]])
    starts = np.flatnonzero(new_template | np.concatenate([[True], medium[1:] != medium[:-1]]))
    counts = np.diff(np.append(starts, len(images)))
    means = np.add.reduceat(images, starts) / counts[:, None]
    firsts = np.flatnonzero(new_template)
    return np.add.reduceat(means, np.searchsorted(starts, firsts)), np.maximum.reduceat(
        np.abs(images).max(axis=1), firsts
    )


def _unit_or_error(sums, scales, ids):
    # What is left of entries that large after a sum that should be zero.
    zero = np.abs(sums).max(axis=1) <= 64 * np.finfo(np.float64).eps * scales
    if zero.any():
        raise ValueError(
            f"The images of template {ids[zero.argmax()].item()!r} cancel out, or their detector scores are all zero: "
            "it has no direction. Leave it out."
        )
    return _arrays.unit_rows(sums)

"""Figures of the scores and angles themselves: their distributions, and the pairs that are most wrong."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_margin._typing import ArrayLike, PathLike
from keras_margin.plots import _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def score_histogram(
    scores: ArrayLike, is_same: ArrayLike, path: PathLike | None = None, threshold: float | None = None
) -> "Figure":
    """Draws distributions of genuine and impostor scores, each as a share of its own pairs.

    Args:
        scores: Real array (n,), finite.
        is_same: Bool array (n,); True is a genuine pair.
        path: As for `roc_curve`.
        threshold: Score to mark, with the FAR and FRR it gives; or None.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: Lengths that differ, scores or a threshold that are not finite, no genuine or no impostor pair,
            another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = score_histogram([0.9, 0.5, 0.4, 0.1], [True, True, False, False], threshold=0.45)

    Reference: Deng et al., ArcFace, CVPR 2019, figure 6 (there over angles).
    """
    scores, is_same = _check_scores(scores, is_same)
    if threshold is not None and not np.isfinite(threshold):
        raise ValueError(f"threshold must be finite, or None for no mark. Received: {threshold}.")
    figure, axes = _figure.new(path)
    edges = _bin_edges(scores)
    for name, chosen, style in zip(("impostor", "genuine"), (~is_same, is_same), _figure.styles(), strict=False):
        share = 100 * np.histogram(scores[chosen], edges)[0] / chosen.sum()
        label = f"{name} ({chosen.sum():,} pairs)"
        axes.stairs(share, edges, color=style["color"], linewidth=1.5, zorder=3)
        axes.stairs(share, edges, color=style["color"], alpha=0.3, fill=True, zorder=2, label=label)
    marked = edges if threshold is None else np.append(edges, threshold)
    axes.set_xlim(marked.min(), marked.max())
    axes.set_ylim(0, (1.05 if threshold is None else 1.25) * axes.dataLim.y1)
    if threshold is not None:
        _mark_threshold(axes, scores, is_same, threshold)
    axes.set_xlabel("Score (cosine similarity)")
    axes.set_ylabel("Share of pairs of its kind per bin (%)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, labelcolor=_figure.INK, frameon=False)
    return _figure.finish(figure, path)


def angle_histogram(sets: Mapping[str, Mapping[str, ArrayLike]], path: PathLike | None = None) -> "Figure":
    """Draws distributions of angles, a panel a set and an outline a kind, each as a share of its own angles.

    Args:
        sets: Dict from a panel's title to a dict from a kind to its angles in degrees, arrays in [0, 180]: for
            ArcFace's figures `{"LFW": {"impostor": found.impostor, "genuine": found.genuine}}`, with `found` from
            `keras_margin.evaluation.angle_distributions`, or halves of `pair_angles`.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No set, a set without a kind, angles that are none or outside [0, 180], another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = angle_histogram({"LFW": {"impostor": [80.0, 91.0, 95.0], "genuine": [30.0, 42.0]}})

    Reference: Deng et al., ArcFace, CVPR 2019, figures 6 and 7.
    """
    _figure.check_results(sets)
    angles = {title: _check_angles(title, kinds) for title, kinds in sets.items()}
    columns = min(3, len(angles))
    figure, panels = _figure.panels(path, -(-len(angles) // columns), columns, (3.4 if columns > 1 else 5.6, 2.9))
    highest = max(theta.max() for kinds in angles.values() for theta in kinds.values())
    edges = np.arange(0, min(180, 30 * np.ceil(max(highest, 1) / 30)) + 1, 2.0)
    # A kind has one colour in all panels, and no other kind has it: there is one legend.
    names = list(dict.fromkeys(kind for kinds in angles.values() for kind in kinds))
    styles = dict(zip(names, _figure.styles(), strict=False))
    for axes, (title, kinds) in zip(panels.ravel(), angles.items(), strict=False):
        for kind, theta in kinds.items():
            style = styles[kind]
            share = 100 * np.histogram(theta, edges)[0] / len(theta)
            axes.stairs(share, edges, color=style["color"], linewidth=1.5, zorder=3)
            axes.stairs(share, edges, color=style["color"], alpha=0.3, fill=True, zorder=2, label=kind)
        axes.set_title(title, size=10, color=_figure.INK)
        axes.set_xlim(0, edges[-1])
        axes.set_xticks(np.arange(0, edges[-1] + 1, 30))
    for axes in panels[:, 0]:
        axes.set_ylabel("Share per 2 degrees (%)")
    for axes in panels.ravel()[: len(angles)][-columns:]:
        axes.set_xlabel("Angle (degrees)")
    legends: dict = {}
    for axes in panels.ravel():
        handles, kinds = axes.get_legend_handles_labels()
        legends |= dict(zip(kinds, handles, strict=True))
        axes.set_visible(bool(handles))
    _figure.legend_above(figure, list(legends.values()), list(legends))
    return _figure.finish(figure, path)


def error_gallery(
    images: np.ndarray,
    pairs: ArrayLike,
    scores: ArrayLike,
    is_same: ArrayLike,
    path: PathLike | None = None,
    count: int = 6,
) -> "Figure":
    """Draws the pairs an embedder is most wrong about: genuine ones of low scores, impostors of high ones.

    Read it before the numbers: mislabelled pairs, wrong crops and wrong channels show at once.

    Args:
        images: uint8 array (n, height, width, 3), RGB, or (n, height, width), grey.
        pairs: Integer array (m, 2), indices in [0, n).
        scores: Real array (m,), finite; higher is more similar.
        is_same: Bool array (m,); True is a genuine pair.
        path: As for `roc_curve`.
        count: How many pairs of each kind, >= 1; all there are, if fewer.

    Returns:
        matplotlib Figure, worst pairs first, each with its score.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: Images that are not uint8.
        ValueError: Lengths that differ, a pair out of range, one kind of pair alone, another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> images = np.zeros((4, 8, 8, 3), np.uint8)
        >>> figure = error_gallery(images, [[0, 1], [2, 3]], [0.2, 0.9], [True, False])
    """
    images, pairs = np.asarray(images), np.asarray(pairs)
    scores, is_same = _check_scores(scores, is_same)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise TypeError(f"images must be uint8 (n, height, width[, 3]). Received: {images.dtype} {images.shape}.")
    if pairs.shape != (len(scores), 2) or not ((pairs >= 0) & (pairs < len(images))).all():
        raise ValueError(
            f"pairs must be (m, 2) indices of the {len(images)} images, one a score. Received: {pairs.shape} for "
            f"{len(scores)} scores."
        )
    if count < 1:
        raise ValueError(f"count must be >= 1. Received: count={count}.")
    kinds = {"Genuine, lowest scores": (is_same, 1), "Impostor, highest scores": (~is_same, -1)}
    # As high as two of the images side by side, and a line of text.
    height = 1.5 * images.shape[1] / (2.05 * images.shape[2]) + 0.35
    figure, panels = _figure.panels(path, 2, min(count, len(scores)), (1.5, height))
    for row, (title, (chosen, sign)) in zip(panels, kinds.items(), strict=True):
        for axes, pair in zip(row, _lowest(sign * scores, chosen, len(row)), strict=False):
            first, second = images[pairs[pair]]
            gap = np.full_like(first[:, : max(1, first.shape[1] // 20)], 255)
            axes.imshow(np.concatenate([first, gap, second], axis=1), cmap="gray", vmin=0, vmax=255)
            # An empty line above, where the row's own words stand: they would widen the first column by themselves.
            axes.set_title(f"\n{scores[pair]:.3f}", size=9, color=_figure.INK)
        for axes in row:
            axes.set_axis_off()
        words = row[0].annotate(
            title, (0, 1), (0, 16), "axes fraction", textcoords="offset points", fontsize=10, color=_figure.INK
        )
        words.set_in_layout(False)
    return _figure.finish(figure, path)


def worst_pairs(scores: ArrayLike, is_same: ArrayLike, count: int) -> np.ndarray:
    """Finds the pairs that `error_gallery` shows: genuine ones of the lowest scores, then impostors of the highest.

    Args:
        scores: Real array (m,), finite; higher is more similar.
        is_same: Bool array (m,); True is a genuine pair.
        count: How many of each kind, >= 1; all there are, if fewer.

    Returns:
        Integer array of pairs' numbers, worst first within each kind.

    Raises:
        ValueError: Lengths that differ, scores that are not finite, one kind of pair alone.

    Example:
        >>> worst_pairs([0.9, 0.2, 0.4, 0.1], [True, True, False, False], 1).tolist()
        [1, 2]
    """
    scores, is_same = _check_scores(scores, is_same)
    return np.concatenate([_lowest(scores, is_same, count), _lowest(-scores, ~is_same, count)])


def _lowest(scores: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(scores[rows], kind="stable")][:count]


def _mark_threshold(axes: Any, scores: np.ndarray, is_same: np.ndarray, threshold: float) -> None:
    """A line at the threshold and, in the free strip above the bars, the errors it makes."""
    far, frr = np.mean(scores[~is_same] >= threshold), np.mean(scores[is_same] < threshold)
    axes.axvline(threshold, color=_figure.INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
    left, right = axes.get_xlim()
    on_left = threshold > (left + right) / 2
    axes.annotate(
        f"threshold {threshold:.3g}\nFAR {100 * far:.2g} %, FRR {100 * frr:.2g} %",
        (threshold, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-5 if on_left else 5, -4),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        fontsize=9,
        color=_figure.INK,
    )


def _check_scores(scores: ArrayLike, is_same: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, is_same = np.asarray(scores, np.float64), np.asarray(is_same).astype(bool)
    if scores.ndim != 1 or scores.shape != is_same.shape:
        raise ValueError(f"scores and is_same must both be shaped (n,). Received: {scores.shape}, {is_same.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite. Received: {(~np.isfinite(scores)).sum()} NaN or infinite.")
    if is_same.all() or not is_same.any():
        raise ValueError("score_histogram needs genuine and impostor pairs. Received: one kind only.")
    return scores, is_same


def _check_angles(title: str, kinds: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    if not kinds:
        raise ValueError(f"angle_histogram needs a kind of angle in each set. Received: none in {title!r}.")
    checked = {kind: np.asarray(theta, np.float64) for kind, theta in kinds.items()}
    for kind, theta in checked.items():
        if theta.ndim != 1 or not theta.size or not ((theta >= 0) & (theta <= 180)).all():
            raise ValueError(
                f"Angles must be an array (n,), n >= 1, in [0, 180] degrees. Received: {kind} of {title!r}."
            )
    return checked


def _bin_edges(scores: np.ndarray) -> np.ndarray:
    """Edges of 20 to 80 equal bins, more where there are more scores."""
    low, high = scores.min(), scores.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(np.clip(np.sqrt(len(scores)), 20, 80)) + 1)

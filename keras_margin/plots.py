"""Figures of what evaluation computed; matplotlib is the extra "plots" and is imported when a figure is drawn.

Every function returns a matplotlib Figure of its own (no pyplot, no global state) and, given a path, also writes it
there: as PNG, PDF or SVG by the suffix, complete or not at all.
"""

import os
from pathlib import Path

import numpy as np

from keras_margin.evaluation import Roc

# Okabe and Ito's palette: apart for all common kinds of colour blindness, and dark enough on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
_INK = "#333333"
_FAINT = "#D9D9D9"
_SUFFIXES = (".pdf", ".png", ".svg")
_ABOVE = {"loc": "outside upper center", "ncols": 4, "fontsize": 9, "labelcolor": _INK, "frameon": False}
_ROC_POINTS = 2000  # more than a figure has pixels


def roc_curve(results, path=None, reports=None):
    """ROC curves over a logarithmic FAR axis: staircases, exact at the points drawn (at most 2,000 a curve).

    The axis begins at the decade of the smallest FAR that any of the sets can show, 1 / impostors; each curve begins
    at its own. TAR at a FAR is that of `tar_at_far`.

    Args:
        results: Dict from a curve's name to its `keras_margin.evaluation.Roc`, one or more.
        path: File to write as well, `.png`, `.pdf` or `.svg`; or None.
        reports: Dict from the same names, not necessarily all, to `keras_margin.evaluation.VerificationReport`s, whose
            confidence intervals are drawn at their FARs; or None.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A result that is no `Roc`.
        ValueError: No result, a report without a curve, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> scores, is_same = [0.9, 0.5, 0.4, 0.1], [True, True, False, False]
        >>> figure = roc_curve({"ours": keras_margin.evaluation.roc(scores, is_same)})
    """
    _check_rocs("roc_curve", results, reports)
    figure, axes = _figure(path)
    lowest = 10.0 ** np.floor(np.log10(min(1 / result.num_impostor for result in results.values())))
    bottom = 100.0
    for (name, result), style in zip(results.items(), _styles(), strict=False):
        far, tar = _thinned(result)
        axes.plot(far, 100 * tar, drawstyle="steps-post", label=name, **style)
        intervals = _intervals(reports, name)
        _error_bars(axes, intervals, 100 * intervals[:, 1:], style)
        bottom = min(bottom, 100 * tar[0], *(100 * intervals[:, 2]))
    axes.set_xscale("log")
    axes.set_xlim(min(lowest, 0.1), 1)
    _percent_axis(axes, bottom)
    axes.set_xlabel("False accept rate (FAR)")
    axes.set_ylabel("True accept rate (%)")
    _legend(axes, "best")
    return _finish(figure, path)


def score_histogram(scores, is_same, path=None, threshold=None):
    """Distributions of genuine and impostor scores, each as a share of its own pairs.

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
    figure, axes = _figure(path)
    edges = _bin_edges(scores)
    for name, chosen, style in zip(("impostor", "genuine"), (~is_same, is_same), _styles(), strict=False):
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
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, labelcolor=_INK, frameon=False)
    return _finish(figure, path)


def cmc_curve(results, path=None):
    """Cumulative match characteristics: the identification rate against the rank.

    Args:
        results: Dict from a curve's name to its `keras_margin.evaluation.cmc`, array (max_rank,) in [0, 1].
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No result, an array that is not one-dimensional or leaves [0, 1], another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = cmc_curve({"ours": [0.8, 0.9, 0.95]})
    """
    _check_results(results)
    rates = {name: np.asarray(result, np.float64) for name, result in results.items()}
    for name, rate in rates.items():
        if rate.ndim != 1 or not rate.size or not ((rate >= 0) & (rate <= 1)).all():
            raise ValueError(f"cmc_curve draws arrays (max_rank,) in [0, 1]. Received: {results[name]!r} for {name!r}.")
    figure, axes = _figure(path)
    for (name, rate), style in zip(rates.items(), _styles(), strict=False):
        ranks = np.arange(1, len(rate) + 1)
        marker = "o" if len(rate) <= 30 else None
        axes.plot(ranks, 100 * rate, label=name, marker=marker, markersize=4, clip_on=False, **style)
    longest = max(map(len, rates.values()))
    axes.set_xlim(1, max(longest, 2))
    axes.xaxis.get_major_locator().set_params(integer=True)
    ticks = axes.xaxis.get_major_locator().tick_values(1, longest)
    axes.set_xticks([1, *ticks[(ticks > 1) & (ticks <= longest)]])
    _percent_axis(axes, 100 * min(rate[0] for rate in rates.values()))
    axes.set_xlabel("Rank")
    axes.set_ylabel("Identification rate (%)")
    _legend(axes, "lower right")
    return _finish(figure, path)


def target_logits(curves, path=None):
    """Target logits over the angle to the own prototype, and beside them their gradients, as training sees them.

    To compare shapes of unlike height, shift one first: `dataclasses.replace(curve, logit=curve.logit - 150)`, as
    QAMFace's figure does.

    Args:
        curves: Dict from a curve's name to its `keras_margin.curves.Curve`, one or more.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A curve that has no angles, logit, gradient and loss.
        ValueError: No curve, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = target_logits({"ArcFace": keras_margin.curves.target_curve(keras_margin.ArcFaceHead(2))})

    Reference: Deng et al., ArcFace, CVPR 2019, figure 4b; Zhao et al., QAMFace, 2020, figure 1.
    """
    _check_curves("target_logits", curves)
    figure, panels = _figure(path, panels=2)
    for axes, what, label in zip(panels, ("logit", "gradient"), ("Target logit", "Gradient per radian"), strict=True):
        _over_angle(axes, curves, what, label)
    figure.legend(*panels[0].get_legend_handles_labels(), **_ABOVE)
    return _finish(figure, path)


def loss_curves(curves, path=None):
    """Losses over the angle to the own prototype, the other class standing at a fixed angle from it.

    Args:
        curves: As for `target_logits`; made with one gap.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A curve that has no angles, logit, gradient and loss.
        ValueError: No curve, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = loss_curves({"QAMFace": keras_margin.curves.target_curve(keras_margin.QAMFaceHead(2))})

    Reference: Zhao et al., QAMFace, 2020, figure 3.
    """
    _check_curves("loss_curves", curves)
    figure, axes = _figure(path)
    _over_angle(axes, curves, "loss", "Loss")
    axes.set_ylim(bottom=0)
    figure.legend(*axes.get_legend_handles_labels(), **_ABOVE)
    return _finish(figure, path)


def _over_angle(axes, curves, what, label):
    from matplotlib.ticker import MultipleLocator

    for (name, curve), style in zip(curves.items(), _styles(), strict=False):
        axes.plot(np.degrees(curve.angles), getattr(curve, what), label=name, **style)
    every = np.degrees(np.concatenate([curve.angles for curve in curves.values()]))
    axes.set_xlim(every.min(), every.max())
    axes.xaxis.set_major_locator(MultipleLocator(30))
    axes.set_xlabel("Angle to the own class's prototype (degrees)")
    axes.set_ylabel(label)


def _check_curves(owner, curves):
    _check_results(curves)
    for name, curve in curves.items():
        if not all(hasattr(curve, field) for field in ("angles", "logit", "gradient", "loss")):
            raise TypeError(f"{owner} draws curves.Curve values. Received: {type(curve).__name__} for {name!r}.")


def _mark_threshold(axes, scores, is_same, threshold):
    """A line at the threshold and, in the free strip above the bars, the errors it makes."""
    far, frr = np.mean(scores[~is_same] >= threshold), np.mean(scores[is_same] < threshold)
    axes.axvline(threshold, color=_INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
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
        color=_INK,
    )


def _check_results(results):
    if not results:
        raise ValueError("A figure needs at least one curve. Received: no results.")


def _check_scores(scores, is_same):
    scores, is_same = np.asarray(scores, np.float64), np.asarray(is_same).astype(bool)
    if scores.ndim != 1 or scores.shape != is_same.shape:
        raise ValueError(f"scores and is_same must both be shaped (n,). Received: {scores.shape}, {is_same.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite. Received: {(~np.isfinite(scores)).sum()} NaN or infinite.")
    if is_same.all() or not is_same.any():
        raise ValueError("score_histogram needs genuine and impostor pairs. Received: one kind only.")
    return scores, is_same


def _bin_edges(scores):
    """Edges of 20 to 80 equal bins, more where there are more scores."""
    low, high = scores.min(), scores.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(np.clip(np.sqrt(len(scores)), 20, 80)) + 1)


def _thinned(result):
    """The staircase from the smallest FAR the impostors can show, at no more points than can be seen."""
    first = 1 / result.num_impostor
    far = np.geomspace(first, 1, _ROC_POINTS) if len(result.far) > _ROC_POINTS else np.clip(result.far, first, 1)
    far = np.unique(far)
    return far, result.tar[np.searchsorted(result.far, far, side="right") - 1]


def _styles():
    for dashes in _DASHES:
        for colour in _COLOURS:
            yield {"color": colour, "linestyle": dashes, "linewidth": 1.8}


def _figure(path, panels=1):
    """An empty figure and its axes, or the array of them, in the house style; first checks where it shall go."""
    if path is not None and Path(path).suffix.lower() not in _SUFFIXES:
        raise ValueError(f"A figure is written as one of {', '.join(_SUFFIXES)}. Received: path={str(path)!r}.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Figures need matplotlib. Install it with: pip install "keras-margin[plots]"') from error
    figure = Figure(
        figsize=(5.6 if panels == 1 else 4.6 * panels, 3.8), dpi=150, layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, panels)
    for axes in np.atleast_1d(panels):
        _style(axes)
    return figure, panels


def _style(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.label.set(color=_INK, size=10)
    axes.yaxis.label.set(color=_INK, size=10)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _percent_axis(axes, lowest):
    """A rate axis up to 100 %, from a round number under the lowest point so that near-perfect curves stay apart."""
    floors = (99, 95, 90, 80, 70, 60, 50, 40, 20, 0)
    bottom = next((floor for floor in floors if lowest >= floor + 0.1 * (100 - floor)), 0)
    axes.set_ylim(bottom, 100 + 0.02 * (100 - bottom))


def _legend(axes, place):
    axes.legend(loc=place, fontsize=9, labelcolor=_INK, frameon=True, framealpha=0.9, edgecolor="none")


def _finish(figure, path):
    """Write the figure where asked, first under a temporary name beside it, so that no half a file is ever seen."""
    if path is None:
        return figure
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return figure


def det_curve(results, path=None, reports=None):
    """Detection error trade-off: FRR against FAR, both logarithmic, so that good systems stay apart.

    frr = 1 - tar, a staircase as `roc_curve` draws; it ends where no error is left to see, at 1 / (2 * genuine pairs).

    Args:
        results: As for `roc_curve`.
        path: As for `roc_curve`.
        reports: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError, TypeError, ValueError, OSError: As `roc_curve`.

    Example:
        >>> scores, is_same = [0.9, 0.5, 0.4, 0.1], [True, True, False, False]
        >>> figure = det_curve({"ours": keras_margin.evaluation.roc(scores, is_same)})

    Reference: Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997; the axes are
    those of NIST's FRVT.
    """
    _check_rocs("det_curve", results, reports)
    figure, axes = _figure(path)
    for (name, result), style in zip(results.items(), _styles(), strict=False):
        far, tar = _thinned(result)
        floor = 0.5 / result.num_genuine
        far, tar = (values[: np.searchsorted(tar, 1) + 1] for values in (far, tar))
        axes.plot(far, 100 * np.maximum(1 - tar, floor), drawstyle="steps-post", label=name, **style)
        intervals = _intervals(reports, name)
        intervals = intervals[intervals[:, 2] < 1]  # Where even the lower end of TAR is 1 there is no error to see.
        misses = np.maximum(1 - intervals[:, [1, 3, 2]], floor)
        _error_bars(axes, intervals, 100 * misses, style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    lowest = 10.0 ** np.floor(np.log10(min(1 / result.num_impostor for result in results.values())))
    axes.set_xlim(min(lowest, 0.1), 1)
    axes.set_ylim(top=100)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("False accept rate (FAR)")
    axes.set_ylabel("False reject rate (%)")
    _legend(axes, "best")
    return _finish(figure, path)


def angle_histogram(sets, path=None):
    """Distributions of angles, a panel a set and an outline a kind, each as a share of its own angles.

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
    _check_results(sets)
    angles = {title: _check_angles(title, kinds) for title, kinds in sets.items()}
    columns = min(3, len(angles))
    figure, panels = _panels(path, -(-len(angles) // columns), columns, (3.4 if columns > 1 else 5.6, 2.9))
    highest = max(theta.max() for kinds in angles.values() for theta in kinds.values())
    edges = np.arange(0, min(180, 30 * np.ceil(max(highest, 1) / 30)) + 1, 2.0)
    for axes, (title, kinds) in zip(panels.ravel(), angles.items(), strict=False):
        for (kind, theta), style in zip(kinds.items(), _styles(), strict=False):
            share = 100 * np.histogram(theta, edges)[0] / len(theta)
            axes.stairs(share, edges, color=style["color"], linewidth=1.5, zorder=3)
            axes.stairs(share, edges, color=style["color"], alpha=0.3, fill=True, zorder=2, label=kind)
        axes.set_title(title, size=10, color=_INK)
        axes.set_xlim(0, edges[-1])
        axes.set_xticks(np.arange(0, edges[-1] + 1, 30))
    for axes in panels[:, 0]:
        axes.set_ylabel("Share per 2 degrees (%)")
    for axes in panels.ravel()[: len(angles)][-columns:]:
        axes.set_xlabel("Angle (degrees)")
    legends = {}
    for axes in panels.ravel():
        handles, kinds = axes.get_legend_handles_labels()
        legends |= dict(zip(kinds, handles, strict=True))
        axes.set_visible(bool(handles))
    figure.legend(list(legends.values()), list(legends), **_ABOVE)
    return _finish(figure, path)


def error_gallery(images, pairs, scores, is_same, path=None, count=6):
    """The pairs an embedder is most wrong about: genuine ones it finds least alike, impostors it finds most alike.

    Read it before the numbers: mislabelled pairs, wrong crops and wrong channels show at once.

    Args:
        images: uint8 array (n, height, width, 3), RGB, or (n, height, width), grey.
        pairs: Integer array (m, 2), indices in [0, n).
        scores: Real array (m,), finite; higher is more alike.
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
    kinds = {"Genuine, least alike": (is_same, 1), "Impostor, most alike": (~is_same, -1)}
    figure, panels = _panels(path, 2, min(count, len(scores)), (1.5, 1.3))
    for row, (title, (chosen, sign)) in zip(panels, kinds.items(), strict=True):
        worst = np.flatnonzero(chosen)
        worst = worst[np.argsort(sign * scores[worst], kind="stable")][: len(row)]
        for axes, pair in zip(row, worst, strict=False):
            first, second = images[pairs[pair]]
            gap = np.full_like(first[:, : max(1, first.shape[1] // 20)], 255)
            axes.imshow(np.concatenate([first, gap, second], axis=1), cmap="gray", vmin=0, vmax=255)
            axes.set_title(f"{scores[pair]:.3f}", size=9, color=_INK)
        for axes in row:
            axes.set_axis_off()
        row[0].annotate(title, (0, 1), (0, 16), "axes fraction", textcoords="offset points", fontsize=10, color=_INK)
    return _finish(figure, path)


def _check_rocs(owner, results, reports):
    _check_results(results)
    for name, result in results.items():
        if not isinstance(result, Roc):
            raise TypeError(f"{owner} draws evaluation.Roc values. Received: {type(result).__name__} for {name!r}.")
    if unknown := set(reports or ()) - set(results):
        raise ValueError(f"Each report needs its curve. Received: reports named {sorted(unknown)} without one.")


def _intervals(reports, name):
    """Rows (far, tar, low, high) of a report's intervals, (k, 4); none where there is no report or no bootstrap."""
    rows = reports[name].tar_at_far if reports and name in reports else ()
    rows = [(row.far, row.tar, row.low, row.high) for row in rows if row.low is not None and row.measurable]
    return np.array(rows).reshape(-1, 4)


def _error_bars(axes, intervals, values, style):
    """Bars at the FARs of the intervals; values (k, 3) are the point and the ends below and above it, in per cent."""
    if len(intervals):
        point, low, high = values.T
        axes.errorbar(
            intervals[:, 0],
            point,
            np.maximum([point - low, high - point], 0),
            fmt="none",
            ecolor=style["color"],
            elinewidth=1.2,
            capsize=3,
            zorder=4,
        )


def _check_angles(title, kinds):
    if not kinds:
        raise ValueError(f"angle_histogram needs a kind of angle in each set. Received: none in {title!r}.")
    checked = {kind: np.asarray(theta, np.float64) for kind, theta in kinds.items()}
    for kind, theta in checked.items():
        if theta.ndim != 1 or not theta.size or not ((theta >= 0) & (theta <= 180)).all():
            raise ValueError(
                f"Angles must be an array (n,), n >= 1, in [0, 180] degrees. Received: {kind} of {title!r}."
            )
    return checked


def _panels(path, rows, columns, size):
    """A figure of rows x columns axes, each of `size` inches, and their array; checks as `_figure`."""
    figure, _ = _figure(path)
    figure.clear()
    figure.set_size_inches(size[0] * columns, size[1] * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.ravel():
        _style(axes)
    return figure, panels

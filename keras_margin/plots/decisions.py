"""Figures of decisions: whether probabilities come true, what quality saves, how groups differ."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_margin._typing import ArrayLike, PathLike
from keras_margin.evaluation.probabilities import Reliability
from keras_margin.plots import _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMALLEST, _LARGEST = 12, 160


def reliability_diagram(results: Mapping[str, Reliability], path: PathLike | None = None) -> "Figure":
    """Draws what was said against what came true; the area of a point is its share of the pairs.

    Points on the diagonal are honest.

    Args:
        results: Dict from a name to what `evaluation.reliability` returned, one or more.
        path: File to write as well, `.png`, `.pdf` or `.svg`; or None.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A result of another type.
        ValueError: No result, another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> found = keras_margin.evaluation.reliability([0.9, 0.8, 0.3, 0.1], [True, True, False, False])
        >>> figure = reliability_diagram({"ours": found})
    """
    _figure.check_results(results)
    for name, result in results.items():
        if not isinstance(result, Reliability):
            raise TypeError(f"reliability_diagram draws Reliability. Received: {type(result).__name__} for {name!r}.")
    figure, axes = _figure.new(path)
    axes.plot([0, 100], [0, 100], color=_figure.INK, linewidth=0.8, linestyle=(0, (2, 2)))
    for (name, result), style in zip(results.items(), _figure.styles(), strict=False):
        label = f"{name}, ECE {result.ece:.2%}"
        axes.plot(100 * result.said, 100 * result.true, label=label, **style)
        sizes = _SMALLEST + (_LARGEST - _SMALLEST) * result.weight
        axes.scatter(100 * result.said, 100 * result.true, s=sizes, color=style["color"], zorder=3)
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("Said: probability of one person (%)")
    axes.set_ylabel("Came true: share of genuine pairs (%)")
    _figure.legend(axes, "upper left")
    return _figure.finish(figure, path)


def edc_curve(results: Mapping[str, tuple[ArrayLike, ArrayLike]], path: PathLike | None = None) -> "Figure":
    """Draws error versus discard: FNMR of what is left against the share of the worst images that is discarded.

    Args:
        results: Dict from a name to (discarded, fnmr), two arrays as `evaluation.error_versus_discard` returns them.
        path: As for `reliability_diagram`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No result, arrays that differ in length or leave [0, 1], another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = edc_curve({"length": ([0.0, 0.1, 0.2], [0.02, 0.01, 0.005])})
    """
    _figure.check_results(results)
    curves = {name: tuple(np.asarray(part, np.float64) for part in result) for name, result in results.items()}
    for name, (discarded, fnmr) in curves.items():
        inside = ((discarded >= 0) & (discarded <= 1)).all() and ((fnmr >= 0) & (fnmr <= 1)).all()
        if discarded.ndim != 1 or discarded.shape != fnmr.shape or not discarded.size or not inside:
            raise ValueError(f"edc_curve draws two arrays (m,) in [0, 1]. Received: {results[name]!r} for {name!r}.")
    figure, axes = _figure.new(path)
    for (name, (discarded, fnmr)), style in zip(curves.items(), _figure.styles(), strict=False):
        axes.plot(100 * discarded, 100 * fnmr, drawstyle="steps-post", label=name, **style)
        axes.axhline(100 * fnmr[0], color=style["color"], linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Images discarded, the worst first (%)")
    axes.set_ylabel("False non-match rate of the rest (%)")
    _figure.legend(axes, "best")
    return _figure.finish(figure, path)


def group_rates(
    results: Mapping[str, Mapping[str, tuple[float, float | None, float | None]]], path: PathLike | None = None
) -> "Figure":
    """Draws error rates of groups side by side with their intervals, a panel for each kind of rate.

    Args:
        results: Dict from a kind of rate, such as "FNMR", to a dict from a group to (rate, low, high), shares in
            [0, 1]; low and high may both be None.
        path: As for `reliability_diagram`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No result or no group, another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = group_rates({"FNMR": {"female": (0.03, 0.02, 0.05), "male": (0.02, 0.01, 0.03)}})
    """
    _figure.check_results(results, "kind of rate")
    for rates in results.values():
        _figure.check_results(rates, "group")
    rows = max(map(len, results.values()))
    figure, panels = _figure.panels(path, 1, len(results), (4.6, 0.9 + 0.36 * rows))
    for axes, (kind, rates), style in zip(panels[0], results.items(), _figure.styles(), strict=False):
        for place, (value, low, high) in enumerate(rates.values()):
            if low is not None:
                axes.plot([100 * low, 100 * high], [place, place], color=style["color"], linewidth=1.6)  # type: ignore[operator]
            axes.plot([100 * value], [place], marker="o", color=style["color"])
        axes.set_yticks(range(len(rates)), list(rates))
        axes.set_ylim(len(rates) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{kind} (%)")
    return _figure.finish(figure, path)

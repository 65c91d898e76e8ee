"""Figures of verification and identification over all thresholds or ranks: ROC, DET, CMC."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_margin._typing import PathLike
from keras_margin.evaluation.thresholds import Roc
from keras_margin.evaluation.verification import VerificationReport
from keras_margin.plots import _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROC_POINTS = 2000  # more than a figure has pixels
# A DET plot goes down to the FRR at this FAR; beyond, every curve falls to nothing and takes the room from the rest.
_WORTH_SEEING = 0.2


def roc_curve(
    results: Mapping[str, Roc], path: PathLike | None = None, reports: Mapping[str, VerificationReport] | None = None
) -> "Figure":
    """Draws ROC curves over a logarithmic FAR axis: staircases, exact at the points drawn (at most 2,000 a curve).

    The axis begins at the decade of the smallest FAR that any of the sets can show, 1 / impostors; each curve begins
    at its own. TAR at a FAR is that of `tar_at_far`.

    Args:
        results: Dict from a curve's name to what `evaluation.roc` returned, one or more.
        path: File to write as well, `.png`, `.pdf` or `.svg`; or None.
        reports: Dict from the same names, not necessarily all, to what `evaluation.verification_report` returned, whose
            confidence intervals are drawn at their FARs; or None.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A result that is not a `Roc`.
        ValueError: No result, a report without a curve, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> scores, is_same = [0.9, 0.5, 0.4, 0.1], [True, True, False, False]
        >>> figure = roc_curve({"ours": keras_margin.evaluation.roc(scores, is_same)})
    """
    _check_rocs("roc_curve", results, reports)
    figure, axes = _figure.new(path)
    lowest = 10.0 ** np.floor(np.log10(min(1 / result.num_impostor for result in results.values())))
    bottom = 100.0
    for place, ((name, result), style) in enumerate(zip(results.items(), _figure.styles(), strict=False)):
        far, tar = _thinned(result)
        axes.plot(far, 100 * tar, drawstyle="steps-post", label=name, **style)
        intervals = _intervals(reports, name, place, len(results))
        _error_bars(axes, intervals, 100 * intervals[:, 1:], style)
        bottom = min(bottom, 100 * tar[0], *(100 * intervals[:, 2]))
    axes.set_xscale("log")
    axes.set_xlim(min(lowest, 0.1), 1)
    _figure.percent_axis(axes, bottom)
    axes.set_xlabel("False accept rate (FAR)")
    axes.set_ylabel("True accept rate (%)")
    _figure.legend(axes, "best")
    return _figure.finish(figure, path)


def det_curve(
    results: Mapping[str, Roc], path: PathLike | None = None, reports: Mapping[str, VerificationReport] | None = None
) -> "Figure":
    """Draws the detection error trade-off: FRR against FAR, both logarithmic, so that good systems stay apart.

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
    figure, axes = _figure.new(path)
    lowest_rate = 1.0
    for place, ((name, result), style) in enumerate(zip(results.items(), _figure.styles(), strict=False)):
        far, tar = _thinned(result)
        floor = 0.5 / result.num_genuine
        shown = tar[far <= _WORTH_SEEING] if far[0] <= _WORTH_SEEING else tar
        lowest_rate = min(lowest_rate, max(1 - shown.max(), floor))
        far, tar = (values[: np.searchsorted(tar, 1) + 1] for values in (far, tar))
        axes.plot(far, 100 * np.maximum(1 - tar, floor), drawstyle="steps-post", label=name, **style)
        intervals = _intervals(reports, name, place, len(results))
        intervals = intervals[intervals[:, 2] < 1]  # Where even the lower end of TAR is 1 there is no error to see.
        misses = np.maximum(1 - intervals[:, [1, 3, 2]], floor)
        _error_bars(axes, intervals, 100 * misses, style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    lowest = 10.0 ** np.floor(np.log10(min(1 / result.num_impostor for result in results.values())))
    axes.set_xlim(min(lowest, 0.1), 1)
    axes.set_ylim(100 * lowest_rate / 2, 100)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("False accept rate (FAR)")
    axes.set_ylabel("False reject rate (%)")
    _figure.legend(axes, "best")
    return _figure.finish(figure, path)


def cmc_curve(results: Mapping[str, np.ndarray], path: PathLike | None = None) -> "Figure":
    """Draws cumulative match characteristics: the identification rate against the rank.

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
    _figure.check_results(results)
    rates = {name: np.asarray(result, np.float64) for name, result in results.items()}
    for name, rate in rates.items():
        if rate.ndim != 1 or not rate.size or not ((rate >= 0) & (rate <= 1)).all():
            raise ValueError(f"cmc_curve draws arrays (max_rank,) in [0, 1]. Received: {results[name]!r} for {name!r}.")
    figure, axes = _figure.new(path)
    for (name, rate), style in zip(rates.items(), _figure.styles(), strict=False):
        ranks = np.arange(1, len(rate) + 1)
        marker = "o" if len(rate) <= 30 else None
        axes.plot(ranks, 100 * rate, label=name, marker=marker, markersize=4, clip_on=False, **style)
    longest = max(map(len, rates.values()))
    axes.set_xlim(1, max(longest, 2))
    axes.xaxis.get_major_locator().set_params(integer=True)
    ticks = axes.xaxis.get_major_locator().tick_values(1, longest)
    axes.set_xticks([1, *ticks[(ticks > 1) & (ticks <= longest)]])
    _figure.percent_axis(axes, 100 * min(rate[0] for rate in rates.values()))
    axes.set_xlabel("Rank")
    axes.set_ylabel("Identification rate (%)")
    _figure.legend(axes, "lower right")
    return _figure.finish(figure, path)


def _check_rocs(owner: str, results: Mapping[str, Roc], reports: Mapping[str, VerificationReport] | None) -> None:
    _figure.check_results(results)
    for name, result in results.items():
        if not isinstance(result, Roc):
            raise TypeError(
                f"{owner} draws what evaluation.roc returns. Received: {type(result).__name__} for {name!r}."
            )
    if unknown := set(reports or ()) - set(results):
        raise ValueError(f"Each report needs its curve. Received: reports named {sorted(unknown)} without one.")


def _thinned(result: Roc) -> tuple[np.ndarray, np.ndarray]:
    """The staircase from the smallest FAR the impostors can show, at no more points than can be seen."""
    first = 1 / result.num_impostor
    far = np.geomspace(first, 1, _ROC_POINTS) if len(result.far) > _ROC_POINTS else np.clip(result.far, first, 1)
    far = np.unique(far)
    return far, result.tar[np.searchsorted(result.far, far, side="right") - 1]


def _intervals(reports: Mapping[str, VerificationReport] | None, name: str, place: int, count: int) -> np.ndarray:
    """Rows (far, tar, low, high) of a report's intervals, (k, 4); none where there is no report or no bootstrap.

    Those of several curves stand side by side, a twelfth apart, or they would hide each other.
    """
    beside = 1.085 ** (place - (count - 1) / 2)
    measured = reports[name].tar_at_far if reports and name in reports else ()
    shown = [row for row in measured if row.low is not None and row.measurable]
    return np.array([(row.far * beside, row.tar, row.low, row.high) for row in shown]).reshape(-1, 4)


def _error_bars(axes: Any, intervals: np.ndarray, values: np.ndarray, style: Mapping[str, Any]) -> None:
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

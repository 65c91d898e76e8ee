"""Figures of what a head does over the angle: its target logit, the gradient of that, its loss."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_margin._typing import PathLike
from keras_margin.plots import _figure
from keras_margin.plots.margin_curves import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Where the highest loss is so many times the middle one, the axis is logarithmic, over so large a range.
_STEEP, _DECADES = 20, 1e4


def target_logits(curves: Mapping[str, Curve], path: PathLike | None = None) -> "Figure":
    """Draws target logits over the angle to the own prototype, and next to them their gradients, as training sees them.

    To compare shapes of unlike height, shift one first: `dataclasses.replace(curve, logit=curve.logit - 150)`, as
    QAMFace's figure does.

    Args:
        curves: Dict from a curve's name to what `plots.target_curve` returned, one or more.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A curve that has no angles, logit, gradient and loss.
        ValueError: No curve, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> figure = target_logits({"ArcFace": keras_margin.plots.target_curve(keras_margin.ArcFaceHead(2))})

    Reference: Deng et al., ArcFace, CVPR 2019, figure 4b; Zhao et al., QAMFace, 2020, figure 1.
    """
    _check_curves("target_logits", curves)
    figure, panels = _figure.new(path, panels=2)
    for axes, what, label in zip(panels, ("logit", "gradient"), ("Target logit", "Gradient per radian"), strict=True):
        _over_angle(axes, curves, what, label)
    _figure.legend_above(figure, *panels[0].get_legend_handles_labels())
    return _figure.finish(figure, path)


def loss_curves(curves: Mapping[str, Curve], path: PathLike | None = None) -> "Figure":
    """Draws losses over the angle to the own prototype, the other class standing at a fixed angle from it.

    Losses that differ by much, as of a loss that is low but for a steep end, are drawn on a logarithmic axis.

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
        >>> figure = loss_curves({"QAMFace": keras_margin.plots.target_curve(keras_margin.QAMFaceHead(2))})

    Reference: Zhao et al., QAMFace, 2020, figure 3.
    """
    _check_curves("loss_curves", curves)
    figure, axes = _figure.new(path)
    _over_angle(axes, curves, "loss", "Loss")
    every = np.concatenate([np.asarray(curve.loss) for curve in curves.values()])
    if every.max() > _STEEP * max(np.median(every), np.finfo(np.float64).tiny):
        axes.set_yscale("log")
        axes.set_ylim(max(every.max() / _DECADES, every.min()), 1.5 * every.max())
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    _figure.legend_above(figure, *axes.get_legend_handles_labels())
    return _figure.finish(figure, path)


def _over_angle(axes: Any, curves: Mapping[str, Curve], what: str, label: str) -> None:
    from matplotlib.ticker import MultipleLocator

    dashes = itertools.cycle(_figure.DASHES)
    for place, ((name, curve), style, dash) in enumerate(zip(curves.items(), _figure.styles(), dashes, strict=False)):
        # Two curves may coincide, as the gradients of CosFace and softmax do: one shows through the other's gaps.
        axes.plot(
            np.degrees(curve.angles),
            getattr(curve, what),
            label=name,
            **(style | {"linestyle": dash, "zorder": 3 - place / 100}),
        )
    every = np.degrees(np.concatenate([curve.angles for curve in curves.values()]))
    axes.set_xlim(every.min(), every.max())
    axes.xaxis.set_major_locator(MultipleLocator(30))
    axes.set_xlabel("Angle to the own class's prototype (degrees)")
    axes.set_ylabel(label)


def _check_curves(owner: str, curves: Mapping[str, Curve]) -> None:
    _figure.check_results(curves)
    for name, curve in curves.items():
        if not all(hasattr(curve, field) for field in ("angles", "logit", "gradient", "loss")):
            raise TypeError(f"{owner} draws curves.Curve values. Received: {type(curve).__name__} for {name!r}.")

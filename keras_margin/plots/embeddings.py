"""Embeddings of two or three dimensions as their papers draw them: a plane or a sphere a loss, side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_margin._typing import PathLike
from keras_margin.evaluation import _arrays
from keras_margin.plots import _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL, _TITLE = 2.1, 0.3  # inches
# Where a plane's prototypes end, where their names stand, and where the panel ends; the last point is at 1.
_RAY, _NAME, _EDGE = 1.06, 1.17, 1.27
# From where a sphere is seen, radians: turned about its axis, then tilted towards the eye.
_TURN, _TILT = math.radians(30), math.radians(20)


class Embedded(NamedTuple):
    """What one panel shows.

    Attributes:
        embeddings: Real array (n, 2) or (n, 3), rows of any length but 0.
        labels: Integer array (n,), the classes, >= 0.
        prototypes: Real array (num_classes, 2 or 3) such as `head.prototypes`, a class a row; or None.
    """

    embeddings: Any
    labels: Any
    prototypes: Any = None


def embedding_map(
    rows: Mapping[str, Embedded] | Sequence[Mapping[str, Embedded]], path: PathLike | None = None
) -> "Figure":
    """Draws embeddings in the plane or on the unit sphere: a panel a set, a colour and a number a class.

    Two dimensions: the points as they lie, longer embeddings further out; each panel has its own measure, which fits
    its farthest point. Prototypes are rays. Three dimensions: the directions x / |x|, seen from one side; what lies on
    the far half of the sphere shows faintly through it. Prototypes are dots. Of a prototype only the direction shows.

    Args:
        rows: Dict from a panel's title to its `Embedded`, for panels side by side; or a list of such, one a row of
            panels. All of two or all of three dimensions.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: A set that is not an `Embedded`, embeddings that are not numbers, labels that are not integers.
        ValueError: No set, embeddings of another size or of different ones, a zero, NaN or infinite embedding,
            lengths that differ, labels that are not rows of the prototypes, another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> points = Embedded(np.array([[1.0, 0.1], [0.2, 2.0]]), [0, 1], prototypes=np.eye(2))
        >>> figure = embedding_map({"ArcFace": points})

    Reference: Liu et al., SphereFace, CVPR 2017, figures 5 and 12; Deng et al., ArcFace, CVPR 2019, figure 3; Yang et
    al., Inter-class Angular Margin Loss for Face Recognition, 2020, figure 2.
    """
    checked = _checked([rows] if isinstance(rows, Mapping) else rows)
    every = [shown for row in checked for shown in row.values()]
    draw = {2: _plane, 3: _sphere}[every[0].embeddings.shape[1]]
    columns = max(map(len, checked))
    figure = _figure.page(path, _PANEL * columns, (_PANEL + _TITLE) * len(checked))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.05, wspace=0, hspace=0)
    panels = figure.subplots(len(checked), columns, squeeze=False)
    palette = _palette(1 + max(map(_last_class, every)))
    for axes in panels.flat:
        axes.set_axis_off()
    for row, line in zip(checked, panels, strict=True):
        for axes, (title, shown) in zip(line, row.items(), strict=False):
            axes.set(aspect="equal", xlim=(-_EDGE, _EDGE), ylim=(-_EDGE, _EDGE))
            axes.set_title(title, fontsize=8.5, color=_figure.INK, pad=2)
            draw(axes, shown, palette)
    return _figure.finish(figure, path)


def _plane(axes: Any, shown: Embedded, palette: np.ndarray) -> None:
    """Points of the plane, scaled so that the farthest is at 1."""
    points = shown.embeddings / np.linalg.norm(shown.embeddings, axis=1).max()
    for row, direction in enumerate(_unit(shown.prototypes)):
        axes.plot(*np.outer((0, _RAY), direction).T, color=palette[row], linewidth=0.9, zorder=2)
        _name(axes, row, _NAME * direction, palette[row])
    _scatter(axes, points, palette[shown.labels], alpha=0.45, zorder=3)
    axes.plot(0, 0, "+", color=_figure.INK, markersize=5, markeredgewidth=0.6, zorder=4)


def _sphere(axes: Any, shown: Embedded, palette: np.ndarray) -> None:
    """Directions on the sphere by parallel projection, what is behind drawn first and faintly."""
    from matplotlib.patches import Circle

    axes.add_patch(Circle((0, 0), 1, facecolor="#F7F7F7", edgecolor=_figure.FAINT, linewidth=0.8, zorder=1))
    _graticule(axes)
    points, depth = _seen(_unit(shown.embeddings))
    colors = palette[shown.labels]
    for half, alpha, zorder in ((depth < 0, 0.13, 3), (depth >= 0, 0.55, 5)):
        _scatter(axes, points[half], colors[half], alpha=alpha, zorder=zorder)
    directions, depth = _seen(_unit(shown.prototypes))
    for row, (at, near) in enumerate(zip(directions, depth >= 0, strict=True)):
        alpha, zorder = (1.0, 6) if near else (0.4, 3)
        dot = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.7, "alpha": alpha, "zorder": zorder}
        axes.plot(*at, "o", color=palette[row], **dot)
        # Next to the dot, away from the middle, where the sphere is emptier.
        outwards = at / max(np.linalg.norm(at), 0.05)
        _name(axes, row, at + 0.13 * outwards, palette[row], alpha)


def _seen(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where unit vectors (n, 3) stand for the eye: (n, 2) across and up, and (n,) their depth towards it."""
    x, y, z = directions.T
    across = -math.sin(_TURN) * x + math.cos(_TURN) * y
    towards = math.cos(_TURN) * x + math.sin(_TURN) * y
    up = math.cos(_TILT) * z - math.sin(_TILT) * towards
    return np.stack([across, up], axis=1), math.cos(_TILT) * towards + math.sin(_TILT) * z


def _graticule(axes: Any) -> None:
    """The near halves of the sphere's circles of latitude and longitude, 30 degrees apart."""
    around, steps = np.linspace(0, 2 * np.pi, 181), np.radians(np.arange(-60, 61, 30))
    parallels = [
        np.stack([np.cos(at) * np.cos(around), np.cos(at) * np.sin(around), np.full_like(around, np.sin(at))], 1)
        for at in steps
    ]
    meridians = [
        np.stack([np.cos(around) * np.cos(at), np.cos(around) * np.sin(at), np.sin(around)], 1)
        for at in np.radians(np.arange(0, 180, 30))
    ]
    for circle in parallels + meridians:
        points, depth = _seen(circle)
        points[depth < 0] = np.nan
        axes.plot(*points.T, color=_figure.FAINT, linewidth=0.4, zorder=4)


def _scatter(axes: Any, points: np.ndarray, colors: np.ndarray, **style: Any) -> None:
    axes.scatter(*points.T, s=3, c=colors, linewidths=0, rasterized=True, **style)


def _name(axes: Any, row: int, at: np.ndarray, color: np.ndarray, alpha: float = 1.0) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=1.8, foreground="white", alpha=alpha)]
    style = {"color": color, "alpha": alpha, "fontsize": 7.5, "fontweight": "bold", "path_effects": halo}
    axes.text(*at, str(row), ha="center", va="center_baseline", zorder=7, **style)


def _palette(num_classes: int) -> np.ndarray:
    """A colour a class, (num_classes, 4): matplotlib's ten, or of a rainbow where there are more classes."""
    from matplotlib import colormaps

    if num_classes <= 10:
        return np.array([colormaps["tab10"](row) for row in range(num_classes)])
    return colormaps["nipy_spectral"](np.linspace(0.05, 0.95, num_classes))


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.zeros((0, 3)) if rows is None else _arrays.unit_rows(rows, dtype=np.float64)


def _last_class(shown: Embedded) -> int:
    return shown.labels.max() if shown.prototypes is None else len(shown.prototypes) - 1


def _checked(rows: Sequence[Mapping[str, Embedded]]) -> list[dict[str, Embedded]]:
    """The rows with arrays for what they hold; an error where they cannot be drawn."""
    checked = [{title: _checked_set(title, shown) for title, shown in row.items()} for row in rows]
    sizes = sorted({shown.embeddings.shape[1] for row in checked for shown in row.values()})
    _figure.check_results(sizes, "set of embeddings")
    if sizes not in ([2], [3]):
        raise ValueError(
            "embedding_map draws embeddings of two dimensions, or of three, in one figure. Received: embedding_size="
            f"{', '.join(map(str, sizes))}."
        )
    return checked


def _checked_set(title: str, shown: Embedded) -> Embedded:
    if not isinstance(shown, Embedded):
        raise TypeError(f"embedding_map draws plots.Embedded values. Received: {type(shown).__name__} for {title!r}.")
    embeddings = _arrays.check_embeddings(shown.embeddings)
    labels = _arrays.check_labels(shown.labels, len(embeddings))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, each a class. Received: dtype={labels.dtype} for {title!r}.")
    prototypes = shown.prototypes
    if prototypes is not None:
        prototypes = _arrays.check_embeddings(prototypes, "prototypes")
        _arrays.check_same_size(embeddings, prototypes, "embeddings", "prototypes")
    limit = math.inf if prototypes is None else len(prototypes)
    if labels.min() < 0 or labels.max() >= limit:
        known = "classes, >= 0" if prototypes is None else f"rows of prototypes, in [0, {limit})"
        raise ValueError(f"labels must be {known}. Received: labels in [{labels.min()}, {labels.max()}] for {title!r}.")
    return Embedded(embeddings, labels, prototypes)

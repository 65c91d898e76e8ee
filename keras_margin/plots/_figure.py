"""The house style of every figure: its page, its colours, its axes, and how it is written."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils.messages import install_hint

# Okabe and Ito's palette: apart for all common kinds of colour blindness, and dark enough on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
INK = "#333333"
FAINT = "#D9D9D9"
SUFFIXES = (".pdf", ".png", ".svg")
_MOST_IN_A_LINE = 4


def check_results(results: Any, what: str = "curve") -> None:
    """ValueError where there is nothing to draw."""
    if not results:
        raise ValueError(f"A figure needs at least one {what}. Received: no results.")


def styles() -> Iterator[dict[str, Any]]:
    """How to draw one curve after the other: first by colour, then by dashes as well."""
    for dashes in DASHES:
        for color in COLORS:
            yield {"color": color, "linestyle": dashes, "linewidth": 1.8}


def page(path: PathLike | None, width: float, height: float) -> Any:
    """An empty page of so many inches; first checks where it shall go."""
    if path is not None and Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"A figure is written as one of {', '.join(SUFFIXES)}. Received: path={str(path)!r}.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"Figures need matplotlib: {install_hint('plots')}.") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new(path: PathLike | None, panels: int = 1) -> Any:
    """A page with axes, or an array of them side by side, in the house style; `path` is checked by `page`."""
    figure = page(path, 5.6 if panels == 1 else 4.6 * panels, 3.8)
    panels = figure.subplots(1, panels)
    for axes in np.atleast_1d(panels):
        _style(axes)
    return figure, panels


def panels(path: PathLike | None, rows: int, columns: int, size: tuple[float, float]) -> Any:
    """A page with rows x columns axes, each of `size` inches, and their array; `path` is checked by `page`."""
    figure = page(path, size[0] * columns, size[1] * rows + 0.4)
    array = figure.subplots(rows, columns, squeeze=False)
    for axes in array.ravel():
        _style(axes)
    return figure, array


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=10)
    axes.yaxis.label.set(color=INK, size=10)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def percent_axis(axes: Any, lowest: float) -> None:
    """A rate axis up to 100 %, from a round number under the lowest point so that near-perfect curves stay apart."""
    floors = (99, 95, 90, 80, 70, 60, 50, 40, 20, 0)
    bottom = next((floor for floor in floors if lowest >= floor + 0.1 * (100 - floor)), 0)
    axes.set_ylim(bottom, 100 + 0.02 * (100 - bottom))


def legend(axes: Any, place: str) -> None:
    """Names of the curves, inside the axes."""
    axes.legend(loc=place, fontsize=9, labelcolor=INK, frameon=True, framealpha=0.9, edgecolor="none")


def legend_above(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Names of the curves of all panels, above them, in lines of even length."""
    lines = -(-len(labels) // _MOST_IN_A_LINE)
    style = {"fontsize": 9, "labelcolor": INK, "frameon": False}
    figure.legend(handles, labels, loc="outside upper center", ncols=-(-len(labels) // max(lines, 1)), **style)


def finish(figure: Any, path: PathLike | None) -> Any:
    """Write the figure where asked, first under a temporary name next to it, so that no half a file is ever seen."""
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

"""Figures of a training run: what went down, what went up, step by step."""

import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from keras_margin._typing import PathLike
from keras_margin.plots import _figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Value to its (steps, numbers), as a run logged them.
_Columns: TypeAlias = dict[str, tuple[np.ndarray, ...]]

# Drawn first and in this order where they are there; the rest follows in the order of the rows.
_FIRST = ("loss", "accuracy")
# Where a row stands, and the clock, are not results.
_PLACES = ("step", "epoch", "seconds")
_AXES = {"loss": "Loss", "accuracy": "Accuracy (%)", "learning_rate": "Learning rate", "lr": "Learning rate"}
_SHARES = ("accuracy", "eer", "tar", "rank")
# More panels side by side are too small to read at the width of a README.
_COLUMNS = 2
# What falls by more is a line at zero on a linear axis.
_LOGARITHMIC = 50


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    values: str | Sequence[str] | None = None,
    path: PathLike | None = None,
) -> "Figure":
    """Draws what a run logged over its steps, a panel a value, a curve a run.

    Args:
        histories: Dict from a run's name to its rows: dicts with "step" (or "epoch") and named numbers, such as the
            "history" of a run's report.json or the rows of its log.csv. A row need not have every value.
        values: Name of the value to draw, or a list of them; None for all that any run has, loss and accuracy first.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure. Shares in [0, 1] are drawn in per cent; what falls to less than a fiftieth is on a
        logarithmic axis.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No run, a row without a step, a value that no run has, another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> rows = [{"step": 1, "loss": 9.2, "accuracy": 0.0}, {"step": 2, "loss": 8.1, "accuracy": 0.1}]
        >>> figure = training_curves({"ArcFace": rows})
    """
    _figure.check_results(histories, "run")
    values = [values] if isinstance(values, str) else values
    logged = {name: _columns(name, rows) for name, rows in histories.items()}
    every = list(dict.fromkeys([*_FIRST, *(value for columns in logged.values() for value in columns)]))
    every = [value for value in every if any(value in columns for columns in logged.values())]
    if unknown := set(values or ()) - set(every):
        raise ValueError(f"The runs logged {', '.join(every)}. Received: values with {', '.join(sorted(unknown))}.")
    chosen = list(values or every)
    _figure.check_results(chosen, "value besides the step")
    columns = min(_COLUMNS, len(chosen))
    size = (5.6, 3.4) if columns == 1 else (4.3, 3.0)
    figure, panels = _figure.panels(path, -(-len(chosen) // columns), columns, size)
    for axes, value in zip(panels.ravel(), chosen, strict=False):
        _draw(axes, value, logged)
    for axes in panels.ravel()[len(chosen) :]:
        axes.set_visible(False)
    handles: dict[str, Any] = {}
    for axes in panels.ravel()[: len(chosen)]:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    _figure.legend_above(figure, list(handles.values()), list(handles))
    return _figure.finish(figure, path)


def _draw(axes: Any, value: str, logged: Mapping[str, _Columns]) -> None:
    share = any(part in value for part in _SHARES)
    drawn = []
    for (name, columns), style in zip(logged.items(), _figure.styles(), strict=False):
        if value in columns:
            steps, found = columns[value]
            drawn.append(100 * found if share else found)
            # Few rows, as of a run verified now and then, are points: a line alone would hide how few.
            few = {"marker": "o", "markersize": 4} if len(steps) <= 12 else {}
            axes.plot(steps, drawn[-1], label=name, **style, **few)
    every = np.concatenate(drawn)
    every = every[np.isfinite(every)]
    if not share and len(every) and every.min() > 0 and every.max() / every.min() > _LOGARITHMIC:
        axes.set_yscale("log")
    elif share and len(every):
        axes.set_ylim(max(-2.0, every.min() - 5), min(102.0, every.max() + 5))
    axes.set_xlabel("Step")
    axes.set_ylabel(_AXES.get(value, _words(value) + (" (%)" if share else "")))


def _words(value: str) -> str:
    """A value's name on its axis: "Images per second"; "lfw EER", "lfw TAR at FAR 1e-03" of a set's figures."""
    words = value.replace("_", " ")
    of_set = re.sub(r" eer$", " EER", re.sub(r" tar at far ", " TAR at FAR ", words))
    return of_set if of_set != words or words.endswith(" accuracy") else words.capitalize()


def _columns(name: str, rows: Iterable[Mapping[str, Any]]) -> _Columns:
    """Dict from a value to its (steps, numbers), of a run's rows."""
    columns: dict[str, list[tuple[Any, Any]]] = {}
    for number, row in enumerate(rows):
        step = row.get("step", row.get("epoch"))
        if not isinstance(step, numbers.Real):
            raise ValueError(f'A row needs "step" or "epoch", a number. Received: row {number} of {name!r}, {row!r}.')
        for value, found in row.items():
            if value not in _PLACES and isinstance(found, numbers.Real) and not isinstance(found, bool):
                columns.setdefault(value, []).append((step, found))
    return {value: tuple(np.array(column, np.float64).T) for value, column in columns.items()}

"""Figures of a training run: a number over the updates."""

from keras_margin.plots import _figure


def training_curves(sets, what, path=None):
    """A number over the updates of one run or several.

    Args:
        sets: Dict from a curve's name to its rows, each a mapping with `step` and the number, as of `log.csv`.
        what: Name of the number, "loss" or "accuracy" or another column.
        path: As for `roc_curve`.

    Returns:
        matplotlib Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: No curve, one without a row, or another suffix.
        OSError: The file cannot be written; nothing is left behind.

    Example:
        >>> rows = [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 7.5}]
        >>> figure = training_curves({"run": rows}, "loss")
    """
    _figure.check_results(sets)
    for name, rows in sets.items():
        if not rows:
            raise ValueError(f"A curve needs at least one row. Received: none for {name!r}.")
    figure, axes = _figure.new(path)
    for (name, rows), style in zip(sets.items(), _figure.styles(), strict=False):
        marker = "o" if len(rows) < 30 else None
        axes.plot([row["step"] for row in rows], [row[what] for row in rows], label=name, marker=marker, ms=3, **style)
    axes.set_xlabel("Updates")
    axes.set_ylabel(what.capitalize())
    if what == "accuracy":
        axes.set_ylim(top=1.02)
    figure.legend(*axes.get_legend_handles_labels(), **_figure.ABOVE)
    return _figure.finish(figure, path)

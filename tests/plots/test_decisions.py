"""Figures of decisions show the numbers that they are given."""

import numpy as np
import pytest

from keras_margin import evaluation, plots


def test_a_reliability_diagram_draws_what_was_said_and_came_true():
    """The diagonal, then a point a bin, in per cent; the name carries the ECE."""
    found = evaluation.reliability([0.9, 0.9, 0.1, 0.1], [True, True, False, False])
    (axes,) = plots.reliability_diagram({"ours": found}).axes
    assert axes.lines[1].get_xdata().tolist() == pytest.approx([10, 90])
    assert axes.lines[1].get_ydata().tolist() == pytest.approx([0, 100])
    assert axes.get_legend().get_texts()[0].get_text() == "ours, ECE 10.00%"


def test_an_edc_curve_draws_a_staircase_and_where_it_began():
    """FNMR against the discarded share, in per cent."""
    (axes,) = plots.edc_curve({"length": ([0.0, 0.1, 0.2], [0.02, 0.01, 0.005])}).axes
    curve, start = axes.lines
    assert (curve.get_xdata().tolist(), curve.get_ydata().tolist()) == ([0, 10, 20], [2, 1, 0.5])
    assert curve.get_drawstyle() == "steps-post" and set(start.get_ydata()) == {2}


def test_groups_stand_side_by_side_with_their_intervals():
    """A panel for each kind of rate, a row for each group."""
    rates = {"female": (0.03, 0.02, 0.05), "male": (0.02, None, None)}
    one, other = plots.group_rates({"FNMR": rates, "FMR": {"all": (0.001, 0.0, 0.002)}}).axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["female", "male"]
    assert [list(line.get_xdata()) for line in one.lines] == [[2.0, 5.0], [3.0], [2.0]]
    assert other.get_xlabel() == "FMR (%)"


@pytest.mark.parametrize("name", ["reliability_diagram", "edc_curve", "group_rates"])
def test_nothing_is_no_figure(name):
    """Each refuses an empty dict."""
    with pytest.raises(ValueError, match="at least one"):
        getattr(plots, name)({})


@pytest.mark.parametrize("result", [([0.0, 0.1], [0.1]), ([0.0, 2.0], [0.1, 0.1]), ([0.0], [np.nan])])
def test_a_curve_that_is_no_share_is_refused(result):
    """Lengths that differ, shares beyond 1, NaN."""
    with pytest.raises(ValueError, match="edc_curve draws"):
        plots.edc_curve({"ours": result})


def test_another_result_is_refused(tmp_path):
    """A reliability diagram draws Reliability alone, and figures are written whole."""
    with pytest.raises(TypeError, match="draws Reliability"):
        plots.reliability_diagram({"ours": [0.1]})
    plots.edc_curve({"ours": ([0.0, 0.1], [0.1, 0.1])}, tmp_path / "edc.png")
    assert (tmp_path / "edc.png").stat().st_size > 1000

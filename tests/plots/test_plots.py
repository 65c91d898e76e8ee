import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_margin import evaluation, plots
from keras_margin.evaluation.verification import TarAtFar
from keras_margin.plots.scores import worst_pairs

SCORES = np.array([0.9, 0.7, 0.2, 0.8, 0.3, 0.1, 0.0])
IS_SAME = np.array([True, True, True, False, False, False, False])
ANGLES = np.radians(np.linspace(0, 180, 13))
CURVE = SimpleNamespace(angles=ANGLES, logit=64 * np.cos(ANGLES), gradient=-64 * np.sin(ANGLES), loss=ANGLES**2)
FACES = np.arange(14 * 6 * 5, dtype=np.uint8).reshape(14, 6, 5)
PAIRS = np.arange(14).reshape(7, 2)
ROWS = [{"step": 10 * at, "loss": 9.0 / at, "accuracy": 1 - 1 / at, "note": "x"} for at in range(1, 5)]
DRAWINGS = {
    "training_curves": lambda path=None: plots.training_curves({"a": ROWS, "b": ROWS[:2]}, path=path),
    "roc_curve": lambda path=None: plots.roc_curve({"ours": evaluation.roc(SCORES, IS_SAME)}, path),
    "score_histogram": lambda path=None: plots.score_histogram(SCORES, IS_SAME, path, threshold=0.5),
    "cmc_curve": lambda path=None: plots.cmc_curve({"ours": [0.5, 0.75, 1.0]}, path),
    "target_logits": lambda path=None: plots.target_logits({"a": CURVE, "b": CURVE}, path),
    "loss_curves": lambda path=None: plots.loss_curves({"a": CURVE, "b": CURVE}, path),
    "det_curve": lambda path=None: plots.det_curve({"ours": evaluation.roc(SCORES, IS_SAME)}, path),
    "angle_histogram": lambda path=None: plots.angle_histogram({"LFW": {"impostor": [80.0, 95.0]}}, path),
    "error_gallery": lambda path=None: plots.error_gallery(FACES, PAIRS, SCORES, IS_SAME, path, count=2),
    "embedding_map": lambda path=None: plots.embedding_map({"a": plots.Embedded(np.eye(3), [0, 1, 2])}, path),
}


def legend_names(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_roc_curve_is_a_staircase_from_the_first_far():
    """Draws the staircase from the first FAR that the impostors show."""
    (axes,) = DRAWINGS["roc_curve"]().axes
    (line,) = axes.lines
    # Thresholds 0.9, 0.8, 0.7, 0.3, 0.2 ...: one genuine at FAR 0 (nothing in sight between 0 and 1/4), two at 1/4.
    assert line.get_xdata().tolist() == [0.25, 0.5, 0.75, 1.0]
    assert line.get_ydata().tolist() == pytest.approx([200 / 3, 100, 100, 100])
    assert line.get_drawstyle() == "steps-post"
    assert axes.get_xscale() == "log" and axes.get_xlim() == (0.1, 1.0)
    assert legend_names(axes.get_legend()) == ["ours"]
    assert axes.get_xlabel() and axes.get_ylabel()


def test_roc_curve_of_many_scores_keeps_its_values():
    """Keeps the values of many scores at fewer points."""
    rng = np.random.default_rng(0)
    is_same = np.arange(40_000) % 2 == 0
    scores = rng.normal(is_same.astype(float))
    (axes,) = plots.roc_curve({"a": evaluation.roc(scores, is_same)}).axes
    far, tar = axes.lines[0].get_data()
    assert len(far) <= 2000 and far[0] == 1 / 20_000 and far[-1] == 1
    for index in (0, 700, 1300, len(far) - 1):
        impostor = np.sort(scores[~is_same])[::-1]
        refused = impostor[math.floor(far[index] * 20_000 + 1e-9)] if far[index] < 1 else -math.inf
        assert tar[index] == pytest.approx(100 * np.mean(scores[is_same] > refused))


def test_curves_beyond_the_palette_differ_by_more():
    """Distinguishes curves by more than color once the palette is spent."""
    (axes,) = plots.cmc_curve({str(number): [0.5, 1.0] for number in range(9)}).axes
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(axes.lines) == 9 and len(styles) == 9


def test_score_histogram_shares_sum_to_a_hundred():
    """Sums the shares of each kind to a hundred; the threshold has its errors."""
    figure = DRAWINGS["score_histogram"]()
    (axes,) = figure.axes
    for patch in axes.patches:
        assert patch.get_data().values.sum() == pytest.approx(100)
    assert legend_names(figure.legends[0]) == ["impostor (4 pairs)", "genuine (3 pairs)"]
    assert axes.texts[0].get_text() == "threshold 0.5\nFAR 25 %, FRR 33 %"
    assert axes.lines[0].get_xdata() == [0.5, 0.5]


def test_score_histogram_shows_a_threshold_outside_the_scores():
    """Shows a threshold outside the scores."""
    (axes,) = plots.score_histogram(SCORES, IS_SAME, threshold=1.5).axes
    assert axes.get_xlim() == (0.0, 1.5)


def test_score_histogram_draws_scores_that_are_all_equal():
    """Draws scores that are all equal."""
    (axes,) = plots.score_histogram([0.5, 0.5], [True, False]).axes
    assert axes.get_xlim() == (0.0, 1.0)


def test_cmc_curve_draws_per_cent_by_rank_from_one():
    """Draws per cent by rank, from rank one."""
    (axes,) = DRAWINGS["cmc_curve"]().axes
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert axes.lines[0].get_ydata().tolist() == [50, 75, 100]
    assert axes.get_xticks().tolist() == [1, 2, 3]


@pytest.mark.parametrize("length", [1, 20, 300])
def test_cmc_ticks_are_whole_ranks_from_one_to_the_last(length):
    """Labels whole ranks from one to the last."""
    (axes,) = plots.cmc_curve({"a": np.linspace(0.7, 1, length)}).axes
    ticks = axes.get_xticks().tolist()
    assert ticks[0] == 1 and ticks[-1] <= length and all(tick == int(tick) for tick in ticks)


def test_target_logits_draws_logits_and_gradients_over_degrees():
    """Draws logits and gradients over degrees."""
    figure = DRAWINGS["target_logits"]()
    left, right = figure.axes
    for axes, wanted in ((left, CURVE.logit), (right, CURVE.gradient)):
        first, second = axes.lines
        np.testing.assert_allclose(first.get_xdata(), np.linspace(0, 180, 13))
        np.testing.assert_allclose(first.get_ydata(), wanted)
        assert first.get_color() != second.get_color()
        assert axes.get_xlim() == (0, 180) and axes.get_xlabel() and axes.get_ylabel()
    assert legend_names(figure.legends[0]) == ["a", "b"]


def test_loss_curves_draws_losses_from_zero_up():
    """Draws losses from zero up."""
    (axes,) = DRAWINGS["loss_curves"]().axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), CURVE.loss)
    assert axes.get_ylim()[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".pdf", ".SVG"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_written_atomically(tmp_path, name, suffix):
    """Writes a figure atomically."""
    path = tmp_path / f"figure{suffix}"
    path.write_bytes(b"an older figure")
    DRAWINGS[name](path)
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".SVG": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    """Keeps the older file after a failed write."""
    from matplotlib.figure import Figure

    def full_disk(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "figure.png"
    path.write_bytes(b"an older figure")
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        DRAWINGS["cmc_curve"](path)
    assert path.read_bytes() == b"an older figure" and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path):
    """Raises for a missing folder."""
    with pytest.raises(FileNotFoundError):
        DRAWINGS["cmc_curve"](tmp_path / "missing" / "figure.png")


@pytest.mark.parametrize("name", DRAWINGS)
def test_another_suffix_is_refused(tmp_path, name):
    """Refuses another suffix."""
    with pytest.raises(ValueError, match=re.escape("one of .pdf, .png, .svg. Received: path='figure.jpeg'")):
        DRAWINGS[name]("figure.jpeg")


@pytest.mark.parametrize("name", DRAWINGS)
def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch, name):
    """Says how to install matplotlib where it is missing."""
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape('pip install -e ".[plots]"')):
        DRAWINGS[name]()


def test_drawing_leaves_matplotlibs_global_state_alone(monkeypatch):
    """Leaves the global state of matplotlib alone."""
    import matplotlib

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = dict(matplotlib.rcParams)
    for draw in DRAWINGS.values():
        draw()
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: plots.roc_curve({}), ValueError, "at least one curve"),
        (lambda: plots.cmc_curve({}), ValueError, "at least one curve"),
        (lambda: plots.target_logits({}), ValueError, "at least one curve"),
        (lambda: plots.target_logits({"a": [0.1]}), TypeError, "curves.Curve values. Received: list for 'a'"),
        (lambda: plots.loss_curves({"a": 1.0}), TypeError, "loss_curves draws curves.Curve values"),
        (lambda: plots.roc_curve({"a": [0.1]}), TypeError, "what evaluation.roc returns. Received: list for 'a'"),
        (lambda: plots.cmc_curve({"a": [0.5, 1.5]}), ValueError, "in [0, 1]"),
        (lambda: plots.cmc_curve({"a": [math.nan]}), ValueError, "in [0, 1]"),
        (lambda: plots.cmc_curve({"a": []}), ValueError, "(max_rank,)"),
        (lambda: plots.score_histogram([0.1], [True, False]), ValueError, "(1,), (2,)"),
        (lambda: plots.score_histogram([0.1, math.nan], [True, False]), ValueError, "1 NaN"),
        (lambda: plots.score_histogram([0.1, 0.2], [True, True]), ValueError, "one kind only"),
        (lambda: plots.score_histogram([0.1, 0.2], [True, False], threshold=math.inf), ValueError, "must be finite"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    """Refuses invalid input."""
    with pytest.raises(error, match=re.escape(words)):
        call()


def report_of(scores, is_same, far, low, high):
    tar = evaluation.tar_at_far(scores, is_same, far)
    row = TarAtFar(far, tar, low, high, threshold=0.0, measurable=True)
    return SimpleNamespace(tar_at_far=(row,))


def bars(axes):
    """(x, lower end, upper end) of each error bar."""
    lines = [segment for collection in axes.collections for segment in collection.get_segments()]
    return [(line[0][0], line[0][1], line[1][1]) for line in lines]


def test_intervals_of_a_report_are_drawn_at_their_fars():
    """Draws the intervals of a report at their FARs."""
    curves = {"ours": evaluation.roc(SCORES, IS_SAME)}
    reports = {"ours": report_of(SCORES, IS_SAME, 0.25, 0.4, 1.0)}
    (axes,) = plots.roc_curve(curves, reports=reports).axes
    assert bars(axes) == [(0.25, pytest.approx(40), pytest.approx(100))]
    assert axes.get_ylim()[0] <= 40
    (axes,) = plots.det_curve(curves, reports={"ours": report_of(SCORES, IS_SAME, 0.25, 0.4, 0.9)}).axes
    ((far, low, high),) = bars(axes)
    assert (far, low, high) == (0.25, pytest.approx(100 / 6), pytest.approx(60))  # No error of 3: half of one.
    with pytest.raises(ValueError, match="reports named \\['other'\\] without one"):
        plots.roc_curve(curves, reports={"other": reports["ours"]})


def test_det_curve_is_one_minus_tar_on_logarithms():
    """Draws 1 - TAR on logarithmic axes, and ends at half an error."""
    (axes,) = DRAWINGS["det_curve"]().axes
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [0.25, 0.5]
    assert line.get_ydata().tolist() == pytest.approx([100 / 3, 100 / 6])
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_angle_histogram_has_a_panel_for_each_set():
    """Draws a panel for each set, with shares of a hundred."""
    generator = np.random.default_rng(0)
    sets = {name: {"impostor": generator.normal(90, 5, 300), "genuine": generator.normal(40, 9, 50)} for name in "abcd"}
    figure = plots.angle_histogram(sets)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list("abcd")
    for axes in shown:
        outlines = [patch for patch in axes.patches if not patch.get_fill()]
        shares = [patch.get_data().values.sum() for patch in outlines]
        assert shares == pytest.approx([100, 100])
        peaks = [patch.get_data().edges[patch.get_data().values.argmax()] for patch in outlines]
        assert abs(peaks[0] - 90) < 8 and abs(peaks[1] - 40) < 15
    assert legend_names(figure.legends[0]) == ["impostor", "genuine"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({}, "at least one curve"),
        ({"a": {}}, "none in 'a'"),
        ({"a": {"x": []}}, "n >= 1"),
        ({"a": {"x": [200.0]}}, "in [0, 180] degrees. Received: x of 'a'"),
        ({"a": {"x": [math.nan]}}, "in [0, 180] degrees"),
    ],
)
def test_angle_histogram_refuses(sets, words):
    """Refuses invalid angles."""
    with pytest.raises(ValueError, match=re.escape(words)):
        plots.angle_histogram(sets)


def test_intervals_of_two_curves_stand_beside_each_other():
    """Draws the intervals of two curves next to each other."""
    roc = evaluation.roc(SCORES, IS_SAME)
    report = report_of(SCORES, IS_SAME, 0.25, 0.4, 1.0)
    (axes,) = plots.roc_curve({"a": roc, "b": roc}, reports={"a": report, "b": report}).axes
    first, second = (bar[0] for bar in bars(axes))
    assert first < 0.25 < second and second / first == pytest.approx(1.085)


def test_losses_that_differ_by_decades_are_on_a_logarithmic_axis():
    """Draws losses that differ by decades on a logarithmic axis."""
    steep = SimpleNamespace(angles=ANGLES, logit=ANGLES, gradient=ANGLES, loss=0.2 + np.where(ANGLES > 3, 40.0, 0))
    (axes,) = plots.loss_curves({"a": steep}).axes
    assert axes.get_yscale() == "log" and axes.get_ylim()[1] > 40 and axes.get_ylim()[0] == pytest.approx(0.2)


def test_training_curves_have_a_panel_for_each_value():
    """Draws a panel for each value, and shares in per cent."""
    figure = DRAWINGS["training_curves"]()
    loss, accuracy = (axes for axes in figure.axes if axes.get_visible())
    assert [line.get_xdata().tolist() for line in loss.lines] == [[10, 20, 30, 40], [10, 20]]
    assert loss.lines[0].get_ydata().tolist() == [9.0, 4.5, 3.0, 2.25]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([0, 50, 200 / 3, 75])
    assert (loss.get_ylabel(), accuracy.get_ylabel(), loss.get_yscale()) == ("Loss", "Accuracy (%)", "linear")
    assert legend_names(figure.legends[0]) == ["a", "b"]


def test_verification_figures_are_shares_named_by_set():
    """Shows the figures of verification as shares, with their set's name."""
    row = {"step": 1, "lfw_accuracy": 0.75, "lfw_eer": 0.25, "lfw_tar_at_far_1e-03": 0.5, "images_per_second": 3.0}
    found = {axes.get_ylabel(): axes.lines[0].get_ydata().tolist() for axes in plots.training_curves({"a": [row]}).axes}
    assert found == {
        "lfw accuracy (%)": [75.0],
        "lfw EER (%)": [25.0],
        "lfw TAR at FAR 1e-03 (%)": [50.0],
        "Images per second": [3.0],
    }


def test_training_curves_that_fall_far_are_logarithmic():
    """Draws a chosen value that falls by powers of ten on a logarithmic axis."""
    rows = [{"epoch": at, "loss": 1.0, "learning_rate": 0.1**at} for at in range(4)]
    (axes,) = plots.training_curves({"a": rows}, values="learning_rate").axes
    assert axes.get_yscale() == "log" and axes.get_ylabel() == "Learning rate"


@pytest.mark.parametrize(
    ("histories", "options", "words"),
    [
        ({}, {}, "at least one run"),
        ({"a": [{"loss": 1.0}]}, {}, "row 0 of 'a'"),
        ({"a": [{"step": 1}]}, {}, "at least one value besides the step"),
        ({"a": ROWS}, {"values": ["los"]}, "The runs logged loss, accuracy. Received: values with los"),
    ],
)
def test_training_curves_refuses(histories, options, words):
    """Refuses invalid histories."""
    with pytest.raises(ValueError, match=re.escape(words)):
        plots.training_curves(histories, **options)


def test_worst_pairs_are_low_genuine_and_high_impostor():
    """Shows the lowest genuine and the highest impostor pairs."""
    assert worst_pairs(SCORES, IS_SAME, 2).tolist() == [2, 1, 3, 4]
    assert worst_pairs(SCORES, IS_SAME, 9).tolist() == [2, 1, 0, 3, 4, 5, 6]


def test_error_gallery_shows_the_worst_of_each_kind_first():
    """Shows the worst of each kind first."""
    panels = DRAWINGS["error_gallery"]().axes
    # Genuine scores 0.9, 0.7, 0.2 at 0, 1, 2; impostors 0.8, 0.3, 0.1, 0.0 at 3 to 6.
    assert [axes.get_title() for axes in panels] == ["\n0.200", "\n0.700", "\n0.800", "\n0.300"]
    for axes, pair in zip(panels, (2, 1, 3, 4), strict=True):
        drawn = axes.images[0].get_array()
        np.testing.assert_array_equal(drawn[:, :5], FACES[2 * pair])
        np.testing.assert_array_equal(drawn[:, -5:], FACES[2 * pair + 1])


def test_error_gallery_has_columns_of_one_width():
    """The words above a row do not widen its first column."""
    figure = DRAWINGS["error_gallery"]()
    figure.draw_without_rendering()
    widths = [axes.get_position(original=True).width for axes in figure.axes]
    np.testing.assert_allclose(widths, widths[0], rtol=1e-6)
    lefts = sorted({round(axes.get_position(original=True).x0, 6) for axes in figure.axes})
    assert lefts[1] - lefts[0] < 1.25 * widths[0]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((FACES.astype(float), PAIRS, SCORES, IS_SAME), TypeError, "images must be uint8"),
        ((FACES, PAIRS + 1, SCORES, IS_SAME), ValueError, "indices of the 14 images"),
        ((FACES, PAIRS[:3], SCORES, IS_SAME), ValueError, "(3, 2) for 7 scores"),
        ((FACES, PAIRS, SCORES, IS_SAME, None, 0), ValueError, "count must be >= 1"),
    ],
)
def test_error_gallery_refuses(arguments, error, words):
    """Refuses invalid pairs."""
    with pytest.raises(error, match=re.escape(words)):
        plots.error_gallery(*arguments)


def test_a_kind_of_angle_has_one_color_of_its_own():
    """Gives a kind of angle one color in all panels, which no other kind has."""
    sets = {"training": {"own": [20.0, 25.0]}, "test": {"impostor": [80.0, 91.0], "genuine": [30.0, 42.0]}}
    figure = plots.angle_histogram(sets)
    handles = figure.legends[0].legend_handles
    assert len({tuple(handle.get_facecolor()) for handle in handles}) == 3

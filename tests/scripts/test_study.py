"""The study: the same number of configurations for all, no choice that sees the test, runs that are not made twice."""

import json
import pathlib
import re

import numpy as np
import pytest

import keras_margin as km
from benchmarks import study, study_report, study_tasks
from benchmarks.study_methods import CONFIGURATIONS, METHODS

pytestmark = pytest.mark.tensorflow_only


def run_of(method, configuration, seed, validation, test, task="orl_open"):
    measures = {"accuracy": 90.0, "tar": 50.0, "rank1": 80.0}
    settings = METHODS[method].grid[configuration]
    run = {"task": task, "method": method, "configuration": configuration, "seed": seed, "settings": settings}
    numbers = {"validation": {"eer": validation, **measures}, "test": {"eer": test, **measures}}
    return {**run, "steps": 1, "machine": "a machine", "processor_seconds": 30.0, **numbers}


@pytest.fixture(scope="module")
def task():
    return study_tasks.orl_open()


def test_every_method_has_as_many_configurations():
    """Gives every method as many configurations, and each builds its head."""
    assert set(km.layers.HEADS) == {method.head for method in METHODS.values()}
    used = {method.auxiliary_loss for method in METHODS.values()} - {None}
    assert used == set(km.losses.LOSSES)
    for method in METHODS.values():
        assert len({json.dumps(settings) for settings in method.grid}) == CONFIGURATIONS
        for number in range(CONFIGURATIONS):
            head = method.build(number, num_classes=4, steps=100)
            assert (head.auxiliary_loss is not None) == (method.auxiliary_loss is not None)


@pytest.mark.parametrize("name", ["sphereface", "lsoftmax"])
def test_lambda_is_at_its_floor_of_five_half_way(name):
    """max(5, 1000 / (1 + gamma t)) at t = 50 of 100 steps."""
    config = METHODS[name].build(0, num_classes=4, steps=100).get_config()
    assert 1000 / (1 + config["gamma"] * 50) == pytest.approx(5.0)
    assert (config["base"], config["power"], config["lambda_min"]) == (1000.0, 1.0, 5.0)


def test_the_open_task_has_nobody_in_two_parts(task):
    """Puts nobody into two parts of the open task."""
    assert [part.num_classes for part in (task.train, task.validation, task.test)] == [20, 8, 12]
    assert task.train.inputs.shape == (study_tasks.VARIANTS, 200, 320)
    rows = [
        {row.tobytes() for row in part} for part in (task.train.inputs[0], task.validation.inputs, task.test.inputs)
    ]
    assert [len(part) for part in rows] == [200, 80, 120] and len(set.union(*rows)) == 400


def test_the_closed_task_splits_photographs_not_people():
    """Puts everybody into each part of the closed task, and no photograph into two."""
    closed = study_tasks.orl_closed()
    parts = (closed.train, closed.validation, closed.test)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[count] * 40 for count in (3, 3, 4)]
    rows = [
        {row.tobytes() for row in part}
        for part in (closed.train.inputs[0], closed.validation.inputs, closed.test.inputs)
    ]
    assert len(set.union(*rows)) == 400


def missing_fonts():
    raise FileNotFoundError("The glyphs are rendered from 16 fonts. Not on this machine: apt install fonts-vlgothic")


def test_a_task_without_its_data_is_left_out_with_a_line(monkeypatch, caplog):
    """Without the fonts of the glyphs the other tasks run, and a line says what is missing."""
    monkeypatch.setattr(study, "TASKS", {"glyphs": missing_fonts, "orl_open": lambda: "the task"})
    assert study.loaded(["glyphs", "orl_open"], required=False) == ["the task"]
    assert [record.getMessage() for record in caplog.records] == [
        "The task glyphs is left out: The glyphs are rendered from 16 fonts. Not on this machine: apt install "
        "fonts-vlgothic"
    ]


@pytest.mark.parametrize(("names", "required"), [(["glyphs", "orl_open"], True), (["glyphs"], False)])
def test_a_task_that_was_asked_for_must_be_there(names, required, monkeypatch):
    """A task named by --tasks, or the only one, is an error where its data is missing."""
    monkeypatch.setattr(study, "TASKS", {"glyphs": missing_fonts, "orl_open": lambda: "the task"})
    with pytest.raises(FileNotFoundError, match="apt install fonts-vlgothic"):
        study.loaded(names, required)


def test_batches_take_four_images_of_a_class():
    """Takes each image once an epoch, and four of a class together."""
    labels = np.repeat(np.arange(16), 8)
    order = study.batches(labels, 4, batch=64, seed=0)
    assert order.shape == (4, 64)
    for epoch in (order[:2], order[2:]):
        assert sorted(epoch.ravel()) == list(range(128))
    groups = labels[order].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert (study.batches(labels, 4, 64, 0) == order).all() and (study.batches(labels, 4, 64, 1) != order).any()


@pytest.mark.slow
def test_a_runner_depends_on_the_seed_alone(task):
    """Computes the same for the same seed, whatever a runner ran before."""
    runner = study.Runner(task, "arcface", 0, steps=12)
    first, other, again = runner(0), runner(1), runner(0)
    assert first["loss"] == again["loss"] and first["test"] == again["test"]
    assert other["loss"] != first["loss"] and set(first["test"]) == set(study_report.MEASURES)


def test_a_perfect_embedder_has_rank_one_and_score_one(task):
    """Gives an embedder that knows the class rank one and the perfect score."""
    known = task.test.labels
    perfect = task.measure(lambda inputs: np.eye(12, dtype=np.float32)[known], task.test)
    assert perfect == {"eer": 0.0, "accuracy": 100.0, "tar": 100.0, "rank1": 100.0}
    assert task.measure(lambda inputs: np.full((len(inputs), 4), np.nan), task.test) is None


def test_runs_are_lines_and_a_cut_line_is_run_again(tmp_path):
    """Keeps a line for each run, and repeats the run of a line that was cut off."""
    path = tmp_path / "runs.jsonl"
    runs = study.Runs(path)
    runs.add(run_of("arcface", 0, 0, 5.0, 6.0))
    runs.add(run_of("arcface", 1, 0, 4.0, 7.0))
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[0][:50])
    again = study.Runs(path)
    assert len(again.runs) == 2 and path.read_text() == whole
    assert again.find("orl_open", "arcface", 1, 0, 1)["test"]["eer"] == 7.0
    assert again.find("orl_open", "arcface", 2, 0, 1) is None


def test_the_study_runs_all_and_the_best_with_all_seeds(task, tmp_path, monkeypatch):
    """Runs each configuration once, and the best on validation with all seeds."""
    made = []

    class Fake:
        def __init__(self, _task, method, configuration, steps):
            self.of = method, configuration

        def __call__(self, seed):
            made.append((*self.of, seed))
            # The second is best on validation and worst on the test, which nothing may look at.
            return run_of(*self.of, seed, validation=[5.0, 3.0, 4.0][self.of[1]], test=[1.0, 9.0, 2.0][self.of[1]])

    monkeypatch.setattr(study, "Runner", Fake)
    for _ in range(2):
        study.study(study.Runs(tmp_path / "runs.jsonl"), task, "cosface", [0, 1, 2], steps=1)
    expected = [(0, 0), (1, 0), (2, 0), (1, 1), (1, 2)]
    assert made == [("cosface", *which) for which in expected]


def test_tables_have_mean_and_sample_deviation():
    """Shows the mean and the sample deviation of the chosen configuration."""
    runs = [run_of("arcface", number, 0, validation, 50.0) for number, validation in enumerate([5.0, 3.0, 4.0])]
    runs[1]["test"]["eer"] = 1.0
    runs += [run_of("arcface", 1, seed, 9.0, eer) for seed, eer in ((1, 2.0), (2, 6.0))]
    report = study_report.summarize(runs, [0, 1, 2])
    assert report["orl_open"]["arcface"]["values"]["eer"] == [1.0, 2.0, 6.0]
    # Mean of 1, 2, 6 is 3; deviations 2, 1, 3: sqrt(14 / 2) = 2.65.
    assert "| arcface | scale 8, margin 0.5 | 3.00 ± 2.65 | 90.00 ± 0.00 |" in study_report.tables(report)
    assert study_report.summarize(runs[:-1], [0, 1, 2]) == {}, "a method shows when all its seeds are there"


def test_an_order_holds_where_all_seeds_agree():
    """Claims an order only where all seeds agree."""
    assert study_report.verdict([1.0, 2.0], [2.0, 2.5]) == "as there (+0.75)"
    assert study_report.verdict([2.0, 2.5], [1.0, 2.0]) == "**the other way** (-0.75)"
    assert study_report.verdict([1.0, 3.0], [2.0, 2.0]) == "seeds differ (+0.00)"
    for _, better, worse in study_report.PAPERS:
        assert {better, worse} <= METHODS.keys()


def test_the_page_is_what_the_committed_runs_give(tmp_path):
    """No figure in the tables of docs/study.md is written by hand."""
    docs = pathlib.Path(__file__).parents[2] / "docs"
    runs = list(study.Runs(docs / "study.jsonl").runs.values())
    page = tmp_path / "study.md"
    text = (docs / "study.md").read_text(encoding="utf-8")
    emptied = re.sub(
        f"{study_report.BEGIN}.*{study_report.END}", f"{study_report.BEGIN}{study_report.END}", text, flags=re.S
    )
    page.write_text(emptied, encoding="utf-8")
    study_report.write_page(page, study_report.summarize(runs, [0, 1, 2]), runs)
    assert page.read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match="needs one line"):
        (tmp_path / "other.md").write_text("nothing")
        study_report.write_page(tmp_path / "other.md", {}, runs)


def test_the_figure_is_drawn_where_methods_and_tasks_are_missing(tmp_path):
    """Draws the figure where methods and tasks are missing."""
    runs = [run_of("arcface", number, 0, 5.0, 6.0) for number in range(CONFIGURATIONS)]
    runs += [run_of("cosface", number, 0, 5.0, 6.0, "glyphs") for number in range(CONFIGURATIONS)]
    figure = study_report.draw(study_report.summarize(runs, [0]), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000 and len(figure.axes) == 2

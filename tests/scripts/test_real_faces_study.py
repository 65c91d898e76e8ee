"""The study on real faces: who is in which part, runs that are not made twice, intervals, tables; random images."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest

from benchmarks import real_faces_study as study
from benchmarks import real_faces_study_data as study_data
from benchmarks import real_faces_study_report as report
from benchmarks import real_faces_tuning as tuning
from benchmarks.real_faces_study_methods import METHODS
from benchmarks.study import Runs
from keras_margin import evaluation

pytestmark = pytest.mark.tensorflow_only


def figures_of(eer, **others):
    """Test figures of a run, the same on each set."""
    names = ("eer", "eer_low", "eer_high", "accuracy", "tar", "tar_low", "tar_high")
    return {f"{name}_{figure}": eer for name in report.SETS for figure in names} | others


def run_of(method, configuration, seed, validation, test, steps=1):
    settings = METHODS[method].grid[configuration]
    run = {"task": "faces", "method": method, "configuration": configuration, "seed": seed, "settings": settings}
    numbers = {"validation": {"eer": validation}, "test": figures_of(test)}
    return {**run, "steps": steps, "machine": "a machine", "processor_seconds": 30.0, **numbers}


def tiny_task():
    """Three people of random pixels, five images each, in every part."""
    generator = np.random.default_rng(0)
    side = study_data.SIZE + 2 * study_data.SHIFT
    images = generator.integers(0, 256, (15, side, side, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(3, dtype=np.int32), 5)
    pairs, is_same = evaluation.all_pairs(labels)
    faces = study_data.Faces(images, labels)
    folds = np.arange(len(pairs)) % 2
    pair_set = study_data.PairSet(images, pairs, is_same, labels[pairs], folds)
    return study_data.Task(faces, {"cfp": faces, "lfw": faces}, dict.fromkeys(report.SETS, pair_set))


def tiny_network():
    inputs = keras.Input((study_data.SIZE, study_data.SIZE, 3))
    x = keras.layers.AveragePooling2D(16)(keras.layers.Rescaling(1 / 128, -1)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


def test_nobody_is_in_two_parts():
    """CFP's first 340 and LFW's people of four images train; CFP's others and LFW's of three are chosen by."""
    names, counts = ["Ann_Lee", "Bo_Orr", "Cy_Poe", "c001", "c340", "c341"], [2, 3, 4, 3, 2, 9]
    found = study_data.parts(names, counts)
    assert found["train"].tolist() == [False, False, True, True, True, False]
    assert found["cfp"].tolist() == [False, False, False, False, False, True]
    assert found["lfw"].tolist() == [False, True, False, False, False, False]


def test_the_interval_draws_people_not_pairs():
    """One resample's EER is that of the pairs repeated as often as their people were drawn."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(6), 3)
    pairs, is_same = evaluation.all_pairs(labels)
    people, scores = labels[pairs], generator.normal(size=len(pairs)) + is_same
    low, high = study_data.eer_interval(scores, is_same, people, resamples=1, seed=4)
    times = np.bincount(np.random.default_rng(4).integers(6, size=6), minlength=6)
    repeats = np.where(is_same, times[people[:, 0]], times[people].prod(axis=1))
    expected = evaluation.eer(scores.repeat(repeats), is_same.repeat(repeats))
    assert low == high == pytest.approx(expected, abs=1e-12)
    assert study_data.eer_interval(is_same * 1.0, is_same, people) == [0.0, 0.0]


def test_augmentation_moves_and_mirrors():
    """Rows and columns lie in the image, in a row; half of the images run from right to left."""
    rows, columns = study.augmentations(20, 16, seed=0)
    side = study_data.SIZE + 2 * study_data.SHIFT
    assert rows.shape == columns.shape == (20, 16, study_data.SIZE)
    assert min(rows.min(), columns.min()) == 0 and max(rows.max(), columns.max()) == side - 1
    assert (np.diff(rows) == 1).all() and set(np.diff(columns).ravel()) == {-1, 1}
    assert 0.4 < (np.diff(columns)[..., 0] == -1).mean() < 0.6


@pytest.mark.slow
def test_a_run_depends_on_its_seed_alone(monkeypatch):
    """A second run of a seed gives the same figures, whatever ran between."""
    monkeypatch.setattr(study, "network", tiny_network)
    runner = study.Runner(tiny_task(), "normsoftmax", 1, steps=4, batch=4)
    first, other, again = runner(0), runner(1), runner(0)
    assert first["loss"] == again["loss"] != other["loss"] and first["test"] == again["test"]
    assert set(first["test"]) == set(figures_of(0.0)) and "diverged" not in first
    errors = [first["validation"][f"{name}_eer"] for name in ("cfp", "lfw")]
    assert first["validation"]["eer"] == pytest.approx(np.mean(errors), abs=1e-3)


def test_useless_embeddings_are_a_diverged_run():
    """Embeddings that are NaN or zero give no figures."""
    task = tiny_task()
    for value in (np.nan, 0.0):
        assert study_data.measure(lambda images, v=value: np.full((len(images), 4), v), task, choosing=False) is None


def test_the_choice_does_not_see_the_test(tmp_path, monkeypatch):
    """The best of seed 0 on the people to choose by runs with all seeds; nothing runs twice."""
    made = []

    class Fake:
        def __init__(self, _task, method, configuration, steps):
            self.of = method, configuration

        def __call__(self, seed):
            made.append((self.of[1], seed))
            # The second is best on validation and worst on the test.
            number = self.of[1]
            return run_of(*self.of, seed, validation=[5.0, 3.0, 4.0][number], test=[1.0, 9.0, 2.0][number])

    monkeypatch.setattr(study, "Runner", Fake)
    for _ in range(2):
        study.choose_and_repeat(Runs(tmp_path / "runs.jsonl"), tiny_task(), "cosface", steps=1)
    count = len(METHODS["cosface"].grid)
    assert made == [*((number, 0) for number in range(count)), (1, 1), (1, 2)]


def test_what_runs_longer_is_what_was_chosen(tmp_path, monkeypatch):
    """Four times the steps, the configuration chosen at the first ones; without a choice an error says so."""
    made = []

    def fake(_task, method, configuration, steps):
        def run(seed):
            made.append((configuration, steps, seed))
            return run_of(method, configuration, seed, 1.0, 2.0, steps)

        return run

    monkeypatch.setattr(study, "Runner", fake)
    runs = Runs(tmp_path / "runs.jsonl")
    with pytest.raises(ValueError, match="Leave --longer out"):
        study.repeat_longer(runs, tiny_task(), "arcface", steps=1)
    for run in complete("arcface", [1.0, 2.0, 6.0]):
        runs.add(run)
    for _ in range(2):
        study.repeat_longer(runs, tiny_task(), "arcface", steps=1)
    assert made == [(1, 4, 0), (1, 4, 1), (1, 4, 2)]
    rows = [report.summarize(runs.runs.values(), times=times) for times in (1, 4)]
    assert "| arcface | 3.0 ± 2.6 | **2.0 ± 0.0** | 2.0 ± 0.0 |" in report.longer_table(*rows)


def test_every_method_has_as_many_configurations():
    """No method has more tries than another, and each configuration builds its head."""
    assert len({len(method.grid) for method in METHODS.values()}) == 1
    for method in METHODS.values():
        assert len({json.dumps(settings) for settings in method.grid}) == len(method.grid)
        for number in range(len(method.grid)):
            head = method.build(number, num_classes=4, steps=100)
            assert (head.auxiliary_loss is not None) == (method.auxiliary_loss is not None)


def complete(method, eers):
    runs = [run_of(method, number, 0, 5.0 - (number == 1), eers[0]) for number in range(len(METHODS[method].grid))]
    return runs + [run_of(method, 1, seed, 9.0, eers[seed]) for seed in (1, 2)]


def test_tables_have_mean_and_sample_deviation():
    """Of 1, 2 and 6 the mean is 3 and the deviation sqrt(14 / 2) = 2.6; incomplete methods are left out."""
    runs = complete("arcface", [1.0, 2.0, 6.0])
    rows = report.summarize(runs)
    assert "| **3.0 ± 2.6** | 3.0 ± 2.6 (3 to 3) |" in report.tables(rows)
    assert report.summarize(runs[:-1]) == {}


def test_a_difference_within_a_deviation_is_called_so():
    """Only a difference of means above both deviations over seeds says anything of an order."""
    assert report.verdict([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]) == "within a deviation (+0.50)"
    assert report.verdict([1.0, 2.0, 3.0], [3.5, 3.5, 3.5]) == "as there (+1.50)"
    assert report.verdict([3.5, 3.5, 3.5], [1.0, 2.0, 3.0]) == "**the other way** (-1.50)"
    for _, better, worse in report.PAPERS:
        assert {better, worse} <= METHODS.keys()


def test_the_page_is_what_the_committed_runs_give(tmp_path):
    """No figure between the marks of docs/study-faces.md is written by hand."""
    docs = pathlib.Path(__file__).parents[2] / "docs"
    page, text = tmp_path / "page.md", (docs / "study-faces.md").read_text(encoding="utf-8")
    page.write_text(re.sub(f"{report.BEGIN}.*{report.END}", report.BEGIN + report.END, text, flags=re.S))
    report.write_page(page, list(Runs(docs / "study-faces.jsonl").runs.values()))
    assert page.read_text(encoding="utf-8") == text


def test_the_figure_has_a_panel_a_set(tmp_path):
    """Draws a row for each of the methods, a panel for each of the three sets."""
    rows = report.summarize([run for method in METHODS for run in complete(method, [1.0, 2.0, 6.0])])
    figure = report.draw(rows, tmp_path / "figure.png")
    assert len(figure.axes) == 3 and (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_row_of_tuned_networks_has_mean_and_deviation(tmp_path):
    """Of 1, 2 and 3 per cent: 2.00 and 1.00; one network has no deviation, and no network is an error."""
    seeds = [{"lfw": {"accuracy": 0.9, "eer": eer}} for eer in (0.01, 0.02, 0.03)]
    text = tuning.table({"before": seeds[:1], "all": seeds}, ["lfw"])
    assert text.splitlines()[2:] == ["| before | 90.00 | 1.00 |", "| all | 90.00 ± 0.00 | 2.00 ± 1.00 |"]
    for name in ("all_1.keras", "all_0.keras"):
        (tmp_path / name).touch()
    assert [path.name for path in tuning.networks(tmp_path)] == ["all_0.keras", "all_1.keras"]
    with pytest.raises(FileNotFoundError, match="without any"):
        tuning.networks(tmp_path / "missing")

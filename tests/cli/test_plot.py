"""`keras-margin plot`: every kind of picture out of files, and clear refusals."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from keras_margin import cli, data, evaluation
from keras_margin.evaluation import protocols
from keras_margin.evaluation.protocols.report import Report
from keras_margin.evaluation.protocols.report import read as read_report

pytestmark = pytest.mark.tensorflow_only


def run(capsys, *arguments):
    status = cli.main(["plot", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two reports over a labelled set and one over a .bin, a run, and points of the plane."""
    folder = tmp_path_factory.mktemp("plot")
    generator = np.random.default_rng(0)
    people = np.repeat([f"p{index:02}" for index in range(20)], 3)
    rows = np.repeat(generator.normal(size=(20, 6)), 3, axis=0) + generator.normal(size=(60, 6))
    images = generator.integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)
    data.write_bin(folder / "faces.bin", images, np.arange(20) % 2 == 0)
    settings = protocols.Settings(far=(0.1, 0.01), resamples=20)
    np.save(folder / "labels.npy", people)
    labelled, pairs = (
        protocols.load_protocol(folder / "labels.npy", name="mine"),
        protocols.load_protocol(folder / "faces.bin"),
    )
    for name, noise in (("a", 0.1), ("b", 1.0)):
        sets, arrays = {}, {}
        for protocol, given in ((labelled, rows), (pairs, rows[:40])):
            found = protocol.measure(given + noise * generator.normal(size=given.shape), settings)
            sets[protocol.name] = {
                "path": protocol.path,
                "protocol": "",
                "images": 0,
                "notes": [],
                "values": found.values,
            }
            sets[protocol.name]["unmeasurable"] = list(found.unmeasurable)
            arrays |= {f"{protocol.name}/{what}": values for what, values in found.arrays.items()}
        Report({"path": name}, sets, [], [], arrays).write(folder / f"{name}.evaluation.json")
    (folder / "run").mkdir()
    (folder / "run" / "report.json").write_text(
        json.dumps({"history": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]})
    )
    (folder / "log.csv").write_text("epoch,loss\n0,2.5\n1,1.5\n")
    (folder / "lines.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n')
    np.save(folder / "points.npy", generator.normal(size=(60, 2)))
    np.save(folder / "axes.npy", generator.normal(size=(20, 2)))
    return folder


REPORTS = ("a.evaluation.json", "b.evaluation.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "inputs", "options"),
    [
        ("roc", REPORTS, ()),
        ("det", REPORTS, ("--set=mine",)),
        ("cmc", REPORTS, ()),
        ("scores", REPORTS[:1], ("--set=mine", "--far=0.1")),
        ("angles", REPORTS, ("--set=mine",)),
        ("errors", REPORTS[:1], ("--set=faces", "--count=3")),
        ("training", ("run", "log.csv", "lines.jsonl"), ("--values=loss",)),
        ("embeddings", ("points.npy",), ("--labels={}/labels.npy", "--prototypes={}/axes.npy")),
    ],
)
def test_every_kind_is_drawn_out_of_files(folder, capsys, tmp_path, kind, inputs, options):
    """Draws every kind of picture from files."""
    out = tmp_path / "picture.svg"
    status, shown, said = run(
        capsys, kind, *(folder / each for each in inputs), f"--out={out}", *(each.format(folder) for each in options)
    )
    assert status == 0, said
    assert out.read_bytes().startswith(b"<?xml") and "picture.svg" in shown


def test_heads_are_drawn_by_name(capsys, tmp_path):
    """Draws heads by name."""
    assert run(capsys, "losses", "qamface", f"--out={tmp_path / 'x.png'}")[0] == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_of_verification_are_drawn_with_the_losses(folder, capsys, tmp_path, monkeypatch):
    """A run's folder gives the rows of its log.csv and of its verification.csv."""
    run_folder, drawn = tmp_path / "mine", {}
    run_folder.mkdir()
    (run_folder / "log.csv").write_text("step,loss\n1,2.5\n2,1.5\n")
    (run_folder / "verification.csv").write_text("step,lfw_accuracy,lfw_eer\n2,0.75,0.25\n")
    monkeypatch.setattr("keras_margin.plots.training_curves", lambda histories, *_: drawn.update(histories))
    assert run(capsys, "training", run_folder, f"--out={tmp_path / 'x.png'}")[0] == 0
    assert drawn["mine"] == [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": 1.5},
        {"step": 2, "lfw_accuracy": 0.75, "lfw_eer": 0.25},
    ]


def test_curves_have_the_shortest_distinct_names(folder, monkeypatch, capsys):
    """Names curves by the shortest names that tell them apart, with their intervals."""
    drawn = {}
    monkeypatch.setattr(
        "keras_margin.plots.roc_curve", lambda curves, path, reports: drawn.update(curves=curves, reports=reports)
    )
    run(capsys, "roc", *(folder / each for each in REPORTS), "--out=x.png")
    assert list(drawn["curves"]) == ["a, mine", "a, faces", "b, mine", "b, faces"]
    run(capsys, "roc", *(folder / each for each in REPORTS), "--set=mine", "--out=x.png")
    assert list(drawn["curves"]) == ["a", "b"]
    run(capsys, "roc", folder / REPORTS[0], "--out=x.png")
    assert list(drawn["curves"]) == ["mine", "faces"]
    report = read_report(folder / REPORTS[0])
    row = drawn["reports"]["mine"].tar_at_far[0]
    values = report.sets["mine"]["values"]
    assert (row.far, row.tar, row.low) == (0.1, values["tar_at_far_1e-01"], values["tar_at_far_1e-01_low"])
    scores, is_same = report.arrays["mine/scores"], report.arrays["mine/is_same"]
    np.testing.assert_array_equal(drawn["curves"]["mine"].tar, evaluation.roc(scores, is_same).tar)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scores", REPORTS[0]), "scores draws one set of one report. Received: mine, faces. Choose with --set."),
        (("errors", REPORTS[0], "--set=lfw"), "The reports hold faces, mine. Received: --set=lfw."),
        (("cmc", REPORTS[0], "--set=faces"), "has cmc: cmc cannot be drawn of them"),
        (("embeddings", "points.npy"), "pass --labels"),
        (("training", REPORTS[0]), "is not a run's report.json"),
        (("roc", "run/report.json"), "no report of keras-margin evaluate"),
        (("roc", REPORTS[0], REPORTS[0]), "Inputs need different names"),
    ],
)
def test_what_cannot_be_drawn_is_refused(folder, capsys, tmp_path, arguments, words):
    """Refuses what cannot be drawn."""
    kind, *rest = arguments
    given = [each if each.startswith("--") else folder / each for each in rest]
    status, _, said = run(capsys, kind, *given, f"--out={tmp_path / 'x.png'}")
    assert status == 1 and words in " ".join(said.split()) and not (tmp_path / "x.png").exists()


def test_a_head_that_is_not_there_is_named(capsys, tmp_path):
    """Names a head that does not exist."""
    status, _, said = run(capsys, "logits", "arcfac", f"--out={tmp_path / 'x.png'}")
    assert status == 1 and "Heads are drawn by their names: arcface" in said

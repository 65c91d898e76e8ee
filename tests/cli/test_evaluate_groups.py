"""`keras-margin evaluate --groups`: rates by group of a labelled set, as values, notes, bounds and a picture."""

import json

import numpy as np
import pytest

from keras_margin import cli, evaluation
from keras_margin.evaluation import protocols
from keras_margin.evaluation.model_card import model_card
from keras_margin.evaluation.protocols import grouping
from keras_margin.evaluation.protocols.report import read as read_report

PEOPLE, IMAGES = 40, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Embeddings of forty people, of whom every second is harder; labels; lists of groups by identity and by image."""
    folder = tmp_path_factory.mktemp("groups")
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(PEOPLE, 16))
    noise = np.where(np.arange(PEOPLE) % 2 == 0, 0.35, 0.9)[:, None, None]
    rows = centers[:, None] + noise * generator.normal(size=(PEOPLE, IMAGES, 16))
    np.save(folder / "rows.npy", rows.reshape(-1, 16))
    names = [f"p{person:02}" for person in range(PEOPLE)]
    np.save(folder / "labels.npy", np.repeat(names, IMAGES))
    lines = [f"{name},{('easy', 'hard')[person % 2]}" for person, name in enumerate(names)]
    (folder / "people.csv").write_text("\n".join(["identity,kind", *lines]))
    images = [f"{image},{'first' if image % IMAGES < 2 else 'last'}" for image in range(PEOPLE * IMAGES)]
    (folder / "images.csv").write_text("\n".join(["image,half", *images]))
    return folder


def run(files, capsys, tmp_path, *flags):
    out = tmp_path / "found.json"
    arguments = [str(files / "rows.npy"), f"mine={files / 'labels.npy'}", f"--out={out}", "--resamples=100"]
    status = cli.main(["evaluate", *arguments, *flags])
    return status, json.loads(out.read_text())["sets"]["mine"], capsys.readouterr()


def test_rates_by_identity_are_those_of_the_library(files, capsys, tmp_path):
    """The threshold of FAR 0.01, and the rates of group_report at it."""
    flags = (f"--groups={files / 'people.csv'}", "--group_far=0.01")
    status, found, said = run(files, capsys, tmp_path, *flags)
    rows, labels = np.load(files / "rows.npy"), np.load(files / "labels.npy")
    pairs, is_same = evaluation.all_pairs(labels)
    scores = evaluation.pair_scores(rows, pairs)
    threshold = np.sort(scores[~is_same])[::-1][int(0.01 * (~is_same).sum())]
    hard = np.array([int(name[1:]) % 2 for name in labels])[pairs]
    wanted = np.mean(scores[is_same & (hard[:, 0] == 1)] <= threshold)
    assert status == 0
    assert found["values"]["groups.kind.hard.fnmr"] == pytest.approx(wanted)
    assert found["values"]["groups.kind.fnmr_gap"] > 0.1
    assert found["values"]["groups.kind.hard.people"] == 20
    assert "kind.hard, FNMR" in said.out and "FNMR is largest of hard" in said.out


@pytest.mark.parametrize(("bound", "status"), [("0.9", 0), ("0.01", 3)])
def test_a_gap_can_be_required(files, capsys, tmp_path, bound, status):
    """A bound on the gap becomes the exit status."""
    flags = (f"--groups=mine={files / 'people.csv'}", f"--require=mine.groups.kind.fnmr_gap<={bound}")
    assert run(files, capsys, tmp_path, *flags)[0] == status


def test_groups_of_images_leave_mixed_pairs_out(files, capsys, tmp_path):
    """Of four images of a person, two in each half, four of six genuine pairs are in both."""
    _, found, _ = run(files, capsys, tmp_path, f"--groups={files / 'images.csv'}")
    assert any(f"{PEOPLE * 4} genuine pairs have their sides in different groups" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identity,kind\nnobody,easy", "must name somebody of mine by identity"),
        ("who,kind\np00,easy", "line 1: a list of groups begins"),
        ("identity\np00", "line 1: a list of groups begins"),
        ("identity,kind\np00", "line 2: 2 cells"),
        ("identity,kind\np00,easy\np00,hard", "line 3: 'p00' is in one group"),
        ("", "line 1"),
    ],
)
def test_lists_that_name_nobody_or_twice_are_refused(files, capsys, tmp_path, text, message):
    """The error names the file and the line."""
    (tmp_path / "groups.csv").write_text(text)
    arguments = [str(files / "rows.npy"), f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'o.json'}"]
    assert cli.main(["evaluate", *arguments, "--resamples=0", f"--groups={tmp_path / 'groups.csv'}"]) == 1
    assert message in capsys.readouterr().err


def test_few_people_are_said(files, capsys, tmp_path):
    """A group of five is named with its number, and is in no gap."""
    lines = [f"p{person:02},{'five' if person < 5 else 'rest'}" for person in range(PEOPLE)]
    (tmp_path / "groups.csv").write_text("\n".join(["identity,size", *lines]))
    _, found, _ = run(files, capsys, tmp_path, f"--groups={tmp_path / 'groups.csv'}")
    assert any("fewer than 10: five (5)" in note for note in found["notes"])
    assert "groups.size.fnmr_gap" not in found["values"] and "groups.size.five.fnmr" in found["values"]


def test_groups_need_pairs_of_known_people(files):
    """A protocol without people is refused by name."""
    protocol = protocols.load_protocol(files / "labels.npy", name="mine")
    measured = protocol.measure(np.load(files / "rows.npy"), protocols.Settings(resamples=0))
    protocol.people = None
    with pytest.raises(ValueError, match="mine .* has not both"):
        grouping.measure_groups(protocol, measured, grouping.read_groups(files / "people.csv"))


def test_quality_is_the_lengths_of_the_embeddings(files, capsys, tmp_path):
    """The values are those of the curve at the threshold of FAR 1e-3, whatever the rows' lengths."""
    rows, labels = np.load(files / "rows.npy"), np.load(files / "labels.npy")
    lengths = np.random.default_rng(0).uniform(1, 2, len(rows))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(tmp_path / "rows.npy", unit * lengths[:, None])
    out = tmp_path / "found.json"
    arguments = [str(tmp_path / "rows.npy"), f"mine={files / 'labels.npy'}", f"--out={out}", "--resamples=0"]
    assert cli.main(["evaluate", *arguments, "--quality"]) == 0
    found = json.loads(out.read_text())["sets"]["mine"]
    pairs, is_same = evaluation.all_pairs(labels)
    scores = evaluation.pair_scores(unit, pairs)
    threshold = evaluation.threshold_at_far(scores, is_same, 1e-3)
    kept = lengths >= np.sort(lengths)[int(0.1 * len(lengths))]
    left = is_same & kept[pairs].all(axis=1)
    assert found["values"]["edc_fnmr"] == pytest.approx((scores[is_same] < threshold).mean())
    assert found["values"]["edc_fnmr_without_0.1"] == pytest.approx((scores[left] < threshold).mean(), abs=1e-9)
    assert "FNMR without the worst 0.1 of images" in capsys.readouterr().out


def test_unit_embeddings_have_no_quality(files, capsys, tmp_path):
    """The error says where lengths are kept; a sum of two images' has none either."""
    rows = np.load(files / "rows.npy")
    np.save(tmp_path / "unit.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    arguments = [str(tmp_path / "unit.npy"), f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'o.json'}"]
    assert cli.main(["evaluate", *arguments, "--quality", "--resamples=0"]) == 1
    assert "exported with --length" in capsys.readouterr().err


def test_groups_quality_and_reliability_are_drawn(files, capsys, tmp_path):
    """A picture of each out of one report; reliability by the calibration that a file carries."""
    pytest.importorskip("matplotlib")
    flags = (f"--groups={files / 'people.csv'}", "--quality")
    status, _, _ = run(files, capsys, tmp_path, *flags)
    assert status == 0
    scores = {"cosine": [-1.0, 0.2, 1.0], "llr": [-4.0, 0.0, 4.0], "low": [-5.0, -1.0, 3.0], "high": [-3.0, 1.0, 5.0]}
    (tmp_path / "calibrated").mkdir()
    metadata = {"calibration": scores | {"prior": 0.5, "zone": None}}
    (tmp_path / "calibrated" / "contract.json").write_text(json.dumps(metadata))
    for kind, extra in (("groups", ()), ("edc", ()), ("reliability", (f"--calibration={tmp_path / 'calibrated'}",))):
        out = tmp_path / f"{kind}.png"
        assert cli.main(["plot", kind, str(tmp_path / "found.json"), f"--out={out}", *extra]) == 0
        assert out.stat().st_size > 1000
    assert cli.main(["plot", "reliability", str(tmp_path / "found.json"), f"--out={tmp_path / 'r.png'}"]) == 1
    assert "--calibration=FILE" in capsys.readouterr().err


def test_a_card_shows_the_groups_of_a_report(files, capsys, tmp_path):
    """The report's table and notes are in the card."""
    run(files, capsys, tmp_path, f"--groups={files / 'people.csv'}")
    report = read_report(tmp_path / "found.json")
    card = model_card({}, "face", [report])
    row = next(row for row in report.table()[1] if row[0] == "kind, largest gap of FNMR")
    assert f"| {' | '.join(row)} |" in card and "FNMR is largest of hard" in card
    assert "Not measured at export." in card and "not calibrated" in card

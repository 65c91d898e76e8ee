"""`keras-margin evaluate --align`: sets of photographs, their faces found and cropped first."""

import json

import faces
import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras

from keras_margin import cli
from keras_margin.alignment import _workers

pytestmark = pytest.mark.tensorflow_only

PAIRS = ((True, "ann/1", "ann/2"), (False, "ann/1", "bob/1"), (True, "bob/1", "bob/2"), (False, "ann/2", "bob/2"))


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Two photographs of two people each and a list of pairs; of bob/2 no face is found, ann/1 has two."""
    monkeypatch.setattr(_workers, "default_detector", lambda: faces.detect)
    for seed, name in enumerate(("ann/1", "ann/2", "bob/1", "bob/2")):
        corners = {"ann/1": [(25, 20), (40, 35)], "bob/2": []}.get(name, [(10, 10)])
        faces.save(tmp_path / "set" / f"{name}.png", faces.photograph(*corners, seed=seed))
    lines = [f"{fold // 2},{int(same)},{one}.png,{other}.png" for fold, (same, one, other) in enumerate(PAIRS)]
    (tmp_path / "set" / "pairs.csv").write_text("\n".join(["fold,same,first,second", *lines]))
    images = keras.Input((112, 112, 3))
    x = keras.layers.AveragePooling2D(28)(keras.layers.Rescaling(1 / 128, -1.0)(images))
    keras.Model(images, keras.layers.Flatten()(x)).save(tmp_path / "face.keras")
    return tmp_path


def run(photographs, *arguments):
    out = photographs / "report.json"
    status = cli.main(
        ["evaluate", str(photographs / "face.keras"), *arguments, "--no_checks", f"--out={out}", "--resamples=0"]
    )
    return status, (json.loads(out.read_text())["sets"]["set"] if out.exists() else None)


@pytest.mark.parametrize(("policy", "corner"), [("largest", (40, 35)), ("centre", (25, 20))])
def test_photographs_are_measured_by_their_crops(photographs, policy, corner, capsys):
    """Scores of the crops' own cosines; a photograph without a face is never the same, and the notes count it."""
    status, found = run(photographs, str(photographs / "set"), f"--align={policy}")
    assert status == 0 and found["path"] == str(photographs / "set") and found["images"] == 3
    assert "4 photographs, their faces found by the default detector" in found["notes"][-1]
    assert "1 of several faces, 1 without one" in found["notes"][-1]

    def crop(name, seed, x, y):
        corners = [(25, 20), (40, 35)] if name == "ann/1" else [(x, y)]
        cut = faces.photograph(*corners, seed=seed)[y : y + 112, x : x + 112] / 128.0 - 1
        return np.float64(cut).reshape(4, 28, 4, 28, 3).mean(axis=(1, 3)).ravel()

    rows = [crop("ann/1", 0, *corner), crop("ann/2", 1, 10, 10), crop("bob/1", 2, 10, 10)]
    cosine = [rows[0] @ row / np.linalg.norm(rows[0]) / np.linalg.norm(row) for row in rows[1:]]
    scores = np.load(photographs / "report.npz")["set/scores"]
    np.testing.assert_allclose(scores, [cosine[0], cosine[1], -1, -1], atol=1e-4)


def test_the_photographs_and_their_folder_are_left_alone(photographs, capsys):
    """Crops go into a folder of their own, which is gone afterwards."""
    before = sorted(path.name for path in (photographs / "set").rglob("*"))
    run(photographs, str(photographs / "set"), "--align")
    assert sorted(path.name for path in (photographs / "set").rglob("*")) == before


def test_what_cannot_be_aligned_is_refused(photographs, capsys):
    """A set in one file, and embeddings instead of a model."""
    np.save(photographs / "rows.npy", np.eye(4))
    for model, path, words in (
        ("face.keras", "set/pairs.csv", "--align takes folders of photographs"),
        ("rows.npy", "set", "--align crops faces for a model"),
    ):
        assert cli.main(["evaluate", str(photographs / model), str(photographs / path), "--align"]) == 1
        assert words in capsys.readouterr().err

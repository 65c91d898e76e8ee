"""`keras-margin calibrate` writes into an exported file what its cosines are worth; verify and identify use it."""

import hashlib
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from tflite_networks import HEIGHT, WIDTH, convert, own_export, with_metadata

from keras_margin import cli, evaluation
from keras_margin._utils import metadata
from keras_margin.evaluation.embedders import update_metadata
from keras_margin.runtime import Embedder

pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

PEOPLE, IMAGES = 16, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, with and without metadata of ours, and a folder of people whose images differ by noise."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("calibrate")
    plain = convert(folder, "plain", (None, HEIGHT, WIDTH, 3), tf.uint8, own_export)
    with_metadata(plain, folder / "face.tflite", format="keras-margin embedder", about={"kept": "this"})
    generator = np.random.default_rng(0)
    for person in range(PEOPLE):
        face = generator.integers(0, 256, (HEIGHT, WIDTH, 3))
        (folder / "people" / f"p{person:02d}").mkdir(parents=True)
        for number in range(IMAGES):
            image = np.clip(face + generator.normal(0, 90, face.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / "people" / f"p{person:02d}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def calibrated(folder):
    """A copy of the file that was calibrated, at a FAR and FRR that leave a zone."""
    path = pathlib.Path(shutil.copy(folder / "face.tflite", folder / "calibrated.tflite"))
    arguments = [str(path), str(folder / "people"), "--far=0.01", "--frr=0.05", "--resamples=20"]
    assert cli.main(["calibrate", *arguments]) == 0
    return path


def test_progress_is_shown_without_a_terminal(folder, capfd, monkeypatch):
    """Standard error gets a line a stage, and one every few seconds, here after each look at the clock."""
    monkeypatch.setattr("keras_margin._utils.progress.LINE_SECONDS", -1.0)
    arguments = [str(folder / "face.tflite"), str(folder / "people"), "--dry_run", "--resamples=20", "--batch=32"]
    assert cli.main(["calibrate", *arguments]) == 0
    lines = capfd.readouterr().err.splitlines()
    stages = [line.rpartition(" ...")[0] for line in lines if line.endswith(" ...")]
    assert [stage.split()[0] for stage in stages] == ["Opening", "Embedding", "Calibrating"]
    assert any(re.match(r"Embedded 32 of 128 images of people, \d+ s left\.", line) for line in lines)


def test_the_metadata_get_a_calibration_and_keep_the_rest(calibrated):
    """Inside the file and beside it, with what the older metadata said."""
    found = metadata.read_metadata(calibrated)
    assert found == json.loads(calibrated.with_name("calibrated.tflite.json").read_text())
    assert found["about"] == {"kept": "this"}
    assert found["calibration"]["num_people"] == PEOPLE and found["calibration"]["set"] == "people"
    assert found["calibration"]["num_genuine"] == PEOPLE * IMAGES * (IMAGES - 1) // 2
    assert found["search"]["far"][0] == 1.0


def test_the_network_and_its_galleries_stay(folder, calibrated):
    """The same embeddings, and the model_id that the file had before."""
    before, after = Embedder(folder / "face.tflite"), Embedder(calibrated)
    images = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    np.testing.assert_array_equal(before.embed(images), after.embed(images))
    assert after.model_id == before.model_id == hashlib.sha256((folder / "face.tflite").read_bytes()).hexdigest()


def test_calibrating_again_replaces_the_calibration(folder, calibrated, tmp_path):
    """The second text is the one that is read, and the file says the same of its past."""
    again = pathlib.Path(shutil.copy(calibrated, tmp_path / "again.tflite"))
    assert cli.main(["calibrate", str(again), str(folder / "people"), "--prior=0.1", "--resamples=5"]) == 0
    assert metadata.read_metadata(again)["calibration"]["prior"] == 0.1
    assert metadata.read_metadata(again)["model_id"] == metadata.read_metadata(calibrated)["model_id"]


def test_a_foreign_file_gets_metadata(folder, tmp_path):
    """A TFLite file without any of ours is given some, and runs as before."""
    foreign = pathlib.Path(shutil.copy(folder / "plain.tflite", tmp_path / "foreign.tflite"))
    assert cli.main(["calibrate", str(foreign), str(folder / "people"), "--resamples=5"]) == 0
    assert metadata.read_metadata(foreign)["calibration"]["method"] == "logistic"
    assert Embedder(foreign).embedding_size == 5


def test_a_probability_is_the_metadatas_line(folder, calibrated):
    """Between two knots of the calibration, at the file's prior and at another."""
    embedder = Embedder(calibrated)
    images = [np.asarray(Image.open(folder / "people" / name).convert("RGB")) for name in ("p00/0.png", "p00/1.png")]
    found, known = embedder.probability(*images), metadata.read_metadata(calibrated)["calibration"]
    ratio = np.exp(np.interp(embedder.verify(*images), known["cosine"], known["llr"]))
    assert found.probability == pytest.approx(ratio / (1 + ratio), rel=1e-6)
    rarer = embedder.probability(*images, prior=0.01)
    assert rarer.probability == pytest.approx(0.01 * ratio / (0.01 * ratio + 0.99), rel=1e-6)


def test_verify_says_the_probability_and_asks_in_between(folder, calibrated, capsys):
    """Same person 0, different people 3, and 5 for a pair between the two thresholds."""
    zone = metadata.read_metadata(calibrated)["calibration"]["zone"]
    embedder = Embedder(calibrated)
    paths = sorted((folder / "people").rglob("*.png"))
    rows = embedder.embed(np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]))
    cosines = rows @ rows.T
    wanted = {0: cosines >= zone["same_from"] + 1e-3, 3: cosines < zone["different_below"] - 1e-3}
    wanted[5] = (cosines > zone["different_below"] + 1e-3) & (cosines < zone["same_from"] - 1e-3)
    np.fill_diagonal(wanted[0], False)
    for status, pairs in wanted.items():
        one, other = np.argwhere(pairs)[0]
        assert cli.main(["verify", str(calibrated), str(paths[one]), str(paths[other])]) == status
        said = capsys.readouterr().out
        assert re.search(r"one person: .* % \(.* to .* %\) at even odds", said)
        assert {0: "the same person", 3: "different people", 5: "ask a person"}[status] in said


def test_identify_takes_a_rate_a_search(folder, calibrated, capsys, tmp_path):
    """The threshold is that of the file's table at the gallery's size."""
    gallery = str(tmp_path / "people.npz")
    assert cli.main(["enroll", str(folder / "people"), gallery, f"--model={calibrated}"]) == 0
    photograph = str(folder / "people" / "p00" / "0.png")
    arguments = ["identify", photograph, gallery, f"--model={calibrated}"]
    capsys.readouterr()
    assert cli.main([*arguments, "--far_per_search=0.05"]) == 0
    threshold = Embedder(calibrated).search_thresholds.threshold(PEOPLE * IMAGES, 0.05)
    assert f"threshold {threshold:.6g} (names 5.00% of all strangers among so many)" in capsys.readouterr().out
    assert cli.main([*arguments, "--far_per_search=0.05", "--threshold=0.3"]) == 1


def test_inspect_tells_of_the_calibration(calibrated, capsys):
    """Method, errors, pairs, the zone; and thresholds of searches."""
    assert cli.main(["inspect", str(calibrated)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"calibration\tlogistic, Cllr 0\.\d+, ECE .* of 16 people; ask a person between", said)
    assert re.search(r"search\tOf a search, .* among 10,000 faces", said)


def test_a_dry_run_writes_nothing(folder, tmp_path, capsys):
    """The figures are said, the file stays."""
    path = pathlib.Path(shutil.copy(folder / "face.tflite", tmp_path / "dry.tflite"))
    before = path.read_bytes()
    assert cli.main(["calibrate", str(path), str(folder / "people"), "--dry_run", "--resamples=5"]) == 0
    assert path.read_bytes() == before and "Nothing was written" in capsys.readouterr().out


def test_a_file_without_a_calibration_says_how_to_get_one(folder):
    """probability and far_per_search name the command."""
    embedder = Embedder(folder / "face.tflite")
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ValueError, match="keras-margin calibrate .*face.tflite PAIRS"):
        embedder.probability(image, image)
    from keras_margin.runtime import Gallery

    gallery = Gallery(5)
    gallery.enroll("Ada", np.ones(5))
    with pytest.raises(ValueError, match="needs search thresholds"):
        embedder.identify(image, gallery, far_per_search=0.01)
    with pytest.raises(ValueError, match="a threshold or far_per_search"):
        embedder.identify(image, gallery, threshold=0.3, far_per_search=0.01)


def test_a_set_of_few_people_is_refused(folder, capsys, tmp_path):
    """Nine people say more of themselves than of anybody else; the file stays as it was."""
    for person in range(9):
        shutil.copytree(folder / "people" / f"p{person:02d}", tmp_path / "people" / f"p{person:02d}")
    before = (folder / "face.tflite").read_bytes()
    assert cli.main(["calibrate", str(folder / "face.tflite"), str(tmp_path / "people")]) == 1
    assert "at least 10 people. Received: 9" in capsys.readouterr().err
    assert (folder / "face.tflite").read_bytes() == before


def test_metadata_that_have_no_json_are_refused(folder, tmp_path):
    """NaN is not JSON; the file stays as it was."""
    path = pathlib.Path(shutil.copy(folder / "face.tflite", tmp_path / "face.tflite"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="plain JSON values"):
        update_metadata(path, {"about": float("nan")})
    assert path.read_bytes() == before


def test_a_threshold_is_fitted_from_the_folders_impostors(folder, calibrated):
    """The table at FAR 0.1 is the score that a tenth of the impostor pairs reach."""
    embedder = Embedder(calibrated)
    paths = sorted((folder / "people").rglob("*.png"))
    rows = embedder.embed(np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]))
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    pairs, is_same = evaluation.all_pairs(labels)
    scores = np.sort(evaluation.pair_scores(rows, pairs)[~is_same])[::-1]
    found = embedder.search_thresholds
    cosine = found.cosine[np.argmin(np.abs(found.far - 0.1))]
    assert cosine == pytest.approx(scores[int(0.1 * len(scores))], abs=2e-3)


def test_cluster_writes_who_is_with_whom_and_scores_it(folder, capsys, tmp_path):
    """At a threshold between the two kinds of pair, the clusters are the library's and are scored by the folders."""
    out = tmp_path / "clusters.csv"
    arguments = ["cluster", str(folder / "people"), str(out), f"--model={folder / 'face.tflite'}", "--threshold=0.8"]
    assert cli.main([*arguments, "--named"]) == 0
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["image", "cluster"] and len(rows) == 1 + PEOPLE * IMAGES
    paths = sorted((folder / "people").rglob("*.png"))
    embeddings = Embedder(folder / "face.tflite").embed(
        np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    )
    wanted = evaluation.chinese_whispers(embeddings, 0.8)
    assert [row[1] for row in rows[1:]] == [str(each) for each in wanted]
    score = evaluation.bcubed_score(wanted, np.repeat(np.arange(PEOPLE), IMAGES))
    assert f"BCubed: F {score.f:.4f}" in capsys.readouterr().out
    assert cli.main(arguments[:-1]) == 1  # Neither the file nor the call has a threshold.

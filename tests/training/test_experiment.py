"""A whole run: what it writes and measures, what it refuses, and that nothing half-written stays."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scripts import ROOT, run_main

from keras_margin import data, evaluation, recipes, runtime
from keras_margin._utils import metadata
from keras_margin.callbacks import _embedding, _records
from keras_margin.data import ArrayReader
from keras_margin.data.augmentation import Augmentation
from keras_margin.models import backbones

tf = pytest.importorskip("tensorflow")
from keras_margin import export, training  # noqa: E402
from keras_margin.training import experiment  # noqa: E402
from keras_margin.training.experiment import _folder, _measures  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

PEOPLE, IMAGES, SIDE = 6, 8, 12


def dense(image_size):
    """Pixels to embeddings in one product: the fastest thing that trains."""
    inputs = keras.Input((*image_size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
    return keras.Model(inputs, keras.layers.Dense(8)(x))


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "dense", dense)
        yield


def recipe_of(**changes):
    plain = {
        "name": "test",
        "source": "",
        "head_options": (("scale", 16.0),),
        "backbone": "dense",
        "image_size": (SIDE, SIDE),
        "batch_size": 8,
        "steps": 12,
        "learning_rate": 0.05,
        "augmentation": Augmentation(flip=True),
    }
    return recipes.Recipe(plain.pop("name"), plain.pop("source")).replace(**{**plain, **changes})


def reader_of(counts=(IMAGES,) * PEOPLE):
    """As many noisy pictures of each person as `counts` says."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    faces = generator.integers(0, 256, (len(counts), SIDE, SIDE, 3))
    images = np.clip(0.5 * faces[labels] + 64 + generator.normal(0, 25, (len(labels), SIDE, SIDE, 3)), 0, 255)
    return ArrayReader(images.astype("uint8"), labels, [f"person {label}" for label in range(len(counts))])


def run(out, recipe=None, reader=None, **options):
    console = Console(file=io.StringIO(), width=120)
    return experiment.run(recipe or recipe_of(), reader or reader_of(), out, console=console, **options)


@pytest.fixture(autouse=True)
def float32_alone(monkeypatch):
    """One precision is enough for most runs here; `finished`, made before this, and the script have all."""
    monkeypatch.setattr(experiment, "PRECISIONS", (None,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(the result of a run with everything in it, its report.json)."""
    out = tmp_path_factory.mktemp("runs") / "first"
    config = experiment.RunConfig(verify=("held_out",), verify_every=5)
    result = run(out, held_out=2, known_people=True, seed=4, config=config)
    return result, json.loads((out / "report.json").read_text())


# --- What a run writes and measures ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_folder_holds_the_model_the_files_and_the_report(finished):
    """Writes the model, the files and the report into the folder."""
    result, report = finished
    assert {path.name for path in result.folder.iterdir()} == {
        "model.keras",
        "embedder.tflite",
        "embedder.tflite.json",
        "embedder_float16.tflite",
        "embedder_float16.tflite.json",
        "embedder_int8.tflite",
        "embedder_int8.tflite.json",
        "savedmodel",
        "report.json",
        "report.md",
        "recipe.json",
        "split.json",
        "log.csv",
        "tensorboard",
        "roc.png",
        "errors.png",
        "loss.png",
        "accuracy.png",
        "angles.png",
        "best.keras",
        "verification.csv",
    }
    assert [path.name for path in result.folder.parent.iterdir()] == ["first"]
    assert report["recipe"]["name"] == "test" and report["recipe"]["data"]["augmentation"]["flip"] is True
    assert (report["seed"], report["replicas"]) == (4, 1)
    assert recipes.get(str(result.folder / "recipe.json")) == recipe_of()
    content = json.loads((result.folder / "recipe.json").read_text())
    assert content["command"] == report["command"] != "" and content["versions"]["keras"] == keras.__version__
    # Measured every five updates, and at the end.
    assert [row["step"] for row in report["verification"]] == [5, 10, 12]
    text = (result.folder / "report.md").read_text()
    assert all(f"]({name}.png)" in text for name in ("loss", "accuracy", "angles", "roc", "errors"))
    assert f"{report['measures'][-1]['eer']:.1%}" in text and report["command"] in text
    rows = _records.rows(result.folder / "log.csv")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in report["history"]])
    # Twelve steps are noted at each.
    assert [row["step"] for row in report["history"]] == list(range(1, 13))
    assert all(row["loss"] > 0 and 0 <= row["accuracy"] <= 1 for row in report["history"])
    assert report["training_seconds"] == round(result.seconds, 1) > 0
    paths = [each["path"] for each in report["exports"]]
    names = ["embedder.tflite", "embedder_float16.tflite", "embedder_int8.tflite", "savedmodel"]
    assert paths == [str(result.folder / name) for name in names]
    assert [each.path for each in result.reports] == paths
    # The test people's images are compared on: two people's eight.
    assert all(each["num_images"] == 16 for each in report["exports"])
    assert all(report["exports"][place]["worst_cosine"] >= 1 - 1e-5 for place in (0, 3))
    assert all(each.passed for each in result.reports)
    said = metadata.read_metadata(result.folder / "embedder_int8.tflite")
    assert said["recipe"]["name"] == "test" and said["measured"] == report["measures"]
    # Two people are too few for a threshold; the FAR is the least that 64 impostor pairs can show.
    assert said["threshold"] is None and "2 people are too few" in said["no_threshold"]
    assert said["accuracy"]["far"] == 0.16


@pytest.mark.slow
def test_the_split_is_written_by_name(finished):
    """Everybody is on one side, and the held-out are those whom the seed's permutation puts first."""
    result, _ = finished
    split = data.read_split(result.folder / "split.json")
    test, learn = unseen_people(reader_of(), seed=4)
    assert split.held_out == tuple(f"person {label}" for label in np.unique(reader_of().labels[test]))
    assert (len(split.held_out), split.seed, split.source, split.num_identities) == (2, 4, None, PEOPLE)
    for found, wanted in zip(split.indices(reader_of()), (learn, test), strict=True):
        np.testing.assert_array_equal(found, np.sort(wanted))


@pytest.mark.slow
def test_the_verification_table_of_the_report_has_eer(finished):
    """Reports the EER in the table of verification."""
    result, report = finished
    assert set(report["verification"][0]) >= {"step", "held_out_accuracy", "held_out_eer"}
    text = (result.folder / "report.md").read_text()
    best = max(report["verification"], key=lambda row: row["held_out_accuracy"])
    assert f"| best | {best['step']} | {best['held_out_accuracy']:.4f} | {best['held_out_eer']:.4f} |" in text


@pytest.mark.slow
def test_the_console_has_every_stage_and_verification(tmp_path):
    """Prints every stage and the verification on the console."""
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    config = experiment.RunConfig(verify=("held_out",), verify_every=6)
    experiment.run(recipe_of(), reader_of(), tmp_path / "run", console=console, config=config)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("Training on 32 images of 4 people; 2 people are held out for the test")
    assert "the newest 2 and the best are kept" in lines[1]
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split("  ")[0] for line in steps] == ["step 6", "step 12"]
    assert all(re.search(r"held_out: accuracy \S+, EER \S+%", line) for line in steps)
    ours = ("Measuring", "Exporting", "Writing the report")
    stages = [line.split()[0] for line in lines if line.endswith(" ...") and line.startswith(ours)]
    assert stages == ["Measuring", "Measuring", "Exporting", "Exporting", "Writing"]


def unseen_people(reader, seed):
    """Numbers of the held-out people's images and of the others', by the split's own rule."""
    people = np.random.default_rng(seed).permutation(PEOPLE)[:2]
    return np.flatnonzero(np.isin(reader.labels, people)), np.flatnonzero(~np.isin(reader.labels, people))


def eer_by_hand(embeddings, labels):
    """Where the shares of accepted impostors and refused genuine pairs cross; between two thresholds by a line."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), 1)
    scores, same = np.sum(unit[first] * unit[second], axis=1), labels[first] == labels[second]
    points = [(0.0, 1.0)]
    for threshold in np.unique(scores)[::-1]:
        points.append((np.mean(scores[~same] >= threshold), np.mean(scores[same] < threshold)))
    for (far, frr), (next_far, next_frr) in zip(points, points[1:], strict=False):
        if next_far >= next_frr:
            share = (frr - far) / (frr - far + next_far - next_frr)
            return far + share * (next_far - far)
    raise AssertionError("no crossing")


@pytest.mark.slow
def test_figures_of_unseen_people_are_the_saved_models(finished):
    """Reports the figures of the saved model on unseen people."""
    result, report = finished
    reader = reader_of()
    test, _ = unseen_people(reader, seed=4)
    images, labels = reader.arrays()
    images, labels = images[test], labels[test]
    model = keras.saving.load_model(result.folder / "model.keras")
    found = {each["embedder"]: each for each in report["measures"] if each["protocol"] == "unseen people"}
    assert list(found) == ["raw pixels", "untrained network", "trained network"]
    trained = model.predict(images, verbose=0).astype("float64")
    grey = images.mean(axis=-1).reshape(len(images), -1)
    for name, embeddings in (("trained network", trained), ("raw pixels", grey - grey.mean(axis=1, keepdims=True))):
        assert found[name]["eer"] == pytest.approx(eer_by_hand(embeddings, labels), abs=1e-6)
        assert 0 <= found[name]["ten_fold"] <= 1 and found[name]["rank_1"] is None
    assert found["untrained network"]["eer"] != found["trained network"]["eer"]


@pytest.mark.slow
def test_the_figures_of_known_people_have_a_rank(finished):
    """Reports the rank-1 rate of each embedder on known people."""
    result, _ = finished
    known = [measure for measure in result.measures if measure.protocol == "known people"]
    assert [measure.embedder for measure in known] == ["raw pixels", "untrained network", "trained network"]
    # Pictures of a person share half of their contrast: the pixels alone find everybody.
    assert known[0].rank_1 == 1.0
    assert all(0 <= measure.rank_1 <= 1 and measure.ten_fold is None for measure in known)


@pytest.mark.slow
def test_the_exported_model_never_met_the_test_people(finished, tmp_path, monkeypatch):
    """What is trained on are the other four people, numbered again."""
    seen = []

    def fit(recipe, reader, **_):
        seen.append(reader)
        raise StopAsyncIteration

    monkeypatch.setattr(training, "fit", fit)
    with pytest.raises(StopAsyncIteration):
        run(tmp_path / "run", held_out=2, seed=4)
    reader = reader_of()
    _, learn = unseen_people(reader, seed=4)
    assert seen[0].num_classes == 4
    np.testing.assert_array_equal(seen[0].arrays()[0], reader.arrays()[0][learn])


@pytest.mark.slow
def test_the_device_s_file_is_the_model(finished):
    """Embeds with the device's file as with the model."""
    result, _ = finished
    images, _ = reader_of().arrays()
    wanted = keras.saving.load_model(result.folder / "model.keras").predict(images, verbose=0).astype("float64")
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = runtime.Embedder(str(result.folder / "embedder.tflite")).embed(images)
    assert np.sum(found * wanted, axis=1).min() >= 1 - 1e-5


@pytest.fixture
def again(finished, tmp_path):
    """A folder with an older run in it."""
    old = tmp_path / "run"
    old.mkdir()
    (old / "report.json").write_text("{}")
    (old / "old.txt").write_text("old")
    return old


@pytest.mark.slow
def test_an_older_run_is_replaced(again):
    """Replaces an older run, and restores the dtype policy after training in half precision."""
    policy = keras.config.dtype_policy()
    result = run(again, recipe_of(precision="mixed_bfloat16"), seed=5)
    assert keras.config.dtype_policy() == policy
    assert not (again / "old.txt").exists()
    assert json.loads((again / "report.json").read_text())["seed"] == 5
    model = keras.saving.load_model(again / "model.keras")
    # CPUs have bfloat16.
    assert model.embedder.layers[-1].compute_dtype == "bfloat16"
    assert all(report.passed for report in result.reports)


# --- Nothing half-written -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "error", "out"),
    [
        (export, "to_savedmodel", ValueError("too far"), "run"),
        (export, "to_precisions", OSError(28, "No space left on device"), "new/run"),
        (training, "fit", KeyboardInterrupt(), "run"),
        (training, "fit", KeyboardInterrupt(), "new/run"),
    ],
)
def test_a_failure_in_the_middle_leaves_everything_as_it_was(module, name, error, out, again, monkeypatch):
    """Leaves everything as it was after a failure in the middle."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(module, name, fail)
    policy = keras.config.dtype_policy()
    with pytest.raises(type(error)):
        run(again.parent / out, recipe_of(steps=1, precision="mixed_bfloat16"))
    # What was trained is not lost: the same command goes on from it.
    assert _folder.can_go_on(again.parent / out) == (module is export)
    shutil.rmtree((again.parent / out).with_name("run.partial"), ignore_errors=True)
    if module is export and out == "new/run":
        (again.parent / "new").rmdir()
    assert sorted(path.name for path in again.parent.rglob("*")) == ["old.txt", "report.json", "run"]
    assert (again / "report.json").read_text() == "{}"
    assert keras.config.dtype_policy() == policy


@pytest.mark.slow
def test_a_label_out_of_range_stops_the_run(tmp_path):
    """Stops at a label out of range."""

    class Wrong(ArrayReader):
        def subset(self, indices):
            part = super().subset(indices)
            part.labels = np.where(np.arange(part.num_images) == 3, 77, part.labels).astype("int32")
            return part

    images, labels = reader_of().arrays()
    with pytest.raises(ValueError, match=r"^ArcFaceHead has 4 classes: labels must be in \[0, 3\]. Received: 77 at"):
        run(tmp_path / "run", reader=Wrong(images, labels, list("abcdef")))
    assert list(tmp_path.iterdir()) == []


def folder_of(root, bad=None):
    """Six people with four noise pictures each; `bad` replaces the bytes of one."""
    generator = np.random.default_rng(0)
    for person in range(PEOPLE):
        (root / f"p{person}").mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"p{person}" / f"{number}.jpg")
    if bad is not None:
        (root / "p1" / "2.jpg").write_bytes(bad)
    return root


@pytest.mark.slow
def test_an_image_broken_inside_stops_a_strict_run_by_name(tmp_path):
    """Stops a strict run at an image broken inside, by name."""
    root = folder_of(tmp_path / "faces")
    content = (root / "p1" / "2.jpg").read_bytes()
    tables = content.index(b"\xff\xc4") + 4
    for person in range(PEOPLE):
        # In everybody, so that those who are trained on have one.
        (root / f"p{person}" / "2.jpg").write_bytes(content[:tables] + b"\xff" * 20 + content[tables + 20 :])
    reader = data.open(root, image_size=(SIDE, SIDE), strict=True)
    with pytest.raises(ValueError, match=rf"^Every image must be readable if strict=True. Received: {root}/p\d/2.jpg"):
        run(tmp_path / "runs" / "run", reader=reader)
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


@pytest.mark.slow
def test_a_failed_export_is_redone_without_training(tmp_path, monkeypatch):
    """Repeats an export that failed by the same call, without training again."""
    with monkeypatch.context() as patch:
        patch.setattr(export, "to_savedmodel", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "run")
    with pytest.raises(ValueError, match="unfinished run of something else: seed was 0 there and is 1 here.*--restart"):
        run(tmp_path / "run", seed=1)
    before = (tmp_path / "run.partial" / "log.csv").read_text()
    run(tmp_path / "run")
    assert (tmp_path / "run" / "log.csv").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_training_data_are_not_verified_on(tmp_path):
    """Refuses to verify on the training data."""
    root = folder_of(tmp_path / "faces")
    config = experiment.RunConfig(verify=(str(root),))
    with pytest.raises(ValueError, match="other people than the training data.*--verify=held_out"):
        run(tmp_path / "run", config=config, source=str(root))


def test_two_sets_of_one_name_are_refused(tmp_path):
    """Refuses two sets of one name."""
    for parent in ("a", "b"):
        folder_of(tmp_path / parent / "faces")
    config = experiment.RunConfig(verify=tuple(str(tmp_path / parent / "faces") for parent in ("a", "b")))
    with pytest.raises(ValueError, match="need different file names.*faces, faces"):
        run(tmp_path / "run", config=config)


def test_somebody_else_s_folder_in_the_way_is_left_alone(tmp_path):
    """Leaves another program's folder in its place."""
    (tmp_path / "run.partial").mkdir()
    with pytest.raises(ValueError, match="run.partial is in the way, and is not an unfinished run: nothing"):
        run(tmp_path / "run")


# --- Refused before the training ------------------------------------------------------------------------------------


def test_what_a_run_must_not_overwrite_is_left_alone(tmp_path):
    """Leaves what a run must not overwrite."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="--out must be a folder. Received: .*file, a file"):
        run(tmp_path / "file")
    with pytest.raises(ValueError, match="folder holds something that is not an earlier run: nothing was touched"):
        run(tmp_path / "folder")
    with pytest.raises(OSError, match=r"file/run cannot be written: "):
        run(tmp_path / "file" / "run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "mine.txt"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    """Refuses a folder without permission."""
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="locked/run cannot be written: Permission denied"):
        run(tmp_path / "locked" / "run")


def test_a_nearly_full_disk_is_refused_before_the_training(tmp_path, monkeypatch):
    """Refuses a nearly full disk before the training."""
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="has 3 MiB free; a run needs 256 MiB"):
        run(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((8,) * 6, {"held_out": 1}, "two identities are held out .* held_out=1 of 6"),
        ((8,) * 6, {"held_out": 5}, "two are left to train on.* held_out=5 of 6"),
        ((8,) * 3, {}, "held_out=2 of 3 identities"),
        ((1,) * 20, {}, "one held-out identity needs two.*2 images of 2 held-out identities.*--held_out"),
        ((8, 8, 8, 5), {"known_people": True}, "identity 3 has 5 images"),
        ((8,) * 6, {"config": experiment.RunConfig(replicas=0)}, "at least one replica. Received: replicas=0"),
        ((2,) * 4, {}, "One batch takes 8 images, the training data have 4"),
    ],
)
def test_people_that_cannot_be_split_are_refused(counts, options, message, tmp_path):
    """Refuses people that cannot be split."""
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", reader=reader_of(counts), **options)
    assert list(tmp_path.iterdir()) == []


# --- Measures -------------------------------------------------------------------------------------------------------


def test_ten_folds_have_as_many_pairs_of_either_kind(monkeypatch):
    """Measures ten folds over as many pairs of either kind.

    One person with 40 pictures and one with a single one: 780 genuine pairs, 40 impostor pairs.
    """
    labels = np.array([0] * 40 + [1])
    asked = []
    make_pairs = evaluation.make_pairs
    monkeypatch.setattr(evaluation, "make_pairs", lambda *given: asked.append(given[1:3]) or make_pairs(*given))
    embeddings = np.random.default_rng(0).normal(size=(41, 4))
    assert 0 <= _measures._ten_fold(embeddings, labels, 0).mean <= 1
    assert asked == [(40, 40)]
    # Three genuine pairs do not make ten folds.
    assert _measures._ten_fold(embeddings[:6], np.array([0, 0, 1, 1, 2, 2]), 0) is None


def test_a_large_test_set_is_sampled_within_the_pairs_there_are():
    """Samples a large test set within its pairs."""
    labels = np.repeat([0, 1], [3000, 1])
    pairs, is_same = _measures._some_pairs(labels, seed=0)
    assert is_same.sum() == 100_000 and (~is_same).sum() == 3000
    np.testing.assert_array_equal(labels[pairs[:, 0]] == labels[pairs[:, 1]], is_same)


def test_a_blank_image_is_orthogonal_to_the_others():
    """Gives a blank image a direction at right angles to the others."""
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    images[1] = 200
    rows = _measures._raw_pixels(images).astype("float64")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.isfinite(unit).all()
    np.testing.assert_allclose(unit[1] @ unit[[0, 2]].T, 0, atol=1e-6)


def test_an_embedder_embeds_every_image_whatever_the_batch():
    """Embeds every image, whatever the batch."""
    network = dense((SIDE, SIDE))
    images, _ = reader_of().arrays()
    wanted = (images.reshape(len(images), -1) / 128.0 - 1) @ np.float64(network.layers[-1].kernel)
    for batch_size in (1, 7, 48, 100):
        found = _embedding.make_embed_fn(network, batch_size=batch_size)(images)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        (None, "nothing was written"),
        ("checkpoints/a/step-000000001.npz", r"goes on from the checkpoint in .*run\.partial"),
    ],
)
def test_an_interrupt_says_whether_the_run_goes_on(checkpoint, words, tmp_path):
    """A run that a signal ends says whether the same command goes on from it."""
    with (
        pytest.raises(KeyboardInterrupt, match=words),
        _folder.interrupts_told(tmp_path / "run"),
        _folder.atomic_directory(tmp_path / "run", recipe_of(steps=1), seed=0) as folder,
    ):
        if checkpoint:
            (folder / checkpoint).parent.mkdir(parents=True)
            (folder / checkpoint).write_bytes(b"")
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("has_checkpoint", "words"),
    [(False, "nothing was written"), (True, r"goes on from the checkpoint in .*run\.partial")],
)
def test_an_early_interrupt_names_older_checkpoints(has_checkpoint, words, tmp_path, monkeypatch):
    """A signal before the folder is opened says the same: an earlier process may have left checkpoints."""

    def interrupt(*_):
        raise KeyboardInterrupt

    if has_checkpoint:
        path = tmp_path / "run.partial/checkpoints/a/step-000000001.npz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        (tmp_path / "run.partial/recipe.json").write_text("{}")
    monkeypatch.setattr(_measures, "unseen_people", interrupt)
    with pytest.raises(KeyboardInterrupt, match=words):
        run(tmp_path / "run")


# --- The script -----------------------------------------------------------------------------------------------------

SCRIPT = "examples/train_casia.py"

# The script as `python examples/train_casia.py` runs it, but that its small network is two products and a PReLU.
RUN_SMALL = """
import os, runpy, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
from keras_margin._utils import files
with files.suppress_native_stderr():
    import keras
    from keras_margin.models import backbones
def small(image_size, **options):
    inputs = keras.Input((*image_size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
    return keras.Model(inputs, keras.layers.Dense(8)(keras.layers.PReLU()(keras.layers.Dense(16)(x))))
backbones.BACKBONES["ir_small"] = small
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_the_script_runs_from_images_to_a_report(tmp_path):
    """Runs the script quietly from a folder of images to a report."""
    root = folder_of(tmp_path / "faces", bad=b"404 Not Found\n")
    out = tmp_path / "runs" / "run"
    flags = [f"--data_dir={root}", "--recipe=orl_demo", "--steps=2", "--batch_size=8", f"--out={out}", "--replicas=2"]
    command = [sys.executable, "-c", RUN_SMALL, SCRIPT, *flags]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Nothing of what TensorFlow, absl and the converter say; our own warnings, one with the count and the name.
    bad = root / "p1" / "2.jpg"
    assert done.stderr.startswith(f"WARNING: Left out 1 images that cannot be read: {bad} (not a JPEG, PNG or BMP file")
    assert done.stderr.count("\n") == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"Data: {root}, 6 identities, 23 images."
    assert re.fullmatch(r"Training on 1[56] images of 4 people; 2 people are held out for the test, .*", lines[1])
    assert lines[2].startswith("Checkpoints every 5 minutes in ") and "newest 2 are kept" in lines[2]
    # A slow machine may have said "1/2" before.
    progress = [line for line in lines[1:] if line.startswith("training  ")]
    assert lines[3] == progress[0] and progress[-1].startswith("training  2/2  loss ")
    ours = ("Measuring", "Exporting", "Writing the report")
    stages = [line for line in lines if line.endswith(" ...") and line.startswith(ours)]
    assert [line.split()[0] for line in stages] == ["Measuring", "Measuring", "Exporting", "Exporting", "Writing"]
    assert any("orl_demo, 2 steps" in line for line in lines)
    assert sum("unseen people" in line and "%" in line and "better than" not in line for line in lines) == 3
    assert not any(line.startswith("|") for line in lines)  # Markdown is for report.md.
    exported = [line for line in lines if ".tflite: " in line and "cosine mean" in line]
    assert [kind in line for kind, line in zip(("float32", "float16", "int8"), exported, strict=True)] == [True] * 3
    assert "PReLUs compute in float32" in (out / "report.md").read_text()
    assert lines[-1].endswith(f"Everything is in {out}.")
    report = json.loads((out / "report.json").read_text())
    assert report["recipe"]["run"]["steps"] == 2 and report["replicas"] == 2
    assert [each["embedder"] for each in report["measures"]] == ["raw pixels", "untrained network", "trained network"]
    assert report["exports"][0]["worst_cosine"] >= 0.9999
    assert [path.name for path in out.parent.iterdir()] == ["run"]


@pytest.mark.slow
def test_the_script_says_in_one_line_what_it_cannot_do(tmp_path):
    """Says in one line what the script cannot do."""
    faces, holed = folder_of(tmp_path / "faces"), folder_of(tmp_path / "holed", bad=b"")
    (tmp_path / "empty").mkdir()
    for number in range(2):
        one = tmp_path / "one" / "only" / f"{number}.jpg"
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_bytes((faces / "p0" / "0.jpg").read_bytes())
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    usual = [f"--data_dir={faces}", f"--out={tmp_path / 'runs' / 'run'}", "--recipe=orl_demo", "--batch_size=8"]
    cases = {
        "there is nothing": ["--data_dir=/nowhere/at/all"],
        "which is empty": [f"--data_dir={tmp_path / 'empty'}"],
        "images of at least 2 people": [f"--data_dir={tmp_path / 'one'}"],
        "which is a file": [f"--data_dir={tmp_path / 'file'}"],
        f"strict=True. Received: 1 images that cannot be read: {holed}/p1/2.jpg": [f"--data_dir={holed}", "--strict"],
        "Known recipes: arcface_casia_r50, ": ["--recipe=arcface"],
        "arcface, ": ["--head=arcfase"],
        "inception_resnet_v1, ir_resnet100, ": ["--backbone=resnet50"],
        "--out must be a folder": [f"--out={tmp_path / 'file'}"],
        "file/run cannot be written": [f"--out={tmp_path / 'file' / 'run'}"],
        "not an earlier run": [f"--out={faces}"],
        "batch_size >= 1. Received: batch_size=0": ["--batch_size=0"],
        "One batch takes 32 images, the training data have 16. Pass a smaller --batch_size": ["--batch_size=32"],
        "steps >= 1. Received: steps=0": ["--steps=0"],
        "replicas=0": ["--replicas=0"],
        "held_out=5 of 6": ["--held_out=5"],
        "All options are flags": ["steps=50"],
        "--mixed_precision and --set=precision=... contradict": ["--mixed_precision", "--set=precision=float32"],
    }
    found, stderr = run_main(SCRIPT, *([*usual, *flags] for flags in cases.values()))
    for (code, _), (words, flags) in zip(found, cases.items(), strict=True):
        assert isinstance(code, str) and code.startswith("error: ") and words in code, (flags, code)
        assert "\n" not in code
    assert stderr == ""
    assert sorted(tmp_path.rglob("*")) == before

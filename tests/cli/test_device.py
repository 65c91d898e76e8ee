"""`keras-margin export` of a run, then inspect, embed and verify where neither TensorFlow nor Keras can be imported."""

import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_margin as km
from keras_margin import cli

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow_only

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE = 24


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A training run as the library leaves it, a folder of ten people with six images each, a file of pairs."""
    folder = tmp_path_factory.mktemp("a run 顔")
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.AveragePooling2D(4)]
        + [keras.layers.Flatten(), keras.layers.PReLU(), keras.layers.Dense(12)]
    )
    km.EmbeddingModel(backbone, km.CosFaceHead(6, margin=0.2)).save(folder / "model.keras")
    report = {"recipe": {"name": "mine", "steps": 7}, "measures": [{"protocol": "unseen people", "eer": 0.25}]}
    (folder / "report.json").write_text(json.dumps(report))
    generator = np.random.default_rng(0)
    for person in range(10):
        face = generator.integers(0, 256, (SIDE, SIDE, 3))
        (folder / "faces" / f"p{person}").mkdir(parents=True)
        for number in range(6):
            image = np.clip(face + generator.normal(0, 30, face.shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / "faces" / f"p{person}" / f"{number} ü.png")
    return folder


@pytest.fixture(scope="module")
def exported(run_folder):
    out = run_folder / "face 顔.tflite"
    faces = str(run_folder / "faces")
    arguments = [str(run_folder), str(out), f"--pairs={faces}", "--far=0.01", "--batch=2", "--flip_sum"]
    assert cli.main(["export", *arguments]) == 0
    return out


def without_tensorflow(*arguments):
    """(exit code, stdout, stderr) of keras-margin in a process that cannot import TensorFlow or Keras."""
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from keras_margin import cli\nsys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_file_says_where_it_comes_from_and_what_it_reaches(exported, run_folder):
    """Writes the origin and the accuracy of a file into its metadata."""
    said = km.runtime.read_metadata(exported)
    assert said == json.loads(exported.with_name(exported.name + ".json").read_text(encoding="utf-8"))
    assert said["recipe"] == {"name": "mine", "steps": 7} and said["measured"][0]["eer"] == 0.25
    assert (said["head"]["class"], said["head"]["margin"]) == ("CosFaceHead", 0.2)
    assert said["image"]["batch"] == 2 and said["embedding"]["flip_sum"] is True and said["alignment"] is None
    assert (said["accuracy"]["num_genuine"], said["accuracy"]["num_impostor"]) == (10 * 15, 60 * 59 // 2 - 10 * 15)
    # The threshold, from the embeddings of the file itself: the lowest score with at most 1 % of impostors at or above.
    embedder = km.runtime.Embedder(exported)
    reader = km.data.open(run_folder / "faces", image_size=(SIDE, SIDE))
    images, labels = reader.arrays()
    rows = np.float64(embedder.embed(images))
    first, second = np.triu_indices(60, 1)
    scores, same = np.sum(rows[first] * rows[second], axis=1), labels[first] == labels[second]
    allowed = sorted(scores[~same])[-(int(0.01 * (~same).sum()) + 1)]
    assert said["threshold"]["cosine"] == pytest.approx(min(scores[scores > allowed]), abs=1e-6)
    assert embedder.threshold == said["threshold"]["cosine"]
    assert said["threshold"]["tar"] == pytest.approx(np.mean(scores[same] > allowed), abs=1e-9)


@pytest.mark.slow
def test_flip_sum_adds_the_mirror_image_before_the_unit_length(exported, run_folder):
    """Adds the mirror image's embedding before the division by the length."""
    model = keras.saving.load_model(run_folder / "model.keras").embedder
    images = km.data.open(run_folder / "faces", image_size=(SIDE, SIDE)).subset(np.arange(5)).arrays()[0]
    wanted = np.float64(model.predict(images, verbose=0)) + model.predict(images[:, :, ::-1], verbose=0)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(km.runtime.Embedder(exported).embed(images), wanted, atol=1e-5)


@pytest.mark.slow
def test_inspect_embed_and_verify_need_no_tensorflow(exported, run_folder, tmp_path):
    """Runs inspect, embed and verify without TensorFlow."""
    code, out, err = without_tensorflow("inspect", exported)
    assert (code, err) == (0, "")
    for words in (
        "uint8 RGB 24 x 24, batch 2",
        "mirror image added",
        "CosFaceHead(num_classes=6, margin=0.2",
        "FAR 0.01",
    ):
        assert words in out
    code, out, _ = without_tensorflow("inspect", "--json", exported)
    assert code == 0 and json.loads(out) == km.runtime.read_metadata(exported)

    code, out, err = without_tensorflow("embed", exported, run_folder / "faces", f"--out={tmp_path / 'e.npz'}")
    assert code == 0, err
    with np.load(tmp_path / "e.npz", allow_pickle=False) as found:
        rows, names = found["embeddings"], found["names"].tolist()
    assert names[0] == str(run_folder / "faces" / "p0" / "0 ü.png") and rows.shape == (60, 12)
    images, _ = km.data.open(run_folder / "faces", image_size=(SIDE, SIDE)).arrays()
    np.testing.assert_allclose(rows, km.runtime.Embedder(exported).embed(images), atol=1e-6)

    one, other, stranger = names[0], names[1], names[59]
    code, out, err = without_tensorflow("verify", exported, one, other)
    assert code == 0 and "the same person" in out, err
    assert float(out.split()[1]) == pytest.approx(float(rows[0] @ rows[1]), abs=2e-6)
    code, out, _ = without_tensorflow("verify", exported, one, stranger)
    assert code == 3 and "different people" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{run}/faces", "{out}/a.tflite"], "faces is not a training run: it has no model.keras"),
        (["export", "{run}/nothing", "{out}/a.tflite"], "no model at"),
        (["export", "{run}/report.json", "{out}/a.tflite"], "report.json cannot be read as a Keras model"),
        (["export", "{run}", "{out}/a", "--quantize=int8"], "--quantize and --representative are TFLite's"),
        (["export", "{run}", "{out}/a.tflite", "--pairs={run}/faces", "--far=1e-9"], "cannot be measured on 1,620 imp"),
        (["export", "{run}", "{out}/a.tflite", "--samples={run}/faces", "--mean=1.5"], r"Worst: .*ü\.png"),
        (["inspect", "{run}/report.json"], "carries no metadata"),
        (["inspect", "{run}/nothing"], "no such file"),
        (["embed", "{file}", "{run}/report.json", "--out={out}/a.npz"], "report.json cannot be read"),
        (["embed", "{file}", "{out}", "--out={out}/a.npz"], "holds no image"),
        (["embed", "{file}", "{run}/faces", "--out=a.npy"], "must end in .npz"),
        (["verify", "{run}/report.json", "a", "b"], "'TFL3'"),
        (["verify", "{file}", "a.png", "b.png"], "a.png cannot be read"),
        (["verify", "{file}", "a.png", "b.png", "--channels=BGR"], "takes RGB by its own metadata"),
        (["verify", "{file}", "a.png", "b.png", "--threshold=40"], "must be a cosine"),
    ],
)
def test_misuse_is_answered_in_one_line_and_leaves_nothing(arguments, message, run_folder, exported, tmp_path, capfd):
    """Answers misuse in one line, and leaves nothing behind."""
    places = {"run": run_folder, "out": tmp_path, "file": exported}
    assert cli.main([argument.format(**places) for argument in arguments]) == 1
    error = " ".join(capfd.readouterr().err.split())
    assert re.search(f"keras-margin {arguments[0]}: .*{message}", error), error
    assert list(tmp_path.iterdir()) == []


def test_an_export_can_calibrate(run_folder, tmp_path):
    """--calibrate writes what the pairs say of a cosine, the same as `keras-margin calibrate` would of these scores."""
    out, faces = tmp_path / "face.tflite", str(run_folder / "faces")
    assert cli.main(["export", str(run_folder), str(out), f"--pairs={faces}", "--far=0.01", "--calibrate"]) == 0
    found = km.runtime.read_metadata(out)
    assert found["calibration"]["num_people"] == 10 and found["calibration"]["num_genuine"] == 10 * 15
    assert found["search"]["measured_to"] > 0
    assert cli.main(["export", str(run_folder), str(out), "--calibrate"]) == 1


def test_a_model_card_says_what_was_measured_and_what_was_not(run_folder, tmp_path, capsys):
    """--card writes OUT.md beside the file: the metadata in words; what nobody said is named as missing."""
    out, faces = tmp_path / "face.tflite", str(run_folder / "faces")
    flags = [f"--pairs={faces}", "--far=0.01", "--calibrate", "--card", "--about=intended_use=our door"]
    assert cli.main(["export", str(run_folder), str(out), *flags]) == 0
    card, found = (tmp_path / "face.tflite.md").read_text(encoding="utf-8"), km.runtime.read_metadata(out)
    assert "## Intended use\n\nour door" in card and "--about=limits=..." in card
    assert f"| EER | {found['accuracy']['eer']:.2%} | {found['accuracy']['model_eer']:.2%} |" in card
    assert f"Cllr {found['calibration']['cllr']:.4f}" in card and "among 10,000" in card
    assert "Groups of people were not compared" in card
    assert found["threshold"]["basis"] in card
    capsys.readouterr()
    assert cli.main(["inspect", str(out), "--card"]) == 0
    assert capsys.readouterr().out.strip() == card.strip()
    assert cli.main(["export", str(run_folder), str(out), "--about=limits"]) == 1

"""`keras-margin evaluate`: numbers in a table and in files, bounds as exit codes, checks before the work."""

import io
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
import keras

from keras_margin import cli, data, evaluation, export

pytestmark = pytest.mark.tensorflow_only

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIDE = 16


def run(capsys, *arguments):
    status = cli.main(["evaluate", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A Keras file that sees red alone, a .bin of people who differ in red, the same in blue, and embeddings."""
    folder = tmp_path_factory.mktemp("evaluate")
    images = keras.Input((SIDE, SIDE, 3))
    red = keras.layers.Conv2D(1, 1, use_bias=False)(keras.layers.Rescaling(1 / 128, -1.0)(images))
    model = keras.Model(images, keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(red)))
    model.set_weights([np.array([1.0, 0.0, 0.0], np.float32).reshape(1, 1, 3, 1)])
    model.save(folder / "face.keras")
    generator = np.random.default_rng(0)
    who = np.repeat(generator.integers(-70, 71, (20, SIDE, SIDE)), 8, axis=0)
    pixels = generator.integers(-25, 26, (160, SIDE, SIDE, 3)) + (150, 110, 80)
    pixels[..., 0] += who
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    order = np.stack([np.arange(160), np.roll(np.arange(160), -1)], axis=1).ravel()
    is_same = order[::2] // 8 == order[1::2] // 8
    keep = np.repeat(~is_same | (np.arange(160) % 3 == 0), 2)
    other = order.copy()
    other[1::2] = np.where(is_same, order[1::2], np.roll(order[1::2], 16))
    data.write_bin(folder / "set.bin", pixels[other][keep], is_same[keep[::2]])
    data.write_bin(folder / "swapped.bin", pixels[other][keep][..., ::-1], is_same[keep[::2]])
    labels = np.repeat([f"p{index:02}" for index in range(20)], 3)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "rows.npy", np.repeat(generator.normal(size=(20, 5)), 3, axis=0) + generator.normal(size=(60, 5)))
    return folder


def test_embeddings_of_anybody_are_measured_and_written(files, capsys, tmp_path):
    """Measures embeddings from any source, and writes the report."""
    out = tmp_path / "rows.json"
    status, shown, _ = run(
        capsys, files / "rows.npy", f"mine={files / 'labels.npy'}", f"--out={out}", "--far=0.1", "--resamples=20"
    )
    found = json.loads(out.read_text())["sets"]["mine"]["values"]
    pairs, is_same = evaluation.all_pairs(np.load(files / "labels.npy"))
    scores = evaluation.pair_scores(np.load(files / "rows.npy"), pairs)
    assert status == 0 and found["eer"] == evaluation.eer(scores, is_same)
    assert found["tar_at_far_1e-01"] == evaluation.tar_at_far(scores, is_same, 0.1)
    assert f"{found['eer']:.2%}" in shown and "rows.json" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json", "rows.md", "rows.npz"]


@pytest.mark.parametrize(
    ("bounds", "status", "words"),
    [
        (["mine.eer<=0.9"], 0, "met"),
        (["mine.eer<=0.9", "mine.rank_1>=1.1"], 3, "mine.rank_1>=1.1: NOT MET"),
        (["mine.eeer<=0.9"], 1, "no value 'eeer'"),
        (["lfw.eer<=0.9"], 1, "begins with a set that is evaluated"),
        (["mine.tar_at_far_1e-6>=0"], 1, "too small to show"),
    ],
)
def test_bounds_become_exit_codes(files, capsys, tmp_path, bounds, status, words):
    """Ends with the exit code of a bound that fails."""
    given = [f"--require={bound}" for bound in bounds]
    arguments = (files / "rows.npy", f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'x.json'}", "--resamples=0")
    found, shown, errors = run(capsys, *arguments, *given)
    assert found == status and words in " ".join((shown + errors).split())


@pytest.mark.slow
def test_a_model_is_checked_embedded_and_measured(files, capsys, tmp_path):
    """Checks a model, embeds with it and measures."""
    status, shown, said = run(
        capsys, files / "face.keras", files / "set.bin", f"--embeddings={tmp_path}", "--far=0.1", "--resamples=20"
    )
    found = json.loads((files / "face.keras.evaluation.json").read_text())
    assert status == 0 and [each["level"] for each in found["findings"]] == ["ok", "ok"]
    images, is_same = data.load_bin(files / "set.bin")
    red = images[..., 0].astype(np.float64).reshape(-1, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(len(images), -1) / 128 - 1
    scores = evaluation.pair_scores(red, np.arange(len(red)).reshape(-1, 2))
    assert found["sets"]["set"]["values"]["auc"] == pytest.approx(evaluation.auc(scores, is_same), abs=1e-4)
    # What was embedded is measured again without the model.
    again = run(capsys, tmp_path, files / "set.bin", f"--out={tmp_path / 'again.json'}", "--far=0.1", "--resamples=20")
    assert again[0] == 0
    assert json.loads((tmp_path / "again.json").read_text())["sets"]["set"]["values"] == found["sets"]["set"]["values"]


@pytest.mark.slow
def test_swapped_channels_and_shared_images_are_noticed(files, capsys, tmp_path):
    """Refuses swapped channels with --strict, and warns of images that two sets share."""
    arguments = (files / "face.keras", files / "set.bin", files / "swapped.bin", "--resamples=0")
    status, _, said = run(capsys, *arguments, f"--out={tmp_path / 'x.json'}", "--strict")
    assert status == 1 and not (tmp_path / "x.json").exists()
    assert "swapped, channels, warning: Red and blue look swapped" in said
    assert "set, channels, ok" in said and "Nothing was measured" in said
    status, _, said = run(capsys, files / "face.keras", files / "set.bin", f"again={files / 'set.bin'}", *arguments[3:])
    assert status == 0 and "set, overlap, warning" in said and "are in again too" in said


@pytest.mark.slow
def test_what_cannot_work_is_refused_before_the_work(files, capsys, tmp_path):
    """Refuses impossible arguments before the work."""
    for arguments, words in [
        ((files / "face.keras", tmp_path / "gone.bin"), "No such file or directory: "),
        ((tmp_path / "gone.keras", files / "set.bin"), "No such file or directory: "),
        ((files / "face.keras", files / "set.bin", files / "set.bin"), "Sets need different names"),
        ((files / "rows.npy", files / "labels.npy", files / "set.bin"), "One .npy has the embeddings of one set"),
        ((files / "rows.npy", files / "labels.npy", "--flip=sum"), "evaluated as they are"),
        (
            (files / "rows.npy", files / "set.bin"),
            "wants as many rows of embeddings. Received: an array of shape (60, 5)",
        ),
        ((files / "face.keras", files / "labels.npy", "--no_checks"), "labels and no images"),
        ((files / "rows.npy", files / "labels.npy", "--out=x.txt"), "--out names a JSON file"),
    ]:
        status, _, said = run(capsys, *arguments)
        assert status == 1 and words in " ".join(said.split()), words


def test_a_pipe_gets_tab_separated_lines_and_stages(files, capsys, tmp_path):
    """Without a terminal the table has tabs, the protocol is named, and each stage is a line on standard error."""
    arguments = (files / "face.keras", files / "set.bin", f"--out={tmp_path / 'x.json'}", "--resamples=0")
    status, shown, said = run(capsys, *arguments, "--no_checks")
    values = json.loads((tmp_path / "x.json").read_text())["sets"]["set"]["values"]
    lines = shown.splitlines()
    assert status == 0 and lines[1] == "\tset" and f"EER\t{values['eer']:.2%}" in lines
    assert any(line.startswith("set: verification, folds of consecutive pairs, ") for line in lines)
    count = json.loads((tmp_path / "x.json").read_text())["sets"]["set"]["images"]
    for stage in (f"Opening {files / 'face.keras'}", "Opening set", f"Embedding set, {count} images", "Measuring set"):
        assert f"{stage} ..." in said.splitlines()


def test_images_are_counted_without_a_terminal(files, capsys, tmp_path, monkeypatch):
    """Standard error gets a line of a count every few seconds, here after each look at the clock."""
    monkeypatch.setattr("keras_margin._utils.progress.LINE_SECONDS", -1.0)
    _, _, error = run(
        capsys, files / "face.keras", files / "set.bin", f"--out={tmp_path / 'r.json'}", "--batch=64", "--no_checks"
    )
    counts = re.findall(r"^Embedded (\d+) of (\d+) images of set", error, re.MULTILINE)
    assert len(counts) > 2 and counts[0][0] == "64" and counts[-1][0] == counts[-1][1]


def test_fars_that_nobody_asked_for_are_not_spoken_of(files, capsys, tmp_path):
    """The default FARs of 60 embeddings leave out what the set cannot show, without a line about it."""
    arguments = (files / "rows.npy", f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'x.json'}", "--resamples=0")
    _, shown, said = run(capsys, *arguments)
    assert "FAR=1e-2" in shown and "1e-06" not in shown + said and "1e-6" not in shown + said
    _, shown, _ = run(capsys, *arguments, "--far=1e-6")
    assert "FAR=1e-06 lets 0 of 1,710 impostor pairs pass" in shown


def test_the_report_as_json_is_the_file(files, capsys, tmp_path):
    """With --json standard output is the report alone, and a requirement that is not met still ends with 3."""
    arguments = (files / "rows.npy", f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'x.json'}", "--resamples=0")
    status, shown, said = run(capsys, *arguments, "--json", "--require=mine.eer<=0")
    assert status == 3 and json.loads(shown) == json.loads((tmp_path / "x.json").read_text())
    assert "Written:" in said


@pytest.mark.slow
def test_noise_on_unbalanced_pairs_fails_a_requirement(capsys, tmp_path):
    """Random embeddings of 90 genuine and 900 impostor pairs do not reach an accuracy of 0.6, let alone 0.9."""
    is_same = np.random.default_rng(0).permutation(np.arange(990) < 90)
    data.write_bin(tmp_path / "x.bin", np.zeros((1980, 1, 1, 3), np.uint8), is_same)
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(1980, 16)))
    arguments = (tmp_path / "x.npy", tmp_path / "x.bin", "--resamples=0", "--require=x.accuracy>=0.6")
    status, shown, _ = run(capsys, *arguments)
    assert status == 3 and "x.accuracy>=0.6: NOT MET" in shown and "(TAR + 1 - FAR) / 2" in shown


@pytest.fixture(scope="module")
def listed(files):
    """A folder of four people with a list of two of their pairs in it."""
    folder = files / "listed"
    images, _ = data.load_bin(files / "set.bin")
    for row in range(16):
        (folder / f"p{row // 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(folder / f"p{row // 4}" / f"{row % 4}.png")
    (folder / "pairs.csv").write_text(
        "fold,same,first,second\n0,1,p0/0.png,p0/1.png\n0,0,p0/0.png,p1/0.png\n"
        "1,1,p2/0.png,p2/1.png\n1,0,p2/0.png,p3/0.png\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "protocol", "images"),
    [
        ((), "verification, folds of pairs.csv", 6),
        (("--protocol=labelled",), "verification over all pairs", 16),
        (("--protocol=mine=labelled",), "verification over all pairs", 16),
    ],
)
def test_a_list_in_a_folder_is_named_and_can_be_left_out(files, listed, capsys, tmp_path, given, protocol, images):
    """`evaluate NAME=folder` names the protocol, says how to choose another, and takes the one that was chosen."""
    arguments = (files / "face.keras", f"mine={listed}", f"--out={tmp_path / 'x.json'}", "--resamples=0", "--no_checks")
    status, shown, said = run(capsys, *arguments, *given)
    found = json.loads((tmp_path / "x.json").read_text())["sets"]["mine"]
    assert status == 0 and found["images"] == images and found["protocol"].startswith(protocol)
    assert f"mine: {protocol}" in shown
    assert ("To measure it otherwise: --protocol=mine=labelled." in said) == (not given)


def test_a_protocol_that_does_not_exist_is_refused(files, capsys):
    """--protocol names a known protocol and a set that is given."""
    for given in ("lists", "other=labelled"):
        status, _, said = run(capsys, files / "rows.npy", f"mine={files / 'labels.npy'}", f"--protocol={given}")
        assert status == 1 and f"Received: --protocol={given}" in said


@pytest.mark.slow
def test_a_tflite_file_is_evaluated_without_tensorflow(tmp_path):
    """Where only LiteRT and Pillow are installed, a `.bin` of JPEGs gives the same numbers."""
    pytest.importorskip("ai_edge_litert")
    generator = np.random.default_rng(0)
    people = np.repeat(generator.integers(30, 226, (20, 4, 4, 3)), 2, axis=0).repeat(8, axis=1).repeat(8, axis=2)
    pixels = np.clip(people + generator.normal(0, 20, people.shape), 0, 255).astype(np.uint8)
    encoded = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG")
        encoded.append(file.getvalue())
    order = np.concatenate([np.stack([np.arange(0, 40, 2), np.arange(1, 40, 2)], 1), np.arange(40).reshape(2, 20).T])
    order = order[np.arange(40).reshape(2, 20).T.ravel()]
    data.write_bin(tmp_path / "set.bin", [encoded[row] for row in order.ravel()], np.arange(40) % 2 == 0)
    images = keras.Input((32, 32, 3))
    keras.Model(images, keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(images))).save(tmp_path / "face.keras")
    export.to_tflite(str(tmp_path / "face.keras"), tmp_path / "face.tflite", samples=pixels)
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from keras_margin import cli\nsys.exit(cli.main(sys.argv[1:]))\n"
    )
    arguments = ["evaluate", str(tmp_path / "face.tflite"), str(tmp_path / "set.bin"), "--resamples=0"]
    command = [sys.executable, "-c", program, *arguments, f"--out={tmp_path / 'without.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert cli.main([*arguments, f"--out={tmp_path / 'with.json'}"]) == 0
    found = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("without", "with")]
    assert found[0] == found[1] and found[0]["sets"]["set"]["values"]["auc"] > 0.9

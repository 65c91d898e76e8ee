"""`keras-margin evaluate`: numbers in a table and in files, bounds as exit codes, checks before the work."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras

from keras_margin import cli, data, evaluation

pytestmark = pytest.mark.tensorflow_only

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
    given = [f"--require={bound}" for bound in bounds]
    arguments = (files / "rows.npy", f"mine={files / 'labels.npy'}", f"--out={tmp_path / 'x.json'}", "--resamples=0")
    found, shown, errors = run(capsys, *arguments, *given)
    assert found == status and words in " ".join((shown + errors).split())


def test_a_model_is_checked_embedded_and_measured(files, capsys, tmp_path):
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


def test_swapped_channels_and_shared_images_are_warned_of_or_refused(files, capsys, tmp_path):
    arguments = (files / "face.keras", files / "set.bin", files / "swapped.bin", "--resamples=0")
    status, _, said = run(capsys, *arguments, f"--out={tmp_path / 'x.json'}", "--strict")
    assert status == 1 and not (tmp_path / "x.json").exists()
    assert "swapped, channels, warning: Red and blue look swapped" in said
    assert "set, channels, ok" in said and "Nothing was measured" in said
    status, _, said = run(capsys, files / "face.keras", files / "set.bin", f"again={files / 'set.bin'}", *arguments[3:])
    assert status == 0 and "set, overlap, warning" in said and "are in again too" in said


def test_what_cannot_work_is_refused_before_the_work(files, capsys, tmp_path):
    for arguments, words in [
        ((files / "face.keras", tmp_path / "gone.bin"), "There is no set at"),
        ((tmp_path / "gone.keras", files / "set.bin"), "There is no embedder at"),
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

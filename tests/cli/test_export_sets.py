"""What `export` and `convert` compare on, and what they say while they work."""

import logging
import os
import re
import sys
import threading

import keras
import numpy as np
import pytest
from PIL import Image

import keras_margin as km
from keras_margin import cli
from keras_margin._utils import files, progress

pytest.importorskip("tensorflow")
from keras_margin.cli import _sets, _stages

pytestmark = pytest.mark.tensorflow_only

SIDE = 16


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(8)(x), name="small")


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """model.keras; people/, twelve of four images; flat/, their first three; pairs.bin of four images."""
    folder = tmp_path_factory.mktemp("sets")
    network.save(folder / "model.keras")
    generator = np.random.default_rng(0)
    (folder / "flat").mkdir()
    images = generator.integers(0, 256, (12, 4, SIDE, SIDE, 3), dtype=np.uint8)
    for person, shots in enumerate(images):
        (folder / "people" / f"{person:02}").mkdir(parents=True)
        for number, image in enumerate(shots):
            Image.fromarray(image).save(folder / "people" / f"{person:02}" / f"{number}.png")
    for number, image in enumerate(images[0, :3]):
        Image.fromarray(image).save(folder / "flat" / f"{number}.png")
    km.data.write_bin(folder / "pairs.bin", images[:2, :2].reshape(-1, SIDE, SIDE, 3), [True, True])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("path", "number"), [("people", 48), ("flat", 3), ("flat/1.png", 1), ("pairs.bin", 4)])
def test_samples_are_read_from_folders_and_files(path, number, folder, network):
    """--samples takes identities, a folder of image files, one image file and a .bin, at most --most of them."""
    found = _sets.faces(str(folder / path), network, 300)
    assert found.images.shape == (number, SIDE, SIDE, 3) and found.images.dtype == np.uint8
    assert len(found.names) == number
    assert len(_sets.faces(str(folder / path), network, 1).images) == 1


def test_an_image_of_another_size_is_resized(folder, network, tmp_path):
    """An image file of another size gets the network's; what cannot be read is named."""
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    assert (_sets.faces(str(tmp_path / "grey.png"), network, 300).images == 90).all()
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="bad.png cannot be read"):
        _sets.faces(str(tmp_path / "bad.png"), network, 300)


@pytest.mark.slow
def test_convert_compares_on_samples_and_ships_what_pairs_give(folder, tmp_path, capsys):
    """`convert --samples --pairs` compares on real images and has accuracy on pairs, as `export` does."""
    model, out = str(folder / "model.keras"), tmp_path / "face.tflite"
    sets = [f"--samples={folder / 'flat'}", f"--pairs={folder / 'people'}", "--far=0.02"]
    assert cli.main(["convert", model, str(out), *sets]) == 0
    said = " ".join(capsys.readouterr().out.split())
    # 12 people of 4 images: 12 * 6 genuine and 66 * 16 impostor pairs.
    assert "on 3 images: cosine mean" in said and "On 72 genuine and 1,056 impostor pairs" in said
    metadata = km.runtime.read_metadata(out)
    assert metadata["parity"]["synthetic"] is False and metadata["accuracy"]["num_impostor"] == 1056


def test_convert_refuses_samples_for_other_targets(folder, tmp_path, capsys):
    """--samples where nothing is compared is an error, not silence."""
    arguments = ["convert", str(folder / "model.keras"), str(tmp_path / "face.keras"), f"--samples={folder / 'flat'}"]
    assert cli.main(arguments) == 1
    assert "--samples and --pairs compare a .tflite file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "convert"])
def test_every_stage_is_a_line(command, folder, tmp_path, capfd):
    """`export` and `convert` write a line a stage on standard error, and leave the loggers as they were."""
    model, out = str(folder / "model.keras"), tmp_path / "face.tflite"
    # As TensorFlow's converter leaves one: it must not write each line again.
    root = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(root)
    try:
        assert cli.main([command, model, str(out), f"--samples={folder / 'flat'}"]) == 0
    finally:
        logging.getLogger().removeHandler(root)
    lines = capfd.readouterr().err.splitlines()
    wanted = [
        "Reading ",
        "Writing the graph of small",
        "Converting face.tflite",
        "Comparing face.tflite",
        "Writing face",
    ]
    places = [next(place for place, line in enumerate(lines) if line.startswith(each)) for each in wanted]
    assert places == sorted(places) and len(set(lines)) == len(lines)
    assert lines.count("Converting face.tflite ...") == 1
    logger = logging.getLogger("keras_margin.export")
    assert logger.level == logging.NOTSET and not logger.handlers and logger.propagate


def test_a_long_stage_says_how_long(monkeypatch, capfd):
    """A stage that takes long writes a line every few seconds, also while native output goes nowhere."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.05)
    with _stages.reported(), progress.stage("Converting face.tflite"), files.suppress_native_stderr():
        os.write(2, b"a converter's page")
        threading.Event().wait(0.5)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "Converting face.tflite ..."
    assert re.fullmatch(r"Converting face.tflite: \d s so far.", lines[1]) and not any("page" in line for line in lines)


def test_a_stage_is_silent_in_a_library(capfd):
    """Without bars and a level of INFO nothing is written."""
    with progress.stage("Converting face.tflite"):
        pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_worst_images_of_samples_are_named_beside_pairs(folder, tmp_path, capsys):
    """Where samples and pairs are given, a refusal names the samples' files: they are what was compared."""
    sets = [f"--samples={folder / 'flat'}", f"--pairs={folder / 'people'}", "--far=0.02", "--mean=1.1"]
    assert cli.main(["export", str(folder / "model.keras"), str(tmp_path / "face.tflite"), *sets]) == 1
    said = capsys.readouterr().err
    assert "flat/" in said.split("Worst: ")[1] and "people" not in said.split("Worst: ")[1]

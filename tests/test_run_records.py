"""What a run says and writes about itself: its split, its stages, its verdict, the pairs it verifies on."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

pytest.importorskip("tensorflow")
from keras_margin import experiment, training
from keras_margin.experiment import _measures

pytestmark = pytest.mark.tensorflow_only

PEOPLE, SIDE = 6, 12


def test_an_unfinished_run_with_other_people_held_out_is_refused(tmp_path):
    before = experiment.Split(("a", "b"), ("c",), 0, "faces")
    before.write(tmp_path)
    before.write(tmp_path)
    with pytest.raises(ValueError, match="held_out was c there and is b here.*--restart"):
        experiment.Split(("a", "c"), ("b",), 0, "faces").write(tmp_path)
    assert json.loads((tmp_path / "split.json").read_text())["source"] == "faces"


def test_names_that_are_no_characters_are_written(tmp_path):
    name = b"p\xff".decode("utf-8", "surrogateescape")
    experiment.Split((name,), ("b",), 0, None).write(tmp_path)
    assert json.loads((tmp_path / "split.json").read_text())["train"] == [name]


def measured(trained, pixels, protocol="unseen people"):
    return [
        experiment.Measure(protocol, name, eer)
        for name, eer in (("raw pixels", pixels), ("untrained network", 0.5), ("trained network", trained))
    ]


def test_a_network_no_better_than_pixels_is_called_so():
    assert _measures.verdict(measured(0.2, 0.3)) == ""
    sentence = _measures.verdict(measured(0.3, 0.3) + measured(0.1, 0.3, "known people"))
    assert sentence.startswith("The trained network is not better than raw pixels on unseen people (EER 30.0% against")
    assert "arcface_small" in sentence and "known" not in sentence


def test_stages_say_that_they_go_on(monkeypatch):
    """One line at the beginning, others while it lasts, none afterwards."""
    monkeypatch.setattr(experiment.Stages, "SECONDS", 0.02)
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    with experiment.Stages(console).stage("Exporting"):
        time.sleep(0.2)
    lines = console.file.getvalue().splitlines()
    time.sleep(0.1)
    assert lines[0] == "Exporting ..." and set(lines[1:]) == {"Exporting: 0 s so far"}
    assert console.file.getvalue().splitlines() == lines


def test_a_folder_of_identities_is_verified_on(tmp_path):
    """Six people with four pictures: 36 genuine pairs and as many impostors, drawn by the seed."""
    root, generator = tmp_path / "faces", np.random.default_rng(0)
    for person in range(PEOPLE):
        (root / f"p{person}").mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"p{person}" / f"{number}.jpg")
    found = training.read_pairs(root, (SIDE, SIDE), seed=1)
    assert found.name == "faces" and found.images.shape == (24, SIDE, SIDE, 3)
    people = np.repeat(np.arange(PEOPLE), 4)[found.pairs]
    np.testing.assert_array_equal(people[:, 0] == people[:, 1], found.is_same)
    assert found.is_same.sum() == (~found.is_same).sum() == PEOPLE * 6
    (root / "pairs.txt").write_text("")
    with pytest.raises(ValueError, match=r"which has its own list pairs.txt. `keras-margin evaluate`"):
        training.read_pairs(root, (SIDE, SIDE))

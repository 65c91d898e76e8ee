"""A split's file as a set: the people that it holds out."""

import numpy as np
import pytest
from PIL import Image

from keras_margin import data
from keras_margin.cli import evaluate
from keras_margin.evaluation import protocols

pytest.importorskip("tensorflow")


@pytest.fixture
def folder(tmp_path):
    """Six people with two images each, of which the file split.json beside them holds out two."""
    for person in range(6):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for number in range(2):
            pixels = np.full((8, 8, 3), 20 * person + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / f"p{person}" / f"{number}.png")
    data.write_split(tmp_path / "split.json", data.Split(("p1", "p4"), 6, 0, str(tmp_path / "faces")))
    return tmp_path


@pytest.mark.slow
def test_a_split_is_measured_on_the_people_it_holds_out(folder):
    """Their names and their pixels, and nobody else's."""
    protocol = protocols.load_protocol(folder / "split.json", image_size=(8, 8))
    assert protocol.people.tolist() == ["p1", "p1", "p4", "p4"]
    assert protocol.images(range(4))[:, 0, 0, 0].tolist() == [20, 21, 80, 81]


def test_a_split_without_its_set_is_refused(folder):
    """A split of images in memory does not say where they are."""
    data.write_split(folder / "split.json", data.Split(("p1", "p4"), 6, 0, None))
    with pytest.raises(ValueError, match="does not say where its set is: give it a `source`"):
        protocols.load_protocol(folder / "split.json", image_size=(8, 8))


def test_held_out_is_the_split_of_a_run(folder):
    """Of a folder with split.json `held_out` is that file; of anything else it is a path like others."""
    assert evaluate._held_out("held_out", str(folder)) == str(folder / "split.json")
    assert evaluate._held_out("held_out", "face.tflite") == "held_out"
    assert evaluate._held_out("lfw.bin", str(folder)) == "lfw.bin"

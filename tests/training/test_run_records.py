"""What a run says and writes about itself: its split, its stages, its verdict, the pairs it verifies on."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from keras_margin import data
from keras_margin.callbacks import _pair_sets
from keras_margin.training import experiment
from keras_margin.training.experiment import _exports, _measures, _split

pytestmark = pytest.mark.tensorflow_only

PEOPLE, SIDE = 6, 12


def test_an_unfinished_run_with_other_people_held_out_is_refused(tmp_path):
    """A run goes on with the people that it held out, and with as many as its set had."""
    before = data.Split(("c",), 3, 0, "faces")
    for _ in range(2):
        _split.write(tmp_path, before)
    with pytest.raises(ValueError, match="held_out was c there and is b here.*--restart"):
        _split.write(tmp_path, data.Split(("b",), 3, 0, "faces"))
    with pytest.raises(ValueError, match="its set had 3 people, this one has 4.*--restart"):
        _split.write(tmp_path, data.Split(("c",), 4, 0, "faces"))
    assert data.read_split(tmp_path / "split.json") == before


@pytest.mark.parametrize(("different", "wanted"), [(7, (None, "float16")), (8, (None, "float16", "int8"))])
def test_int8_is_left_out_where_too_few_images_differ(different, wanted):
    """A run of seven different training images exports its other files, and says why int8 is missing."""
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] % different * np.ones((1, 2, 2, 3), np.uint8)
    precisions, sentences = _exports.precisions_for(images, (None, "float16", "int8"))
    assert precisions == wanted
    assert [sentence.startswith("No int8 file: its ranges take 8 different") for sentence in sentences] == [True] * (
        3 - len(wanted)
    )


def measured(trained, pixels, protocol="unseen people"):
    return [
        experiment.EvaluationResult(protocol, name, eer)
        for name, eer in (("raw pixels", pixels), ("untrained network", 0.5), ("trained network", trained))
    ]


def test_a_network_no_better_than_pixels_is_called_so():
    """Says that a network is no better than pixels."""
    assert _measures.verdict(measured(0.2, 0.3)) == ""
    sentence = _measures.verdict(measured(0.3, 0.3) + measured(0.1, 0.3, "known people"))
    assert sentence.startswith("The trained network is not better than raw pixels on unseen people (EER 30.0% against")
    assert "arcface_small" in sentence and "known" not in sentence


def test_a_folder_of_identities_is_verified_on(tmp_path):
    """Six people with four pictures: 36 genuine pairs and as many impostors, drawn by the seed."""
    root, generator = tmp_path / "faces", np.random.default_rng(0)
    for person in range(PEOPLE):
        (root / f"p{person}").mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"p{person}" / f"{number}.jpg")
    found = _pair_sets.read_pairs(root, (SIDE, SIDE), seed=1)
    assert found.name == "faces" and found.images.shape == (24, SIDE, SIDE, 3)
    people = np.repeat(np.arange(PEOPLE), 4)[found.pairs]
    np.testing.assert_array_equal(people[:, 0] == people[:, 1], found.is_same)
    assert found.is_same.sum() == (~found.is_same).sum() == PEOPLE * 6
    (root / "pairs.txt").write_text("")
    with pytest.raises(ValueError, match=r"which has its own list pairs.txt. `keras-margin evaluate`"):
        _pair_sets.read_pairs(root, (SIDE, SIDE))

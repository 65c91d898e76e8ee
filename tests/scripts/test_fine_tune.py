"""The example that fine-tunes, run as a user runs it on a few steps."""

import keras
import numpy as np
import pytest
from PIL import Image
from scripts import run_main

from keras_margin.models import backbones

pytestmark = pytest.mark.tensorflow_only

SHORT = ("--seeds=0", "--steps=2", "--pretrain_steps=2", "--image_size=28,24", "--images=1")


def with_one_unit(**options):
    """ir_small with half of its units, which every run traces again."""
    return backbones.ir_resnet((1, 1), widths=(8, 8), embedding_size=16, **options)


@pytest.mark.slow
def test_every_start_gets_its_row_and_what_cannot_be_is_said(tmp_path, monkeypatch):
    """Prints a row for every start, and says what is impossible."""
    monkeypatch.setitem(backbones.BACKBONES, "ir_small", with_one_unit)
    backbones.build("ir_small", image_size=(28, 24), stem_strides=1).save(tmp_path / "face.keras")
    runs, _ = run_main(
        "examples/fine_tune.py",
        [*SHORT, f"--weights={tmp_path / 'face.keras'}", "--start=untuned"],
        [*SHORT, f"--weights={tmp_path / 'none.keras'}", "--start=untuned"],
        [*SHORT, "--start=frozen", "--start=untuned"],
    )
    (code, given), (missing, _), (learnt, table) = runs
    assert code == 0, code
    assert "1 images of each of 10 people, 2 steps" in given and "pretraining" not in given
    assert "none.keras" in missing
    assert learnt == 0, learnt
    assert "pretraining on faces: 200 images of 20 classes" in table
    assert "not tuned" in table and "frozen: stem*" in table and "from scratch" not in table


@pytest.fixture
def folder(tmp_path):
    """A folder of six people with three images of random pixels each, and a network of two layers in a file."""
    generator = np.random.default_rng(0)
    for person in range(6):
        (tmp_path / f"people/p{person}").mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"people/p{person}/{number}.png")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dense(4, name="early")(keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs)))
    keras.Model(inputs, keras.layers.Dense(3, name="late")(keras.layers.Activation("tanh")(x))).save(
        tmp_path / "face.keras"
    )
    return tmp_path


@pytest.mark.slow
def test_a_folder_tunes_what_is_not_frozen(folder):
    """The frozen layer keeps its weights, the others and the whole network's change, and each start has its row."""
    flags = [f"--data_dir={folder / 'people'}", f"--weights={folder / 'face.keras'}", "--seeds=0", "--steps=2"]
    tuned = [*flags, f"--out={folder / 'out'}", "--freeze=early", "--start=untuned", "--start=frozen", "--start=all"]
    ((code, said),), _ = run_main("examples/fine_tune.py", tuned)
    assert code == 0, code
    assert "12 images of 4 people train, 2 people do not" in said
    assert "frozen: early" in said and "all of it" in said and "not tuned" in said
    networks = {name: keras.saving.load_model(folder / f"out/{name}_0.keras") for name in ("untuned", "frozen", "all")}
    kernels = {
        name: [np.asarray(network.get_layer(layer).kernel) for layer in ("early", "late")]
        for name, network in networks.items()
    }
    given = kernels["untuned"]
    same = {name: [bool((a == b).all()) for a, b in zip(given, own, strict=True)] for name, own in kernels.items()}
    assert same == {"untuned": [True, True], "frozen": [True, False], "all": [False, False]}


def test_a_folder_needs_a_network_and_layers_by_name(folder):
    """Without weights there is nothing to tune; stages are known of our own networks alone."""
    data_dir = f"--data_dir={folder / 'people'}"
    runs, _ = run_main(
        "examples/fine_tune.py", [data_dir], [data_dir, f"--weights={folder / 'face.keras'}", "--start=tail"]
    )
    assert "no --weights=FILE.keras" in runs[0][0]
    assert "--start=frozen --freeze." in runs[1][0]

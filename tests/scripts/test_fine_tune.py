"""The example that fine-tunes, run as a user runs it on a few steps."""

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image
from scripts import run_main

from keras_margin.models import backbones

pytestmark = pytest.mark.tensorflow_only

OF_ORL = ("pretrain=digits", "classes=3", "pretrain_steps=3", "image_size=8,8", "images=1")
OF_FOLDERS = ("held_out=3", "rate=0.1", "out=tuned")
BAD_SEEDS = ("", "a", "0,-1", "1.5", "4294967296", "0,0", "00,0")
BAD_RATES = ("0", "-1", "nan", "inf")
BAD_SIZES = ("56", "56,0", "56,48,3", "a,b", "-1,48")
SHORT = ("--seeds=0", "--steps=2", "--image_size=28,24", "--images=1")


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
        [*SHORT, "--pretrain_steps=2", "--start=frozen", "--start=untuned"],
        [*SHORT, f"--weights={tmp_path / 'face.keras'}", "--start=frozen", "--freeze=stam*"],
    )
    (code, given), (missing, _), (learnt, table), (misspelt, before) = runs
    assert code == 0, code
    assert "1 images of each of 10 people, 2 steps" in given and "pretraining" not in given
    assert "none.keras" in missing
    assert "'stam*' matches no layer" in misspelt and before == ""
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
    weights = f"--weights={folder / 'face.keras'}"
    runs, _ = run_main(
        "examples/fine_tune.py",
        [data_dir],
        [data_dir, weights, "--start=tail"],
        [data_dir, weights, "--start=untuned", "--start=frozen", "--freeze=erly"],
    )
    assert "no --weights=FILE.keras" in runs[0][0]
    assert "--start=frozen --freeze." in runs[1][0]
    assert "'erly' matches no layer" in runs[2][0] and "EER" not in runs[2][1]


def test_flags_are_checked_before_anything_is_done(tmp_path):
    """Flags that contradict each other, and values that cannot be, are told before data or network are read."""
    (tmp_path / "face.keras").write_bytes(b"no network: who reads it fails")
    (tmp_path / "people").mkdir()
    weights = f"--weights={tmp_path / 'face.keras'}"
    folder = (f"--data_dir={tmp_path / 'people'}", weights)
    cases = [
        (["steps=2"], "all options are flags. Received: steps=2"),
        (folder[:1], "Received: no --weights=FILE.keras"),
        ([folder[0], f"--weights={tmp_path / 'none'}"], f"Received: {tmp_path / 'none'}, where there is nothing"),
        ([f"--weights={tmp_path / 'none'}"], f"Received: {tmp_path / 'none'}, where there is nothing"),
        (
            [f"--data_dir={tmp_path / 'none'}", weights],
            f"must be a folder, PERSON/image.jpg. Received: {tmp_path}/none",
        ),
        ([f"--data_dir={tmp_path / 'face.keras'}", weights], "must be a folder, PERSON/image.jpg"),
        ([*folder, f"--out={tmp_path / 'face.keras'}"], "--out must be a folder that can be written"),
        ([*folder, f"--out={tmp_path / 'face.keras' / 'out'}"], "--out must be a folder that can be written"),
        ([*folder, "--start=tail"], "Name layers: --start=frozen --freeze."),
        *(([*folder, f"--{flag}"], f"--{flag.partition('=')[0]} is of the table on ORL") for flag in OF_ORL),
        *(([f"--{flag}"], f"--{flag.partition('=')[0]} is of a folder of your own") for flag in OF_FOLDERS),
        *(([weights, f"--{flag}"], f"--{flag.partition('=')[0]} is of pretraining") for flag in OF_ORL[:3]),
        ([weights, "--start=scratch"], "--weights is of the other rows"),
        (["--start=all", "--freeze=stem*"], "--freeze names what the row frozen freezes"),
        ([*folder, "--start=all", "--backbone=ir_small"], "--backbone is the network of the row scratch"),
        *(([f"--seeds={text}"], "--seeds must be different integers from 0 to 2**32 - 1") for text in BAD_SEEDS),
        *(([*folder, f"--rate={text}"], "--rate must be a positive number. Received: ") for text in BAD_RATES),
        *(([f"--image_size={text}"], f"must be height,width in pixels. Received: {text}.") for text in BAD_SIZES),
        (["--images=10"], "--images must be 1 to 9. Received: 10."),
        (["--steps=0"], "--steps must be 1 or more. Received: 0."),
        (["--pretrain_steps=-1"], "--pretrain_steps must be 1 or more. Received: -1."),
        (["--classes=1"], "--classes must be 2 or more. Received: 1."),
        ([*folder, "--held_out=1"], "--held_out must be 2 or more. Received: 1."),
        (["--freeze="], "--freeze must name layers"),
    ]
    before = sorted(tmp_path.rglob("*"))
    runs, _ = run_main("examples/fine_tune.py", *(line for line, _ in cases))
    for (code, said), (line, words) in zip(runs, cases, strict=True):
        assert isinstance(code, str) and code.startswith("error: ") and words in code, (line, code)
        assert said == "", line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_start_is_refused():
    """Knows the rows of its table alone."""
    with pytest.raises(flags.IllegalFlagValueError, match="--start=some"):
        run_main("examples/fine_tune.py", ["--start=some"])

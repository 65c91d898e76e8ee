"""State dicts of published networks: which they are, what is refused, and that nothing of a file is run."""

import io
import pickle
import re
import zipfile

import keras
import numpy as np
import pytest

from keras_margin import cli
from keras_margin.models import convert
from keras_margin.models.convert import _torch_file, _torch_objects
from keras_margin.models.convert.state_dicts import UnknownNetworkError

CHANNELS, SIZE = 4, 6


def state_of_ir(norms=(0, 4), prelu=2):
    """A state dict of face.evoLVe's IR with a narrow unit a stage; AdaFace's with a third norm, PReLU behind it."""
    random = np.random.default_rng(0)

    def norm(name, size=CHANNELS):
        values = {"weight": random.uniform(0.5, 1, size), "bias": random.normal(size=size)}
        values |= {"running_mean": random.normal(size=size), "running_var": random.uniform(0.5, 2, size)}
        return {f"{name}.{key}": value for key, value in values.items()}

    def conv(name, before=CHANNELS, side=3):
        return {f"{name}.weight": random.normal(0, 0.2, (CHANNELS, before, side, side))}

    def slopes(name):
        return {f"{name}.weight": random.uniform(size=CHANNELS)}

    state = conv("input_layer.0", 3) | norm("input_layer.1") | slopes("input_layer.2")
    for unit in range(4):
        name = f"body.{unit}.res_layer."
        for at in norms:
            state |= norm(f"{name}{at}")
        state |= conv(f"{name}1") | conv(f"{name}{prelu + 1}") | slopes(f"{name}{prelu}")
        if unit:  # Where channels change in the published ones, and the map is halved.
            shortcut = f"body.{unit}.shortcut_layer."
            state |= conv(f"{shortcut}0", side=1) | norm(f"{shortcut}1")
    state |= norm("output_layer.0") | norm("output_layer.4", SIZE)
    state |= {"output_layer.3.weight": random.normal(size=(SIZE, CHANNELS * 49)), "output_layer.3.bias": np.zeros(SIZE)}
    return {name: value.astype("float32") for name, value in state.items()}


@pytest.fixture(scope="module")
def state():
    return state_of_ir()


def saved(state, path):
    _torch_file.save(state, path)
    return path


@pytest.mark.slow
def test_the_network_is_recognized_by_its_tensors(state, tmp_path):
    """face.evoLVe's IR, with a prefix of training or without; AdaFace's has a normalization in front of each PReLU."""
    plain = saved(state, tmp_path / "ir.pth")
    wrapped = saved({f"module.{name}": value for name, value in state.items()}, tmp_path / "wrapped.pth")
    adaface = saved(state_of_ir(norms=(0, 2, 5), prelu=3), tmp_path / "adaface.pth")
    for path, name in ((plain, "ir"), (wrapped, "ir"), (adaface, "adaface_ir")):
        model = convert.from_state_dict(path, channels="BGR")
        assert (model.name, model.input_shape, model.output_shape) == (name, (None, 112, 112, 3), (None, SIZE))


def test_rgb_and_bgr_differ_in_the_first_kernel(state, tmp_path):
    """The model takes RGB: a network trained on BGR has its first kernel's inputs in the opposite order."""
    path = saved(state, tmp_path / "ir.pth")
    kernels = [
        keras.ops.convert_to_numpy(convert.from_state_dict(path, channels=channels).get_layer("input_layer_0").kernel)
        for channels in ("RGB", "BGR")
    ]
    np.testing.assert_array_equal(kernels[0], state["input_layer.0.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(kernels[1], kernels[0][:, :, ::-1])


def test_another_normalization_may_be_told(state, tmp_path):
    """The code's own is (x - 127.5) / 127.5."""
    path = saved(state, tmp_path / "ir.pth")
    found = [
        convert.from_state_dict(path, channels="RGB", normalization=given).get_layer("normalize").get_config()
        for given in (None, (10.0, 4.0))
    ]
    assert [config["scale"] for config in found] == [pytest.approx(1 / 127.5), 0.25]
    assert [config["offset"] for config in found] == [-1, -2.5]


BAD = {
    "a missing tensor": (
        lambda s: s.pop("body.2.res_layer.4.running_var"),
        "not of ir: body.2.res_layer.4.running_var is missing",
    ),
    "one too many": (lambda s: s.update(extra=np.ones(2, "float32")), "extra is one tensor too many"),
    "another shape": (
        lambda s: s.update({"body.1.res_layer.0.bias": np.ones(5, "float32")}),
        r"body.1.res_layer.0.bias is \(5,\), and should be \(4,\)",
    ),
    "NaN": (
        lambda s: s.update({"output_layer.3.bias": np.full(SIZE, np.nan, "float32")}),
        "output_layer.3.bias must hold finite floats",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_first_difference_is_named(case, state, tmp_path):
    """The file, the network and the tensor."""
    change, words = BAD[case]
    changed = dict(state)
    change(changed)
    with pytest.raises(ValueError, match=f"bad.pth.*{words}"):
        convert.from_state_dict(saved(changed, tmp_path / "bad.pth"), channels="RGB")


def test_the_order_of_channels_is_not_guessed(state, tmp_path):
    """Two published codes train the same names on BGR and on RGB."""
    with pytest.raises(ValueError, match='channels="BGR" or channels="RGB"'):
        convert.from_state_dict(saved(state, tmp_path / "ir.pth"))


def test_other_networks_are_refused_by_name(state, tmp_path):
    """A state dict of an unknown network, one of another network than asked for, and an unknown name."""
    path = saved({"stem.weight": np.ones((2, 2), "float32")}, tmp_path / "other.pth")
    with pytest.raises(UnknownNetworkError, match="no network that is known here: its first tensor is 'stem.w"):
        convert.from_state_dict(path)
    with pytest.raises(ValueError, match="is not of mobilefacenet: conv_23.conv.conv.weight is missing"):
        convert.from_state_dict(saved(state, tmp_path / "ir.pth"), "mobilefacenet", channels="RGB")
    with pytest.raises(ValueError, match="network must be one of .*Did you mean 'adaface_ir'"):
        convert.from_state_dict(path, "adaface_i")


class Touch:
    """Would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_a_pickle_names_is_not_run(protocol, tmp_path):
    """Calls become empty objects, next to which the tensors would be read; the message says what the file holds."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"a": Touch(str(tmp_path / "mark")), "b": {1, 2}}, protocol))
    (tmp_path / "bad.pth").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="bad.pth"):
        convert.from_state_dict(tmp_path / "bad.pth")
    assert not (tmp_path / "mark").exists()


def test_a_damaged_file_gives_an_error_or_a_value(state, tmp_path):
    """Any byte of the pickle changed: never another error than ValueError."""
    data = saved({name: state[name] for name in list(state)[:6]}, tmp_path / "some.pth").read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(0, 1200, 300):
        changed = bytearray(data)
        changed[at] ^= 1 << random.integers(8)
        (tmp_path / "bad.pth").write_bytes(changed)
        try:
            assert _torch_objects.load(tmp_path / "bad.pth")
        except ValueError as error:
            assert "bad.pth" in str(error)


@pytest.mark.slow
def test_the_command_converts_a_state_dict(state, tmp_path, capsys):
    """`keras-margin convert` recognizes the network, and asks for what it cannot know."""
    path = saved(state, tmp_path / "ir.pth")
    assert cli.main(["convert", str(path), str(tmp_path / "face.keras")]) == 1
    assert re.search("--channels=BGR or --channels=RGB", capsys.readouterr().err)
    assert cli.main(["convert", str(path), str(tmp_path / "face.keras"), "--channels=RGB"]) == 0
    assert "ir.pth: ir, " in capsys.readouterr().out
    assert keras.saving.load_model(tmp_path / "face.keras").output_shape == (None, SIZE)

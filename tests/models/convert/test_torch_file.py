"""Files of torch.save: what is read and written, and what is refused; PyTorch itself wrote those in fixtures."""

import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from keras_margin.models.convert import _torch_file

FIXTURES = pathlib.Path(__file__).parents[2] / "data" / "fixtures" / "torch"


@pytest.mark.parametrize("name", ["zip.pth", "stream.pth"])
def test_tensors_of_every_kind_are_read_in_both_formats(name):
    """Reads tensors of every kind in both formats."""
    value = _torch_file.load(FIXTURES / name)
    assert value["epoch"] == 3
    numbers = np.arange(24, dtype="float32").reshape(2, 3, 4)
    wanted = {
        "plain": numbers,
        "transposed": numbers.transpose(2, 0, 1),
        "part": numbers[1, 1:],
        "scalar": np.array(7),
        "half": numbers.astype("float16"),
        "bfloat16": numbers,
        "double": numbers.astype("float64"),
        "empty": np.zeros((0, 3), "float32"),
    }
    assert list(value["state_dict"]) == list(wanted)
    for key, array in wanted.items():
        found = value["state_dict"][key]
        assert (found.shape, found.dtype) == (array.shape, array.dtype), key
        np.testing.assert_array_equal(found, array)


def test_modules_metadata_and_parameters_are_passed_over():
    """Skips the metadata of modules, and parameters' wrappers."""
    assert {name: array.shape for name, array in _torch_file.load(FIXTURES / "module.pth").items()} == {
        "weight": (2, 2),
        "bias": (2,),
    }
    assert _torch_file.load(FIXTURES / "parameter.pth")["weight"].shape == (2, 3, 4)


def test_equal_weights_make_equal_files(tmp_path):
    """Reads back what was written, and writes equal files for equal weights."""
    state = {"a.weight": np.arange(6, dtype="float32").reshape(2, 3).T, "a.count": np.array(5, "int64")}
    for name in ("one", "two"):
        _torch_file.save(state, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = _torch_file.load(tmp_path / "one")
    assert list(found) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with pytest.raises(ValueError, match="b is float64; float32 and int64 are written"):
        _torch_file.save({"b": np.zeros(2)}, tmp_path / "three")


# --- Hostile and damaged files --------------------------------------------------------------------------------------


def archive(pickled, entries=(), compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("x/data.pkl", pickled)
        for name, data in dict(entries).items():
            made.writestr(f"x/{name}", data)
    return file.getvalue()


class Touch:
    """Would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def tensor(storage, rest):
    """A pickled dict of one tensor."""
    named = b"(X\x07\x00\x00\x00storagectorch\n" + storage + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    return b"\x80\x02}X\x01\x00\x00\x00ac" + b"torch._utils\n_rebuild_tensor_v2\n(" + named + rest + b"R" + b"s."


STREAM = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
FOUR = {"data/0": bytes(16)}
LAUGHS = b"\x80\x02]q\x00" + b"".join(b"](h%c" % n + b"h%c" % n * 9 + b"eq%c" % (n + 1) for n in range(40)) + b"."
CASES = {
    "a call": (lambda mark: archive(pickle.dumps({"a": Touch(str(mark))})), "byte .* asks for .*open"),
    "a call in the old format": (lambda mark: STREAM + pickle.dumps(Touch(str(mark)), 2), "asks for .*open"),
    "a name of torch's that is not a tensor": (
        lambda _: archive(b"\x80\x02ctorch.nn.modules.linear\nLinear\n."),
        "asks for torch.nn.modules.linear.Linear",
    ),
    "a storage of objects": (
        lambda _: archive(tensor(b"ObjectStorage", b"K\x00(K\x04t(K\x01t\x89}t")),
        "ObjectStorage",
    ),
    "a view beyond its storage": (
        lambda _: archive(tensor(b"FloatStorage", b"K\x01(K\x04t(K\x01t\x89}t"), FOUR),
        "a tensor beyond the end of storage '0'",
    ),
    "a view far larger than its storage": (
        lambda _: archive(tensor(b"FloatStorage", b"K\x00(J\x00\x00\x00\x7ft(K\x00t\x89}t"), FOUR),
        "a tensor beyond the end",
    ),
    "negative strides": (
        lambda _: archive(tensor(b"FloatStorage", b"K\x00(K\x02t(J\xff\xff\xff\xfft\x89}t"), FOUR),
        "sizes that are none",
    ),
    "a storage cut off": (
        lambda _: archive(tensor(b"FloatStorage", b"K\x00(K\x04t(K\x01t\x89}t"), {"data/0": bytes(15)}),
        "storage '0' has another length",
    ),
    "a storage missing": (
        lambda _: archive(tensor(b"FloatStorage", b"K\x00(K\x04t(K\x01t\x89}t")),
        "storage '0' is missing from the archive",
    ),
    "a zip bomb": (lambda _: archive(bytes(10**6), compression=zipfile.ZIP_DEFLATED), "data.pkl is compressed"),
    "no pickle": (lambda _: archive(b"").replace(b"data.pkl", b"data.txt"), "holds 0 data.pkl"),
    "big-endian numbers": (lambda _: archive(b"N.", {"byteorder": b"big"}), "its numbers are big-endian"),
    "a list within itself": (lambda _: archive(b"\x80\x02]q\x00h\x00a."), None),
    "a list named 10 ** 40 times": (lambda _: archive(LAUGHS), None),
    "another kind of file": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100), "does not begin like a file of torch.save"),
    "nothing": (lambda _: b"", "does not begin like"),
    "a pickle of something else": (lambda _: pickle.dumps([1, 2], 2), "does not begin like a file of torch.save"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_or_damaged_file_comes_to_a_defined_end(case, tmp_path):
    """Reads a hostile or damaged file, or refuses it."""
    make, message = CASES[case]
    mark = tmp_path / "mark"
    (tmp_path / "bad.pth").write_bytes(make(mark))
    if message is None:
        _torch_file.load(tmp_path / "bad.pth")
    else:
        with pytest.raises(ValueError, match=f"bad.pth.*{message}"):
            _torch_file.load(tmp_path / "bad.pth")
    assert not mark.exists()


def test_a_program_is_refused():
    """Refuses a program."""
    with pytest.raises(ValueError, match="it is a TorchScript program, not a state dict"):
        _torch_file.load(FIXTURES / "script.pt")


@pytest.mark.parametrize("name", ["zip.pth", "stream.pth"])
def test_a_damaged_file_gives_an_error_or_a_value(name, tmp_path):
    """Reads a file that is cut off anywhere, or has any byte changed, as an error or a value."""
    data = (FIXTURES / name).read_bytes()
    path = tmp_path / "bad.pth"
    ends = {}
    generator = np.random.default_rng(0)
    for cut in generator.integers(0, len(data) - 1, 60):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"bad\.pth (is not read|is cut off or damaged)"):
            _torch_file.load(path)
    for at in generator.integers(0, len(data), 400):
        changed = bytearray(data)
        changed[at] ^= 1 << generator.integers(8)
        path.write_bytes(changed)
        try:
            _torch_file.load(path)
            ends["value"] = ends.get("value", 0) + 1
        except ValueError as error:
            assert "bad.pth" in str(error)
            ends["error"] = ends.get("error", 0) + 1
    assert sum(ends.values()) == 400 and ends["error"] > 50

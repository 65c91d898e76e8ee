"""Verification .bin files: of Python 2.7 and 3, of insightface's kind, and hostile ones."""

import builtins
import hashlib
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from records import jpeg

import keras_margin.data
from keras_margin.data import load_bin, write_bin

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
JPEGS = [jpeg(number) for number in range(4)]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lfw.bin"


@pytest.mark.parametrize("name", ["python2.bin", "python2_text.bin", "python2_arrays.bin"])
def test_what_python_2_pickled_is_read(name):
    """Reads what Python 2 pickled."""
    reader = keras_margin.data.open(FIXTURES / "insightface")
    data = [reader.encoded(number) for number in range(4)]
    recorded = json.loads((FIXTURES / "expected.json").read_text())["insightface"]
    assert [hashlib.sha256(image).hexdigest() for image in data] == [digest for _, digest in recorded[:4]]
    images, is_same = load_bin(FIXTURES / name)
    np.testing.assert_array_equal(images, [decoded(image) for image in data])
    assert is_same.dtype == bool and is_same.tolist() == [True, False]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_jpegs_of_every_protocol_are_read(path, protocol):
    """Reads JPEGs of every pickle protocol."""
    path.write_bytes(pickle.dumps((JPEGS, [True, np.bool_(False)]), protocol))
    images, is_same = load_bin(path)
    np.testing.assert_array_equal(images, [decoded(image) for image in JPEGS])
    assert is_same.tolist() == [True, False]


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_and_numpy_are_read(path, protocol, core):
    """Reads arrays of every protocol and NumPy version."""
    data = pickle.dumps(([*PIXELS[:2], np.asfortranarray(PIXELS[2]), PIXELS[3]], np.array([True, False])), protocol)
    if protocol < 4:  # From there on names carry their length.
        data = data.replace(b"numpy._core", core.encode())
    path.write_bytes(data)
    images, is_same = load_bin(path)
    np.testing.assert_array_equal(images, PIXELS)
    assert is_same.tolist() == [True, False]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1)])
def test_jpegs_that_are_arrays_of_bytes_are_read(path, shape):
    """OpenCV's imencode gives (n, 1)."""
    path.write_bytes(pickle.dumps(([np.frombuffer(image, np.uint8).reshape(shape) for image in JPEGS], [True, False])))
    np.testing.assert_array_equal(load_bin(path)[0], [decoded(image) for image in JPEGS])


def test_images_in_one_array_are_read(path):
    """A .bin may hold its images as one array, in C or Fortran order."""
    for images in (PIXELS, np.asfortranarray(PIXELS)):
        path.write_bytes(pickle.dumps((images, [True, False])))
        np.testing.assert_array_equal(load_bin(path)[0], PIXELS)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", ">i8", "int64", "float32", "float64"])
def test_bools_that_are_numbers_are_read(path, dtype, protocol):
    """Labels of pairs may be 0 and 1 of any number type, as array, column or list."""
    numbers = np.array([1, 0, 1, 0]).astype(dtype)
    for given in (numbers, list(numbers), numbers[:, np.newaxis], numbers.tolist()):
        path.write_bytes(pickle.dumps((JPEGS * 2, given), protocol))
        assert load_bin(path)[1].tolist() == [True, False, True, False]


def test_images_are_resized_where_a_size_is_given(path):
    """Resizes images where a size is given."""
    path.write_bytes(pickle.dumps(([jpeg(0, 30), jpeg(1, 24)], [True])))
    with pytest.raises(ValueError, match=r"one size\. Received: .*image 0 is 30 x 30 and image 1 is 24 x 24 pixels"):
        load_bin(path)
    images, _ = load_bin(path, image_size=(24, 24))
    np.testing.assert_array_equal(images[1], decoded(jpeg(1, 24)))


def test_what_is_written_is_read_back_by_us_and_by_pickle(path):
    """Writes what our reader and pickle read back."""
    write_bin(path, PIXELS, [True, False])
    images, is_same = load_bin(path)
    np.testing.assert_array_equal(images, PIXELS)
    assert is_same.tolist() == [True, False]
    # As insightface's evaluation does.
    bins, issame_list = pickle.loads(path.read_bytes(), encoding="bytes")
    assert issame_list == [True, False] and all(type(same) is bool for same in issame_list)
    np.testing.assert_array_equal([decoded(data) for data in bins], PIXELS)
    write_bin(path, JPEGS, np.array([True, False]))
    assert pickle.loads(path.read_bytes())[0] == JPEGS


@pytest.mark.parametrize(
    ("images", "is_same", "message"),
    [
        (PIXELS, [True], r"two images for each bool\. Received: 4 images, is_same of shape \(1,\)"),
        (PIXELS, [1, 0], "dtype int64"),
        (PIXELS.astype(np.float32), [True, False], r"Received: images\[0\] of float32 \(6, 5, 3\)"),
        ([JPEGS[0], "a.jpg"], [True], r"Received: images\[1\] of str"),
    ],
)
def test_what_makes_no_verification_set_is_not_written(path, images, is_same, message):
    """Refuses to write what is not a verification set."""
    with pytest.raises(ValueError, match=message):
        write_bin(path, images, is_same)
    assert not path.exists()


class Calling:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def reach(module, name, arguments=b"(S'touch {}'\ntR.", protocol=b""):
    """A pickle that calls what a module has under a name, dotted or not, written by hand."""
    return protocol + b"c" + module + b"\n" + name + b"\n" + arguments


def stack_global(module, name):
    def text(value):
        return b"\x8c" + bytes([len(value)]) + value

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(b"touch {}") + b"\x85R."


HOSTILE = {
    "os.system": (lambda mark: pickle.dumps(Calling(os.system, f"touch {mark}")), "posix.system"),
    "os.system in a list": (lambda mark: pickle.dumps((JPEGS, [Calling(os.system, f"touch {mark}")])), "posix.system"),
    "eval": (lambda mark: pickle.dumps(Calling(builtins.eval, f"open({str(mark)!r}, 'w')")), "builtins.eval"),
    "exec, protocol 0": (lambda mark: pickle.dumps(Calling(builtins.exec, "1"), 0), "__builtin__.exec"),
    "Popen": (lambda mark: pickle.dumps(Calling(subprocess.Popen, ["touch", str(mark)])), "subprocess.Popen"),
    "getattr": (lambda mark: pickle.dumps(Calling(getattr, b"", "join")), "builtins.getattr"),
    "a dotted name": (lambda mark: stack_global(b"numpy", b"core.multiarray.os.system"), "numpy.core.multiarray.os"),
    "a dotted name of an admitted module": (lambda mark: stack_global(b"_codecs", b"encode.__class__"), "_codecs.enc"),
    "f2py": (lambda mark: reach(b"numpy.f2py.diagnose", b"run_command"), "numpy.f2py.diagnose.run_command"),
    "numpy.testing": (lambda mark: reach(b"numpy.testing._private.utils", b"runstring"), "numpy.testing._priv"),
    "load of another pickle": (lambda mark: reach(b"numpy", b"load"), "numpy.load"),
    "a memmap": (lambda mark: reach(b"numpy", b"memmap"), "numpy.memmap"),
    "an import": (lambda mark: reach(b"builtins", b"__import__"), "builtins.__import__"),
    "an instance": (lambda mark: b"(S'touch'\nios\nsystem\n.", "INST of os system"),
    "an object": (lambda mark: b"(cos\nsystem\nS'touch'\no.", "os.system"),
    "an array of objects": (lambda mark: pickle.dumps(np.array([print, None], object)), "an array of Python objects"),
    "an array with fields": (lambda mark: pickle.dumps(np.zeros(2, "u1,O")), "an array of dtype 'V"),
    "a subclass of array": (lambda mark: pickle.dumps(np.ma.zeros(3)), "numpy.ma"),
    "a persistent name": (lambda mark: b"Pos.system\n.", "PERSID os.system"),
    "an extension": (lambda mark: b"\x82\x01.", "EXT1 1"),
    "a dict": (lambda mark: pickle.dumps({"a": 1}), "EMPTY_DICT"),
    "a new object": (lambda mark: pickle.dumps(slice(1)), "builtins.slice"),
    "a state for a function": (lambda mark: b"c_codecs\nencode\n(NI1\ntb.", "a change of what has no state"),
    "a state for a list": (lambda mark: b"]I1\nb.", "a change of what has no state"),
    "a call of a list": (lambda mark: b"](tR.", "a call of what is not a function"),
    "a call of the array class": (lambda mark: b"cnumpy\nndarray\n(tR.", "a call of what is not a function"),
    "a strange reconstruction": (
        lambda mark: b"cnumpy.core.multiarray\n_reconstruct\n(c_codecs\nencode\n(I0\ntS'b'\ntR.",
        "_reconstruct of something else",
    ),
    "wrong arguments": (
        lambda mark: b"cnumpy.core.multiarray\nscalar\n(tR.",
        "numpy.core.multiarray.scalar with arguments that it does not take",
    ),
    "another codec": (lambda mark: b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "codecs.encode of something else"),
    "a buffer outside": (lambda mark: b"\x80\x05\x97.", "NEXT_BUFFER"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name(path, tmp_path, case):
    """Refuses a hostile pickle and names what it asks for."""
    make, name = HOSTILE[case]
    mark = tmp_path / "was_run"
    path.write_bytes(make(mark).replace(b"{}", bytes(mark)))
    with pytest.raises(ValueError) as raised:
        load_bin(path)
    assert f"Received: {path}, where byte " in str(raised.value)
    assert f"asks for {name}" in str(raised.value) and "Nothing of it was run" in str(raised.value)
    assert not mark.exists()


def array_of(shape, data=b""):
    """A pickled array whose shape may lie."""
    return (
        b"cnumpy.core.numeric\n_frombuffer\n("
        + pickle.dumps(data, 4)[2:-1]
        + b"cnumpy\ndtype\n(Vu1\ntR"
        + shape
        + b"VC\ntR."
    )


LARGE = {
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40),
    "a bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40),
    "a string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62),
    "Python 2's string": b"T" + struct.pack("<i", 2**31 - 1),
    "Python 2's string of negative length": b"T" + struct.pack("<i", -5),
    "an integer": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"K\x01.",
    "a place in the memo": b"Nr\xff\xff\xff\xff0.",
    "a shape": array_of(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"),
    "a shape of giant integers": array_of(b"(\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"\x8a\x08" + b"\xff" * 7 + b"\x7ft"),
    "a negative shape": array_of(b"(I-1\nI-24\nI1\nt", b"x" * 24),
    "one image named 200,000 times": pickle.dumps(([jpeg(0, 112)] * 200_000, [True] * 100_000), 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE)
def test_a_length_that_lies_allocates_nothing(path, case):
    """Allocates nothing for a wrong length."""
    path.write_bytes(LARGE[case])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"Received: .*lfw\.bin|lfw\.bin has .* which is not plausible"):
            load_bin(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"Received: .*lfw\.bin, which holds a list of 0"),
        (7, "which holds a int"),
        ((JPEGS, [True]), "with 4 images and 1 bools"),
        (([], []), "without an image"),
        ((JPEGS, [True, "no"]), "whose bool 1 is a str"),
        ((JPEGS, [True, 2]), "whose bool 1 is 2; True and 1 are one person"),
        ((JPEGS, [1, -1]), "whose bool 1 is -1"),
        ((JPEGS, np.array([0.5, 1])), r"whose bool 0 is 0\.5"),
        ((JPEGS, [0, 0, 1, 1]), r"4 images and 4 bools\. One label an image is a labelled set: .*write_protocol"),
        ((JPEGS, np.array([[True, False]] * 2)), r"whose bools are a bool array of shape \(2, 2\)"),
        ((JPEGS, None), "whose bools are a NoneType"),
        (([*JPEGS[:3], 5], [True, False]), "whose image 3 is a int"),
        (([PIXELS[0, 0]] * 2, [True]), r"whose image 0 is a uint8 array of shape \(5, 3\); images are bytes"),
        ((JPEGS[:3] + [JPEGS[3][:200]], [True, False]), r"Every image must be readable\. Received: .*, image 3 \("),
        (
            ([PIXELS[0].astype(np.float32)] * 2, [True]),
            r"whose image 0 is a float32 array of shape \(6, 5, 3\)",
        ),
    ],
)
def test_a_pickle_of_something_else_is_refused_by_name(path, value, message):
    """Refuses a pickle of something else by name."""
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=message):
        load_bin(path)


def test_a_pickle_cut_anywhere_is_refused_by_its_byte(path):
    """Refuses a pickle that is cut anywhere, and names the byte."""
    whole = pickle.dumps((JPEGS[:2], [True]), 2)
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"lfw\.bin, where byte [\d,]+ "):
            load_bin(path)


def test_a_file_that_is_not_a_pickle_is_shown_by_its_first_bytes(path):
    """The error shows how the file begins."""
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match=r"not of a sound pickle.* It begins with b'PK\\x03\\x04 and so on'"):
        load_bin(path)


def test_a_missing_file_is_a_missing_file(path):
    """Raises FileNotFoundError for a missing file."""
    with pytest.raises(FileNotFoundError, match=r"lfw\.bin"):
        load_bin(path)

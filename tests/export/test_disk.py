"""Exports that the operating system really refuses to write: it says so, what was there stays, nothing is left."""

import contextlib

import keras
import numpy as np
import pytest

from keras_margin import export
from keras_margin.export import _metadata

resource = pytest.importorskip("resource", reason="limits of file sizes are Unix's")
pytestmark = pytest.mark.tensorflow_only

SIDE = 16
# Bytes; a file of the network below is larger, what pytest keeps of the output is smaller.
LIMIT = 200_000


@contextlib.contextmanager
def files_end_at(size):
    """Context in which a file's bytes from `size` on are refused, as on a full disk: an errno of the kernel's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, keras.layers.Dense(128)(keras.layers.Flatten()(images)), name="large")


def left_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["face.tflite", "face", "face.onnx"])
def test_a_full_disk_is_an_oserror_and_keeps_old_files(name, network, images, tmp_path):
    """Raises OSError on a full disk, and leaves what was there."""
    write = {"face.tflite": export.to_tflite, "face": export.to_savedmodel, "face.onnx": export.to_onnx}[name]
    (tmp_path / "face.onnx").write_text("older")
    (tmp_path / "face.tflite").write_text("older")
    with files_end_at(LIMIT), pytest.raises(OSError, match="cannot be written|File too large"):
        write(network, tmp_path / name, samples=images)
    assert left_in(tmp_path) == {"face.onnx", "face.tflite"}
    assert {(tmp_path / file).read_text() for file in left_in(tmp_path)} == {"older"}


def test_a_disk_full_at_the_last_write_leaves_no_part(network, images, tmp_path, monkeypatch):
    """Leaves no part of a file where the disk fills up at the last write."""
    (tmp_path / "my face ü.tflite").write_text("older")
    with contextlib.ExitStack() as full:
        put_in = _metadata.embed_metadata

        def embed_metadata(content, text):
            # Converted and judged: from here on there is only the file itself to write.
            full.enter_context(files_end_at(LIMIT))
            return put_in(content, text)

        monkeypatch.setattr(_metadata, "embed_metadata", embed_metadata)
        with pytest.raises(OSError, match="File too large"):
            export.to_tflite(network, tmp_path / "my face ü.tflite", samples=images)
    assert left_in(tmp_path) == {"my face ü.tflite"}
    assert (tmp_path / "my face ü.tflite").read_text() == "older"

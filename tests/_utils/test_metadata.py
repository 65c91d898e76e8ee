"""The metadata inside a TFLite file, found by reading the FlatBuffer alone, never past the end of a damaged file."""

import json

import flatbuffers
import numpy as np
import pytest

from keras_margin._utils import metadata

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow_only

METADATA = {"format": "keras-margin embedder", "format_version": 1, "image": {"height": 4}, "name": "顔 лицо"}


def model_with(entries):
    """A TFLite model without a graph, whose metadata are `entries`; written by TFLite's own schema."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.description = 3, "test"
    model.operatorCodes, model.subgraphs, model.signatureDefs, model.metadataBuffer = [], [], [], []
    model.buffers, model.metadata = [schema.BufferT()], []
    for name, data in entries:
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        model.metadata.append(entry)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def content():
    text = json.dumps(METADATA, ensure_ascii=False).encode()
    return model_with([("min_runtime_version", b"1.5.0"), (metadata.METADATA_NAME, text), ("other", b"\0" * 40)])


def test_the_metadata_are_found_among_other_metadata(content, tmp_path):
    """Finds the metadata among those of other programs."""
    path = tmp_path / "顔 x.tflite"
    path.write_bytes(content)
    assert metadata.read_metadata(path) == METADATA
    assert metadata.find(content, entry="min_runtime_version") == b"1.5.0"
    path.write_bytes(model_with([("other", b"x")]))
    (tmp_path / "顔 x.tflite.json").write_text("{}")
    assert metadata.read_metadata(path) is None  # The JSON beside it may be another file's.


def test_a_damaged_file_is_an_error_or_another_text(content, tmp_path):
    """Reads a damaged file as an error or as another text, and as nothing else."""
    path = tmp_path / "face.tflite"
    for length in range(8, len(content)):
        path.write_bytes(content[:length])
        try:
            assert metadata.read_metadata(path) in (None, METADATA)
        except ValueError as error:
            assert "face.tflite" in str(error)
    generator, seen = np.random.default_rng(0), set()
    for _ in range(3000):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] = generator.integers(256)
        try:
            seen.add(type(metadata.find(bytes(damaged))))
        except ValueError as error:
            seen.add(str(error))
    assert seen >= {bytes, type(None)} and any("Is the file whole?" in each for each in seen if isinstance(each, str))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "face.tflite are not JSON"),
        (b"\xff\xfe", "face.tflite are not JSON"),
        (b"[1]", "must be a JSON object. Received: list"),
        (b'{"format_version": 2}', "have format 2; this keras-margin reads 1. Update"),
    ],
)
def test_invalid_metadata_are_refused(text, message, tmp_path):
    """Refuses metadata that are invalid."""
    (tmp_path / "face.tflite").write_bytes(model_with([(metadata.METADATA_NAME, text)]))
    with pytest.raises(ValueError, match=message):
        metadata.read_metadata(tmp_path / "face.tflite")


def test_folders_and_other_files_have_it_as_json(tmp_path):
    """Reads the metadata of folders and other files from JSON."""
    (tmp_path / "saved").mkdir()
    assert metadata.read_metadata(tmp_path / "saved") is None
    (tmp_path / "saved" / "contract.json").write_text(json.dumps(METADATA))
    (tmp_path / "face.onnx").write_bytes(b"onnx")
    assert metadata.read_metadata(tmp_path / "face.onnx") is None
    (tmp_path / "face.onnx.json").write_text(json.dumps(METADATA))
    assert metadata.read_metadata(tmp_path / "saved") == metadata.read_metadata(tmp_path / "face.onnx") == METADATA
    with pytest.raises(FileNotFoundError, match="no such file: .*nothing"):
        metadata.read_metadata(tmp_path / "nothing")


def test_replaced_metadata_are_found_and_the_old_are_gone(content):
    """The new text is read, longer or shorter, the old one is in no byte, other entries stay."""
    old = metadata.find(content)
    for text in (b"{}", b'{"a": "' + b"x" * 5000 + b'"}'):
        renewed = metadata.replace(content, text)
        assert metadata.find(renewed) == text and old not in renewed
        assert metadata.find(metadata.replace(renewed, b"[]")) == b"[]"


def test_metadata_that_are_missing_cannot_be_replaced():
    """A model without an entry of that name is refused."""
    with pytest.raises(KeyError, match="no metadata called"):
        metadata.replace(model_with({}), b"{}")

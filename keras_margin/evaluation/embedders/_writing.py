"""Changes the metadata of a file that was exported before; the network stays as it was."""

import hashlib
import json
import os
import pathlib

from keras_margin._utils import files, metadata
from keras_margin._utils.messages import install_hint


def update_metadata(path, changes):
    """Adds entries to the metadata of an exported file, inside it and in the JSON next to it.

    A TFLite file's bytes change with its metadata, so that what it was before is kept there as "model_id": galleries of
    its embeddings stay valid.

    Args:
        path: A .tflite file, our own or foreign; a SavedModel folder or a preset; or an .onnx file.
        changes: Dict of plain JSON values by name; they replace older ones.

    Returns:
        The new metadata, a dict.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: Another kind of file, a damaged one, or values that JSON does not have.
        ImportError: A foreign TFLite file needs TensorFlow, an .onnx file onnx.
        OSError: The file cannot be written; it is as it was.

    Example:
        >>> update_metadata("face.tflite", {"about": {"intended_use": "the door of our office"}})["about"]
        {'intended_use': 'the door of our office'}
    """
    path = pathlib.Path(os.fsdecode(path))
    found = metadata.read_metadata(path) or {"format": metadata.FORMAT, "format_version": metadata.FORMAT_VERSION}
    if path.is_dir():
        text = _as_json(found | changes)
        with files.atomic_write(metadata.in_folder(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return json.loads(text)
    if metadata.is_tflite(path):
        content = path.read_bytes()
        changes = {"model_id": found.get("model_id") or hashlib.sha256(content).hexdigest()} | changes
        text = _as_json(found | changes)
        renewed = _with_text(content, text)
    elif path.suffix.lower() == ".onnx":
        text = _as_json(found | changes)
        renewed = _onnx_with_text(path, text)
    else:
        raise ValueError(f"{path} holds no metadata. Pass a .tflite or .onnx file, or a SavedModel folder.")
    with files.atomic_write(path.with_name(f"{path.name}.json")) as beside, files.atomic_write(path) as temporary:
        temporary.write_bytes(renewed)
        beside.write_text(text, encoding="utf-8")
    return json.loads(text)


def _as_json(values):
    try:
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"Metadata must hold plain JSON values: {error}.") from error


def _with_text(content, text):
    if metadata.find(content) is not None:
        return metadata.replace(content, text.encode("utf-8"))
    try:
        from keras_margin.export._metadata import embed_metadata
    except ImportError as error:
        raise ImportError(f"Metadata get into a foreign TFLite file by TensorFlow: {install_hint('cpu')}.") from error
    return embed_metadata(content, text)


def _onnx_with_text(path, text):
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"Metadata get into an .onnx file by onnx: {install_hint('onnx')}.") from error
    model = onnx.load(path)
    kept = [each for each in model.metadata_props if each.key != metadata.METADATA_NAME]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=metadata.METADATA_NAME, value=text)
    return model.SerializeToString()

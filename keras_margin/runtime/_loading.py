"""What an Embedder is made of: its file checked and loaded, its arguments checked."""

import os
from typing import Any

from keras_margin._typing import PathLike
from keras_margin._utils.messages import install_hint
from keras_margin._utils.metadata import is_preset

# Where a training run's folder keeps its exported file.
RUN_FILE = "embedder.tflite"

_EXPORT = "keras-margin export MODEL face.tflite"


def checked_path(path: PathLike) -> str:
    """`path` as a str, once it is a file that calls itself TFLite."""
    name = os.fsdecode(path)
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"LiteRT opens only files whose names are valid Unicode. Received: {name!r}. Rename it.")
    if os.path.isdir(name):
        raise ValueError(f"Embedder needs a .tflite file. Received: {name}, a folder. {_inside(name)}")
    try:
        with open(name, "rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise FileNotFoundError(f"Embedder found no such file: {name}") from None
    if head[4:8] != b"TFL3":
        raise ValueError(
            f"Embedder needs a TFLite model, with 'TFL3' at bytes 4 to 7. Received: {name}, with {head[4:8]!r} there."
            f"{_export_hint(name)}"
        )
    return name


def _inside(folder):
    """What to pass instead of a folder."""
    if os.path.exists(os.path.join(folder, RUN_FILE)):
        return f"It is a training run: pass {os.path.join(folder, RUN_FILE)}."
    if os.path.exists(os.path.join(folder, "saved_model.pb")):
        return f"It is a SavedModel: export the Keras model as TFLite too, {_EXPORT}."
    if is_preset(folder):
        return f"It is a preset: export it first, {_EXPORT.replace('MODEL', folder)}."
    return "A run's folder has embedder.tflite in it, this one has none."


def _export_hint(name: str):
    """What to do with a Keras file: take the run's own export, or export it."""
    if not name.lower().endswith((".keras", ".h5", ".hdf5")):
        return ""
    beside = os.path.join(os.path.dirname(name), RUN_FILE)
    if os.path.exists(beside):
        return f" It is a Keras file: pass its run's {beside}."
    return f" It is a Keras file: export it first, {_EXPORT.replace('MODEL', name)}."


def checked_channels(channels: str | None, metadata: dict[str, Any] | None, path: PathLike) -> str:
    """The order of channels that a network wants: what was given, or where that is None the metadata's, else "RGB"."""
    if channels not in (None, "RGB", "BGR"):
        raise ValueError(f'channels must be "RGB" or "BGR", what the network wants. Received: channels={channels!r}.')
    own = ((metadata or {}).get("image") or {}).get("channels")
    if own not in (None, "RGB", "BGR"):
        raise ValueError(f'{path} declares image.channels={own!r}; "RGB" and "BGR" are known. Correct its metadata.')
    if None not in (channels, own) and channels != own:
        raise ValueError(f"{path} takes {own} by its own metadata. Received: channels={channels!r}. Leave it out.")
    return channels or own or "RGB"


def interpreter_of(path: str, num_threads: int | None) -> Any:
    """LiteRT's Interpreter of a file; RuntimeError or ValueError are LiteRT's own."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            f"Embedder runs on ai-edge-litert: {install_hint('litert')}. The import failed with: {error}"
        ) from error
    return Interpreter(model_path=path, num_threads=num_threads)


def load(path: str, num_threads: int | None) -> tuple[Any, Any, Any]:
    """(interpreter, details of its input, details of its embedding output)."""
    try:
        interpreter = interpreter_of(path, num_threads)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        output = _embedding_output(interpreter, outputs)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"LiteRT cannot read {path} ({os.path.getsize(path)} bytes): {error}. Is the file whole?"
        ) from error
    if len(inputs) != 1:
        names = [detail["name"] for detail in inputs]
        raise ValueError(f"An embedder has one input, the images. Received: {path}, with {len(inputs)}: {names}.")
    if output is None:
        names = [detail["name"] for detail in outputs]
        raise ValueError(
            f"An embedder has one output, or one that its signature calls 'embedding'. Received: {path}, with {names}."
        )
    return interpreter, inputs[0], output


def _embedding_output(interpreter, outputs):
    """The only output, or of several the one that a signature calls `embedding`, or None."""
    if len(outputs) == 1:
        return outputs[0]
    return named_output(interpreter, "embedding")


def named_output(interpreter, name):
    """Returns the details of the output that a signature calls `name`, or None."""
    for key, names in interpreter.get_signature_list().items():
        if name in names["outputs"]:
            named = interpreter.get_signature_runner(key).get_output_details()[name]
            return next((each for each in interpreter.get_output_details() if each["name"] == named["name"]), None)
    return None

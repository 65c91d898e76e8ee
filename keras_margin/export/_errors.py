"""Errors of the converters and of the libraries that run the converted file, as sentences that name layer and operator.

TensorFlow's converter reports a failure as a page of its compiler's intermediate code, ONNX Runtime as the graph's own
node names. What a user can act on is in there: the operator, and the layer of the network that it comes from.
"""

import re

from keras_margin import _keras
from keras_margin._utils import files

_OTHER_FORMATS = {
    "TFLite": "Replace the layer, or write a SavedModel or ONNX file: to_savedmodel, to_onnx.",
    "ONNX": "Replace the layer, or write a SavedModel or TFLite file: to_savedmodel, to_tflite.",
}
_FIXED_BATCH = (
    "Loops over a sequence (LSTM, GRU, RNN) need a fixed batch: pass options=Options(batch_size=1), --batch=1 at the "
    "command line."
)
_OF_LOOPS = ("TensorList", "While", "Loop", "Scan")

# Each finds the operator, the path of the layer, or both, in what a library says.
_PLACES = (
    re.compile(r'fused\["(?P<operator>\w+):", "(?P<path>[^"@]+)'),  # TensorFlow's converter.
    re.compile(r"'tfl?\.(?P<operator>\w+)' op"),
    re.compile(r'In Node, \("(?P<path>[^"]*)", (?P<operator>\w+)'),  # ONNX Runtime.
    re.compile(r"Node(?:: ?| )\(?'?(?P<path>[\w/.:-]+)'?\)? Op \((?P<operator>\w+)\)"),
    re.compile(r"implementation for (?P<operator>\w+)\(\d+\) node with name '(?P<path>[^']*)'"),
    re.compile(r"[Tt]ensorflow op \[(?P<path>[^:\]]+): (?P<operator>\w+)\]"),  # tf2onnx.
    re.compile(r"Node number (?P<number>\d+) \((?P<operator>\w+)\)"),  # LiteRT.
)


class ConversionError(ValueError):
    """A network that a converter cannot write, or whose converted file cannot be run; nothing was left at its path.

    The library's own error is its `__cause__`.

    Attributes:
        operator: The operator that failed, as the library calls it; None where it was not named.
        layer: The name of the layer that it comes from, or None.
    """

    def __init__(self, message, operator=None, layer=None):
        super().__init__(message)
        self.operator = operator
        self.layer = layer


def explained(compute, network, target, name_of=None):
    """Returns compute(), with nothing on standard error, and a short error where a library fails.

    Args:
        compute: Function without arguments.
        network: Keras model whose layers the error may name.
        target: "TFLite" or "ONNX".
        name_of: Function from an operator's number to its path in the graph; None where the library names paths.

    Returns:
        What `compute` returned.

    Raises:
        ConversionError: Where `compute` raised, chained to what it raised.
        OSError, ImportError, MemoryError, ConversionError: As `compute` raised them.
    """
    with files.suppress_native_stderr():
        try:
            return compute()
        except (OSError, ImportError, MemoryError, ConversionError):
            raise
        except Exception as error:  # Every library has its own, most of them derived from Exception alone.
            # Raised behind the context, which would show what the library wrote, a page of it.
            failure = error
    raise conversion_error(failure, network, target, name_of) from failure


def conversion_error(error, network, target, name_of=None):
    """The ConversionError for what a library raised; arguments as of `explained`."""
    text = str(error)
    operator, path = _place(text, name_of)
    layer = layer_of(path, network)
    what = f"{network.name} cannot be written as {target}"
    if operator is not None:
        what += f": its operator {operator}"
        what += f" in layer {layer!r}" if layer else f" at {path}" if path else ""
        what += " failed"
    unknown_batch = "element_shape to be static" in text or "Lowering tensor list" in text
    if unknown_batch or any((operator or "").startswith(each) for each in _OF_LOOPS):
        hint = _FIXED_BATCH
    else:
        hint = _OTHER_FORMATS[target]
    return ConversionError(f"{what}. {target} says: {_first_sentence(text)} {hint}", operator, layer)


def layer_of(path, network):
    """The name of the layer that a path in the graph belongs to, or None.

    Args:
        path: Such as "face_1/memory_1/while"; each of its parts may have a number that tracing has added.
        network: Keras model.
    """
    names = {layer.name for layer in _keras.all_layers(network)}
    for part in reversed((path or "").split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in names:
                return name
    return None


def _place(text, name_of):
    """(operator or None, path or None) out of what a library says."""
    operator = path = None
    for pattern in _PLACES:
        found = pattern.search(text)
        if found is None:
            continue
        parts = found.groupdict()
        operator = operator or parts["operator"]
        path = path or parts.get("path")
        if path is None and name_of is not None and parts.get("number"):
            path = name_of(int(parts["number"]))
        if path is not None:
            break
    return operator, path


def _first_sentence(text):
    """The first line that says something, without places in compiled code."""
    line = next((line for line in text.splitlines() if line.strip()), "nothing")
    line = re.sub(r"loc\(.*\): ", "", line)
    line = re.sub(r"^.*?<unknown>:0: ", "", line)
    line = re.sub(r"^error: ", "", line)
    line = re.sub(r"^\[ONNXRuntimeError\].*, Error ", "", line).strip()
    line = line if len(line) <= 200 else f"{line[:200]} ..."
    return line if line.endswith((".", "...")) else f"{line}."

"""int8: which operations stay in floats, and between what values the activations of the others are rounded.

The converter takes the smallest and the largest value that an activation had on the representative images. One value in
a million then sets the step of all others: behind batch normalisation it lies at 6 to 10 standard deviations. Here the
ends are those of least squared error, rounding inside and clipping outside, by a histogram:

    error(a, b) = mean(max(a - x, 0)^2 + max(x - b, 0)^2) + ((b - a) / 255)^2 / 12

What is a function of one pixel alone has the range that black and white give it, whatever the images were.

In floats stay: that function of pixels; the last normalisation, whose eight bits would hold 128 steps to 1, too few for
the 0.04 of a 512-D embedding's entry; PReLU, whose int8 kernel is not XNNPACK's, so that each one would end a delegated
part and the network take several times float32's time; and the paddings and depthwise convolutions that PReLU feeds,
which would otherwise be rounded at both ends and are no faster. With `integer_only` nothing does: pixels enter as
uint8, the embedding leaves as int8 with its scale, and every tensor between them is of integers.

Reference: Nagel et al., A White Paper on Neural Network Quantization, arXiv:2106.08295, section 3.1 (ranges by MSE).
"""

import dataclasses

import numpy as np

from keras_margin._utils import progress
from keras_margin.export._graph import LENGTH_SCOPE

_BINS, _ENDS = 2048, 128
# Of one activation of one image: enough for a histogram, and a large network does not take minutes.
_MOST_VALUES, _MOST_BATCHES = 16_384, 100

# By their names in TFLite's schema.
_OF_PIXELS = {"CAST", "MUL", "ADD", "SUB", "DIV", "NEG", "REVERSE_V2", "CONCATENATION", "QUANTIZE", "DEQUANTIZE"}
_SAME_VALUES = {"PAD", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "MAX_POOL_2D"}
_FLOAT_BEHIND_PRELU = {"PAD", "DEPTHWISE_CONV_2D"}


@dataclasses.dataclass(frozen=True)
class _Operation:
    """One operation of the graph: its kind, the activations it takes, the first that it makes, and that one's name."""

    kind: str
    inputs: tuple
    output: int
    name: str


def quantized(converter, batches, integer_only=False):
    """An int8 model, bytes.

    Args:
        converter: tf.lite.TFLiteConverter with optimizations set; with `integer_only` of a graph on float32 pixels.
        batches: Function without arguments that gives the representative batches, each a list of one array of the
            type that the graph takes.
        integer_only: Whether every tensor is of integers: input and output, the function of pixels, PReLU and the
            last normalisation.

    Returns:
        (bytes of the model, number of PReLUs in it).
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert, util

    converter.representative_dataset = batches
    # The two halves of convert(), as TFLite's own QuantizationDebugger parts them: between them the ranges are floats.
    converter._experimental_calibrate_only = True
    calibrated = bytearray(converter.convert())
    operations = operations_of(calibrated)
    of_pixels = _of_pixels(calibrated, operations)
    _set_ranges(calibrated, operations, of_pixels, batches)
    prelus = sum(each.kind == "PRELU" for each in operations)
    if integer_only:
        low, high = _ends_of(calibrated, _graph(calibrated).Subgraphs(0).Inputs(0))
        low[0], high[0] = 0, 255  # A step of one grey level, whatever the images were.
        content = convert.mlir_quantize(bytes(calibrated))
        return util.modify_model_io_type(content, tf.uint8, tf.int8), prelus
    in_floats = [each.name for each in operations if each.output in of_pixels and each.kind not in _SAME_VALUES]
    in_floats += _behind_prelu(operations)
    # The length of an embedding has no range that a few images show: integers would cut the longest ones off.
    in_floats += [each.name for each in operations if LENGTH_SCOPE in each.name]
    kinds = ["L2_NORMALIZATION", "PRELU", "SQRT"]
    return convert.mlir_quantize(bytes(calibrated), denylisted_ops=kinds, denylisted_nodes=in_floats), prelus


def _graph(content):
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.Model.GetRootAs(content, 0)


def operations_of(content):
    """The operations of the model, in the order they run."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = _graph(content)
    graph = model.Subgraphs(0)

    def is_constant(index):
        return model.Buffers(graph.Tensors(index).Buffer()).DataLength() > 0

    def read(operation):
        code = model.OperatorCodes(operation.OpcodeIndex())
        kind = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        inputs = [int(index) for index in operation.InputsAsNumpy() if index >= 0]
        output = operation.Outputs(0)
        name = graph.Tensors(output).Name().decode()
        return _Operation(kind, tuple(index for index in inputs if not is_constant(index)), output, name)

    return [read(graph.Operators(number)) for number in range(graph.OperatorsLength())]


def _of_pixels(content, operations):
    """Indices of the activations whose every value is a function of one pixel's one channel."""
    found = {_graph(content).Subgraphs(0).Inputs(0)}
    for each in operations:
        if each.kind in _OF_PIXELS | _SAME_VALUES and each.inputs and found.issuperset(each.inputs):
            found.add(each.output)
    return found


def _behind_prelu(operations):
    """Names of the paddings and depthwise convolutions that a PReLU feeds, or another of them behind one."""
    floats = {each.output for each in operations if each.kind == "PRELU"}
    for each in operations:
        if each.kind in _FLOAT_BEHIND_PRELU and each.inputs and floats.issuperset(each.inputs):
            floats.add(each.output)
            yield each.name


def _set_ranges(content, operations, of_pixels, batches):
    """Writes the ranges into the calibrated model, a bytearray."""
    ends = {each.output: _ends_of(content, each.output) for each in operations}
    ends = {index: (low[0], high[0]) for index, (low, high) in ends.items() if low is not None}
    ranges = {index: _least_error(histogram, *ends[index]) for index, histogram in _histograms(content, ends, batches)}
    ranges |= _over_black_and_white(content, of_pixels & set(ranges), batches)
    for each in operations:
        if each.kind in _SAME_VALUES and each.inputs and each.inputs[0] in ranges and each.output in ranges:
            ranges[each.output] = ranges[each.inputs[0]]
    for index, (low, high) in ranges.items():
        low_there, high_there = _ends_of(content, index)
        low_there[0], high_there[0] = low, high


def _ends_of(content, index):
    """The arrays of one number each in which the model holds an activation's range; (None, None) where it has none."""
    found = _graph(content).Subgraphs(0).Tensors(index).Quantization()
    if found is None or found.MinLength() != 1 or found.MaxLength() != 1:
        return None, None
    return found.MinAsNumpy(), found.MaxAsNumpy()


def _interpreter(content):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, which keeps what lies between its operations to itself.
    return Interpreter(
        model_content=bytes(content),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def _run(interpreter, images):
    detail = interpreter.get_input_details()[0]
    if tuple(detail["shape"]) != images.shape:
        interpreter.resize_tensor_input(detail["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], images)
    interpreter.invoke()


def _histograms(content, ends, batches):
    """(index, counts) of every activation in `ends`, between its ends."""
    interpreter, total = _interpreter(content), min(_MOST_BATCHES, sum(1 for _ in batches()))
    reached = progress.Progress("Measured ranges on", "batches", total)
    counts = {index: np.zeros(_BINS) for index in ends}
    for number, (images,) in enumerate(batches()):
        if number == _MOST_BATCHES:
            break
        _run(interpreter, images)
        for index, (low, high) in ends.items():
            values = interpreter.get_tensor(index).ravel()
            # An odd stride: numbers of channels are even, and every channel is to be met.
            values = values[number % 2 :: (len(values) // _MOST_VALUES) | 1]
            counts[index] += np.histogram(values, _BINS, (low, max(high, low + 1e-6)))[0]
        reached.at(number + 1)
    return counts.items()


def _over_black_and_white(content, wanted, batches):
    """The ranges that the activations `wanted`, functions of one pixel, have over all pixels."""
    interpreter, (images,) = _interpreter(content), next(iter(batches()))
    found = {}
    for value in (0, 255):
        _run(interpreter, np.full_like(images, value))
        for index in wanted:
            values = interpreter.get_tensor(index)
            low, high = found.get(index, (0.0, 0.0))
            found[index] = (min(low, float(values.min())), max(high, float(values.max())))
    return found


def _least_error(counts, low, high):
    """The range of least squared error for eight bits, zero inside, for values of a histogram from `low` to `high`."""
    total = counts.sum()
    if not total or not high > low:
        return float(min(low, 0)), float(max(high, 0))
    edges = np.linspace(low, high, len(counts) + 1)
    values = (edges[1:] + edges[:-1]) / 2
    shares = np.linspace(1, 1 / _ENDS, _ENDS)
    lows, highs = min(low, 0) * shares, max(high, 0) * shares
    below = np.maximum(lows[:, None] - values, 0) ** 2 @ counts / total
    above = np.maximum(values - highs[:, None], 0) ** 2 @ counts / total
    error = below[:, None] + above[None] + ((highs[None] - lows[:, None]) / 255) ** 2 / 12
    best_low, best_high = np.unravel_index(np.argmin(error), error.shape)
    return float(lows[best_low]), float(highs[best_high])

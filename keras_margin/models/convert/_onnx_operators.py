"""The operators of ONNX as Keras layers: a table from an operator's name to a function of (builder, node).

Those that move or join numbers are in _onnx_shapes.py.

Reference: docs/Operators.md of ONNX; an operator's older forms have attributes where the newer have inputs.
"""

import math

import numpy as np
from keras import layers, ops

from keras_margin.models.convert import _onnx_shapes
from keras_margin.models.convert._onnx_values import CHANNELS_LAST, Value, constant, laid_out, plain, require


def _map(builder, node, index=0):
    """An input that is a map, channels last."""
    value = node.value(index)
    require(value.rank == 4, f"its input has shape {value.shape}; maps (images, channels, rows, columns) are known")
    return value.ordered(CHANNELS_LAST, builder, node.name)


def _pads(node, value, size, strides, dilations=(1, 1)):
    """(top, left, bottom, right), from `pads` or `auto_pad`."""
    automatic = node.get("auto_pad", b"NOTSET").decode()
    if automatic in ("NOTSET", ""):
        return tuple(node.get("pads", (0, 0, 0, 0)))
    if automatic == "VALID":
        return (0, 0, 0, 0)
    before, after = [], []
    for side, kernel, stride, dilation in zip(value.shape[2:], size, strides, dilations, strict=True):
        total = max((math.ceil(side / stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
        less, more = total // 2, total - total // 2
        before.append(less if automatic == "SAME_UPPER" else more)
        after.append(more if automatic == "SAME_UPPER" else less)
    return (*before, *after)


def _conv(builder, node):
    kernel = constant(node.inputs[1], "kernel")
    bias = constant(node.inputs[2], "bias") if node.has(2) else None
    require(kernel.ndim == 4, f"its kernel has shape {kernel.shape}; two-dimensional convolutions are known")
    value, groups = node.value(0), node.get("group", 1)
    if value.reversed and groups == 1:
        # The kernel takes the channels in the order that they have.
        kernel, value = kernel[:, ::-1], Value(value.tensor, value.axes)
    value = value.ordered(CHANNELS_LAST, builder, node.name)
    strides, dilations = node.get("strides", (1, 1)), node.get("dilations", (1, 1))
    pads = _pads(node, value, kernel.shape[2:], strides, dilations)
    options = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
    return value.like(builder.conv(value.tensor, kernel, bias, name=node.name, **options))


def _batch_norm(builder, node):
    value = node.value(0)
    require(not node.get("training_mode", 0), "it normalizes by the batch, as in training")
    require(value.rank in (2, 4), f"its input has shape {value.shape}; rows and maps are known")
    value = value.ordered(CHANNELS_LAST if value.rank == 4 else (0, 1), builder, node.name)
    arrays = [constant(each, "scale or statistics") for each in node.inputs[1:5]]
    return value.like(builder.batch_norm(value.tensor, *arrays, name=node.name, epsilon=node.get("epsilon", 1e-5)))


def _prelu(builder, node):
    slope = constant(node.inputs[1], "slope")
    value = _map(builder, node) if node.value(0).rank == 4 else node.value(0).in_order(builder, node.name)
    channels = value.shape[1]
    require(slope.size in (1, channels), f"its slopes have shape {slope.shape}; one, or one a channel, is known")
    return value.like(builder.prelu(value.tensor, slope, name=node.name))


def _clip(builder, node):
    value = node.value(0)
    low, high = (
        float(constant(node.inputs[index], name)) if node.has(index) else node.get(name, default)
        for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf))
    )
    low, high = (-math.inf if low <= np.finfo("float32").min else low), (math.inf if high > 3.4e38 else high)
    if low == 0:
        made = builder.layer(layers.ReLU, node.name, max_value=None if high == math.inf else high)
        return Value(made(value.tensor), value.axes, True, value.reversed)
    if high == math.inf:
        return value.like(ops.maximum(value.tensor, low))
    if low == -math.inf:
        return value.like(ops.minimum(value.tensor, high))
    return value.like(ops.clip(value.tensor, low, high))


def _layer_of(kind, nonnegative=False, **attributes):
    """A unary operator that is a Keras layer; `attributes` are its options: (ONNX's name, default) or a constant."""

    def convert(builder, node):
        value, options = node.value(0), {}
        for ours, theirs in attributes.items():
            options[ours] = node.get(*theirs) if isinstance(theirs, tuple) else theirs
        made = builder.layer(kind, node.name, **options)
        return Value(made(value.tensor), value.axes, nonnegative, value.reversed)

    return convert


def _function_of(function, nonnegative=False):
    """A unary operator that is a function of keras.ops."""

    def convert(builder, node):
        value = node.value(0)
        return Value(function(value.tensor), value.axes, nonnegative, value.reversed)

    return convert


def _hard_sigmoid(builder, node):
    value, alpha, beta = node.value(0), node.get("alpha", 0.2), node.get("beta", 0.5)
    return Value(ops.clip(value.tensor * alpha + beta, 0, 1), value.axes, True, value.reversed)


def _passed(builder, node):
    return node.inputs[0]


def _binary(layer, function, affine):
    """An operator of two tensors, or of one and a constant.

    Args:
        layer: Keras layer of a list of two tensors, or None.
        function: Function of keras.ops of two tensors.
        affine: Function (constant, whether it comes first) to the (scale, offset) that the operator is, or to None.
    """

    def convert(builder, node):
        first, second = node.inputs[:2]
        if isinstance(first, Value) and isinstance(second, Value):
            first, second = first.in_order(builder, node.name), second.in_order(builder, node.name)
            require(first.rank == second.rank, f"it joins shapes {first.shape} and {second.shape}")
            second = second.ordered(first.axes, builder, node.name)
            pair = [first.tensor, second.tensor]
            return first.like(builder.layer(layer, node.name)(pair) if layer else function(*pair))
        leading = not isinstance(first, Value)
        value, array = (second, first) if leading else (first, second)
        if array.size > 1:
            value = value.in_order(builder, node.name)
        return value.like(_with_constant(builder, node, value, np.asarray(array, np.float64), leading))

    def _with_constant(builder, node, value, array, leading):
        found = affine(array, leading)
        last = value.axes[-1]
        along_last = array.ndim and array.size == value.shape[last] and array.ndim >= value.rank - last
        along_last = along_last and array.shape[array.ndim - (value.rank - last)] == array.size
        if found is not None and (array.size == 1 or along_last):
            scale, offset = (part.reshape(-1).tolist() if part.size > 1 else part.item() for part in found)
            return builder.layer(layers.Rescaling, node.name, scale=scale, offset=offset)(value.tensor)
        other = array.item() if array.size == 1 else laid_out(array, value).astype("float32")
        return function(other, value.tensor) if leading else function(value.tensor, other)

    return convert


def _power(builder, node):
    value, exponent = node.value(0), constant(node.inputs[1], "exponent")
    require(exponent.size == 1, "it has several exponents")
    exponent = float(exponent.reshape(-1)[0])
    return value.like(ops.square(value.tensor) if exponent == 2 else ops.power(value.tensor, exponent))


def _matmul(builder, node):
    value, kernel = node.value(0), constant(node.inputs[1], "second factor")
    require(value.rank == 2 and kernel.ndim == 2, f"it multiplies shapes {value.shape} and {kernel.shape}")
    return plain(builder.dense(value.ordered((0, 1), builder, node.name).tensor, kernel, name=node.name))


def _gemm(builder, node):
    value, kernel = node.value(0), constant(node.inputs[1], "second factor")
    require(value.rank == 2 and not node.get("transA", 0), f"it multiplies shape {value.shape}, turned round")
    kernel = (kernel.T if node.get("transB", 0) else kernel) * node.get("alpha", 1.0)
    bias = None
    if node.has(2):
        bias = np.broadcast_to(constant(node.inputs[2], "bias") * node.get("beta", 1.0), (1, kernel.shape[1]))[0]
    return plain(builder.dense(value.ordered((0, 1), builder, node.name).tensor, kernel, bias, name=node.name))


def _global_pool(kind):
    def convert(builder, node):
        value = _map(builder, node)
        made = builder.layer(kind, node.name, keepdims=True, data_format="channels_last")
        return Value(made(value.tensor), CHANNELS_LAST, value.nonnegative)

    return convert


def _window(node, value):
    """(size, strides, pads) of a pool, whose windows must end with the map."""
    size, strides = tuple(node.get("kernel_shape")), tuple(node.get("strides", (1, 1)))
    pads = _pads(node, value, size, strides)
    require(set(node.get("dilations", (1, 1))) == {1}, "its windows have holes")
    if node.get("ceil_mode", 0):
        sides = [side + pads[at] + pads[at + 2] - size[at] for at, side in enumerate(value.shape[2:])]
        whole = all(side % stride == 0 for side, stride in zip(sides, strides, strict=True))
        require(whole, "its last windows reach beyond the map (ceil_mode)")
    return size, strides, pads


def _max_pool(builder, node):
    value = _map(builder, node)
    size, strides, pads = _window(node, value)
    found = builder.max_pool(value.tensor, size, strides, pads=pads, nonnegative=value.nonnegative, name=node.name)
    return Value(found, CHANNELS_LAST, value.nonnegative)


def _average_pool(builder, node):
    value = _map(builder, node)
    size, strides, pads = _window(node, value)
    x, padding = value.tensor, "valid"
    if any(pads) and node.get("count_include_pad", 0):
        x = builder.layer(layers.ZeroPadding2D, f"{node.name}_pad", padding=((pads[0], pads[2]), (pads[1], pads[3])))(x)
    elif any(pads):
        same = strides == (1, 1) and tuple(pads) == tuple(side // 2 for side in size) * 2 and all(s % 2 for s in size)
        require(same, f"it pads by {pads} and averages without the padding")
        padding = "same"
    made = builder.layer(layers.AveragePooling2D, node.name, pool_size=size, strides=strides, padding=padding)
    return Value(made(x), CHANNELS_LAST, value.nonnegative)


def _pad(builder, node):
    value = _map(builder, node)
    pads = node.get("pads") if node.get("pads") is not None else constant(node.inputs[1], "padding").tolist()
    fill = float(constant(node.inputs[2], "filling")) if node.has(2) else node.get("value", 0.0)
    if node.has(3):  # Of some axes alone.
        chosen, full = constant(node.inputs[3], "axes").tolist(), [0] * 8
        for at, axis in enumerate(chosen):
            full[axis % 4], full[axis % 4 + 4] = pads[at], pads[at + len(chosen)]
        pads = full
    require(not any((*pads[:2], *pads[4:6])) and min(pads) >= 0, f"it pads images or channels, or cuts: {pads}")
    mode = node.get("mode", b"constant").decode()
    padding = ((pads[2], pads[6]), (pads[3], pads[7]))
    if mode == "constant" and fill == 0:
        made = builder.layer(layers.ZeroPadding2D, node.name, padding=padding, data_format="channels_last")
        return Value(made(value.tensor), CHANNELS_LAST, value.nonnegative)
    require(mode in ("constant", "reflect"), f"it pads by mode {mode!r}")
    options = {"constant_values": fill} if mode == "constant" else {}
    return value.like(ops.pad(value.tensor, ((0, 0), *padding, (0, 0)), mode=mode, **options))


def _affine_of_sum(array, _):
    return np.ones(1), array


def _affine_of_difference(array, leading):
    return (-np.ones(1), array) if leading else (np.ones(1), -array)


def _affine_of_product(array, _):
    return array, np.zeros(1)


def _affine_of_quotient(array, leading):
    return None if leading else (1 / array, np.zeros(1))


def _nothing(*_):
    return None


OPERATORS = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "Relu": _layer_of(layers.ReLU, True),
    "LeakyRelu": _layer_of(layers.LeakyReLU, negative_slope=("alpha", 0.01)),
    "Elu": _layer_of(layers.ELU, alpha=("alpha", 1.0)),
    "Clip": _clip,
    "Sigmoid": _layer_of(layers.Activation, True, activation="sigmoid"),
    "Tanh": _layer_of(layers.Activation, activation="tanh"),
    "Softplus": _layer_of(layers.Activation, True, activation="softplus"),
    "HardSwish": _layer_of(layers.Activation, activation="hard_silu"),
    "HardSigmoid": _hard_sigmoid,
    "Sqrt": _function_of(ops.sqrt, True),
    "Exp": _function_of(ops.exp, True),
    "Log": _function_of(ops.log),
    "Abs": _function_of(ops.abs, True),
    "Neg": _function_of(ops.negative),
    "Reciprocal": _function_of(ops.reciprocal),
    "Pow": _power,
    "Add": _binary(layers.Add, ops.add, _affine_of_sum),
    "Sub": _binary(layers.Subtract, ops.subtract, _affine_of_difference),
    "Mul": _binary(layers.Multiply, ops.multiply, _affine_of_product),
    "Div": _binary(None, ops.divide, _affine_of_quotient),
    "Max": _binary(layers.Maximum, ops.maximum, _nothing),
    "Min": _binary(layers.Minimum, ops.minimum, _nothing),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(layers.GlobalAveragePooling2D),
    "GlobalMaxPool": _global_pool(layers.GlobalMaxPooling2D),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Pad": _pad,
    **_onnx_shapes.OPERATORS,
    # Numbers go through as they are: of a Cast only the type differs, of an Expand what broadcasting does anyway.
    **dict.fromkeys(("Identity", "Dropout", "Cast", "Expand"), _passed),
}

"""The operators of ONNX that move, join, cut and reduce: a table as in _onnx_operators.py."""

import math

import numpy as np
from keras import layers, ops

from keras_margin.models.convert._onnx_values import BATCH, Value, constant, plain, require


def _concat(builder, node):
    values = [node.value(index).in_order(builder, node.name) for index in range(len(node.inputs))]
    first = values[0]
    tensors = [each.ordered(first.axes, builder, node.name).tensor for each in values]
    axis = first.axis(node.get("axis"))
    require(axis != 0, "it joins images")
    joined = builder.layer(layers.Concatenate, node.name, axis=axis)(tensors)
    return Value(joined, first.axes, all(each.nonnegative for each in values))


def _transpose(builder, node):
    value = node.value(0).in_order(builder, node.name)
    order = node.get("perm", tuple(reversed(range(value.rank))))
    return Value(value.tensor, tuple(order.index(axis) for axis in value.axes), value.nonnegative)


def _flatten(builder, node):
    value = node.value(0)
    require(node.get("axis", 1) in (1, 1 - value.rank), f"it flattens from axis {node.get('axis')} on")
    return reshaped(builder, node, value, (-1,))


def _reshape(builder, node):
    value, target = node.value(0), [int(side) for side in constant(node.inputs[1], "shape")]
    if not node.get("allowzero", 0):
        target = [value.shape[at] or BATCH if side == 0 else side for at, side in enumerate(target)]
    inside = math.prod(value.shape[1:])
    known = math.prod(side for side in target[1:] if side > 0)
    # The images come first: as their number, as what is left over, or as the one that the file was made with.
    free = target[1:].count(-1) + target[1:].count(BATCH)
    first = target[0] in (BATCH, node.batch) or (target[0] == -1 and free == 0)
    require(first and free <= 1 and (free or known == inside), f"it makes {target} of shape {value.shape}")
    return reshaped(builder, node, value, tuple(side if side > 0 else -1 for side in target[1:]))


def reshaped(builder, node, value, target):
    """The value with another shape behind its images."""
    value = value.in_order(builder, node.name)
    if sum(side != 1 for side in value.shape[1:]) > 1:
        value = value.ordered(range(value.rank), builder, node.name)
    return plain(builder.layer(layers.Reshape, node.name, target_shape=target)(value.tensor), value.nonnegative)


def _squeeze(builder, node):
    value, axes = node.value(0), node.axes(1)
    axes = [at for at, side in enumerate(value.shape) if side == 1] if axes is None else axes
    axes = [axis % value.rank for axis in axes]
    require(0 not in axes, "it takes the axis of the images away")
    return reshaped(builder, node, value, tuple(side for at, side in enumerate(value.shape) if at and at not in axes))


def _unsqueeze(builder, node):
    value, axes = node.value(0), node.axes(1)
    rank = value.rank + len(axes)
    axes, sides = [axis % rank for axis in axes], iter(value.shape)
    require(0 not in axes, "it adds an axis in front of the images")
    return reshaped(builder, node, value, tuple(1 if at in axes else next(sides) for at in range(rank))[1:])


def _reduce(function, nonnegative=False):
    def convert(builder, node):
        value = node.value(0).in_order(builder, node.name)
        axes = node.axes(1)
        axes = range(1, value.rank) if axes is None else [axis % value.rank for axis in axes]
        require(0 not in axes, "it reduces over the images")
        keep = bool(node.get("keepdims", 1))
        tensor = function(value.tensor, axis=tuple(value.axes.index(axis) for axis in axes), keepdims=keep)
        left = value.axes if keep else [axis for axis in value.axes if axis not in axes]
        return Value(tensor, tuple(sorted(left).index(axis) for axis in left), nonnegative or value.nonnegative)

    return convert


def _slice(builder, node):
    value = node.value(0).in_order(builder, node.name)
    if node.has(1):
        starts, ends = (constant(node.inputs[index], "range").tolist() for index in (1, 2))
        axes = constant(node.inputs[3], "axes").tolist() if node.has(3) else list(range(len(starts)))
        steps = constant(node.inputs[4], "steps").tolist() if node.has(4) else [1] * len(starts)
    else:
        starts, ends = node.get("starts"), node.get("ends")
        axes, steps = node.get("axes", range(len(starts))), [1] * len(starts)
    cuts = [slice(None)] * value.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        require(axis % value.rank != 0 and step > 0, "it takes some of the images, or goes backwards")
        cuts[value.axis(axis)] = slice(start, min(end, 2**31 - 1), step)
    return value.like(value.tensor[tuple(cuts)])


def _split(builder, node):
    value = node.value(0).in_order(builder, node.name)
    axis, count = node.get("axis", 0), len(node.outputs)
    sizes = constant(node.inputs[1], "sizes").tolist() if node.has(1) else node.get("split")
    require(axis % value.rank != 0, "it parts the images")
    whole = value.shape[axis % value.rank]
    sizes = sizes or [-(-whole // count)] * (count - 1) + [whole - (count - 1) * -(-whole // count)]
    found, start = [], 0
    for size in sizes:
        cuts = [slice(None)] * value.rank
        cuts[value.axis(axis)] = slice(start, start + size)
        found.append(Value(value.tensor[tuple(cuts)], value.axes, value.nonnegative))
        start += size
    return found


def _shape(builder, node):
    return np.array([BATCH if side is None else side for side in node.value(0).shape], np.int64)


def _l2(x, axis, keepdims):
    return ops.sqrt(ops.sum(ops.square(x), axis=axis, keepdims=keepdims))


def _lp_normalization(builder, node):
    value = node.value(0).in_order(builder, node.name)
    require(node.get("p", 2) == 2, "its norm is not Euclidean")
    made = builder.layer(layers.UnitNormalization, node.name, axis=value.axis(node.get("axis", -1)))
    return value.like(made(value.tensor))


OPERATORS = {
    "Concat": _concat,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "ReduceMean": _reduce(ops.mean),
    "ReduceSum": _reduce(ops.sum),
    "ReduceMax": _reduce(ops.max),
    "ReduceL2": _reduce(_l2, True),
    "LpNormalization": _lp_normalization,
    "Slice": _slice,
    "Split": _split,
    "Shape": _shape,
}

"""Which layer of ours is which module of insightface's PyTorch code, and how their arrays turn into each other.

A part is (layer of ours, module of theirs, kind), in the order in which the network computes; a kind is a table of
(their name, our name, from theirs, to theirs).

Reference: insightface, recognition/arcface_torch/backbones/iresnet.py and mobilefacenet.py.
"""

import math
from typing import NamedTuple

import numpy as np

from keras_margin.models.backbones.mobilefacenet import EXPANDED

# Sides of the last map of a 112 x 112 image.
LAST_SIDE = 7


class Part(NamedTuple):
    """One layer here and there."""

    layer: str
    module: str
    kind: str


class Entry(NamedTuple):
    """One array of a kind of layer.

    Attributes:
        theirs: Name behind the module's.
        ours: Name behind the layer's; None for what has no place here.
        read: Function (their array, shape here) to ours.
        write: Function (our array) to theirs.
    """

    theirs: str
    ours: str | None
    read: object = lambda array, _: array
    write: object = lambda array: array


def _read_grouped(array, shape):
    # Theirs lists, of each output, the inputs of its group; ours, of each input, the outputs of its group.
    rows, columns, channels, group = shape
    array = array.reshape(channels // group, group, group, rows, columns)  # (group's number, output, input, ...)
    return array.transpose(3, 4, 0, 2, 1).reshape(shape)


def _write_grouped(array):
    rows, columns, channels, group = array.shape
    array = array.reshape(rows, columns, channels // group, group, group)  # (..., group's number, input, output)
    return array.transpose(2, 4, 3, 0, 1).reshape(channels, group, rows, columns)


def _read_flat(array, shape):
    # PyTorch flattens channels, rows, columns; Keras rows, columns, channels.
    channels = shape[0] // LAST_SIDE**2
    array = array.reshape(-1, channels, LAST_SIDE, LAST_SIDE)
    return array.transpose(2, 3, 1, 0).reshape(shape)


def _write_flat(array):
    channels = array.shape[0] // LAST_SIDE**2
    array = array.reshape(LAST_SIDE, LAST_SIDE, channels, -1)
    return array.transpose(3, 2, 0, 1).reshape(-1, channels * LAST_SIDE**2)


_NORM = (
    Entry("weight", "gamma"),
    Entry("bias", "beta"),
    Entry("running_mean", "moving_mean"),
    Entry("running_var", "moving_variance"),
)
_DENSE = Entry("weight", "kernel", lambda array, _: array.T, lambda array: array.T)

KINDS = {
    "conv": (
        Entry(
            "weight", "kernel", lambda array, _: array.transpose(2, 3, 1, 0), lambda array: array.transpose(3, 2, 0, 1)
        ),
    ),
    "depthwise": (
        Entry(
            "weight", "kernel", lambda array, _: array.transpose(2, 3, 0, 1), lambda array: array.transpose(2, 3, 0, 1)
        ),
    ),
    "grouped": (Entry("weight", "kernel", _read_grouped, _write_grouped),),
    "prelu": (Entry("weight", "alpha", lambda array, shape: array.reshape(shape), lambda array: array.reshape(-1)),),
    "norm": _NORM,
    # Its scale is fixed at 1 and no weight here.
    "unscaled_norm": (Entry("weight", None), *_NORM[1:]),
    "flat_dense": (Entry("weight", "kernel", _read_flat, _write_flat), Entry("bias", "bias")),
    "dense": (_DENSE,),
}
NORMS = ("norm", "unscaled_norm")
CONVOLUTIONS = ("conv", "depthwise", "grouped")
DENSE = ("flat_dense", "dense")


def ir_resnet(units):
    """Parts of an IR-ResNet with so many units in each of its four stages."""
    parts = [Part("stem_conv", "conv1", "conv"), Part("stem_bn", "bn1", "norm"), Part("stem_prelu", "prelu", "prelu")]
    for stage, count in enumerate(units, 1):
        for unit in range(count):
            parts += _ir_unit(f"stage{stage}_unit{unit + 1}_", f"layer{stage}.{unit}.", first=unit == 0)
    return [
        *parts,
        Part("tail_bn", "bn2", "norm"),
        Part("tail_fc", "fc", "flat_dense"),
        Part("embedding", "features", "unscaled_norm"),
    ]


def _ir_unit(layer, module, first):
    kinds = {"bn1": "norm", "conv1": "conv", "bn2": "norm", "prelu": "prelu", "conv2": "conv", "bn3": "norm"}
    parts = [Part(layer + name, module + name, kind) for name, kind in kinds.items()]
    if first:
        parts.append(Part(f"{layer}shortcut_conv", f"{module}downsample.0", "conv"))
        parts.append(Part(f"{layer}shortcut_bn", f"{module}downsample.1", "norm"))
    return parts


def mobilefacenet(blocks):
    """Parts of insightface's MobileFaceNet with so many bottlenecks behind the stem and behind each halving."""
    parts = _activated("stem", "layers.0.")
    if blocks[0] == 1:
        parts += _activated("stem_depthwise", "layers.1.", "grouped")
    else:
        for unit in range(blocks[0]):
            parts += _bottleneck(f"stem_unit{unit + 1}", f"layers.1.layers.{unit}.")
    for stage, count in enumerate(blocks[1:], 1):
        parts += _bottleneck(f"stage{stage}_unit1", f"layers.{2 * stage}.")
        for unit in range(count):
            parts += _bottleneck(f"stage{stage}_unit{unit + 2}", f"layers.{2 * stage + 1}.layers.{unit}.")
    parts += _activated("last", "conv_sep.")
    return [
        *parts,
        Part("tail_gdc", "features.layers.0.layers.0", "depthwise"),
        Part("tail_bn", "features.layers.0.layers.1", "norm"),
        Part("tail_fc", "features.layers.2", "dense"),
        Part("embedding", "features.layers.3", "norm"),
    ]


def _activated(layer, module, kind="conv"):
    return [
        Part(f"{layer}_conv", f"{module}layers.0", kind),
        Part(f"{layer}_bn", f"{module}layers.1", "norm"),
        Part(f"{layer}_prelu", f"{module}layers.2", "prelu"),
    ]


def _bottleneck(layer, module):
    return [
        *_activated(f"{layer}_expand", f"{module}layers.0."),
        *_activated(f"{layer}_depthwise", f"{module}layers.1.", "depthwise"),
        Part(f"{layer}_project_conv", f"{module}layers.2.layers.0", "conv"),
        Part(f"{layer}_project_bn", f"{module}layers.2.layers.1", "norm"),
    ]


def ir_shapes(units, embedding_size):
    """Shape of each of their arrays in an IR-ResNet, by name."""
    channels = {"stem_conv": (64, 3)}
    before = 64
    for stage, count in enumerate(units, 1):
        width = 32 << stage
        for unit in range(1, count + 1):
            name = f"stage{stage}_unit{unit}_"
            channels |= {f"{name}bn1": before, f"{name}conv1": (width, before), f"{name}conv2": (width, width)}
            channels[f"{name}shortcut_conv"] = (width, before)
            before = width
    channels |= {"tail_bn": before, "tail_fc": (embedding_size, before * LAST_SIDE**2), "embedding": embedding_size}
    return _shapes(ir_resnet(units), channels)


def mobilefacenet_shapes(blocks, width, embedding_size):
    """Shape of each of their arrays in a MobileFaceNet, by name."""
    narrow, wide = 64 * width, 128 * width
    channels = {"stem_conv": (narrow, 3), "stem_depthwise_conv": (narrow, width)}
    before = narrow
    first = (blocks[0] if blocks[0] > 1 else 0, EXPANDED[0][::-1])
    stages = [("stem", narrow, *first)]
    stages += [(f"stage{n}", (narrow, wide, wide)[n - 1], blocks[n] + 1, EXPANDED[n - 1]) for n in (1, 2, 3)]
    for stage, after, count, expanded in stages:
        for unit in range(1, count + 1):
            inside = expanded[0 if unit == 1 else 1]
            name = f"{stage}_unit{unit}_"
            channels |= {f"{name}expand_conv": (inside, before), f"{name}depthwise_conv": (inside, 1)}
            channels[f"{name}project_conv"] = (after, inside)
            before = after
    channels |= {"last_conv": (512, before), "tail_gdc": (512, 1), "tail_fc": (embedding_size, 512)}
    return _shapes(mobilefacenet(blocks), channels)


def _shapes(parts, channels):
    shapes, last = {}, None
    for part in parts:
        side = LAST_SIDE if part.layer == "tail_gdc" else 1 if _is_pointwise(part.layer) else 3
        if part.kind in CONVOLUTIONS:
            last = channels[part.layer][0]
            shapes[f"{part.module}.weight"] = (*channels[part.layer], side, side)
        elif part.kind in DENSE:
            last = channels[part.layer][0]
            shapes[f"{part.module}.weight"] = channels[part.layer]
            if part.kind == "flat_dense":
                shapes[f"{part.module}.bias"] = (last,)
        else:
            last = channels.get(part.layer, last)
            shapes |= {f"{part.module}.{entry.theirs}": (last,) for entry in KINDS[part.kind]}
    return shapes


def _is_pointwise(layer):
    return layer.endswith(("expand_conv", "project_conv", "shortcut_conv", "last_conv"))


def to_state_dict(parts, weights):
    """Their arrays by name, from ours by path; batches tracked are none, and fixed scales are ones."""
    state = {}
    for part in parts:
        for entry in KINDS[part.kind]:
            name = f"{part.module}.{entry.theirs}"
            if entry.ours is None:
                state[name] = np.ones(weights[f"{part.layer}/beta"].shape, "float32")
            else:
                state[name] = np.ascontiguousarray(entry.write(weights[f"{part.layer}/{entry.ours}"]), dtype="float32")
        if part.kind in NORMS:
            state[f"{part.module}.num_batches_tracked"] = np.array(0, "int64")
    return state


def count(shapes):
    """Numbers in all these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())

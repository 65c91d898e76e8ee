"""What flows through a converted ONNX graph: a Keras tensor that knows which of ONNX's axes each of its axes is."""

import dataclasses
from typing import Any

import numpy as np
from keras import layers, ops

# Stands for the number of images in the constants that a graph computes shapes with.
BATCH = -(2**40)
CHANNELS_LAST = (0, 2, 3, 1)


class NotConvertedError(Exception):
    """Says what of a node is not converted."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A Keras tensor that stands for a tensor of the ONNX graph.

    Attributes:
        tensor: The Keras tensor.
        axes: For each of its axes, which axis of ONNX's tensor it is: (0, 2, 3, 1) for a map kept channels last.
        nonnegative: Whether no number in it is below zero, as behind a ReLU.
        reversed: Whether its channels lie in the opposite order: RGB, where the graph wants BGR.
    """

    tensor: Any
    axes: tuple
    nonnegative: bool = False
    reversed: bool = False

    @property
    def rank(self):
        """Number of axes."""
        return len(self.axes)

    @property
    def shape(self):
        """ONNX's shape, a tuple; None for the number of images."""
        return tuple(self.tensor.shape[self.axes.index(axis)] for axis in range(self.rank))

    def axis(self, axis):
        """Returns the tensor's axis that is ONNX's axis `axis`, which may count from the end."""
        return self.axes.index(axis % self.rank)

    def ordered(self, axes, builder, name):
        """Returns the same value with its axes in this order."""
        value = self.in_order(builder, name)
        if value.axes == tuple(axes):
            return value
        if axes[0] != 0 or value.axes[0] != 0:
            raise NotConvertedError("it moves the axis of the images")
        steps = tuple(value.axes.index(axis) for axis in axes)
        tensor = builder.layer(layers.Permute, f"{name}_permute", dims=steps[1:])(value.tensor)
        return dataclasses.replace(value, tensor=tensor, axes=tuple(axes))

    def in_order(self, builder, name):
        """Returns the same value with its channels in the graph's order."""
        if not self.reversed:
            return self
        return dataclasses.replace(self, tensor=ops.flip(self.tensor, axis=self.axis(1)), reversed=False)

    def like(self, tensor, **changes):
        """Returns a value of another tensor with the same axes; nothing is known of its signs."""
        return dataclasses.replace(self, tensor=tensor, nonnegative=False, **changes)


def plain(tensor, nonnegative=False):
    """Returns the value of a tensor whose axes are ONNX's."""
    return Value(tensor, tuple(range(len(tensor.shape))), nonnegative)


def constant(value, what):
    """Returns a constant as an array.

    Raises:
        NotConvertedError: Where it is computed from the images.
    """
    if isinstance(value, Value):
        raise NotConvertedError(f"its {what} is computed from the images; a constant is known here")
    return value


def laid_out(array, value):
    """Returns a constant that broadcasts with ONNX's tensor as one that broadcasts with the Keras tensor of `value`."""
    if array.ndim > value.rank:
        if any(side != 1 for side in array.shape[: array.ndim - value.rank]):
            raise NotConvertedError(f"its constant has shape {array.shape}, more axes than the images' {value.shape}")
        array = array.reshape(array.shape[array.ndim - value.rank :])
    full = array.reshape((1,) * (value.rank - array.ndim) + array.shape)
    if full.shape[0] != 1:
        raise NotConvertedError(f"its constant of shape {array.shape} differs between images")
    full = np.transpose(full, value.axes)
    # Of the whole shape: TensorFlow's graph optimizer folds a smaller one into a bias in front, and cannot run that.
    return np.broadcast_to(full, (1, *value.tensor.shape[1:]))


def require(condition, what):
    """Raises NotConvertedError(what) where the condition does not hold."""
    if not condition:
        raise NotConvertedError(what)

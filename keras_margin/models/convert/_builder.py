"""Keras layers with the weights of a channels-first network: what the readers of ONNX and of state dicts build with.

Arrays come as PyTorch and ONNX lay them out, (outputs, inputs, rows, columns); tensors are channels last.
"""

import re

import keras
import numpy as np
from keras import layers, ops

from keras_margin._utils import normalization
from keras_margin.models.backbones import _layers

_LAST = {"data_format": _layers.CHANNELS_LAST}


class Builder:
    """Makes layers, each with a name of its own and with its weights."""

    def __init__(self):
        self._names = set()

    def name(self, wanted):
        """Returns a free layer name like `wanted`, which may hold anything."""
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_") or "layer"
        name, number = plain, 2
        while name in self._names:
            name, number = f"{plain}_{number}", number + 1
        self._names.add(name)
        return name

    def layer(self, kind, name, **options):
        """Returns a layer of the class `kind`."""
        return kind(name=self.name(name), **options)

    def image(self, image_size, normalized_by):
        """Returns (input of RGB pixels in [0, 255], the pixels as the network takes them).

        Args:
            image_size: (height, width), pixels.
            normalized_by: A normalization, or None for a network that takes pixels.
        """
        images = keras.Input((*image_size, 3), name=self.name("image"))
        if normalized_by is None:
            return images, images
        mean, std = (part.astype(np.float64) for part in normalization.mean_and_std(normalized_by))
        scale, offset = 1 / std, -mean / std
        if scale.ndim or offset.ndim:
            scale, offset = (np.broadcast_to(part, 3) for part in (scale, offset))
        return images, self.layer(layers.Rescaling, "normalize", scale=scale.tolist(), offset=offset.tolist())(images)

    def conv(self, x, kernel, bias=None, *, name, strides=1, pads=0, dilations=1, groups=1):
        """Returns the convolution of x.

        Args:
            x: Tensor (batch, rows, columns, channels).
            kernel: Array (outputs, channels / groups, rows, columns).
            bias: Array (outputs,), or None.
            name: Name of the layer.
            strides: int or (rows, columns).
            pads: int, (rows, columns), or (top, left, bottom, right), as ONNX has them.
            dilations: int or (rows, columns).
            groups: int.
        """
        channels, outputs = x.shape[-1], kernel.shape[0]
        depthwise = groups == channels > 1 and _both(strides)[0] == _both(strides)[1]
        if groups > 1 and not depthwise:
            options = {"strides": strides, "pads": pads, "dilations": dilations}
            return self._grouped(x, kernel, bias, groups, name, options)
        strides, dilations = _both(strides), _both(dilations)
        x, padding = self._padded(x, _four(pads), kernel.shape[2:], strides, dilations, name)
        options = {"strides": strides, "padding": padding, "dilation_rate": dilations, "use_bias": bias is not None}
        if depthwise:
            made = self.layer(
                layers.DepthwiseConv2D,
                name,
                kernel_size=kernel.shape[2:],
                depth_multiplier=outputs // channels,
                **_LAST,
                **options,
            )
            kernel = kernel.reshape(channels, outputs // channels, *kernel.shape[2:]).transpose(2, 3, 0, 1)
        else:
            made = self.layer(layers.Conv2D, name, filters=outputs, kernel_size=kernel.shape[2:], **_LAST, **options)
            kernel = kernel.transpose(2, 3, 1, 0)
        return _filled(made, x, kernel, bias)

    def batch_norm(self, x, gamma, beta, mean, variance, *, name, epsilon=1e-5):
        """Returns (x - mean) / sqrt(variance + epsilon) * gamma + beta of the last axis; gamma and beta may be None."""
        made = _layers.batch_norm(self.name(name), epsilon=epsilon, scale=gamma is not None, center=beta is not None)
        return _filled(made, x, gamma, beta, mean, variance)

    def prelu(self, x, slope, *, name):
        """Returns PReLU with one slope, or one for each channel."""
        slope = np.asarray(slope).reshape(-1)
        if slope.size == 1:
            return self.layer(layers.LeakyReLU, name, negative_slope=float(slope[0]))(x)
        made = self.layer(layers.PReLU, name, shared_axes=list(range(1, len(x.shape) - 1)) or None)
        return _filled(made, x, slope.reshape((1,) * (len(x.shape) - 2) + (-1,)))

    def dense(self, x, kernel, bias=None, *, name):
        """Returns x @ kernel + bias.

        Args:
            x: Tensor (batch, inputs).
            kernel: Array (inputs, outputs).
            bias: Array (outputs,), or None.
            name: Name of the layer.
        """
        made = self.layer(layers.Dense, name, units=kernel.shape[1], use_bias=bias is not None)
        return _filled(made, x, kernel, bias)

    def max_pool(self, x, size, strides, *, name, pads=0, nonnegative=False):
        """Returns the largest number in each window; `pads` as for `conv`.

        Args:
            x: Tensor (batch, rows, columns, channels).
            size: (rows, columns) of a window.
            strides: (rows, columns).
            name: Name of the layer.
            pads: As for `conv`.
            nonnegative: Whether no number of x is below zero: zeros then pad without a change.
        """
        size, strides, pads = _both(size), _both(strides), _four(pads)
        if any(pads) and nonnegative:
            x = self._zero_padded(x, pads, name)
        elif any(pads):
            lowest = float(np.finfo("float32").min)
            x = ops.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)), constant_values=lowest)
        return self.layer(layers.MaxPooling2D, name, pool_size=size, strides=strides, **_LAST)(x)

    def flat(self, x, *, name):
        """Returns (batch, channels * rows * columns) of a map, channels first, as PyTorch flattens it."""
        if x.shape[1:3] != (1, 1):
            x = self.layer(layers.Permute, f"{name}_channels_first", dims=(3, 1, 2))(x)
        return self.layer(layers.Flatten, name)(x)

    def _grouped(self, x, kernel, bias, groups, name, options):
        # A convolution a group: TensorFlow's own grouped one cannot run on CPUs once it is fused with its bias.
        kernels = np.split(kernel, groups)
        biases = [None] * groups if bias is None else np.split(bias, groups)
        parts = [
            self.conv(part, *weights, name=f"{name}_group{number}", **options)
            for number, (part, *weights) in enumerate(zip(ops.split(x, groups, axis=-1), kernels, biases, strict=True))
        ]
        return self.layer(layers.Concatenate, name)(parts)

    def _padded(self, x, pads, size, strides, dilations, name):
        """(x, Keras's name of what is left to pad)."""
        reach = [dilation * (side - 1) for dilation, side in zip(dilations, size, strict=True)]
        if not any(pads):
            return x, "valid"
        if strides == (1, 1) and [pads[0] + pads[2], pads[1] + pads[3]] == reach and pads[:2] == pads[2:]:
            return x, "same"
        return self._zero_padded(x, pads, name), "valid"

    def _zero_padded(self, x, pads, name):
        padding = ((pads[0], pads[2]), (pads[1], pads[3]))
        return self.layer(layers.ZeroPadding2D, f"{name}_pad", padding=padding, **_LAST)(x)


def _both(value):
    """(rows, columns) of one number or two."""
    return (value, value) if np.ndim(value) == 0 else tuple(map(int, value))


def _four(pads):
    """(top, left, bottom, right) of one number, two or four."""
    pads = _both(pads)
    return pads if len(pads) == 4 else (*pads, *pads)


def _filled(layer, x, *arrays):
    """layer(x), its weights those arrays that are not None."""
    y = layer(x)
    layer.set_weights([np.asarray(array, "float32") for array in arrays if array is not None])
    return y

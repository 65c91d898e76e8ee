"""Layers of a state dict by the names of its modules: each tensor is taken once, and none may be left over."""

import keras
import numpy as np

from keras_margin.models.convert._builder import Builder

# What training keeps next to weights, and nothing computes with.
_UNUSED = ".num_batches_tracked"


class TorchBuilder:
    """Builds Keras layers, channels last, of the modules of a PyTorch network.

    Args:
        path: The file, for errors.
        state: Arrays by name.
        network: What errors call the network.
        channels: "RGB" or "BGR", what the network was trained on; the model takes RGB.
    """

    def __init__(self, path, state, network, channels):
        self._path, self._network, self._channels = path, network, channels
        self._left = {name: array for name, array in state.items() if not name.endswith(_UNUSED)}
        self._builder = Builder()
        self._images = None

    def has(self, name):
        """Whether a tensor is left under this name."""
        return name in self._left

    def starts(self, prefix):
        """Whether a tensor is left whose name begins so."""
        return any(name.startswith(prefix) for name in self._left)

    def sides(self, name):
        """Returns (rows, columns) of a kernel that is left; () of a tensor without them."""
        return self._left[name].shape[2:] if name in self._left else ()

    def count(self, prefix):
        """Returns one more than the largest number behind `prefix` in a name that is left."""
        found = [name.removeprefix(prefix).split(".")[0] for name in self._left if name.startswith(prefix)]
        return 1 + max(map(int, filter(str.isdecimal, found)), default=-1)

    def take(self, name, *shape):
        """Returns a tensor as float32.

        Args:
            name: Its name.
            *shape: What its shape has to be; None for any number.

        Raises:
            ValueError: Where it is missing, of another shape, or not of finite floats.
        """
        if name not in self._left:
            raise ValueError(f"{self._path} is not of {self._network}: {name} is missing.")
        array = self._left.pop(name)
        fits = array.ndim == len(shape) and all(
            wanted in (None, found) for found, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            shown = str(tuple("any" if side is None else side for side in shape)).replace("'", "")
            raise ValueError(f"{self._path} is not of {self._network}: {name} is {array.shape}, and should be {shown}.")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{self._path}: {name} must hold finite floats. Received: {array.dtype}.")
        return array.astype("float32")

    def image(self, image_size, normalization):
        """Returns the normalized image, and keeps the input."""
        self._images, x = self._builder.image(image_size, normalization)
        return x

    def conv(self, x, module, strides=1, pads=0, groups=1):
        """Returns the convolution by `module`; the number of its outputs and its size are the tensor's."""
        channels = x.shape[-1]
        kernel = self.take(f"{module}.weight", None, channels // groups, None, None)
        if self._channels == "BGR" and channels == 3:
            kernel = kernel[:, ::-1]
        bias = self.take(f"{module}.bias", kernel.shape[0]) if self.has(f"{module}.bias") else None
        return self._builder.conv(x, kernel, bias, name=module, strides=strides, pads=pads, groups=groups)

    def batch_norm(self, x, module, epsilon=1e-5):
        """Returns the batch normalization by `module`, with or without a scale and an offset."""
        size = x.shape[-1]
        names = [f"{module}.{name}" for name in ("weight", "bias")]
        learned = [self.take(name, size) if self.has(name) else None for name in names]
        moments = [self.take(f"{module}.{name}", size) for name in ("running_mean", "running_var")]
        return self._builder.batch_norm(x, *learned, *moments, name=module, epsilon=epsilon)

    def prelu(self, x, module):
        """Returns PReLU by `module`."""
        return self._builder.prelu(x, self.take(f"{module}.weight", x.shape[-1]), name=module)

    def dense(self, x, module):
        """Returns the linear layer by `module`; of a map it takes the channels first, as PyTorch flattens it."""
        inputs = int(np.prod(x.shape[1:]))
        kernel = self.take(f"{module}.weight", None, inputs)
        bias = self.take(f"{module}.bias", len(kernel)) if self.has(f"{module}.bias") else None
        if len(x.shape) == 4:
            rows, columns, channels = x.shape[1:]
            kernel = kernel.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(-1, inputs)
            x = self.layer(keras.layers.Flatten, f"{module}_flatten", x)
        return self._builder.dense(x, kernel.T, bias, name=module)

    def max_pool(self, x, size, strides, name):
        """Returns the largest number in each window."""
        return self._builder.max_pool(x, size, strides, name=name)

    def layer(self, kind, name, x, **options):
        """Returns a layer without weights, applied."""
        return self._builder.layer(kind, name, **options)(x)

    def model(self, x, name):
        """Returns the Keras model from pixels to x.

        Raises:
            ValueError: Where a tensor was not taken.
        """
        if self._left:
            raise ValueError(
                f"{self._path} is not of {self._network}: {next(iter(self._left))} is one tensor too many."
            )
        return keras.Model(self._images, x, name=name)

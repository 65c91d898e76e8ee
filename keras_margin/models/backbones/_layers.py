"""Layers that the networks share, with the settings their papers' code was released with."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_margin._typing import Shape, Size, Tensor
from keras_margin.ops import replicas

PACKAGE = "keras_margin"

# insightface's released networks: epsilon 1e-5, and PyTorch's momentum 0.1 is Keras's 0.9.
BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}

# Explicit in every layer that has it: keras.json's image_data_format would otherwise build another network.
CHANNELS_LAST = "channels_last"

# Channels that oneDNN's convolutions take at a time: 8 with AVX2, 16 with AVX-512.
_ONEDNN_BLOCK = 16


@keras.saving.register_keras_serializable(package=PACKAGE)
class SyncBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the statistics of the global batch, under tf.distribute too.

    Keras's own default normalises each replica by its share of the batch and keeps moving statistics per replica, which
    drift apart: `predict` inside the strategy then differs from the saved model. Its `synchronized=True` exists on
    TensorFlow alone and is an error elsewhere; this layer asks for it where it exists, so that a file saved on one
    backend loads on all.

    A training step on one TensorFlow device runs through the fused kernel, the same function in fewer passes over
    memory than Keras's own, which writes out each of its sums and products and each of their gradients.

    Args:
        **kwargs: As in keras.layers.BatchNormalization, save `synchronized`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(synchronized=keras.backend.backend() == "tensorflow", **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Normalises; in training by the batch, whose mean and variance then move the layer's own."""
        if not (training and self.trainable and mask is None and self._has_fused_kernel(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma, "float32"),
            offset=ops.convert_to_tensor(self.beta, "float32"),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel's variance is that of a sample, over n - 1; Keras moves by that of the batch, over n.
        images, height, width, _ = ops.shape(inputs)
        count = ops.cast(images * height * width, "float32")
        moments = ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count))
        for moving, found in moments:
            moving.assign(moving * self.momentum + found * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)

    def _has_fused_kernel(self, inputs: Tensor) -> bool:
        """Whether TensorFlow's fused kernel computes what this layer would, on `inputs`, where it is called."""
        if keras.backend.backend() != "tensorflow" or replicas.count() > 1:
            return False
        plain = len(inputs.shape) == 4 and self.axis in (-1, 3) and self.scale and self.center and not self.renorm
        return plain and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16", "float16")

    def get_config(self) -> dict[str, Any]:
        """Arguments that build this layer again."""
        config = super().get_config()
        del config["synchronized"]
        return config


def batch_norm(name: str, **kwargs: Any) -> SyncBatchNormalization:
    """SyncBatchNormalization with the released epsilon and momentum, or with others."""
    return SyncBatchNormalization(name=name, **{**BATCH_NORM, **kwargs})


def he_normal(fan: str) -> Any:
    """Normal, variance 2 / `fan` ("fan_in" or "fan_out"), not cut off.

    By "fan_out" it is MXNet's Xavier(gaussian, "out", 2), with which the papers' networks start.
    """
    return keras.initializers.VarianceScaling(2.0, mode=fan, distribution="untruncated_normal")


def conv(
    filters: int, kernel_size: Any, name: str, strides: Any = 1, *, initializer: Any = None, use_bias: bool = False
) -> Callable[[Tensor], Tensor]:
    """Convolution with symmetric padding, without a bias unless one is asked for.

    Keras's padding="same" pads only bottom and right at stride 2; the released networks pad both sides.

    Returns:
        Function from tensor to tensor.
    """
    padding = kernel_size // 2

    def apply(x):
        mode, steps = "same", strides
        if strides > 1 and padding:
            x = keras.layers.ZeroPadding2D(padding, CHANNELS_LAST, name=f"{name}_pad")(x)
            mode = "valid"
        elif strides > 1 and x.shape[-1] < _ONEDNN_BLOCK:
            # The pixels that a strided 1x1 convolution looks at. oneDNN 3.12's own writes past its workspace in the
            # gradient by the kernel (its issue 6035): TensorFlow on a CPU then crashes, or computes on.
            x, steps = x[:, ::strides, ::strides], 1
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            steps,
            mode,
            CHANNELS_LAST,
            use_bias=use_bias,
            kernel_initializer=initializer or he_normal("fan_out"),
            name=name,
        )(x)

    return apply


def depthwise_conv(kernel_size: Any, name: str, strides: Any = 1) -> Callable[[Tensor], Tensor]:
    """Bias-free convolution of each channel by itself, with symmetric padding.

    Returns:
        Function from tensor to tensor.
    """

    def apply(x):
        mode = "same"
        if strides > 1:
            x = keras.layers.ZeroPadding2D(kernel_size // 2, CHANNELS_LAST, name=f"{name}_pad")(x)
            mode = "valid"
        # The released fan_out counts all channels, as of a dense convolution: of a Keras depthwise kernel
        # (height, width, channels, 1) that is fan_in.
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides,
            mode,
            data_format=CHANNELS_LAST,
            use_bias=False,
            depthwise_initializer=he_normal("fan_in"),
            name=name,
        )(x)

    return apply


@keras.saving.register_keras_serializable(package=PACKAGE)
class GroupedConv2D(keras.layers.Layer):
    """Bias-free convolution of stride 1 within groups of a few channels, the size kept.

    y_o = sum over i < group of K_io * x_(group * floor(o / group) + i)

    As a depthwise convolution with `group` outputs a channel, whose shares are then added: TensorFlow's own grouped
    convolution takes minutes for a gradient on a CPU.

    Args:
        group: Channels a group; divides the channels.
        kernel_size: Side of the kernel, odd.
        **kwargs: As in keras.layers.Layer.
    """

    def __init__(self, group: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group, self.kernel_size = group, kernel_size

    def build(self, input_shape: Shape) -> None:
        """Makes the kernel, (kernel_size, kernel_size, channels, group): of each input channel, its group's outputs."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.group)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=he_normal("fan_in"))

    def call(self, x: Tensor) -> Tensor:
        height, width, channels = x.shape[1:]
        shares = ops.depthwise_conv(x, self.kernel, padding="same", data_format=CHANNELS_LAST)
        # Rows of group x group numbers, an input channel after the other: what LiteRT adds without a reduction.
        shares = ops.reshape(shares, (-1, height, width * channels // self.group, self.group**2))
        parts = ops.split(shares, self.group, axis=-1)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return ops.reshape(total, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that build this layer again."""
        return {**super().get_config(), "group": self.group, "kernel_size": self.kernel_size}


def prelu(name: str) -> Any:
    """PReLU, one slope a channel, starting at 0.25."""
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)


# By name, for int8 too: there PReLU is slow today, and the others are fused with the convolution or cheap.
ACTIVATIONS = {
    "prelu": prelu,
    "relu": lambda name: keras.layers.ReLU(name=name),
    "relu6": lambda name: keras.layers.ReLU(6.0, name=name),
    "leaky_relu": lambda name: keras.layers.LeakyReLU(0.25, name=name),
}


def activation(kind: str, name: str) -> Any:
    """The layer of ACTIVATIONS called `kind`.

    Raises:
        ValueError: On an unknown kind.
    """
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}. Received: activation={kind!r}.")
    return ACTIVATIONS[kind](name)


def image_input(image_size: Size, channels: int = 3, scale: float = 128.0) -> tuple[Tensor, Tensor]:
    """Input of RGB pixels in [0, 255], or of grey ones for one channel, and the same as (x - 127.5) / scale.

    The input is float32, so that uint8 and float pixels both fit: for a uint8 one Keras would cut floats off at the
    point.
    """
    height, width = image_size
    images = keras.Input((height, width, channels), name="image")
    return images, keras.layers.Rescaling(1 / scale, offset=-127.5 / scale, name="normalize")(images)

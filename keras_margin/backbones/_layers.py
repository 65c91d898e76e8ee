"""Layers that the networks share, with the settings their papers' code was released with."""

import keras

PACKAGE = "keras_margin"

# insightface's released networks: epsilon 1e-5, and PyTorch's momentum 0.1 is Keras's 0.9.
BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}

# Channels that oneDNN's convolutions take at a time: 8 with AVX2, 16 with AVX-512.
_ONEDNN_BLOCK = 16


@keras.saving.register_keras_serializable(package=PACKAGE)
class SyncBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the statistics of the global batch, under tf.distribute too.

    Keras's own default normalises each replica by its share of the batch and keeps moving statistics per replica, which
    drift apart: `predict` inside the strategy then differs from the saved model. Its `synchronized=True` exists on
    TensorFlow alone and is an error elsewhere; this layer asks for it where it exists, so that a file saved on one
    backend loads on all.

    Args:
        **kwargs: As in keras.layers.BatchNormalization, save `synchronized`.
    """

    def __init__(self, **kwargs):
        super().__init__(synchronized=keras.backend.backend() == "tensorflow", **kwargs)

    def get_config(self):
        """Arguments that build this layer again."""
        config = super().get_config()
        del config["synchronized"]
        return config


def batch_norm(name, **kwargs):
    """SyncBatchNormalization with the released epsilon and momentum."""
    return SyncBatchNormalization(name=name, **BATCH_NORM, **kwargs)


def conv(filters, kernel_size, name, strides=1):
    """Bias-free convolution with symmetric padding.

    Keras's padding="same" pads only bottom and right at stride 2; the released networks pad both sides.

    Returns:
        Function from tensor to tensor.
    """
    # MXNet's Xavier(gaussian, "out", 2), with which the papers' networks start.
    initializer = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
    padding = kernel_size // 2

    def apply(x):
        mode, steps = "same", strides
        if strides > 1 and padding:
            x = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
            mode = "valid"
        elif strides > 1 and x.shape[-1] < _ONEDNN_BLOCK:
            # The pixels that a strided 1x1 convolution looks at. oneDNN 3.12's own writes past its workspace in the
            # gradient by the kernel (its issue 6035): TensorFlow on a CPU then crashes, or computes on.
            x, steps = x[:, ::strides, ::strides], 1
        return keras.layers.Conv2D(
            filters, kernel_size, steps, mode, use_bias=False, kernel_initializer=initializer, name=name
        )(x)

    return apply


def prelu(name):
    """PReLU, one slope a channel, starting at 0.25."""
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)


def image_input(image_size, channels=3):
    """Input of RGB pixels in [0, 255], or of grey ones for one channel, and the same as (x - 127.5) / 128.

    The input is float32, so that uint8 and float pixels both fit: for a uint8 one Keras would cut floats off at the
    point.
    """
    height, width = image_size
    images = keras.Input((height, width, channels), name="image")
    return images, keras.layers.Rescaling(1 / 128, offset=-127.5 / 128, name="normalize")(images)

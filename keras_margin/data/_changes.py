"""What an augmentation does to the colours and the sharpness of a batch, each by draws that it is given.

All but mirroring take float32 images (batch, height, width, channels) in [0, 255] and give the same; draws are
(batch,).
"""

import math

from keras_margin._typing import Tensor

# Luma of ITU-R BT.601, what JPEG and everybody's grey conversion take.
LUMA = (0.299, 0.587, 0.114)


def mirror_if(image: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """One image (height, width, channels) of any type, mirrored where the bool tensor () says so; None for never."""
    import tensorflow as tf

    if mirrored is None:
        return image
    return tf.ensure_shape(tf.cond(mirrored, lambda: tf.reverse(image, axis=[1]), lambda: image), image.shape)


def mirror_some(images: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """A batch of images of any type, those mirrored where the bool tensor (batch,) says so; None for none."""
    import tensorflow as tf

    if mirrored is None:
        return images
    # Reversing is slow: only what is mirrored is reversed. tf.where with a broadcast condition is slower yet.
    changed, kept = tf.where(mirrored)[:, 0], tf.where(~mirrored)[:, 0]
    parts = [tf.gather(images, kept), _mirror(tf.gather(images, changed))]
    both = tf.dynamic_stitch([tf.cast(kept, tf.int32), tf.cast(changed, tf.int32)], parts)
    return tf.ensure_shape(both, images.shape)


def _mirror(images: Tensor) -> Tensor:
    """A batch of images, left and right exchanged."""
    import tensorflow as tf

    # As one tall image: of rank 3 and three channels TensorFlow has a kernel of its own, four times as fast.
    shape = tf.shape(images)
    return tf.reshape(tf.reverse(tf.reshape(images, (-1, shape[2], shape[3])), axis=[1]), shape)


def contrast(images: Tensor, share: float, draws: Tensor) -> Tensor:
    """mean + (x - mean) (1 + share d), the mean being each image's own; d in [-1, 1]."""
    import tensorflow as tf

    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    factor = 1.0 + share * draws
    return tf.clip_by_value(mean + (images - mean) * factor[:, None, None, None], 0.0, 255.0)


def color(images: Tensor, matrices: Tensor) -> Tensor:
    """Each pixel times its image's matrix: y = M x, cut to [0, 255]; matrices (batch, 3, 3)."""
    import tensorflow as tf

    shape = tf.shape(images)
    pixels = tf.matmul(tf.reshape(images, (shape[0], -1, 3)), matrices, transpose_b=True)
    return tf.clip_by_value(tf.reshape(pixels, shape), 0.0, 255.0)


def color_matrices(brightness: Tensor, saturation: Tensor, hue: Tensor, is_grey: Tensor) -> Tensor:
    """The matrix (batch, 3, 3) of each image: M = b (L + s (I - L) R (I - L)), or b L where it becomes grey.

    L = 1 l^T, l being LUMA, takes a colour to its grey, and I - L to what is left of it, which R turns about the grey
    axis (1, 1, 1) and s stretches. So grey stays grey, and but for b the luma stays what it was.

    Args:
        brightness: Float (batch,), b, 1 for none.
        saturation: Float (batch,), s, 1 for none.
        hue: Float (batch,), radians.
        is_grey: Bool (batch,): G = L.
    """
    import tensorflow as tf

    to_grey = tf.tile(tf.constant([LUMA]), (3, 1))
    identity = tf.eye(3)
    cosine, sine = tf.cos(hue)[:, None, None], tf.sin(hue)[:, None, None]
    # Rodrigues' rotation about the unit vector (1, 1, 1) / sqrt(3).
    cross = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    rotation = cosine * identity + sine * cross + (1.0 - cosine) * tf.fill((3, 3), 1.0 / 3.0)
    rest = tf.matmul(identity - to_grey, tf.matmul(rotation, identity - to_grey))
    colored = to_grey + saturation[:, None, None] * rest
    chosen = tf.where(is_grey[:, None, None], to_grey, colored)
    return brightness[:, None, None] * chosen


def blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian blur of standard deviation `sigmas` (batch,), pixels; the weights inside the image sum to 1."""
    import tensorflow as tf

    # Rows and columns as two products of small matrices: a convolution takes one kernel for the whole batch.
    shape = tf.shape(images)
    height, width, channels = shape[1], shape[2], shape[3]
    rows = tf.matmul(_weights(height, sigmas), tf.reshape(images, (-1, height, width * channels)))
    columns = tf.reshape(tf.transpose(tf.reshape(rows, shape), (0, 2, 1, 3)), (-1, width, height * channels))
    blurred = tf.reshape(tf.matmul(_weights(width, sigmas), columns), (-1, width, height, channels))
    return tf.ensure_shape(tf.transpose(blurred, (0, 2, 1, 3)), images.shape)


def _weights(side: int, sigmas: Tensor) -> Tensor:
    import tensorflow as tf

    places = tf.range(tf.cast(side, tf.float32))
    distances = tf.square(places[:, None] - places[None, :])
    # At a hundredth of a pixel every neighbour's weight is 0 in float32, and the image itself comes out.
    sigmas = tf.maximum(sigmas, 0.01)[:, None, None]
    return tf.nn.softmax(-distances / (2.0 * tf.square(sigmas)), axis=-1)


def jpeg(images: Tensor, qualities: Tensor) -> Tensor:
    """Each image written as JPEG of its quality, (batch,) in [1, 100], and read again."""
    import tensorflow as tf

    def degrade(parts):
        image, quality = parts
        encoded = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    rounded = tf.cast(tf.round(images), tf.uint8)
    qualities = tf.cast(tf.round(qualities), tf.int32)
    spec = tf.TensorSpec(images.shape[1:], tf.uint8)
    return tf.cast(tf.map_fn(degrade, (rounded, qualities), fn_output_signature=spec), tf.float32)


def cutout(images: Tensor, sides: Tensor, centre_y: Tensor, centre_x: Tensor) -> Tensor:
    """A square in mid-grey, 127.5, which is 0 to the network.

    Args:
        images: As above.
        sides: Float (batch,), shares of height and width.
        centre_y: Float (batch,) in [0, 1], where its middle is; what lies outside of the image is lost.
        centre_x: As `centre_y`.
    """
    import tensorflow as tf

    def covered(count, centres):
        places = (tf.range(tf.cast(count, tf.float32)) + 0.5) / tf.cast(count, tf.float32)
        return tf.abs(places[None, :] - centres[:, None]) < sides[:, None] / 2

    shape = tf.shape(images)
    mask = covered(shape[1], centre_y)[:, :, None, None] & covered(shape[2], centre_x)[:, None, :, None]
    return tf.where(mask, 127.5, images)

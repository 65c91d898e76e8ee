"""Random changes of training images, reproducible by seed and step, on whole batches."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What a training image goes through; every number is the largest change, 0 for none.

    Attributes:
        flip: Whether half of the images are mirrored.
        shift: Share of height and width, [0, 1).
        zoom: Share of the size, [0, 1).
        rotate: Degrees, [0, 180].
        contrast: Share of the contrast, [0, 1).

    Raises:
        ValueError: On a number out of range.
    """

    flip: bool = True
    shift: float = 0.0
    zoom: float = 0.0
    rotate: float = 0.0
    contrast: float = 0.0

    @property
    def warps(self):
        """Whether anything but the flip moves pixels."""
        return bool(self.shift or self.zoom or self.rotate)

    def __post_init__(self):
        for name in ("shift", "zoom", "contrast"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"Augmentation needs {name} in [0, 1), a share. Received: {name}={value!r}.")
        if not 0 <= self.rotate <= 180:
            raise ValueError(f"Augmentation needs rotate in [0, 180] degrees. Received: rotate={self.rotate!r}.")

    def apply(self, images, seed, part=(0, 1)):
        """A batch of images, changed.

        Args:
            images: uint8 or float tensor (batch, height, width, channels), pixels in [0, 255].
            seed: Integer tensor (2,): the same seed, the same changes.
            part: (k, n): `images` are the k-th of n equal parts of a batch, and change as they would in the whole.

        Returns:
            Float32 tensor shaped like `images`, in [0, 255].
        """
        import tensorflow as tf

        count = tf.shape(images)[0]
        share, shares = part
        draws = tf.random.stateless_uniform((6, count * shares), seed, -1.0, 1.0)
        draws = draws[:, share * count : (share + 1) * count]
        mirrored = draws[0] < 0 if self.flip else tf.zeros((count,), tf.bool)
        if self.warps:
            images = _warp(tf.cast(images, tf.float32), self, mirrored, draws[1:5])
        elif self.flip:
            # Reversing is slow: only what is mirrored is reversed. tf.where with a broadcast condition is slower yet.
            changed, kept = tf.where(mirrored)[:, 0], tf.where(~mirrored)[:, 0]
            parts = [tf.gather(images, kept), _mirror(tf.gather(images, changed))]
            both = tf.dynamic_stitch([tf.cast(kept, tf.int32), tf.cast(changed, tf.int32)], parts)
            images = tf.ensure_shape(both, images.shape)
        images = tf.cast(images, tf.float32)
        if self.contrast:
            mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
            factor = 1.0 + self.contrast * draws[5]
            images = tf.clip_by_value(mean + (images - mean) * factor[:, None, None, None], 0.0, 255.0)
        return images


def _mirror(images):
    """A batch of images, left and right exchanged."""
    import tensorflow as tf

    # As one tall image: of rank 3 and three channels TensorFlow has a kernel of its own, four times as fast.
    shape = tf.shape(images)
    return tf.reshape(tf.reverse(tf.reshape(images, (-1, shape[2], shape[3])), axis=[1]), shape)


def _warp(images, limits, mirrored, draws):
    """Mirror, rotation, zoom and shift about the centre in one bilinear pass; from outside comes the edge again."""
    import tensorflow as tf

    height = tf.cast(tf.shape(images)[1], tf.float32)
    width = tf.cast(tf.shape(images)[2], tf.float32)
    angle = draws[0] * (limits.rotate * math.pi / 180)
    zoom = 1.0 + limits.zoom * draws[1]
    cosine, sine = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    side = tf.where(mirrored, -1.0, 1.0)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    offset_x = centre_x - side * (cosine * centre_x - sine * centre_y) + limits.shift * width * draws[2]
    offset_y = centre_y - sine * centre_x - cosine * centre_y + limits.shift * height * draws[3]
    zero = tf.zeros_like(angle)
    # Row by row, where an output pixel (x, y) is taken from: x' = a x + b y + c, y' = d x + e y + f.
    transform = tf.stack([side * cosine, -side * sine, offset_x, sine, cosine, offset_y, zero, zero], axis=1)
    # The C++ kernel: keras.ops.image.affine_transform gathers pixel by pixel on TensorFlow.
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transform,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )

"""Random changes of training images, reproducible by seed and step, on whole batches."""

import dataclasses
import math

from keras_margin._typing import Tensor
from keras_margin.data import _changes

_DEGREES = ("rotate", "hue")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What a training image goes through; every number is the largest change, 0 for none.

    The papers flip and do nothing else, which is the default. The changes come in this order; of each, every strength
    from none to the largest is equally likely, for every image again.

    Attributes:
        flip: Whether half of the images are mirrored.
        crop: Share of the area that is cut away, [0, 1); the rest, of the same shape, is stretched to the whole.
        shift: Share of height and width, [0, 1).
        zoom: Share of the size, [0, 1).
        rotate: Degrees, [0, 180].
        contrast: Share of the contrast, [0, 1), about the image's mean.
        brightness: Share of the brightness, [0, 1): pixels times 1 - brightness to 1 + brightness.
        saturation: Share of the saturation, [0, 1).
        hue: Degrees about the grey axis, [0, 180].
        grey: Share of the images that lose their colour, [0, 1].
        blur: Standard deviation of a Gaussian, pixels, [0, 50].
        jpeg: 100 minus the worst quality of JPEG, [0, 99]: 70 writes images at qualities 100 to 30, and reads them.
        cutout: Share of height and width, [0, 1), of a square that becomes mid-grey (127.5).

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> degraded = Augmentation(crop=0.3, contrast=0.3, brightness=0.3, saturation=0.3, blur=2.0, jpeg=70, grey=0.1)

    Reference: crop, colour and low resolution as augmentations of face recognition: Kim et al., AdaFace, CVPR 2022,
    section 4.1. Cutout: DeVries and Taylor, arXiv 1708.04552, 2017.
    """

    flip: bool = True
    shift: float = 0.0
    zoom: float = 0.0
    rotate: float = 0.0
    contrast: float = 0.0
    crop: float = 0.0
    brightness: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    cutout: float = 0.0

    @property
    def warps(self) -> bool:
        """Whether anything but the flip moves pixels."""
        return bool(self.shift or self.zoom or self.rotate or self.crop)

    @property
    def recolors(self) -> bool:
        """Whether colours are changed, but for contrast."""
        return bool(self.brightness or self.saturation or self.hue or self.grey)

    @property
    def changes(self) -> bool:
        """Whether anything is done to an image."""
        return any(vars(self).values())

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "contrast", "crop", "brightness", "saturation", "cutout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"Augmentation needs {name} in [0, 1), a share. Received: {name}={value!r}.")
        for name in _DEGREES:
            value = getattr(self, name)
            if not 0 <= value <= 180:
                raise ValueError(f"Augmentation needs {name} in [0, 180] degrees. Received: {name}={value!r}.")
        for name, largest, unit in (("grey", 1, "a share"), ("blur", 50, "pixels"), ("jpeg", 99, "100 - quality")):
            value = getattr(self, name)
            if not 0 <= value <= largest:
                raise ValueError(f"Augmentation needs {name} in [0, {largest}], {unit}. Received: {name}={value!r}.")

    def apply(self, images: Tensor, seed: Tensor, part: tuple[int, int] = (0, 1)) -> Tensor:
        """A batch of images, changed.

        Args:
            images: uint8 or float tensor (batch, height, width, channels), pixels in [0, 255]; of three channels where
                colours change or JPEG is written.
            seed: Integer tensor (2,): the same seed, the same changes.
            part: (k, n): `images` are the k-th of n equal parts of a batch, and change as they would in the whole.

        Returns:
            Float32 tensor shaped like `images`, in [0, 255].
        """
        import tensorflow as tf

        count = tf.shape(images)[0]
        own = slice(part[0] * count, (part[0] + 1) * count)
        draws = _draws(count, seed, part)
        more = {name: values[own] for name, values in self._more_draws(count * part[1], seed).items()}
        mirrored = draws[0] < 0 if self.flip else tf.zeros((count,), tf.bool)
        if self.warps:
            images = _warp(tf.cast(images, tf.float32), self, mirrored, draws[1:5], more)
        elif self.flip:
            images = _changes.mirror_some(images, mirrored)
        images = tf.cast(images, tf.float32)
        if self.contrast:
            images = _changes.contrast(images, self.contrast, draws[5])
        return self._change(images, more)

    def mirrored(self, count: Tensor, seed: Tensor, part: tuple[int, int] = (0, 1)) -> Tensor:
        """Which images `apply` mirrors.

        Args:
            count: How many images there are, an integer or its tensor.
            seed: See `apply`.
            part: See `apply`.

        Returns:
            Bool tensor (count,).
        """
        import tensorflow as tf

        return _draws(count, seed, part)[0] < 0 if self.flip else tf.zeros((count,), tf.bool)

    def _more_draws(self, count: Tensor, seed: Tensor) -> dict[str, Tensor]:
        """{name: (count,) in [0, 1)} for the changes that the class had not from the beginning."""
        import tensorflow as tf

        names = (
            *("crop", "crop_x", "crop_y", "brightness", "saturation", "hue", "grey", "blur", "jpeg"),
            *("cutout", "cutout_x", "cutout_y"),
        )
        if not any(getattr(self, name) for name in names if hasattr(self, name)):
            return {}
        # A seed of their own: what the others draw stays what it was in runs of old.
        seed = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int64), 1)
        return dict(zip(names, tf.unstack(tf.random.stateless_uniform((len(names), count), seed)), strict=True))

    def _change(self, images: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """What comes after the warp and the contrast."""
        if self.recolors:
            matrices = _changes.color_matrices(
                brightness=1.0 + self.brightness * (2.0 * draws["brightness"] - 1.0),
                saturation=1.0 + self.saturation * (2.0 * draws["saturation"] - 1.0),
                hue=(self.hue * math.pi / 180) * (2.0 * draws["hue"] - 1.0),
                is_grey=draws["grey"] < self.grey,
            )
            images = _changes.color(images, matrices)
        if self.blur:
            images = _changes.blur(images, self.blur * draws["blur"])
        if self.jpeg:
            images = _changes.jpeg(images, 100.0 - self.jpeg * draws["jpeg"])
        if self.cutout:
            images = _changes.cutout(images, self.cutout * draws["cutout"], draws["cutout_y"], draws["cutout_x"])
        return images


def _draws(count: Tensor, seed: Tensor, part: tuple[int, int]) -> Tensor:
    """(6, count) in [-1, 1), what the first changes draw for the images of a part."""
    import tensorflow as tf

    share, shares = part
    return tf.random.stateless_uniform((6, count * shares), seed, -1.0, 1.0)[:, share * count : (share + 1) * count]


def _warp(images, limits, mirrored, draws, more):
    """Crop, mirror, rotation, zoom and shift in one bilinear pass; from outside comes the edge again."""
    import tensorflow as tf

    height = tf.cast(tf.shape(images)[1], tf.float32)
    width = tf.cast(tf.shape(images)[2], tf.float32)
    angle = draws[0] * (limits.rotate * math.pi / 180)
    # A crop is a zoom to a share of the sides, and a shift that keeps it inside.
    kept = tf.sqrt(1.0 - limits.crop * more["crop"]) if limits.crop else 1.0
    zoom = (1.0 + limits.zoom * draws[1]) * kept
    cosine, sine = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    side = tf.where(mirrored, -1.0, 1.0)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    offset_x = centre_x - side * (cosine * centre_x - sine * centre_y) + limits.shift * width * draws[2]
    offset_y = centre_y - sine * centre_x - cosine * centre_y + limits.shift * height * draws[3]
    if limits.crop:
        offset_x += (1.0 - kept) * width * (more["crop_x"] - 0.5)
        offset_y += (1.0 - kept) * height * (more["crop_y"] - 0.5)
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

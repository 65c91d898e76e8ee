"""What an exported file shall be, and how near to its model it has to come."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far an exported file may be from its model; None leaves that figure free.

    Attributes:
        mean: Smallest mean cosine between the embeddings of the model and of the file, over the sample images.
        worst: Smallest cosine of any one image.
        eer_rise: How much higher the EER of the file may be than the model's; needs pairs.
        tar_drop: How much lower its TAR at the target FAR may be; needs pairs.

    Raises:
        ValueError: On a limit that is not a finite number.

    Example:
        >>> Limits(mean=0.999, worst=0.99).tar_drop is None
        True
    """

    mean: float | None = None
    worst: float | None = None
    eer_rise: float | None = None
    tar_drop: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isinstance(value, (int, float, np.number)) and math.isfinite(value)):
                raise ValueError(f"Limits.{field.name} must be a finite number or None. Received: {value!r}.")


# Rounding moves every image equally, so the worst tells; eight bits move a few images far, and the mean tells.
LIMITS = {
    None: Limits(worst=1 - 1e-5),
    "float16": Limits(worst=1 - 1e-4),
    "dynamic": Limits(mean=0.995),
    "int8": Limits(mean=0.98),
}


# Different images by which "int8" sets its ranges, at least: docs/export.md has what fewer come to.
MIN_REPRESENTATIVE = 8


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of an export that every format has.

    Attributes:
        batch_size: Images a call of the file takes; None for any number. Browsers and some accelerators want it fixed.
        flip_sum: Whether the file embeds each image and its mirror image and adds the two before it makes unit length,
            as evaluation.combine_flips does; at twice the work.
        limits: Limits; None for LIMITS[quantize].
        far: Target FAR in (0, 1] of the threshold that is shipped, where pairs are given.
        about: Dict of whatever else the metadata shall say, under "about": plain values that JSON has. "recipe" and
            "measured" go to the metadata's own places, where the model is not a run's folder that tells them.
        aligned: Whether images are aligned by the five points of keras_margin.alignment; None for yes where the
            network takes 112x112 or 112x96, the sizes that the field aligns to.
        calibrate: Whether the pairs also give what a cosine is worth, as `keras-margin calibrate` does later: a
            probability, two thresholds and thresholds of searches. Needs `pairs` of ten people or more.
        length: Whether the file has a second output `length`, float32 (n,): what the network's embedding measured
            before it was brought to unit length, a quality of the image. Not with `integer_only`.
        integer_only: Whether "int8" makes every tensor of the file integers, as accelerators without floats need it:
            `image` uint8, `embedding` int8 with a scale and zero point that the metadata have. By default the function
            of pixels, PReLU and the last normalisation compute in float32, which is nearer to the model, and on a CPU
            faster where there are PReLUs.

    Raises:
        ValueError: On a batch size below 1 or a FAR out of range.
        TypeError: Where `limits` or `about` is of another type.

    Example:
        >>> Options(batch_size=1, far=1e-3).batch_size
        1
    """

    batch_size: int | None = None
    flip_sum: bool = False
    limits: Limits | None = None
    far: float = 1e-3
    about: dict | None = None
    aligned: bool | None = None
    integer_only: bool = False
    calibrate: bool = False
    length: bool = False

    def __post_init__(self) -> None:
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1):
            raise ValueError(f"batch_size must be an int >= 1, or None for any. Received: batch_size={size!r}.")
        if not 0 < self.far <= 1:
            raise ValueError(f"far must be in (0, 1]. Received: far={self.far!r}. One per cent is 0.01.")
        if self.length and self.integer_only:
            raise ValueError(
                "length is a float, which integer_only files have none of. Received: both. Leave one of them out."
            )
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise TypeError(f"limits must be export.Limits, such as Limits(mean=0.99). Received: {self.limits!r}.")
        if self.about is not None and not isinstance(self.about, dict):
            raise TypeError(f"about must be a dict of what the metadata shall say. Received: {self.about!r}.")

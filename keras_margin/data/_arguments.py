"""Checks of what readers are asked for."""

import operator
from collections.abc import Sequence
from typing import overload

from keras_margin._typing import Size
from keras_margin.data._decoding import LARGEST_SIDE


@overload
def check_image_size(image_size: None) -> None: ...


@overload
def check_image_size(image_size: Sequence[int]) -> Size: ...


def check_image_size(image_size: Sequence[int] | None) -> Size | None:
    """Returns `image_size` as a tuple of two ints, or None for None.

    Raises:
        ValueError: If it is not two integers in [1, 8192].
    """
    if image_size is None:
        return None
    try:
        height, width = (operator.index(side) for side in image_size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(
            f"image_size needs two integers in [1, {LARGEST_SIDE}], (height, width). Received: "
            f"image_size={image_size!r}. Pass for example image_size=(112, 112)."
        )
    return height, width


def check_part(part: tuple[int, int], batch_size: int | None, repeat: bool) -> tuple[int, int]:
    share, shares = (operator.index(number) for number in part)
    if not 0 <= share < shares or (shares > 1 and (not repeat or batch_size is None or batch_size % shares)):
        raise ValueError(
            "part=(k, n) needs 0 <= k < n, and for n > 1 repeat=True and a batch_size that is a multiple of n. "
            f"Received: part={tuple(part)}, repeat={repeat}, batch_size={batch_size}."
        )
    return share, shares


def check_dataset_arguments(
    batch_size: int | None, seed: int, drop_remainder: bool, repeat: bool, start: int
) -> tuple[int | None, int, int]:
    if batch_size is not None and operator.index(batch_size) < 1:
        raise ValueError(
            f"batch_size needs an integer >= 1. Received: batch_size={batch_size}. Pass None for single images."
        )
    if batch_size is None and drop_remainder:
        raise ValueError(
            "drop_remainder is about batches. Received: drop_remainder=True without a batch_size. Pass both or neither."
        )
    if operator.index(seed) < 0:
        raise ValueError(f"seed needs an integer >= 0. Received: seed={seed}.")
    if operator.index(start) < 0 or (start and not repeat):
        raise ValueError(
            f"start needs an integer >= 0, and repeat=True where it is not 0. Received: start={start}, repeat={repeat}."
        )
    return batch_size, operator.index(seed), operator.index(start)

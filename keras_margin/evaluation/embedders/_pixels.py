"""How pixels are normalised for a network that takes floats."""

from typing import Any

import numpy as np


def check_normalization(name: str, takes: np.dtype | type, normalization: tuple[Any, Any] | None) -> None:
    """Refuses a normalization where the network takes uint8, and a missing one where it takes float32."""
    if takes == "uint8" and normalization is not None:
        raise ValueError(
            f"{name} takes uint8 pixels and normalises inside. Received: normalization={normalization!r}. Leave it out."
        )
    if takes == "float32":
        if normalization is None:
            raise ValueError(
                f"{name} takes float32, so it must be told how pixels are normalised, (image - mean) / std: pass for "
                "example normalization=(127.5, 128.0), or (0.0, 1.0) if it takes raw pixels."
            )
        mean_and_std(normalization)


def normalized(images: np.ndarray, normalization: tuple[Any, Any] | None) -> np.ndarray:
    """Returns float32 pixels, (image - mean) / std where there is a normalization."""
    if normalization is None:
        return images.astype(np.float32)
    mean, std = mean_and_std(normalization)
    return (images.astype(np.float32) - mean) / std


def mean_and_std(normalization: tuple[Any, Any]):
    """Returns (mean, std) as float32 arrays that broadcast over the channels, once they are possible."""
    try:
        mean, std = (np.asarray(part, np.float32) for part in normalization)
    except (TypeError, ValueError):
        mean = std = np.zeros(0, np.float32)
    if mean.shape not in ((), (3,)) or std.shape not in ((), (3,)):
        raise TypeError(
            "normalization must be (mean, std), each a number or three numbers (R, G, B). "
            f"Received: normalization={normalization!r}."
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization must be finite, with std > 0. Received: normalization={normalization!r}.")
    return mean, std


def hashable(normalization: tuple[Any, Any] | None) -> tuple[Any, ...] | None:
    """Returns the normalization as nested tuples of floats, or None."""
    return None if normalization is None else tuple(map(_plain, normalization))


def _plain(part):
    return tuple(np.ravel(part).tolist()) if np.ndim(part) else float(part)

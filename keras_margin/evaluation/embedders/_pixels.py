"""How pixels are normalised for a network that takes floats."""

import numpy as np

from keras_margin._utils import normalization


def check_normalization(name, takes, given):
    """Refuses a normalization where the network takes uint8, and a missing one where it takes float32."""
    if takes == "uint8" and given is not None:
        raise ValueError(
            f"{name} takes uint8 pixels and normalises inside. Received: normalization={given!r}. Leave it out."
        )
    if takes == "float32":
        if given is None:
            raise normalization.missing(name, "float32")
        normalization.mean_and_std(given)


def normalized(images, given):
    """Returns float32 pixels, (image - mean) / std where there is a normalization."""
    if given is None:
        return images.astype(np.float32)
    mean, std = normalization.mean_and_std(given)
    return (images.astype(np.float32) - mean) / std


def turned(given):
    """Returns a normalization of three channels in the opposite order; any other as it is."""
    if given is None:
        return None
    return tuple(part[::-1] if np.ndim(part) else part for part in normalization.resolve(given))


def hashable(given):
    """Returns the normalization as nested tuples of floats, or None."""
    return None if given is None else tuple(map(_plain, normalization.resolve(given)))


def _plain(part):
    return tuple(np.ravel(part).tolist()) if np.ndim(part) else float(part)

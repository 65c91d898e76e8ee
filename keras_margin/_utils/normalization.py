"""How pixels are normalized for a network that takes floats: (pixel - mean) / std, by name or by numbers."""

import numpy as np

from keras_margin._utils.messages import did_you_mean

# (mean, std) in grey levels, by the names that `normalization=` and `--normalization` take.
NORMALIZATIONS = {
    "raw": (0.0, 1.0),
    "zero_one": (0.0, 255.0),
    "minus_one_one": (127.5, 127.5),
    "facenet": (127.5, 128.0),
    # (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), of torchvision's networks.
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


def resolve(normalization):
    """Returns the (mean, std) of a normalization given by name; any other value as it is.

    Args:
        normalization: A name in NORMALIZATIONS, a (mean, std), or None.

    Raises:
        ValueError: On an unknown name.

    Example:
        >>> resolve("facenet")
        (127.5, 128.0)
    """
    if not isinstance(normalization, str):
        return normalization
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(map(repr, NORMALIZATIONS))}, or (mean, std). "
            f"Received: normalization={normalization!r}.{did_you_mean(normalization, NORMALIZATIONS)}"
        )
    return NORMALIZATIONS[normalization]


def mean_and_std(normalization):
    """Returns the mean and the standard deviation that a normalization stands for.

    Args:
        normalization: A name in NORMALIZATIONS, or (mean, std) in grey levels 0 to 255, each a number or one for each
            channel.

    Returns:
        Two float32 arrays of shape () or (3,).

    Raises:
        TypeError: Where it is not a pair of numbers.
        ValueError: On an unknown name, another number of values, NaN or infinity, or std <= 0.

    Example:
        >>> [part.tolist() for part in mean_and_std("minus_one_one")]
        [127.5, 127.5]
    """
    try:
        mean, std = (np.asarray(part, np.float32) for part in resolve(normalization))
    except (TypeError, ValueError) as error:
        if isinstance(normalization, str):
            raise
        raise TypeError(_rule(normalization)) from error
    if mean.shape not in ((), (3,)) or std.shape not in ((), (3,)):
        raise ValueError(_rule(normalization))
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization must be finite, with std > 0. Received: normalization={normalization!r}.")
    return mean, std


def declared(given, metadata, path):
    """Returns the normalization of a file that takes floats: the caller's, or what its metadata declare.

    In the metadata it is `image.normalization`: {"mean": ..., "std": ...}, each a number or three.

    Args:
        given: A name, (mean, std), or None.
        metadata: The file's metadata, a dict, or None.
        path: What errors call the file.

    Returns:
        (mean, std), or None where neither says.

    Raises:
        ValueError: Where the metadata declare another one, or nothing that is one.
    """
    written = ((metadata or {}).get("image") or {}).get("normalization")
    if written is None:
        return resolve(given)
    try:
        own = (written["mean"], written["std"])
        expected = mean_and_std(own)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f'The metadata of {path} must declare image.normalization as {{"mean": ..., "std": ...}}. '
            f"Received: {written!r}."
        ) from error
    if given is not None:
        found = mean_and_std(given)
        if not all(np.allclose(one, other) for one, other in zip(found, expected, strict=True)):
            raise ValueError(
                f"The metadata of {path} declare normalization={own}. Received: normalization={given!r}. Leave it out."
            )
    return own


def missing(path, takes):
    """Returns the error of a file that takes floats and says nothing about them.

    Args:
        path: The file.
        takes: What its input is, such as "float32".
    """
    return ValueError(
        f"{path} takes {takes}, so it must be told how its pixels are normalised, (image - mean) / std: pass for "
        "example normalization=(127.5, 128.0), or normalization=(0.0, 1.0) if it takes raw pixels, or one of the names "
        f"{', '.join(NORMALIZATIONS)}."
    )


def _rule(normalization):
    return (
        "normalization must be (mean, std), each a number or three numbers (R, G, B), or one of "
        f"{', '.join(NORMALIZATIONS)}. Received: normalization={normalization!r}."
    )

"""Whether two runs are the same: recipe, seed and data."""

import zlib

import numpy as np

from keras_margin.recipes import _settings


def of(recipe, reader, seed):
    """Returns what tells a run from others, as JSON can hold it."""
    return {
        "recipe": _settings.to_json(recipe),
        "seed": seed,
        "classes": reader.num_classes,
        "images": reader.num_images,
        "labels": zlib.crc32(np.ascontiguousarray(reader.labels, np.int32)),
    }


def difference(theirs, ours, folder):
    """Returns the first difference of two runs' identities, in a sentence; None where they are the same."""
    for path, was, now in _differences(theirs, ours):
        return (
            f"{folder} has checkpoints of another run: {path} was {was!r} there and is {now!r} here. Choose another "
            "folder, or delete that one to begin again."
        )
    return None


def _differences(theirs, ours, path=""):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in ours:
            yield from _differences(theirs.get(name), ours[name], f"{path}.{name}" if path else name)
    elif theirs != ours:
        yield path, theirs, ours

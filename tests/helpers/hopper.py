"""The one real face that tests may use: Rear Admiral Grace Hopper, in the public domain, shipped by matplotlib."""

import pathlib

import numpy as np
import pytest

# Her eyes, nose tip and mouth corners, viewer's left first, read off the photograph by eye, to a few pixels.
POINTS = np.array([[220, 190], [308, 186], [268, 237], [232, 277], [304, 273]], np.float64)


def photograph():
    """Returns uint8 (600, 512, 3), RGB; skips the test where matplotlib or Pillow is not installed."""
    matplotlib = pytest.importorskip("matplotlib")
    Image = pytest.importorskip("PIL.Image")
    path = pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def network(size):
    """A Keras network of random weights on crops of (height, width), with the pixels' scaling in it."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((*size, 3)),
            keras.layers.Rescaling(1 / 127.5, -1.0),
            keras.layers.Conv2D(8, 5, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(16),
        ],
        name="tiny",
    )

"""Pre-whitening: the backbone sees each image at mean 0 and deviation 1, whatever its light and contrast."""

import keras
import numpy as np
import pytest

from keras_margin.models.backbones import ir_resnet
from keras_margin.models.backbones.prewhitening import prewhitened


def small():
    return ir_resnet((1,), widths=(8,), image_size=(8, 6), embedding_size=4, dropout=0.0)


def test_the_backbone_sees_what_the_formula_says(tmp_path):
    """white = (x - mean) / max(deviation, 1 / sqrt(values)), which the backbone reads from 127.5 + 128 white."""
    backbone = small()
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3)).astype("float32")
    images[1] = 90.0  # A blank one.
    model = prewhitened(backbone)
    axes = (1, 2, 3)
    centered = np.float64(images) - images.mean(axes, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axes, keepdims=True))
    white = centered / np.maximum(deviation, 1 / np.sqrt(8 * 6 * 3))
    wanted = np.array(keras.ops.convert_to_numpy(backbone((127.5 + 128 * white).astype("float32"))))
    found = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    # Light and contrast say nothing.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images * 0.5 + 20)), found, rtol=1e-3, atol=1e-3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(images)), found, rtol=1e-5, atol=1e-6)


def test_a_network_without_its_normalisation_is_refused():
    """Refuses a network without its normalization."""
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(ValueError, match="its layer 'normalize'. Received: bare, with"):
        prewhitened(keras.Model(inputs, keras.layers.Flatten(name="flat")(inputs), name="bare"))

"""SphereNet: layers and parameters by SphereFace's table 2, and the output against a float64 NumPy network."""

import math

import numpy as np
import pytest
from keras import ops
from network_formulas import convolved, float64_weights, inferred, prelu, with_random_weights

from keras_margin.models import backbones

# SphereFace, table 2: residual units behind the convolution that halves the image, in each of four stages.
UNITS = {
    "spherenet4": (0, 0, 0, 0),
    "spherenet10": (0, 1, 2, 0),
    "spherenet20": (1, 2, 4, 1),
    "spherenet36": (2, 4, 8, 2),
    "spherenet64": (3, 8, 16, 3),
}
WIDTHS = (64, 128, 256, 512)


def parameters(units, widths, places):
    """Convolutions, a slope a channel behind each, biases where the image is halved, and the fully connected layer."""
    total, before = 0, 3
    for count, width in zip(units, widths, strict=True):
        total += 9 * before * width + 2 * width + 2 * count * (9 * width * width + width)
        before = width
    return total + (places * before + 1) * 512


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", UNITS)
def test_names_count_convolutions_as_the_table_does(name):
    """Counts the convolutions in the names, and the parameters of the table."""
    widths = WIDTHS if name in ("spherenet4", "spherenet10") else (8, 16, 32, 64)  # The wide ones take long to draw.
    model = backbones.build(name, widths=widths)
    convolutions = [layer for layer in model.layers if layer.name.startswith("conv") and "pad" not in layer.name]
    assert len(convolutions) == int(name.removeprefix("spherenet"))
    # 112 x 96, halved four times: 7 x 6.
    assert model.count_params() == parameters(UNITS[name], widths, 7 * 6)
    ends = [model.get_layer(f"relu{stage}_1").output.shape[1:] for stage in (1, 2, 3, 4)]
    assert ends == [(112 >> n, 96 >> n, width) for n, width in enumerate(widths, 1)]
    assert model.output_shape == (None, 512)


@pytest.mark.once
def test_the_wide_ones_have_these_millions():
    """What the table's rows come to: 12.6, 15.2, 22.7, 32.8 and 48.2 million."""
    millions = [parameters(units, WIDTHS, 42) / 1e6 for units in UNITS.values()]
    np.testing.assert_allclose(millions, [12.562, 15.218, 22.667, 32.771, 48.187], atol=1e-3)


def test_the_network_computes_what_its_formula_says():
    """Computes the network's formula."""
    model = with_random_weights(backbones.spherenet((1, 2), widths=(4, 6), image_size=(10, 12), embedding_size=5))
    w = float64_weights(model)
    images = np.random.default_rng(2).integers(0, 256, (3, 10, 12, 3), dtype=np.uint8)
    x = (np.float64(images) - 127.5) / 128
    for stage, count in ((1, 1), (2, 2)):
        x = convolved(x, w[f"conv{stage}_1/kernel"], 2) + w[f"conv{stage}_1/bias"]
        x = prelu(x, w[f"relu{stage}_1/alpha"])
        for unit in range(count):
            shortcut = x
            for number in (2 * unit + 2, 2 * unit + 3):
                x = prelu(convolved(x, w[f"conv{stage}_{number}/kernel"]), w[f"relu{stage}_{number}/alpha"])
            x = x + shortcut
    wanted = x.reshape(3, -1) @ w["embedding/kernel"] + w["embedding/bias"]
    assert (wanted < 0).any()  # No ReLU at the end.
    found = inferred(model, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_kernels_start_as_the_released_code_s():
    """Draws kernels as the released code does."""
    model = backbones.spherenet((1, 0), widths=(64, 128), image_size=(8, 8))
    halving = ops.convert_to_numpy(model.get_layer("conv2_1").kernel)
    # Caffe's xavier: uniform within sqrt(3 / fan_in).
    assert np.abs(halving).max() == pytest.approx(math.sqrt(3 / (9 * 64)), rel=0.01)
    assert halving.std() == pytest.approx(math.sqrt(1 / (9 * 64)), rel=0.01)
    inside = ops.convert_to_numpy(model.get_layer("conv1_2").kernel)
    assert inside.std() == pytest.approx(0.01, rel=0.02)
    assert model.get_layer("conv1_2").bias is None and model.get_layer("conv1_1").bias is not None


def test_a_stage_without_a_width_is_refused():
    """Refuses a stage without a width."""
    with pytest.raises(ValueError, match=r"a width for each stage. Received: units=\(2, 2\)"):
        backbones.spherenet((2, 2), widths=(4,))

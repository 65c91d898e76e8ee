"""IAM's MNIST network: its layers and parameters against the paper's table, its output against float64 NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from network_formulas import convolved, float64_weights, inferred, pooled, prelu, with_random_weights

from keras_margin.models import backbones

# IAM table 1: two convolutions of each width, a pool behind each pair.
WIDTHS = (32, 64, 128)


@pytest.fixture(scope="module")
def network():
    return backbones.build("mnist_net", embedding_size=2)


def test_the_layers_are_those_of_the_table_and_one_that_is_drawn(network):
    """Builds the layers of the table and one that is drawn."""
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in network.layers}
    assert shapes == {
        "image": (28, 28, 1),
        "normalize": (28, 28, 1),
        "conv1": (28, 28, 32),
        "conv2": (28, 28, 32),
        "pool1": (9, 9, 32),  # 28 / 3, rounded down
        "conv3": (9, 9, 64),
        "conv4": (9, 9, 64),
        "pool2": (3, 3, 64),
        "conv5": (3, 3, 128),
        "conv6": (3, 3, 128),
        "pool3": (1, 1, 128),
        "flatten": (128,),
        "embedding": (2,),
    }
    kernels = [layer.kernel.shape[:2] for layer in network.layers if layer.name.startswith("conv")]
    assert kernels == [(3, 3)] * 6


@pytest.mark.parametrize("embedding_size", [2, 3])
def test_the_parameters_are_counted(embedding_size):
    """Nine weights an input channel and a bias for every output channel; 128 weights and a bias for every number."""
    channels = [1, 32, 32, 64, 64, 128, 128]
    wanted = sum((9 * before + 1) * after for before, after in zip(channels, channels[1:], strict=False))
    assert wanted == 320 + 9_248 + 18_496 + 36_928 + 73_856 + 147_584
    model = backbones.mnist_net(embedding_size=embedding_size)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == wanted + 129 * embedding_size
    assert len(model.weights) == 14


def by_hand(model, images):
    """The forward pass in float64, from the weights by their names."""
    w = {weight.path: np.float64(ops.convert_to_numpy(weight)) for weight in model.weights}
    x = (np.float64(images) - 127.5) / 128
    for block in range(3):
        for number in (2 * block + 1, 2 * block + 2):
            x = np.maximum(0, convolved(x, w[f"conv{number}/kernel"]) + w[f"conv{number}/bias"])
        height, width = x.shape[1] // 3, x.shape[2] // 3
        x = x[:, : 3 * height, : 3 * width].reshape(len(x), height, 3, width, 3, -1).max(axis=(2, 4))
    return x.reshape(len(x), -1) @ w["embedding/kernel"] + w["embedding/bias"]


@pytest.mark.parametrize("image_size", [(28, 28), (30, 55)])
def test_the_network_computes_what_its_formula_says(image_size):
    """Computes the network's formula."""
    model = backbones.mnist_net(image_size=image_size, embedding_size=5)
    generator = np.random.default_rng(1)
    for weight in model.weights:
        spread = 0.1 if weight.name == "kernel" else 0.5
        weight.assign(generator.normal(size=weight.shape, scale=spread))
    images = generator.integers(0, 256, (3, *image_size, 1), dtype=np.uint8)
    wanted = by_hand(model, images)
    assert (wanted < 0).any()  # No ReLU at the end.
    found = inferred(model, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_kernels_start_as_he_says_and_biases_at_zero(network):
    """Draws kernels by He's formula, and starts biases at zero."""
    # Variance 2 / fan_in, fan_in = 3 * 3 * 128; 147,456 draws.
    assert ops.convert_to_numpy(network.get_layer("conv6").kernel).std() == pytest.approx(
        math.sqrt(2 / (9 * 128)), rel=0.01
    )
    assert all(not ops.convert_to_numpy(weight).any() for weight in network.weights if weight.name == "bias")


def test_a_saved_network_is_read_back_equal(network, tmp_path):
    """Reads a saved network back equal."""
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(inferred(again, images), inferred(network, images), rtol=1e-6)


def test_an_image_too_small_for_the_pools_is_refused():
    """Refuses an image that is too small for the pools."""
    with pytest.raises(ValueError, match=r"at least 27 x 27 pixels.*Received: image_size=\(28, 26\)"):
        backbones.mnist_net(image_size=(28, 26))


def test_lenet_plus_plus_has_the_layers_of_table_1():
    """Builds LeNet++ by table 1 of the centre loss's paper.

    Two 5 x 5 convolutions of 32, 64 and 128 channels, each with a PReLU, and a pool of 2 x 2 behind each pair.
    """
    model = backbones.build("lenet_plus_plus")
    sides = [model.get_layer(f"pool{number}").output.shape[1:] for number in (1, 2, 3)]
    assert sides == [(14, 14, 32), (7, 7, 64), (3, 3, 128)]
    channels = [1, 32, 32, 64, 64, 128, 128]
    wanted = sum((25 * before + 2) * after for before, after in zip(channels, channels[1:], strict=False))
    assert model.count_params() == wanted + 9 * 128 * 2 + 2
    with pytest.raises(ValueError, match=r"at least 8 pixels a side.*Received: image_size=\(28, 7\)"):
        backbones.lenet_plus_plus(image_size=(28, 7))


def test_lenet_plus_plus_computes_what_its_formula_says():
    """Computes the formula of LeNet++."""
    model = with_random_weights(backbones.lenet_plus_plus(image_size=(9, 12), embedding_size=3))
    w = float64_weights(model)
    images = np.random.default_rng(3).integers(0, 256, (2, 9, 12, 1), dtype=np.uint8)
    x = (np.float64(images) - 127.5) / 128
    for block in range(3):
        for number in (2 * block + 1, 2 * block + 2):
            x = prelu(convolved(x, w[f"conv{number}/kernel"]) + w[f"conv{number}/bias"], w[f"prelu{number}/alpha"])
        x = pooled(x, 2, 2)
    wanted = x.reshape(2, -1) @ w["embedding/kernel"] + w["embedding/bias"]
    found = inferred(model, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())

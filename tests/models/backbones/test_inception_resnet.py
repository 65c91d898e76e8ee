"""Inception-ResNet-V1: layers and parameters of facenet's network, the output against a float64 NumPy network."""

import numpy as np
import pytest
from network_formulas import convolved, float64_weights, inferred, normed, pooled, with_random_weights

from keras_margin.models import backbones
from keras_margin.models.backbones import _cost


@pytest.fixture(scope="module")
def network():
    return backbones.build("inception_resnet_v1", embedding_size=128)


@pytest.mark.slow
@pytest.mark.once
def test_parameters_are_the_known_ones(network):
    """facenet's 128-D network as its Keras port counts it: 22,779,312 trainable of 22,808,144."""
    assert _cost.parameters(network) == (22_779_312, 22_808_144)


@pytest.mark.slow
@pytest.mark.once
def test_maps_have_the_sizes_of_the_papers_figure(network):
    """Computes the maps of the paper's figure on facenet's 160 pixels.

    The comments of facenet's code say 149, 147, 73, 71, 35 for 299 pixels; 160 give these.
    """
    names = ["stem_conv1", "stem_conv2", "stem_conv3", "stem_pool", "stem_conv4", "stem_conv5", "stem_conv6"]
    names += ["block_a5_relu", "reduction_a_concat", "block_b10_relu", "reduction_b_concat", "block_c5_relu"]
    found = [network.get_layer(name).output.shape[1:] for name in [*names, "block_c_last_add"]]
    sides = [79, 77, 77, 38, 38, 36, 17, 17, 8, 8, 3, 3, 3]
    channels = [32, 32, 64, 64, 80, 192, 256, 256, 896, 896, 1792, 1792, 1792]
    assert found == [(side, side, count) for side, count in zip(sides, channels, strict=True)]
    assert network.get_layer("tail_dropout").rate == pytest.approx(0.2)
    assert network.get_layer("stem_conv1_bn").momentum == 0.995


class ByHand:
    """The forward pass in float64 from the weights by their names, one unit of each kind."""

    def __init__(self, model):
        self.w = float64_weights(model)

    def conv(self, x, name, stride=1, padded=True):
        x = convolved(x, self.w[f"{name}/kernel"], stride, padded)
        return np.maximum(normed(x, self.w, f"{name}_bn", 1e-3), 0)

    def branch(self, x, name, count, halved=False):
        for number in range(count):
            last = halved and number == count - 1
            x = self.conv(x, f"{name}_conv{number}", 2 if last else 1, not last)
        return x

    def unit(self, x, name, scale, counts):
        ends = [self.branch(x, f"{name}_branch{number}", count) for number, count in enumerate(counts)]
        up = convolved(np.concatenate(ends, axis=3), self.w[f"{name}_up/kernel"]) + self.w[f"{name}_up/bias"]
        return x + scale * up

    def reduction(self, x, name, counts):
        ends = [self.branch(x, f"{name}_branch{number}", count, True) for number, count in enumerate(counts)]
        return np.concatenate([*ends, pooled(x, 3, 2)], axis=3)

    def __call__(self, images):
        x = self.conv((images - 127.5) / 128, "stem_conv1", 2, False)
        x = self.conv(self.conv(x, "stem_conv2", padded=False), "stem_conv3")
        x = self.conv(pooled(x, 3, 2), "stem_conv4")
        x = self.conv(self.conv(x, "stem_conv5", padded=False), "stem_conv6", 2, False)
        x = np.maximum(self.unit(x, "block_a1", 0.17, (1, 2, 3)), 0)
        x = self.reduction(x, "reduction_a", (1, 3))
        x = np.maximum(self.unit(x, "block_b1", 0.10, (1, 3)), 0)
        x = self.reduction(x, "reduction_b", (2, 2, 3))
        x = np.maximum(self.unit(x, "block_c1", 0.20, (1, 3)), 0)
        x = self.unit(x, "block_c_last", 1.0, (1, 3)).mean(axis=(1, 2))
        return normed(x @ self.w["tail_fc/kernel"], self.w, "embedding", 1e-3)


@pytest.mark.slow
def test_the_network_computes_what_its_formula_says():
    """Computes the network's formula."""
    model = backbones.inception_resnet_v1(image_size=(75, 91), embedding_size=6, units=(1, 1, 1))
    with_random_weights(model)
    images = np.random.default_rng(2).integers(0, 256, (1, 75, 91, 3), dtype=np.uint8)
    wanted = ByHand(model)(np.float64(images))
    found = inferred(model, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_an_image_too_small_is_refused():
    """Refuses an image that is too small."""
    with pytest.raises(ValueError, match=r"at least 75 x 75 pixels. Received: image_size=\(75, 74\)"):
        backbones.inception_resnet_v1(image_size=(75, 74))

"""MobileFaceNet: layers, parameters and multiply-adds of its paper, the output against a float64 NumPy network."""

import keras
import numpy as np
import pytest
from keras import ops
from network_formulas import convolved, float64_weights, grouped, inferred, normed, prelu, with_random_weights

from keras_margin.models import backbones
from keras_margin.models.backbones import _cost, _layers


@pytest.fixture(scope="module")
def network():
    return backbones.build("mobilefacenet")


@pytest.mark.slow
@pytest.mark.once
def test_parameters_and_multiply_adds_are_the_paper_s(network):
    """MobileFaceNets, section 3.2 and table 1: 0.99 million parameters, 221 million multiply-adds."""
    trainable, _ = _cost.parameters(network)
    head = 512 * 49 + 512 * 128 + 2 * 512 + 2 * 128
    assert trainable / 1e6 == pytest.approx(0.99, abs=0.015)
    assert (trainable - head) / 1e6 == pytest.approx(0.911, abs=0.001)
    assert round(_cost.multiply_adds(network) / 1e6) == 221


@pytest.mark.slow
@pytest.mark.once
def test_the_layers_are_those_of_table_1(network):
    """Input sizes in the paper's table are the output sizes here, a row later."""
    ends = ["stem_prelu", "stem_depthwise_prelu", "stage1_unit5_add", "stage2_unit1_project_bn", "stage2_unit7_add"]
    ends += ["stage3_unit1_project_bn", "stage3_unit3_add", "last_prelu", "tail_gdc", "embedding"]
    found = [network.get_layer(name).output.shape[1:] for name in ends]
    assert found == [
        (56, 56, 64),
        (56, 56, 64),
        (28, 28, 64),
        (14, 14, 128),
        (14, 14, 128),
        (7, 7, 128),
        (7, 7, 128),
        (7, 7, 512),
        (1, 1, 512),
        (128,),
    ]
    # Expansion factors 2, 4, 2, 4, 2.
    units = ["stage1_unit1", "stage1_unit2", "stage2_unit1", "stage2_unit2", "stage3_unit1", "stage3_unit2"]
    expanded = [network.get_layer(f"{unit}_expand_conv").output.shape[-1] for unit in units]
    assert expanded == [2 * 64, 2 * 64, 4 * 64, 2 * 128, 4 * 128, 2 * 128]


@pytest.mark.slow
@pytest.mark.once
def test_insightface_s_wider_ones_have_their_parameters():
    """mbf, about 2 million and 0.45 GFLOPs in insightface's tables, and mbf_large."""
    twice = backbones.mobilefacenet_x2()
    # PyTorch's own count of the released network, and what two channels a group cost in its second convolution.
    assert _cost.parameters(twice)[0] == 2_059_520
    assert _cost.multiply_adds(twice) / 1e9 == pytest.approx(0.45, abs=0.015)


@pytest.mark.once
def test_several_blocks_behind_the_stem_are_bottlenecks():
    """As of mbf_large, whose blocks are (2, 8, 12, 4); fewer of them here."""
    model = backbones.mobilefacenet_large(blocks=(2, 1, 1, 1), image_size=(32, 32), embedding_size=16)
    assert model.get_layer("stem_unit2_add").output.shape[1:] == (16, 16, 256)
    assert model.get_layer("stage2_unit2_add").output.shape[1:] == (4, 4, 512)
    assert model.output_shape == (None, 16)


class ByHand:
    """The forward pass in float64 from the weights by their names."""

    def __init__(self, model):
        self.w = float64_weights(model)

    def activated(self, x, name):
        x = normed(x, self.w, f"{name}_bn", 1e-5)
        return prelu(x, self.w[f"{name}_prelu/alpha"])

    def depthwise(self, x, name, stride):
        kernel = self.w[f"{name}/kernel"]
        return grouped(x, kernel.transpose(0, 1, 3, 2), 1, stride)

    def unit(self, x, name, stride):
        shortcut = x
        x = self.activated(convolved(x, self.w[f"{name}_expand_conv/kernel"]), f"{name}_expand")
        x = self.activated(self.depthwise(x, f"{name}_depthwise_conv", stride), f"{name}_depthwise")
        x = normed(convolved(x, self.w[f"{name}_project_conv/kernel"]), self.w, f"{name}_project_bn", 1e-5)
        return x + shortcut if stride == 1 else x

    def __call__(self, images, width):
        w = self.w
        x = self.activated(convolved((images - 127.5) / 128, w["stem_conv/kernel"], 2), "stem")
        kernel = w["stem_depthwise_conv/kernel"]
        if width > 1:
            # Ours lists, of each input channel, the outputs of its group; the formula, of each output, its inputs.
            channels = kernel.shape[2]
            kernel = kernel.reshape(3, 3, channels // width, width, width).transpose(0, 1, 3, 2, 4)
            kernel = kernel.reshape(3, 3, width, channels)
        else:
            kernel = kernel.transpose(0, 1, 3, 2)
        x = self.activated(grouped(x, kernel, width), "stem_depthwise")
        for stage in (1, 2, 3):
            x = self.unit(self.unit(x, f"stage{stage}_unit1", 2), f"stage{stage}_unit2", 1)
        x = self.activated(convolved(x, w["last_conv/kernel"]), "last")
        x = normed((x * w["tail_gdc/kernel"][:, :, :, 0]).sum(axis=(1, 2)), w, "tail_bn", 1e-5)
        return normed(x @ w["tail_fc/kernel"], w, "embedding", 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
def test_the_network_computes_what_its_formula_says(width):
    """Computes the network's formula."""
    options = {"blocks": (1, 1, 1, 1), "width": width, "image_size": (32, 48), "embedding_size": 6}
    model = with_random_weights(backbones.mobilefacenet(**options))
    images = np.random.default_rng(2).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    wanted = ByHand(model)(np.float64(images), width)
    found = inferred(model, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_a_grouped_convolution_learns_and_is_read_back(tmp_path):
    """Trains a grouped convolution, and reads it back."""
    inputs = keras.Input((4, 5, 6))
    model = keras.Model(inputs, _layers.GroupedConv2D(3, 3, name="grouped")(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype("float32")
    model.compile("sgd", "mse", jit_compile=False)
    before = ops.convert_to_numpy(model.get_layer("grouped").kernel)
    model.train_on_batch(x, x)
    assert np.abs(ops.convert_to_numpy(model.get_layer("grouped").kernel) - before).min() > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(inferred(again, x), inferred(model, x), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "of_minus_one"), [("prelu", -0.25), ("relu", 0.0), ("relu6", 0.0), ("leaky_relu", -0.25)]
)
def test_activations_are_chosen_by_name(kind, of_minus_one):
    """Chooses activations by name."""
    model = backbones.mobilefacenet(blocks=(1, 1, 1, 1), image_size=(16, 16), activation=kind)
    layer = model.get_layer(f"stage1_unit1_expand_{kind}")
    x = np.zeros((1, 8, 8, 128), "float32")
    x[..., 0] = -1
    assert ops.convert_to_numpy(layer(x))[..., 0] == pytest.approx(of_minus_one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "swish"}, "activation must be one of prelu, relu, relu6, leaky_relu. Received: .*'swish'"),
        ({"blocks": (1, 4, 6)}, r"four numbers of blocks.*Received: blocks=\(1, 4, 6\), width=1"),
        ({"width": 0.5}, "an int width >= 1. Received: .*width=0.5"),
    ],
)
def test_what_is_no_mobilefacenet_is_refused(options, message):
    """Refuses tables that are not a MobileFaceNet."""
    with pytest.raises(ValueError, match=message):
        backbones.mobilefacenet(**options)

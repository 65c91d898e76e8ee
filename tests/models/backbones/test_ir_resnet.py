"""IR-ResNet: its parameters counted by formula, and its output against a float64 NumPy network spelt out here."""

import math
import zipfile

import keras
import numpy as np
import pytest
from keras import ops
from network_formulas import convolved, inferred

from keras_margin.models import backbones
from keras_margin.models.backbones import _cost, _layers

# ArcFace's released code: residual units of the four stages; 64 to 512 channels.
UNITS = {
    "ir_resnet18": (2, 2, 2, 2),
    "ir_resnet34": (3, 4, 6, 3),
    "ir_resnet50": (3, 4, 14, 3),
    "ir_resnet100": (3, 13, 30, 3),
}
# The parameters people know these networks by, in millions.
MILLIONS = {"ir_resnet18": 24.0, "ir_resnet34": 34.1, "ir_resnet50": 43.6, "ir_resnet100": 65.2}


@pytest.fixture(scope="module")
def released():
    """The networks of the papers, each built once; shapes are all that is looked at: no weight is drawn."""
    with keras.StatelessScope(initialize_variables=False):
        return {name: backbones.build(name) for name in UNITS}


def parameters(units, widths, embedding_size=512, last_side=7):
    """Trainable parameters: bias-free convolutions, two a channel for each batch norm, one a channel for each PReLU."""
    count = 3 * 3 * 3 * widths[0] + 3 * widths[0]
    before = widths[0]
    for number, width in zip(units, widths, strict=True):
        count += before * width + 2 * width  # The shortcut of the stage's first unit.
        for _ in range(number):
            count += 2 * before + 9 * before * width + 3 * width + 9 * width * width + 2 * width
            before = width
    # The last batch norm has no scale.
    return count + 2 * before + (last_side**2 * before + 1) * embedding_size + embedding_size


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", UNITS)
def test_released_networks_have_the_known_parameters(released, name):
    """Counts the known numbers of parameters in the released networks."""
    wanted = parameters(UNITS[name], (64, 128, 256, 512))
    assert trainable(released[name]) == wanted
    assert wanted / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)
    assert released[name].name == name


@pytest.mark.once
def test_the_small_network_has_a_quarter_of_the_width():
    """Builds the small network with a quarter of the width."""
    model = backbones.ir_small()
    # 112 pixels, halved by the stem and by each of the four stages: 56, 28, 14, 7, 4.
    assert trainable(model) == parameters((1, 1, 1, 1), (16, 32, 64, 128), embedding_size=128, last_side=4)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("name", "millions"), [("ir_resnet18", 24.0), ("ir_resnet200", 118.8)])
def test_the_units_of_the_deepest_are_counted_on_a_narrow_one(name, millions):
    """insightface's r200: units 6-26-60-6, 118.8 million, which take long to draw; an eighth of the width does not."""
    units = {**UNITS, "ir_resnet200": (6, 26, 60, 6)}[name]
    model = backbones.build(name, widths=(8, 16, 32, 64))
    assert trainable(model) == parameters(units, (8, 16, 32, 64))
    assert parameters(units, (64, 128, 256, 512)) / 1e6 == pytest.approx(millions, abs=0.05)


# insightface's table of arcface_torch models: GFLOPs, which are multiply-adds.
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("name", "published"), [("ir_resnet18", 2.62), ("ir_resnet34", 4.48), ("ir_resnet50", 6.33)])
def test_multiply_adds_are_the_published_ones(released, name, published):
    """Counts the published multiply-adds."""
    wanted, side, before = 112 * 112 * 27 * 64, 112, 64
    for count, width in zip(UNITS[name], (64, 128, 256, 512), strict=True):
        wanted += side**2 * 9 * before * width + (side // 2) ** 2 * (9 * width * width + before * width)
        side, before = side // 2, width
        wanted += (count - 1) * 2 * side**2 * 9 * width * width
    wanted += 7 * 7 * 512 * 512
    assert _cost.multiply_adds(released[name]) == wanted
    assert wanted / 1e9 == pytest.approx(published, rel=0.006)
    assert _cost.parameters(released[name])[0] == trainable(released[name])


@pytest.mark.once
@pytest.mark.parametrize("name", UNITS)
def test_each_stage_halves_the_image_and_doubles_the_channels(released, name):
    """Halves the image and doubles the channels in each stage."""
    model = released[name]
    ends = [model.get_layer(f"stage{stage}_unit{count}_add") for stage, count in enumerate(UNITS[name], 1)]
    wanted = [(None, 56, 56, 64), (None, 28, 28, 128), (None, 14, 14, 256), (None, 7, 7, 512)]
    assert [end.output.shape for end in ends] == wanted
    assert (model.input_shape, model.output_shape) == ((None, 112, 112, 3), (None, 512))
    assert model.get_layer("tail_dropout").rate == 0.4


# --- A network in NumPy ---------------------------------------------------------------------------------------------


class ByHand:
    """The forward pass of an IR-ResNet at inference, in float64, from the weights of a Keras one by their names."""

    def __init__(self, model):
        self.w = {weight.path: np.float64(ops.convert_to_numpy(weight)) for weight in model.weights}

    def norm(self, x, name):
        w = self.w
        scale = w.get(f"{name}/gamma", 1.0) / np.sqrt(w[f"{name}/moving_variance"] + 1e-5)
        return (x - w[f"{name}/moving_mean"]) * scale + w[f"{name}/beta"]

    def conv(self, x, name, stride=1):
        return convolved(x, self.w[f"{name}/kernel"], stride)

    def prelu(self, x, name):
        return np.where(x > 0, x, self.w[f"{name}/alpha"] * x)

    def gate(self, x, name):
        pooled = x.mean(axis=(1, 2), keepdims=True)
        small = self.prelu(self.conv(pooled, f"{name}_reduce") + self.w[f"{name}_reduce/bias"], f"{name}_prelu")
        return 1 / (1 + np.exp(-(self.conv(small, f"{name}_expand") + self.w[f"{name}_expand/bias"])))

    def unit(self, x, name, stride):
        shortcut = x
        if f"{name}_shortcut_conv/kernel" in self.w:
            shortcut = self.norm(self.conv(x, f"{name}_shortcut_conv", stride), f"{name}_shortcut_bn")
        x = self.conv(self.norm(x, f"{name}_bn1"), f"{name}_conv1")
        x = self.conv(self.prelu(self.norm(x, f"{name}_bn2"), f"{name}_prelu"), f"{name}_conv2", stride)
        x = self.norm(x, f"{name}_bn3")
        if f"{name}_se_reduce/kernel" in self.w:
            x = x * self.gate(x, f"{name}_se")
        return x + shortcut

    def __call__(self, images, units, stem_stride):
        x = self.conv((images - 127.5) / 128, "stem_conv", stem_stride)
        x = self.prelu(self.norm(x, "stem_bn"), "stem_prelu")
        for stage, count in enumerate(units, 1):
            for unit in range(1, count + 1):
                x = self.unit(x, f"stage{stage}_unit{unit}", 2 if unit == 1 else 1)
        x = self.norm(x, "tail_bn").reshape(len(x), -1)
        return self.norm(x @ self.w["tail_fc/kernel"] + self.w["tail_fc/bias"], "embedding")


def with_random_weights(model):
    """Every weight drawn, so that none hides behind a 0 or a 1; variances and PReLU slopes positive."""
    generator = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        drawn = generator.normal(size=weight.shape, scale=0.4)
        weight.assign(drawn if weight.name in ("kernel", "beta", "bias", "moving_mean") else np.abs(drawn) + 0.2)
    return model


@pytest.fixture
def images():
    return np.random.default_rng(2).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(("squeeze_excite", "stem_strides"), [(False, 1), (True, 2)])
def test_the_network_computes_what_its_formula_says(images, squeeze_excite, stem_strides):
    """Computes the network's formula."""
    model = backbones.ir_resnet(
        (2, 1),
        widths=(4, 32),
        image_size=(12, 10),
        embedding_size=6,
        squeeze_excite=squeeze_excite,
        stem_strides=stem_strides,
    )
    with_random_weights(model)
    wanted = ByHand(model)(np.float64(images), (2, 1), stem_strides)
    found = inferred(model, images.astype("float32"))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_a_stride_of_two_pads_both_sides_alike():
    """Of 4 x 4 ones, a 3 x 3 kernel of ones sees four in the first corner; padding="same" would put nine there."""
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, _layers.conv(1, 3, "conv", strides=2)(inputs))
    model.get_layer("conv").set_weights([np.ones((3, 3, 1, 1))])
    found = inferred(model, np.ones((1, 4, 4, 1), "float32"))
    np.testing.assert_allclose(found[0, :, :, 0], [[4, 6], [6, 9]])


@pytest.mark.parametrize(("channels", "strides"), [(8, (1, 1)), (15, (1, 1)), (16, (2, 2)), (64, (2, 2))])
def test_a_strided_shortcut_takes_every_other_pixel(channels, strides):
    """Takes every other pixel in a strided shortcut, beforehand where there are few channels.

    oneDNN 3.12 corrupts memory in the gradient of a strided 1x1 convolution of fewer than 16 channels.
    """
    inputs = keras.Input((5, 4, channels))
    model = keras.Model(inputs, _layers.conv(2, 1, "shortcut", strides=2)(inputs))
    assert model.get_layer("shortcut").strides == strides
    x = np.random.default_rng(0).normal(size=(2, 5, 4, channels))
    kernel = np.float64(ops.convert_to_numpy(model.get_layer("shortcut").kernel))[0, 0]
    found = inferred(model, x.astype("float32"))
    np.testing.assert_allclose(found, x[:, ::2, ::2] @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_pixels_of_any_type_are_normalised_inside(dtype):
    """Normalizes pixels of any type inside the network."""
    model = backbones.ir_resnet((1,), widths=(4,), image_size=(8, 8), embedding_size=2)
    inside = keras.Model(model.input, model.get_layer("normalize").output)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(dtype)
    wanted = (np.float64(pixels) - 127.5) / 128
    halves = backbones.ir_resnet((1,), widths=(4,), image_size=(8, 8), embedding_size=2, input_scale=127.5)
    assert halves.get_layer("normalize").scale * 127.5 == pytest.approx(1)
    np.testing.assert_allclose(ops.convert_to_numpy(inside(pixels)), wanted, atol=1e-6)
    np.testing.assert_allclose(inferred(inside, pixels), wanted, atol=1e-6)


@pytest.mark.once
def test_the_last_scale_is_fixed_and_slopes_start_at_a_quarter(released):
    """Fixes the last scale, and starts slopes at a quarter."""
    for model in released.values():
        names = {weight.path for weight in model.weights}
        assert "embedding/gamma" not in names and "embedding/beta" in names
        slopes = [np.unique(ops.convert_to_numpy(weight)) for weight in model.weights if weight.name == "alpha"]
        # One PReLU in the stem and one in each unit; one slope a channel.
        assert len(slopes) == 1 + sum(UNITS[model.name])
        assert all(slope.tolist() == [0.25] for slope in slopes)
        alpha = next(weight for weight in model.weights if weight.path == "stem_prelu/alpha")
        assert tuple(alpha.shape) == (1, 1, 64)


def test_kernels_start_as_the_released_code_s():
    """Draws kernels as the released code does."""
    # Normal with variance 2 / fan_out, fan_out = 3 * 3 * 512.
    model = backbones.ir_resnet((1,), widths=(512,), image_size=(8, 8), embedding_size=2)
    kernel = ops.convert_to_numpy(model.get_layer("stage1_unit1_conv1").kernel)
    assert kernel.std() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    # Not cut off: two million draws reach beyond four deviations.
    assert np.abs(kernel).max() > 4 * kernel.std()


def test_batch_norm_has_the_released_momentum_and_epsilon():
    """Sets the released momentum and epsilon of batch normalization."""
    layer = _layers.batch_norm("bn")
    x = np.random.default_rng(0).normal(size=(64, 3)) * 1e-2
    found = ops.convert_to_numpy(layer(ops.array(x, "float32"), training=True))
    np.testing.assert_allclose(found, (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_mean), 0.1 * x.mean(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_variance), 0.9 + 0.1 * x.var(axis=0), rtol=1e-5)


def test_a_saved_network_is_read_back_equal_and_names_no_backend(images, tmp_path):
    """Reads a saved network back equal, without a backend's name in the file."""
    options = {"widths": (4,), "embedding_size": 6, "squeeze_excite": True}
    model = with_random_weights(backbones.ir_resnet((1,), image_size=(12, 10), **options))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(inferred(again, images), inferred(model, images), rtol=1e-6)
    layer = again.get_layer("embedding")
    assert type(layer) is _layers.SyncBatchNormalization
    # Keras refuses synchronized=True elsewhere than on TensorFlow: the file must not say it, the layer must have it.
    assert layer.synchronized == (keras.backend.backend() == "tensorflow")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"synchronized" not in archive.read("config.json")


def test_dropout_acts_in_training_alone(images):
    """Drops out in training alone."""
    model = backbones.ir_resnet((1,), widths=(4,), image_size=(12, 10), embedding_size=6, dropout=0.5)
    first, second = (ops.convert_to_numpy(model(images, training=False)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (ops.convert_to_numpy(model(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_an_unknown_name_lists_the_names():
    """Lists the names for an unknown one."""
    with pytest.raises(
        ValueError,
        match=r"Unknown backbone 'resnet50'. Did you mean 'ir_resnet50'\? Known backbones: inception.*, ir_resnet200",
    ):
        backbones.build("resnet50")


def test_a_stage_without_a_width_is_refused():
    """Refuses a stage without a width."""
    with pytest.raises(ValueError, match=r"a width for each stage. Received: units=\(2, 2\), widths=\(4,\)"):
        backbones.ir_resnet((2, 2), widths=(4,))

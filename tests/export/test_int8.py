"""The ranges of int8, what stays in floats, and the network without PReLU."""

import logging

import keras
import numpy as np
import pytest
from exported import cosines, run_tflite, smooth_picture

import keras_margin as km
from keras_margin import export
from keras_margin.export import _int8
from keras_margin.models import backbones

pytestmark = pytest.mark.tensorflow_only

SIDE = 32


@pytest.fixture(scope="module")
def images():
    return np.stack([smooth_picture(seed, SIDE, SIDE) for seed in range(8)])


@pytest.fixture(scope="module")
def network():
    """A bottleneck: convolution, PReLU, padded depthwise convolution, PReLU, convolution."""
    keras.utils.set_random_seed(0)

    def prelu():
        return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2])

    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127.5 / 128)(pixels)
    x = prelu()(keras.layers.Conv2D(16, 3, strides=2, padding="same")(x))
    x = keras.layers.DepthwiseConv2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.Conv2D(8, 1)(prelu()(x))
    return keras.Model(pixels, keras.layers.Dense(12)(keras.layers.Flatten()(x)), name="bottleneck")


@pytest.fixture(scope="module")
def converted(network, images, tmp_path_factory):
    """The int8 file of the network for dark faces: {integer_only: (path, report, what it warned)}."""
    folder, said = tmp_path_factory.mktemp("int8"), []
    dark = np.zeros_like(images) + np.arange(len(images), dtype=np.uint8)[:, None, None, None]
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("keras_margin.export").addHandler(handler)

    def convert(integer_only):
        path = folder / f"{integer_only}.tflite"
        options = export.Options(batch_size=1, integer_only=integer_only, limits=export.Limits(mean=-1.0))
        given = {"quantize": "int8", "representative": dark, "samples": images}
        return path, export.to_tflite(network, path, options=options, **given), said.pop()

    found = {integer_only: convert(integer_only) for integer_only in (False, True)}
    logging.getLogger("keras_margin.export").removeHandler(handler)
    return found


def operators(path):
    """[(operator, dtype, scale, zero point of what it makes)] of a file, in order, XNNPACK's own left out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    made = [(each["op_name"], details[each["outputs"][0]]) for each in interpreter._get_ops_details()]
    return [(name, detail["dtype"], *detail["quantization"]) for name, detail in made if name != "DELEGATE"]


def squared_error(values, low, high):
    """Of rounding to 255 steps inside and clipping outside, in float64: the formula of the module's head."""
    clipped = np.maximum(low - values, 0) ** 2 + np.maximum(values - high, 0) ** 2
    return clipped.mean() + ((high - low) / 255) ** 2 / 12


@pytest.mark.parametrize("shape", ["normal", "relu", "outlier"])
def test_a_range_is_that_of_least_squared_error(shape):
    """Ends a range at the least squared error."""
    generator = np.random.default_rng(0)
    values = generator.normal(0.5, 1.0, 5_000)
    values = np.maximum(values, 0) if shape == "relu" else values
    values = np.append(values, 20.0) if shape == "outlier" else values
    lowest, highest = values.min(), values.max()
    counts = np.histogram(values, _int8._BINS, (lowest, highest))[0]
    low, high = _int8._least_error(counts, lowest, highest)
    assert lowest <= low <= 0 <= high <= highest
    best = min(
        squared_error(values, a * min(lowest, 0), b * highest)
        for a in np.linspace(0.02, 1, 50)
        for b in np.linspace(0.02, 1, 50)
    )
    # The histogram's bins are all that the search knows of the values.
    assert squared_error(values, low, high) <= 1.02 * best
    assert squared_error(values, low, high) <= squared_error(values, lowest, highest)


def test_a_laplace_distributions_range_is_calculus_s():
    """Ends the range of a Laplace distribution where calculus says."""
    edges = np.linspace(-30, 30, _int8._BINS + 1)
    below = np.where(edges < 0, np.exp(edges) / 2, 1 - np.exp(-edges) / 2)
    low, high = _int8._least_error(np.diff(below), -30.0, 30.0)
    # E(a) = 2 exp(-a) + (2 a / 255)^2 / 12, whose slope is zero where exp(-a) = a / (3 255^2): at 9.89.
    assert high == pytest.approx(9.89, abs=30 / _int8._ENDS) and low == -high


def test_a_range_of_one_value_has_zero_and_that_value():
    """Includes zero and the value in a range of a single value."""
    assert _int8._least_error(np.array([4.0]), 2.0, 2.0) == (0.0, 2.0)
    assert _int8._least_error(np.array([4.0]), -3.0, -3.0) == (-3.0, 0.0)


@pytest.mark.slow
def test_pixels_have_their_whole_range(converted, images, network):
    """Gives the input the whole range of pixels, also where the calibration faces are dark."""
    path, report, _ = converted[False]
    name, dtype, scale, zero = next(each for each in operators(path) if each[0] == "QUANTIZE")
    assert (dtype, zero) == (np.int8, -1) and scale == pytest.approx(2 * (127.5 / 128) / 255, rel=0.01)
    # Dark faces set all other ranges, and these are bright ones.
    assert report.mean_cosine == pytest.approx(cosines(run_tflite(path, images), network.predict(images)).mean())


@pytest.mark.slow
def test_prelus_compute_in_floats_unless_asked(converted):
    """Computes PReLUs and what lies between them in floats, unless integers are asked for."""
    types = {
        integer_only: {name: dtype for name, dtype, *_ in operators(path)}
        for integer_only, (path, *_) in converted.items()
    }
    mixed, integers = types[False], types[True]
    # Of a unit vector's entries too: 128 steps to 1 are few.
    for name in ("PRELU", "PAD", "DEPTHWISE_CONV_2D", "L2_NORMALIZATION"):
        assert (mixed[name], integers[name]) == (np.float32, np.int8)
    for name in ("CONV_2D", "FULLY_CONNECTED"):
        assert mixed[name] == integers[name] == np.int8


@pytest.mark.slow
def test_integer_only_leaves_no_float_in_the_file(converted):
    """integer_only=True: every tensor of the file, as the interpreter lists them, is of integers; the default has some.

    What goes in is uint8 with a step of one grey level, what comes out int8 of 128 steps to 1.
    """
    from ai_edge_litert.interpreter import Interpreter

    files = {integer_only: Interpreter(str(path)) for integer_only, (path, *_) in converted.items()}
    floats = {
        integer_only: [each["name"] for each in file.get_tensor_details() if np.issubdtype(each["dtype"], np.inexact)]
        for integer_only, file in files.items()
    }
    assert floats[True] == [] and floats[False]
    (image,), (embedding,) = files[True].get_input_details(), files[True].get_output_details()
    assert (image["dtype"], *image["quantization"]) == (np.uint8, 1.0, 0)
    assert (embedding["dtype"], *embedding["quantization"]) == (np.int8, 1 / 128, 0)


@pytest.mark.slow
def test_integer_only_tells_how_its_embedding_is_stored(converted):
    """The metadata have the type, scale and zero point of an embedding in integers, and promise no unit length."""
    stored = km.runtime.read_metadata(converted[True][0])["embedding"]
    assert stored["dtype"] == "int8" and (stored["scale"], stored["zero_point"]) == (1 / 128, 0)
    assert stored["unit_length"] is False
    assert km.runtime.read_metadata(converted[False][0])["embedding"]["dtype"] == "float32"


@pytest.mark.slow
def test_integer_only_refuses_operators_without_integers(images, tmp_path):
    """An operator that TFLite keeps in floats is an error that names operator and layer, and writes no file."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    x = keras.layers.Activation("elu", name="bent")(keras.layers.Dense(8)(x))
    given = {"quantize": "int8", "representative": images, "options": export.Options(integer_only=True)}
    with pytest.raises(export.ConversionError, match="first of them ELU in layer 'bent'. Replace the layer") as caught:
        export.to_tflite(keras.Model(pixels, x, name="own"), tmp_path / "face.tflite", **given)
    assert (caught.value.operator, caught.value.layer) == ("ELU", "bent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [export.to_tflite, export.to_precisions])
def test_int8_refuses_seven_representative_images(write, network, images, tmp_path):
    """int8 needs eight representative images that differ: eight of which two are equal are seven."""
    seven = images[[0, 1, 2, 3, 4, 5, 6, 6]]
    quantize = "int8" if write is export.to_tflite else (None, "int8")
    message = "at least 8 different representative images.* Received: 7. Pass 100 or more"
    with pytest.raises(ValueError, match=message):
        write(network, tmp_path / "face.tflite", quantize=quantize, representative=seven)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_int8_of_prelu_warns_and_names_the_swap(converted, network, images, tmp_path, caplog):
    """Warns of PReLU in int8, and names the swap."""
    for integer_only, said in ((False, "2 PReLUs compute in float32"), (True, "2 PReLUs in int8 are slow")):
        assert said in converted[integer_only][2]
        assert "export.with_activation(network, 'leaky_relu')" in converted[integer_only][2]
    without = export.with_activation(network, "relu")
    export.to_tflite(without, tmp_path / "face.tflite", quantize="int8", representative=images)
    assert not caplog.records


def test_with_activation_keeps_the_other_weights(network, images):
    """Keeps the other weights in with_activation, and leaves the network as it was."""
    leaky = export.with_activation(network, "leaky_relu")
    # All slopes are 0.25, as they start: then it is the same function.
    assert np.asarray(leaky(images)) == pytest.approx(np.asarray(network(images)), abs=1e-5)
    relu = export.with_activation(km.EmbeddingModel(network, km.ArcFaceHead(3)), "relu")
    kinds = {type(layer) for layer in relu.layers}
    assert keras.layers.ReLU in kinds and keras.layers.PReLU not in kinds
    before = [weight.numpy() for weight in network.weights]
    relu.set_weights([weight + 1 for weight in relu.get_weights()])
    assert all(np.array_equal(weight, was) for weight, was in zip(network.get_weights(), before, strict=True))


@pytest.mark.slow
def test_with_activation_equals_a_network_built_with_it(tmp_path):
    """Gives the weights of a backbone that was built with the activation."""
    sizes = {"image_size": (32, 32), "embedding_size": 8, "blocks": (1, 1, 1, 1)}
    given = export.with_activation(backbones.build("mobilefacenet", **sizes), "relu")
    built = backbones.build("mobilefacenet", activation="relu", **sizes)
    built.set_weights(given.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    assert np.asarray(built(images)) == pytest.approx(np.asarray(given(images)), abs=1e-5)


def test_with_activation_refuses_what_it_cannot_do(network):
    """Refuses an activation that cannot be swapped."""
    with pytest.raises(ValueError, match="activation must be one of 'relu', 'leaky_relu'. Received: .*'prelu'"):
        export.with_activation(network, "prelu")
    with pytest.raises(ValueError, match="bottleneck has no PReLU"):
        export.with_activation(export.with_activation(network, "relu"), "relu")


@pytest.mark.slow
def test_dynamic_rounds_no_depthwise_weights(tmp_path, images):
    """Rounds the weights of dynamic, but not those of depthwise convolutions."""
    from ai_edge_litert.interpreter import Interpreter

    keras.utils.set_random_seed(1)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127.5 / 128)(pixels)
    x = keras.layers.Conv2D(128, 3, strides=4, activation="relu")(x)
    for _ in range(4):  # Of 128 channels: depthwise kernels of 1,152 weights.
        x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(128, 1, activation="relu")(x)
    network = keras.Model(pixels, keras.layers.Dense(8)(keras.layers.GlobalAveragePooling2D()(x)))

    def weights(quantize):
        """{kind: [weights of each such operator]} of the file."""
        path = tmp_path / f"{quantize}.tflite"
        export.to_tflite(network, path, quantize=quantize, samples=images, options=export.Options(batch_size=1))
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        found = {}
        for each in interpreter._get_ops_details():
            if each["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                found.setdefault(each["op_name"], []).append(interpreter.get_tensor(each["inputs"][1]))
        return found

    plain, dynamic = weights(None), weights("dynamic")
    assert sum(each.size > 1024 for each in plain["DEPTHWISE_CONV_2D"]) > 3  # Smaller ones the converter leaves alone.
    for ours, theirs in zip(dynamic["DEPTHWISE_CONV_2D"], plain["DEPTHWISE_CONV_2D"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {each.dtype for each in dynamic["CONV_2D"] if each.size > 1024} == {np.dtype(np.int8)}

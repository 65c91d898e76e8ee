"""What an export says where a network cannot be converted, or its embeddings cannot be compared."""

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
from keras_margin import export  # noqa: E402
from keras_margin.cli import main  # noqa: E402
from keras_margin.export import _cosines, _errors, _source  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

SIDE = 16


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)


def network(*layers):
    """A network of one layer after the other behind a Rescaling."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for layer in layers:
        x = layer(x)
    return keras.Model(pixels, x, name="face")


def recurrent():
    return network(keras.layers.Reshape((SIDE, SIDE * 3)), keras.layers.LSTM(4, name="memory"))


class InverseErf(keras.layers.Layer):
    """An operator that neither TFLite nor ONNX has."""

    def call(self, x):
        return tf.math.erfinv(tf.clip_by_value(x, -0.9, 0.9))

    def compute_output_shape(self, input_shape):
        return input_shape


def unknown_operator():
    return network(keras.layers.Flatten(), keras.layers.Dense(4), InverseErf(name="strange"))


# --- Converters -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loop_of_any_batch_names_layer_and_fixed_batch(images, tmp_path, capfd):
    """An LSTM with a free batch is a short error that names the layer and batch_size=1, chained to TFLite's own."""
    with pytest.raises(export.ConversionError, match="in layer 'memory' failed.*need a fixed batch: pass") as caught:
        export.to_tflite(recurrent(), tmp_path / "face.tflite", samples=images)
    assert (caught.value.operator, caught.value.layer) == ("TensorListReserve", "memory")
    assert type(caught.value.__cause__).__name__ == "ConverterError"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_loop_of_a_fixed_batch_is_exported(images, tmp_path):
    """The advice holds: with batch_size=1 the same LSTM is exported."""
    options = export.Options(batch_size=1)
    assert export.to_tflite(recurrent(), tmp_path / "face.tflite", samples=images, options=options).passed


@pytest.mark.parametrize("batch_size", [None, 1])
def test_int8_of_a_loop_is_refused_before_the_converter(batch_size, images, tmp_path):
    """int8 of an LSTM, in which TFLite's calibration crashes the process, is an error that names the layer."""
    given = {"quantize": "int8", "representative": images, "options": export.Options(batch_size=batch_size)}
    with pytest.raises(export.ConversionError, match="a loop in layer 'memory'. Use quantize='dynamic' or 'float16'"):
        export.to_tflite(recurrent(), tmp_path / "face.tflite", **given)


@pytest.mark.parametrize("name", ["face.tflite", "face.onnx"])
def test_an_operator_that_is_missing_is_named(name, images, tmp_path, capfd):
    """An operator that TFLite or ONNX Runtime does not have is named with its layer, and another format suggested."""
    if name == "face.onnx":
        pytest.importorskip("tf2onnx"), pytest.importorskip("onnxruntime")
    write = export.to_onnx if name == "face.onnx" else export.to_tflite
    with pytest.raises(
        export.ConversionError, match="operator Erfinv in layer 'strange' failed.*Replace the layer, or"
    ):
        write(unknown_operator(), tmp_path / name, samples=images)
    assert capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    """`keras-margin export` of a network that TFLite cannot write prints one line and returns 1."""
    recurrent().save(tmp_path / "model.keras")
    assert main(["export", str(tmp_path / "model.keras"), str(tmp_path / "face.tflite")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("keras-margin export: ")]
    assert len(lines) == 1 and "operator TensorListReserve in layer 'memory' failed" in lines[0]
    assert "--batch=1" in lines[0]


LIBRARIES = [
    ("Node number 3 (RESHAPE) failed to prepare.", "RESHAPE", "strange"),
    ("Non-zero status code: Node (face_1/strange_1/Loop) Op (Loop) [ShapeInferenceError]", "Loop", "strange"),
    ("Could not find an implementation for Erf(13) node with name 'face_1/strange_1/e'", "Erf", "strange"),
    ("Tensorflow op [face_1/strange_1/FFT: FFT] is not supported", "FFT", "strange"),
    ("out of luck", None, None),
]


@pytest.mark.parametrize(("text", "operator", "layer"), LIBRARIES)
def test_a_library_s_words_give_operator_and_layer(text, operator, layer):
    """Operator and layer are found in the words of LiteRT, ONNX Runtime and tf2onnx; other words pass as they are."""
    names = {3: "face_1/strange_1/Reshape"}
    error = _errors.conversion_error(RuntimeError(text), unknown_operator(), "ONNX", names.get)
    assert (error.operator, error.layer) == (operator, layer)
    assert text.splitlines()[0] in str(error)


# --- Embeddings that cannot be compared -----------------------------------------------------------------------------


def test_cosines_of_numbers_whose_squares_overflow():
    """The gate's cosine is exact near the ends of float64: cos(60 degrees) is 1/2 whatever the length."""
    rows = np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    for length in (1e-300, 1.0, 1e300):
        assert _cosines.cosines(length * rows[:1], rows[1:])[0] == pytest.approx(0.5, abs=1e-12)
    bad = np.array([[0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0]])
    assert _cosines.cosines(bad, np.ones((3, 2))).tolist() == [-1.0] * 3


def test_an_embedding_beyond_float32_squares_is_explained(images, tmp_path):
    """A network whose embedding overflows float32 when squared is refused with the reason, not with a cosine alone."""
    model = network(keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Rescaling(1e25))
    message = r"has numbers up to \d.\de\+2\d, whose squares float32 cannot sum \(beyond 9.2e\+18\).*BatchNormalization"
    with pytest.raises(export.ParityError, match=message):
        export.to_tflite(model, tmp_path / "face.tflite", samples=images)


def test_a_model_of_nan_is_named_as_the_cause(images, tmp_path):
    """A network that itself puts out NaN is refused as such: the file is not at fault."""
    model = network(keras.layers.Flatten(), keras.layers.Dense(4))
    model.layers[-1].bias.assign([np.nan] * 4)
    with pytest.raises(export.ParityError, match=r"The model's own embedding of sample image 0 .*\(8 of 8 images\)"):
        export.to_savedmodel(model, tmp_path / "face", samples=images)


# --- What is not an embedder ----------------------------------------------------------------------------------------


def test_a_classifier_is_not_exported(tmp_path):
    """A network that ends in a softmax is refused: its probabilities are not an embedding."""
    model = network(keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax", name="classes"))
    with pytest.raises(ValueError, match="face, a classifier: its last layer 'classes' is a softmax over 4"):
        export.to_tflite(model, tmp_path / "face.tflite")


def test_a_model_of_tf_keras_is_named():
    """A tf_keras model is a TypeError that names tf_keras."""
    old = type("Functional", (), {"__module__": "tf_keras.src.engine.functional", "name": "old"})()
    with pytest.raises(TypeError, match="old is a model of tf_keras"):
        _source.extract_embedder(old)

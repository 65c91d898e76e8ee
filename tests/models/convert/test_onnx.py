"""Any convolutional ONNX embedder as a Keras model: each operator against ONNX Runtime, and what is refused."""

import json

import keras
import numpy as np
import pytest
from onnx_files import SIDE, Graph, averages, write

from keras_margin import cli
from keras_margin._utils import metadata
from keras_margin.models import convert
from keras_margin.models.convert import _onnx_operators

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
SHAPE_OF_IMAGES = np.array([0])


def runtime_rows(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x, np.float32)})
    return rows


def conv(**attributes):
    return lambda g: g.conv(6, **attributes)


def on_map(operator, *inputs, channels=6, **attributes):
    """The operator behind a convolution of 6 channels."""

    def add(g):
        x = g.conv(channels)
        g.add(operator, x, *[each(g) if callable(each) else each for each in inputs], **attributes)

    return add


def after_relu(operator, **attributes):
    def add(g):
        g.conv(6)
        g.add(operator, g.add("Relu", g.last), **attributes)

    return add


def drawn(*shape, low=-1.0):
    return lambda g: g.drawn(*shape, low=low)


def flattened(*then):
    """Flattens the map by what PyTorch writes: a shape whose first number is computed from the images'."""

    def add(g):
        x = g.conv(4)
        count = g.add("Gather", g.add("Shape", x), np.array(0), axis=0)
        target = g.add("Concat", g.add("Unsqueeze", count, SHAPE_OF_IMAGES), np.array([-1]), axis=0)
        g.add("Reshape", x, target)

    return add


def squeeze_excite(g):
    x = g.conv(8)
    gate = g.add("GlobalAveragePool", x)
    gate = g.add("Relu", g.add("Conv", gate, g.drawn(2, 8, 1, 1)))
    g.add("Mul", x, g.add("Sigmoid", g.add("Conv", gate, g.drawn(8, 2, 1, 1))))


def split_and_join(g):
    """ShuffleNet's unit: half the channels pass, the joined ones are shuffled by a reshape of five axes."""
    x = g.conv(8)
    first = g.add("Split", x, np.array([4, 4]), axis=1, outputs=2)
    g.conv(4, first.replace("_0", "_1"), before=4)
    joined = g.add("Concat", first, g.last, axis=1)
    parted = g.add("Reshape", joined, np.array([0, 2, 4, SIDE, SIDE]))
    g.add("Reshape", g.add("Transpose", parted, perm=[0, 2, 1, 3, 4]), np.array([0, 8, SIDE, SIDE]))


def channels_last_inside(g):
    x = g.add("Transpose", g.conv(4), perm=[0, 2, 3, 1])
    g.add("Mul", x, g.drawn(4))
    g.add("Transpose", g.last, perm=[0, 3, 1, 2])


def normalized_as_in_pytorch(g):
    """torch.nn.functional.normalize of a map along its channels."""
    x = g.conv(5)
    length = g.add("Clip", g.add("ReduceL2", x, axes=[1], keepdims=1), np.float32(1e-12))
    g.add("Div", x, g.add("Expand", length, g.add("Shape", x)))


def branches(g):
    x = g.conv(4)
    pooled = g.add("MaxPool", g.add("Relu", x), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    g.conv(6, x, before=4, strides=[2, 2])
    g.add("Concat", pooled, g.last, axis=1)


def prelu_of_tensorflow(g):
    """relu(x) + c (x - |x|): PReLU as TensorFlow 1's networks have it."""
    x = g.conv(6)
    below = g.add("Mul", g.add("Sub", x, g.add("Abs", x)), g.drawn(1, 6, 1, 1))
    g.add("Add", g.add("Relu", x), below)


def prelu_of_keras(g):
    """relu(x) - c relu(-x): PReLU as Keras computes it."""
    x = g.conv(6)
    g.add("Add", g.add("Mul", g.drawn(6, 1, 1), g.add("Relu", g.add("Neg", x))), g.add("Relu", x))


def gemm(**attributes):
    def add(g):
        g.add("Flatten", g.add("GlobalAveragePool", g.conv(6)))
        kernel = g.drawn(6, 4).T if attributes.get("transB") else g.drawn(6, 4)
        g.add("Gemm", g.last, np.ascontiguousarray(kernel), g.drawn(4), **attributes)

    return add


CASES = {
    "Conv": conv(),
    "Conv, stride 2": conv(strides=[2, 2]),
    "Conv, uneven padding": conv(pads=[0, 1, 2, 1]),
    "Conv, dilated": conv(dilations=[2, 2], pads=[2, 2, 2, 2]),
    "Conv, auto_pad upper": conv(auto_pad="SAME_UPPER", pads=None, strides=[2, 2]),
    "Conv, auto_pad lower": conv(auto_pad="SAME_LOWER", pads=None, strides=[2, 2]),
    "Conv, grouped": lambda g: g.conv(4, g.conv(8), before=8, group=4),
    "Conv, depthwise": lambda g: g.conv(8, g.conv(8), before=8, group=8),
    "Conv, two outputs a channel": lambda g: g.conv(8, g.conv(4), before=4, group=4, strides=[2, 2]),
    "Conv, no square": lambda g: g.add("Conv", "image", g.drawn(4, 3, 1, 5), pads=[0, 2, 0, 2]),
    "BatchNormalization": on_map("BatchNormalization", drawn(6), drawn(6), drawn(6), drawn(6, low=0.5), epsilon=1e-3),
    "PRelu": on_map("PRelu", drawn(6, 1, 1)),
    "PRelu, one slope": on_map("PRelu", np.array([0.3], np.float32)),
    "Relu": on_map("Relu"),
    "LeakyRelu": on_map("LeakyRelu", alpha=0.3),
    "Elu": on_map("Elu", alpha=0.7),
    "Clip, relu6": on_map("Clip", np.float32(0), np.float32(6)),
    "Clip": on_map("Clip", np.float32(-3), np.float32(40)),
    "Clip, below": on_map("Clip", np.float32(-3)),
    "Clip, above": on_map("Clip", "", np.float32(3)),
    "Sigmoid": on_map("Sigmoid"),
    "Tanh": on_map("Tanh"),
    "Softplus": on_map("Softplus"),
    "HardSwish": on_map("HardSwish"),
    "HardSigmoid": on_map("HardSigmoid", alpha=0.01, beta=0.4),
    "Sqrt": after_relu("Sqrt"),
    "Exp": lambda g: g.add("Exp", g.add("Neg", g.add("Abs", g.conv(6)))),
    "Log": lambda g: g.add("Log", g.add("Add", g.add("Abs", g.conv(6)), np.float32(1))),
    "Reciprocal": lambda g: g.add("Reciprocal", g.add("Add", g.add("Abs", g.conv(6)), np.float32(1))),
    "Pow": on_map("Pow", np.float32(2)),
    "Add of two": lambda g: g.add("Add", g.conv(6), g.conv(6, "image")),
    "Sub of two": lambda g: g.add("Sub", g.conv(6), g.conv(6, "image")),
    "Mul of two": lambda g: g.add("Mul", g.conv(6), g.conv(6, "image")),
    "Div of two": lambda g: g.add("Div", g.conv(6), g.add("Add", g.add("Abs", g.conv(6, "image")), np.float32(1))),
    "Max of two": lambda g: g.add("Max", g.conv(6), g.conv(6, "image")),
    "Min of two": lambda g: g.add("Min", g.conv(6), g.conv(6, "image")),
    "Add a number": on_map("Add", np.float32(7)),
    "Add a number a channel": on_map("Add", drawn(6, 1, 1)),
    "Add a map": on_map("Add", drawn(1, 6, SIDE, SIDE)),
    "Add a number a column": on_map("Add", drawn(SIDE)),
    "Sub from a number": lambda g: g.add("Sub", np.float32(5), g.conv(6)),
    "Sub a number a channel": on_map("Sub", drawn(1, 6, 1, 1)),
    "Mul a number a channel": on_map("Mul", drawn(6, 1, 1)),
    "Div by a number": on_map("Div", np.float32(7)),
    "Div of a number": lambda g: g.add("Div", np.float32(5), g.add("Add", g.add("Abs", g.conv(6)), np.float32(1))),
    "Max of a number": on_map("Max", np.float32(1)),
    "Min of a number": on_map("Min", np.float32(1)),
    "Gemm": gemm(alpha=0.5, beta=2.0),
    "Gemm, turned round": gemm(transB=1),
    "MatMul": lambda g: g.add("MatMul", g.add("Flatten", g.conv(3)), g.drawn(3 * SIDE * SIDE, 4)),
    "GlobalMaxPool": on_map("GlobalMaxPool"),
    "MaxPool": on_map("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool, padded": on_map("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool, padded behind Relu": branches,
    "MaxPool of one": on_map("MaxPool", kernel_shape=[1, 1], strides=[2, 2]),
    "MaxPool, ceil_mode": on_map("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "AveragePool": on_map("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "AveragePool, padding counts": on_map(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "AveragePool, padding left out": on_map("AveragePool", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
    "Pad": on_map("Pad", np.array([0, 0, 1, 2, 0, 0, 2, 1])),
    "Pad with a number": on_map("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(3)),
    "Pad, reflecting": on_map("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect"),
    "Transpose": channels_last_inside,
    "Squeeze": lambda g: g.add("Squeeze", g.add("GlobalAveragePool", g.conv(6)), np.array([2, 3])),
    "Unsqueeze": lambda g: g.add(
        "Unsqueeze", g.add("ReduceMean", g.conv(6), axes=[2, 3], keepdims=0), np.array([2, 3])
    ),
    "ReduceMean": on_map("ReduceMean", axes=[2, 3], keepdims=0),
    "ReduceMean of channels": on_map("ReduceMean", axes=[1], keepdims=0),
    "ReduceSum": on_map("ReduceSum", np.array([-1]), keepdims=1),
    "ReduceMax": on_map("ReduceMax", axes=[1], keepdims=1),
    "ReduceL2": on_map("ReduceL2", axes=[2, 3], keepdims=1),
    "LpNormalization": on_map("LpNormalization", axis=1),
    "Slice": on_map("Slice", np.array([1, 0]), np.array([5, 2**62]), np.array([1, 3]), np.array([1, 2])),
    "Split and Concat": split_and_join,
    "Squeeze-and-excitation": squeeze_excite,
    "Reshape by the images' number": flattened(),
    "Identity, Dropout, Cast": lambda g: g.add("Cast", g.add("Dropout", g.add("Identity", g.conv(6))), to=1),
    "functional.normalize": normalized_as_in_pytorch,
    "PReLU of TensorFlow": prelu_of_tensorflow,
    "PReLU of Keras": prelu_of_keras,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_operator_computes_what_onnx_runtime_does(case, tmp_path):
    """The whole tensor behind the operator, flattened channels first."""
    graph = Graph()
    CASES[case](graph)
    graph.add("Flatten", graph.last)
    path = graph.save(tmp_path / "net.onnx")
    model = convert.from_onnx(path, (127.5, 128.0))
    wanted = runtime_rows(path, ((PIXELS - np.float32(127.5)) / np.float32(128)).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


OLD = {
    "Clip": (6, lambda g: g.add("Clip", g.conv(4), min=0.0, max=6.0)),
    "Pad": (10, lambda g: g.add("Pad", g.conv(4), pads=[0, 0, 1, 1, 0, 0, 1, 1])),
    "Slice": (9, lambda g: g.add("Slice", g.conv(4), starts=[1], ends=[3], axes=[1])),
    "Squeeze": (11, lambda g: g.add("Squeeze", g.add("GlobalAveragePool", g.conv(4)), axes=[2, 3])),
    "ReduceSum": (11, lambda g: g.add("ReduceSum", g.conv(4), axes=[1], keepdims=0)),
    "Split": (11, lambda g: g.add("Split", g.conv(4), axis=1, outputs=2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", OLD)
def test_attributes_of_old_operators_are_read(case, tmp_path):
    """What newer files have as inputs, older ones have as attributes."""
    opset, add = OLD[case]
    graph = Graph()
    add(graph)
    graph.add("Flatten", graph.last)
    path = graph.save(tmp_path / "net.onnx", opset)
    model = convert.from_onnx(path, "raw")
    wanted = runtime_rows(path, PIXELS.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"batch": 1}, {"channels_first": False}, {"uint8": True}, {"external": True}])
def test_every_input_is_taken(options, tmp_path):
    """A fixed batch, channels last, pixels and external weights; the embedding is the formula's."""
    path = write(tmp_path / "net.onnx", **options)
    model = convert.from_onnx(path, None if "uint8" in options else "raw")
    assert model.input_shape == (None, SIDE, SIDE, 3)
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), averages(PIXELS), rtol=1e-4)


@pytest.mark.parametrize("channels_first", [True, False])
def test_a_bgr_network_takes_rgb(channels_first, tmp_path):
    """The model takes RGB, whatever the file was trained on."""
    path = write(tmp_path / "net.onnx", channels_first=channels_first)
    model = convert.from_onnx(path, "raw", channels="BGR")
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), averages(PIXELS[..., ::-1]), rtol=1e-4)


def test_the_first_kernel_takes_bgr_without_another_layer(tmp_path):
    """A convolution behind the normalization is given its channels in the opposite order: no operation is added."""
    graph = Graph()
    graph.add("Flatten", graph.conv(4))
    path = graph.save(tmp_path / "net.onnx")
    model = convert.from_onnx(path, "imagenet", channels="BGR")
    assert [type(layer).__name__ for layer in model.layers[:3]] == ["InputLayer", "Rescaling", "Conv2D"]


def test_the_normalization_is_the_first_layer(tmp_path):
    """imagenet: (x / 255 - mean) / std, in float64."""
    model = convert.from_onnx(write(tmp_path / "net.onnx"), "imagenet")
    assert isinstance(model.layers[1], keras.layers.Rescaling)
    wanted = averages(PIXELS / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("uint8", "given", "words"), [(False, None, "must be told how"), (True, "raw", "be left out")])
def test_the_normalization_is_never_guessed(uint8, given, words, tmp_path):
    """A file on floats has to be told; one on pixels refuses to be."""
    with pytest.raises(ValueError, match=words):
        convert.from_onnx(write(tmp_path / "net.onnx", uint8=uint8), given)


@pytest.mark.parametrize("write_prelu", [prelu_of_tensorflow, prelu_of_keras])
def test_prelu_in_several_nodes_is_one_layer(write_prelu, tmp_path):
    """What int8 and the eye want is one PReLU, not five operations."""
    graph = Graph()
    write_prelu(graph)
    graph.add("Flatten", graph.last)
    model = convert.from_onnx(graph.save(tmp_path / "net.onnx"), "raw")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Rescaling", "Conv2D", "PReLU", "Permute", "Reshape"]


@pytest.mark.slow
def test_the_model_is_saved_and_loaded_equal(tmp_path):
    """A .keras file of a converted network, constants inside, gives the same embeddings."""
    graph = Graph()
    graph.add("Flatten", graph.add("Add", squeeze_excite(graph) or graph.last, graph.drawn(1, 8, SIDE, SIDE)))
    model = convert.from_onnx(graph.save(tmp_path / "net.onnx"), "imagenet")
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(again.predict(PIXELS, verbose=0), model.predict(PIXELS, verbose=0), rtol=1e-6)


def test_an_unknown_operator_is_named_with_its_node(tmp_path):
    """Every one of them, before anything is built."""
    graph = Graph()
    graph.add("Softmax", graph.conv(4), name="attention")
    graph.add("Gelu", graph.last, name="curve", domain="com.microsoft")
    graph.add("Flatten", graph.last)
    with pytest.raises(ValueError, match=r"not converted: Gelu \(node 'curve'\), Softmax \(node 'attention'\). Known"):
        convert.from_onnx(graph.save(tmp_path / "net.onnx"), "raw")


REFUSED = {
    "ceil_mode": (
        lambda g: g.add("MaxPool", g.conv(4), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        "beyond the map",
    ),
    "a product of two": (lambda g: g.add("MatMul", g.conv(4), g.last), "computed from the images"),
    "images reduced": (lambda g: g.add("ReduceMean", g.conv(4), axes=[0]), "over the images"),
    "images in another place": (lambda g: g.add("Flatten", g.conv(4), axis=2), "flattens from axis 2"),
    "a look-up": (lambda g: g.add("Gather", g.conv(4), np.array([0]), axis=1), "on constants alone"),
    "padded channels": (lambda g: g.add("Pad", g.conv(4), np.array([0, 1, 0, 0, 0, 0, 0, 0])), "images or channels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_converted_is_said_with_its_node(case, tmp_path):
    """The operator, the node's name and the reason."""
    add, words = REFUSED[case]
    graph = Graph()
    add(graph)
    path = graph.save(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=f"net.onnx: the [A-Za-z]+ '{graph.last}' is not converted: .*{words}"):
        convert.from_onnx(path, "raw")


def test_a_network_that_differs_from_the_file_is_an_error(tmp_path, monkeypatch):
    """The gate: a wrong operator is found by its cosine."""
    graph = Graph()
    graph.add("Flatten", graph.add("Relu", graph.conv(4)))
    path = graph.save(tmp_path / "net.onnx")
    monkeypatch.setitem(_onnx_operators.OPERATORS, "Relu", _onnx_operators.OPERATORS["Abs"])
    with pytest.raises(ValueError, match="is not the file's: cosine .* at least 0.99999 is needed"):
        convert.from_onnx(path, (127.5, 128.0))


def small_tflite(path):
    """A float TFLite file of a small Keras network with a PReLU; the network."""
    import tensorflow as tf

    images = x = keras.Input((SIDE, SIDE, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = keras.layers.PReLU(keras.initializers.RandomUniform(0, 1, seed=1), shared_axes=[1, 2])(x)
    network = keras.Model(images, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    network.export(path.parent / "savedmodel", verbose=False)
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(path.parent / "savedmodel")).convert())
    return network


@pytest.mark.slow
def test_a_float_tflite_file_becomes_a_keras_model(tmp_path):
    """By way of ONNX, its normalization in front."""
    network = small_tflite(tmp_path / "net.tflite")
    model = convert.from_tflite(tmp_path / "net.tflite", (127.5, 128.0))
    wanted = network.predict((PIXELS - np.float32(127.5)) / np.float32(128), batch_size=1, verbose=0)
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), wanted, rtol=1e-4, atol=1e-5)
    assert "PReLU" in [type(layer).__name__ for layer in model.layers]
    with pytest.raises(ValueError, match="net.tflite takes float32, so .* must be told"):
        convert.from_tflite(tmp_path / "net.tflite")


@pytest.mark.slow
def test_the_command_converts_onnx(tmp_path, capsys, monkeypatch):
    """To .keras and to int8 .tflite, compared with ONNX Runtime on samples; the metadata say where it comes from."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    graph = Graph(batch=1)
    graph.add("Flatten", graph.add("Relu", graph.conv(8, strides=[2, 2])))
    graph.save("net.onnx")
    for person in range(8):
        (tmp_path / "faces" / str(person)).mkdir(parents=True)
        noise = np.random.default_rng(person).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "faces" / str(person) / "0.png")
    flags = ["--normalization=imagenet", "--samples=faces"]
    assert cli.main(["convert", "net.onnx", "net.keras", *flags]) == 0
    assert "Against ONNX Runtime on 8 images: cosine mean 1.0000" in capsys.readouterr().out
    assert cli.main(["convert", "net.onnx", "net.tflite", "--quantize=int8", "--representative=faces", *flags]) == 0
    assert "int8 weights and activations" in capsys.readouterr().out
    origin = metadata.read_metadata("net.tflite")["about"]["converted"]
    assert origin["from"] == "net.onnx" and origin["normalization"]["std"] == [58.395, 57.12, 57.375]
    assert cli.main(["convert", "net.onnx", "net.tflite"]) == 1
    assert "--normalization=127.5/128.0" in capsys.readouterr().err


def test_a_damaged_file_is_named(tmp_path):
    """Bytes that are not ONNX."""
    (tmp_path / "bad.onnx").write_bytes(b"not ONNX at all")
    with pytest.raises(ValueError, match="bad.onnx is not an ONNX file"):
        convert.from_onnx(tmp_path / "bad.onnx", "raw")


def test_a_declared_normalization_is_converted_with(tmp_path):
    """`image.normalization` of the file's metadata is taken where none is given, and another one is refused."""
    text = json.dumps({"image": {"normalization": {"mean": [123.675, 116.28, 103.53], "std": 57.0}}})
    path = write(tmp_path / "net.onnx", metadata=text)
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    found = convert.from_onnx(path).predict(images.astype("float32"), verbose=0)
    wanted = averages(images, np.array([123.675, 116.28, 103.53]), 57.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="declare normalization="):
        convert.from_onnx(path, "facenet")

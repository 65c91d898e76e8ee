"""insightface's files: names, shapes and layouts by its published description, what is refused, and the way back."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin import cli
from keras_margin.models import backbones, convert
from keras_margin.models.convert import _parts, _torch_file, insightface


def drawn(shapes, seed=0):
    """A state dict of these shapes, every number drawn."""
    generator = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        values = generator.uniform(0.5, 1, shape) if len(shape) == 1 else generator.normal(0, 0.05, shape)
        state[name] = values.astype("float32")
    return state


@pytest.fixture(scope="module")
def mobile():
    """A state dict of insightface's MobileFaceNet with 16 numbers an image."""
    return drawn(_parts.mobilefacenet_shapes((1, 4, 6, 2), 2, 16))


@pytest.fixture(scope="module")
def path(mobile, tmp_path_factory):
    path = tmp_path_factory.mktemp("convert") / "mobile.pth"
    _torch_file.save(mobile, path)
    return path


@pytest.fixture(scope="module")
def converted(path):
    return convert.from_insightface(path)


# PyTorch's own counts of the released networks, with 512 numbers an image and without moving statistics.
@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("ir_resnet18", 24_025_600),
        ("ir_resnet34", 34_139_328),
        ("ir_resnet50", 43_590_848),
        ("ir_resnet100", 65_156_160),
        ("ir_resnet200", 118_833_920),
        ("mobilefacenet_x2", 2_059_520),
    ],
)
def test_state_dicts_count_to_the_released_networks(name, trainable):
    """Counts the shapes of the state dicts to the released networks."""
    shapes = insightface._known(name).shapes(512)
    learned = {key: shape for key, shape in shapes.items() if "running" not in key}
    assert _parts.count(learned) == trainable


def test_names_are_those_of_insightface_s_code():
    """Names weights as insightface's code does."""
    ir = _parts.ir_shapes((3, 4, 14, 3), 512)
    assert ir["layer3.13.conv2.weight"] == (256, 256, 3, 3) and "layer3.14.conv2.weight" not in ir
    assert ir["layer2.0.downsample.0.weight"] == (128, 64, 1, 1) and "layer2.1.downsample.0.weight" not in ir
    assert ir["fc.weight"] == (512, 25_088) and ir["features.running_var"] == (512,)
    mobile = _parts.mobilefacenet_shapes((1, 4, 6, 2), 2, 512)
    assert mobile["layers.1.layers.0.weight"] == (128, 2, 3, 3)  # 64 groups of two channels.
    assert mobile["layers.5.layers.5.layers.1.layers.0.weight"] == (256, 1, 3, 3)
    assert mobile["features.layers.0.layers.0.weight"] == (512, 1, 7, 7)
    assert mobile["features.layers.2.weight"] == (512, 512)


def test_the_flattened_order_and_the_groups_are_turned_round():
    """One number at a time: PyTorch's position (channel, row, column) is ours (row, column, channel)."""
    theirs = np.arange(2 * 3 * 49, dtype="float32").reshape(2, 3 * 49)
    ours = _parts._read_flat(theirs, (3 * 49, 2))
    for output, channel, row, column in ((0, 0, 0, 0), (1, 2, 6, 5), (0, 1, 3, 0)):
        assert ours[(row * 7 + column) * 3 + channel, output] == theirs[output, channel * 49 + row * 7 + column]
    np.testing.assert_array_equal(_parts._write_flat(ours), theirs)
    theirs = np.arange(6 * 2 * 9, dtype="float32").reshape(6, 2, 3, 3)
    ours = _parts._read_grouped(theirs, (3, 3, 6, 2))
    for output, inside, row, column in ((0, 0, 0, 0), (3, 1, 2, 0), (5, 0, 1, 2)):
        assert ours[row, column, 2 * (output // 2) + inside, output % 2] == theirs[output, inside, row, column]
    np.testing.assert_array_equal(_parts._write_grouped(ours), theirs)


@pytest.mark.slow
def test_a_mobilefacenet_is_read_and_written_back_equal(mobile, converted, tmp_path):
    """Reads a MobileFaceNet, and writes it back equal."""
    assert (converted.name, converted.output_shape) == ("mobilefacenet_x2", (None, 16))
    assert converted.get_layer("normalize").scale * 127.5 == pytest.approx(1)
    convert.to_insightface(km.EmbeddingModel(converted, head=km.ArcFaceHead(3)), tmp_path / "back.pth")
    back = _torch_file.load(tmp_path / "back.pth")
    assert {name for name in back if name not in mobile} == {
        name.replace("running_var", "num_batches_tracked") for name in mobile if "running_var" in name
    }
    for name, array in mobile.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.slow
def test_an_ir_resnet_is_read_and_written_back(tmp_path, caplog):
    """Reads an IR-ResNet and writes it back, with its last scale folded."""
    shapes = _parts.ir_shapes((2, 2, 2, 2), 8)
    state = drawn(shapes)
    scale = state["features.weight"]
    _torch_file.save(state, tmp_path / "r18.pth")
    model = convert.from_insightface(tmp_path / "r18.pth", "ir_resnet18")
    assert model.name == "ir_resnet18" and "features.weight is not 1" in caplog.text
    # gamma (x - mean) / sqrt(var + eps) of PyTorch's last layer, and of ours, for a map of ones.
    wanted = scale * (state["fc.weight"].sum(axis=1) + state["fc.bias"] - state["features.running_mean"])
    wanted = wanted / np.sqrt(state["features.running_var"] + 1e-5) + state["features.bias"]
    found = model.get_layer("embedding")(model.get_layer("tail_fc")(ops.ones((1, 25_088))))
    np.testing.assert_allclose(ops.convert_to_numpy(found)[0], wanted, rtol=1e-3)
    convert.to_insightface(model, tmp_path / "back.pth")
    back = _torch_file.load(tmp_path / "back.pth")
    assert (back["features.weight"] == 1).all()
    for name in shapes:
        if not name.startswith(("fc", "features")):
            np.testing.assert_array_equal(back[name], state[name], err_msg=name)


@pytest.mark.slow
def test_another_pixel_scale_goes_into_the_first_kernel(path, mobile, tmp_path):
    """Folds another scale of pixels into the first kernel."""
    model = convert.from_insightface(path, input_scale=128.0)
    convert.to_insightface(model, tmp_path / "back.pth")
    back = _torch_file.load(tmp_path / "back.pth")
    first = "layers.0.layers.0.weight"
    # (x - 127.5) / 128 k = (x - 127.5) / 127.5 (127.5 / 128) k
    np.testing.assert_allclose(back[first], mobile[first] * (127.5 / 128), rtol=1e-6)


# --- What is refused ------------------------------------------------------------------------------------------------


def without(name):
    return lambda state: {key: array for key, array in state.items() if key != name}


def with_another(name, array):
    return lambda state: {**state, name: array}


BAD = {
    "a missing tensor": (
        without("layers.3.layers.1.layers.0.layers.1.bias"),
        "is not mobilefacenet_x2: layers.3.layers.1.layers.0.layers.1.bias is missing",
    ),
    "a tensor too many": (with_another("extra.weight", np.ones(3, "float32")), "extra.weight is one tensor too many"),
    "a wrong shape": (
        with_another("conv_sep.layers.2.weight", np.ones(3, "float32")),
        r"conv_sep.layers.2.weight is \(3,\), and should be \(512,\)",
    ),
    "a NaN": (
        with_another("conv_sep.layers.2.weight", np.full(512, np.nan, "float32")),
        "conv_sep.layers.2.weight holds NaN or infinity",
    ),
    "integers": (with_another("conv_sep.layers.2.weight", np.ones(512, "int64")), "is int64, and should be float32"),
    "another network": (
        lambda _: {"backbone.stem.weight": np.ones(3, "float32")},
        "of no network that is known here: its first tensor is 'backbone.stem.weight'",
    ),
    "no tensors": (lambda _: {}, "holds no state dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_first_difference_is_named(case, mobile, tmp_path):
    """Names the first difference."""
    change, message = BAD[case]
    _torch_file.save(change(mobile), tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=f"bad.pth.*{message}"):
        convert.from_insightface(tmp_path / "bad.pth")


def test_another_architecture_is_named_by_its_first_difference(path):
    """Names another architecture by its first difference."""
    with pytest.raises(ValueError, match="mobile.pth is not ir_resnet50: conv1.weight is missing"):
        convert.from_insightface(path, architecture="ir_resnet50")
    with pytest.raises(ValueError, match="architecture must be one of ir_resnet18, .*Received: 'r50'"):
        convert.from_insightface(path, architecture="r50")


@pytest.mark.slow
def test_what_insightface_has_no_network_for_is_not_written(tmp_path):
    """Refuses to write a network that insightface does not have."""
    narrow = {"widths": (8, 8, 8, 8), "embedding_size": 4}
    models = {
        "layer1.0.bn1.weight would be|conv1.weight would be": backbones.ir_resnet18(**narrow),
        "it has stage1_unit1_se": backbones.ir_resnet18(**narrow, squeeze_excite=True),
        "take 112 x 112 pixels": backbones.ir_resnet18(**narrow, image_size=(112, 96)),
        "Received neither": backbones.lenet_plus_plus(),
        "it has no last_prelu/alpha": backbones.mobilefacenet(blocks=(1, 1, 1, 1), activation="relu"),
    }
    for message, model in models.items():
        with pytest.raises(ValueError, match=message):
            convert.to_insightface(model, tmp_path / "out.pth")
    assert list(tmp_path.iterdir()) == []


# --- ONNX -----------------------------------------------------------------------------------------------------------


def exported(state, parts, folded, scaling=False):
    """The graph that torch.onnx writes of the network: normalisations behind convolutions are folded into them."""
    onnx = pytest.importorskip("onnx")
    nodes, constants, x, skipped = [], {}, "image", None
    kinds = {"prelu": "PRelu", "flat_dense": "Gemm", "dense": "Gemm"}

    def add(operator, *inputs, **attributes):
        nonlocal x
        names = [x]
        for value in inputs:
            names.append(f"c{len(constants)}")
            constants[names[-1]] = np.ascontiguousarray(value, "float32")
        x = f"t{len(nodes)}"
        nodes.append(onnx.helper.make_node(operator, names, [x], name=f"n{len(nodes)}", **attributes))

    if scaling:
        add("Sub", [127.5])
        add("Mul", [1 / 128])
    for part, behind in zip(parts, [*parts[1:], None], strict=True):
        if part is skipped:
            continue
        values = [state[f"{part.module}.{entry.theirs}"] for entry in _parts.KINDS[part.kind]]
        if part.kind in _parts.CONVOLUTIONS:
            kernel = values[0]
            if folded:
                gamma, beta, mean, variance = (
                    state[f"{behind.module}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
                )
                factor = gamma / np.sqrt(variance + 1e-5)
                add("Conv", kernel * factor[:, None, None, None], beta - mean * factor)
                skipped = behind
            else:
                add("Conv", kernel)
        elif part.kind in _parts.NORMS:
            add("BatchNormalization", *values, epsilon=1e-5)
        elif part.kind == "prelu":
            add("PRelu", values[0][:, None, None])
        else:
            add("Flatten")
            add(kinds[part.kind], *values, transB=1)
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "net", [], [], tensors)
    return onnx.helper.make_model(graph)


@pytest.mark.slow
@pytest.mark.parametrize("folded", [False, True])
def test_onnx_of_the_same_network_gives_the_same_embeddings(folded, mobile, converted, tmp_path):
    """Computes the same embeddings from ONNX of the same network."""
    onnx = pytest.importorskip("onnx")
    parts = _parts.mobilefacenet((1, 4, 6, 2))
    onnx.save(exported(mobile, parts, folded, scaling=folded), tmp_path / "mobile.onnx")
    model = convert.from_insightface(tmp_path / "mobile.onnx")
    assert model.name == "mobilefacenet_x2"
    # Pixels that the graph itself takes by (x - 127.5) / 128.
    assert model.get_layer("normalize").scale == pytest.approx(1 / 128 if folded else 1 / 127.5)
    inside = "last_prelu"
    mine = keras.Model(model.get_layer("normalize").output, model.get_layer(inside).output)
    theirs = keras.Model(converted.get_layer("normalize").output, converted.get_layer(inside).output)
    x = np.random.default_rng(0).normal(size=(1, 112, 112, 3)).astype("float32")
    wanted = ops.convert_to_numpy(theirs(x))
    np.testing.assert_allclose(ops.convert_to_numpy(mine(x)), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
def test_onnx_of_an_ir_resnet_is_recognized_by_its_units(tmp_path):
    """Recognizes the ONNX file of an IR-ResNet by its units, and others by their first difference."""
    onnx = pytest.importorskip("onnx")
    state = drawn(_parts.ir_shapes((2, 2, 2, 2), 8))
    state["features.weight"][:] = 1
    model = exported(state, _parts.ir_resnet((2, 2, 2, 2)), folded=True)
    onnx.save(model, tmp_path / "r18.onnx")
    read = convert.from_insightface(tmp_path / "r18.onnx")
    assert read.name == "ir_resnet18"
    # Folded into the second convolution of a unit, and not taken for the next unit's first normalisation.
    weights = {weight.path: ops.convert_to_numpy(weight) for weight in read.weights}
    np.testing.assert_array_equal(weights["stage1_unit2_bn1/moving_mean"], state["layer1.1.bn1.running_mean"])
    factor = state["layer1.0.bn3.weight"] / np.sqrt(state["layer1.0.bn3.running_var"] + 1e-5)
    wanted = state["layer1.0.bn3.bias"] - state["layer1.0.bn3.running_mean"] * factor
    np.testing.assert_allclose(weights["stage1_unit1_bn3/beta"], wanted, rtol=1e-5)
    del model.graph.node[10]
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(ValueError, match="bad.onnx is not ir_resnet18: where .* should be it has the "):
        convert.from_insightface(tmp_path / "bad.onnx")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "r18.onnx").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut.onnx is"):
        convert.from_insightface(tmp_path / "cut.onnx")


# --- The command ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_converts_there_and_back(path, mobile, tmp_path, capsys):
    """Converts there and back by the command."""
    assert cli.main(["convert", str(path), str(tmp_path / "face.keras")]) == 0
    assert "mobilefacenet_x2" in capsys.readouterr().out
    assert cli.main(["convert", str(tmp_path / "face.keras"), str(tmp_path / "back.pth")]) == 0
    np.testing.assert_array_equal(
        _torch_file.load(tmp_path / "back.pth")["conv_sep.layers.0.weight"], mobile["conv_sep.layers.0.weight"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobile.txt", "face.keras"], "The source must end in one of .pth"),
        (["mobile.pth", "face.h5"], "The target must end in one of .keras"),
        (["missing.pth", "face.keras"], "missing.pth does not exist"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, tmp_path, monkeypatch, capsys):
    """Says in the command what is wrong."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", *arguments]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_the_command_goes_straight_to_tflite(tmp_path, capsys):
    """Converts straight to TFLite by the command."""
    backbones.ir_resnet((1,), widths=(4,), image_size=(16, 16), embedding_size=8).save(tmp_path / "small.keras")
    assert cli.main(["convert", str(tmp_path / "small.keras"), str(tmp_path / "face.tflite")]) == 0
    assert "cosine mean 1.000000" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "face.tflite").exists()


def test_the_command_backbones_counts_without_drawing_weights(capsys):
    """Counts parameters without drawing weights in `backbones`."""
    assert cli.main(["backbones", "mobilefacenet", "ir_small"]) == 0
    out = capsys.readouterr().out
    assert "1.00" in out and "221" in out
    assert cli.main(["backbones", "ir_small", "--embedding_size=64"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ir_small\t0.44\t1.7\t28\t112 x 112 x 3\t64"
    assert cli.main(["backbones", "resnet"]) == 1
    assert "Unknown backbone 'resnet'" in capsys.readouterr().err

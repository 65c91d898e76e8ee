"""One .tflite from the photograph to the embedding: its signatures, its gate, and the runtime on it."""

import json

import hopper
import numpy as np
import pytest

from keras_margin import alignment, canvas, export, metadata

pytestmark = pytest.mark.tensorflow_only

pytest.importorskip("mtcnn", reason="the align extra is not installed")
pytest.importorskip("ai_edge_litert", reason="the litert extra is not installed")

CANVAS, SIDE, SHAPE = (120, 160), (64, 80), (32, 28)


@pytest.fixture(scope="module")
def photograph():
    return hopper.photograph()


@pytest.fixture(scope="module")
def network():
    """A network of random weights on faces of 32 x 28 pixels."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((*SHAPE, 3)),
            keras.layers.Rescaling(1 / 127.5, -1.0),
            keras.layers.Conv2D(8, 5, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(16),
        ],
        name="tiny",
    )


@pytest.fixture(scope="module")
def written(network, photograph, tmp_path_factory):
    """(path, ParityReport) of a file with two canvases and room for two faces."""
    path = tmp_path_factory.mktemp("one_file") / "face.tflite"
    photo = export.Photo((CANVAS, SIDE), faces=2)
    return path, export.to_tflite(network, path, photo=photo, photographs=[photograph])


@pytest.fixture(scope="module")
def file(written):
    return written[0]


@pytest.fixture(scope="module")
def interpreter(file):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(file))


def test_the_file_has_these_signatures(interpreter):
    """The first canvas has the plain names; today's signature has its old name too."""
    found = {
        name: (sorted(each["inputs"]), sorted(each["outputs"]))
        for name, each in interpreter.get_signature_list().items()
    }
    detect = ["photo", "size"], ["boxes", "count", "dropped", "points", "scores"]
    embed = ["photo", "points", "size"], ["embedding", "face"]
    aligned = ["image"], ["embedding"]
    assert found == {
        "detect": detect,
        "embed": embed,
        "detect_64x80": detect,
        "embed_64x80": embed,
        "embed_aligned": aligned,
        "serving_default": aligned,
    }


def test_readers_of_one_graph_find_the_embedder(interpreter):
    """The first graph takes aligned faces, so that older readers run the file as they are."""
    (detail,) = interpreter.get_input_details()
    assert tuple(detail["shape_signature"]) == (-1, *SHAPE, 3) and detail["dtype"] == np.uint8


def test_every_operator_is_builtin_and_every_shape_static(file):
    """No custom operator, no operator of TensorFlow; shapes are fixed but for the batch of aligned faces."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    assert all(not code.customCode for code in model.operatorCodes)
    builtin = schema.BuiltinOperator
    assert builtin.CUSTOM not in {max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes}
    free = {
        number
        for number, graph in enumerate(model.subgraphs)
        if any(-1 in (t.shapeSignature if t.shapeSignature is not None else ()) for t in graph.tensors)
    }
    assert free == {0}


def test_the_weights_are_there_once(file, network):
    """Of four signatures that embed, each large array of the network is one buffer."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    size = network.layers[-1].kernel.shape[0] * 16 * 4
    assert sum(each.data is not None and len(each.data) == size for each in model.buffers) == 1


def test_the_gate_compared_all_three(written, photograph):
    """Her face on both canvases, crops of it and of poses on noise, and the embeddings behind them."""
    report = written[1].photo
    assert (report.photographs, report.synthetic, report.faces, report.found, report.near) == (2, False, 2, 2, 2)
    assert report.crops >= 18 and report.worst_warp <= 1 and report.worst_cosine >= 0.9999
    assert "2 of the Keras detector's 2 faces found" in str(written[1])


def test_the_metadata_describe_the_signatures(file):
    """Which canvases, how many faces, what the gate found."""
    photo = metadata.read(file)["photo"]
    assert photo["canvases"] == [
        {"height": 120, "width": 160, "detect": "detect", "embed": "embed"},
        {"height": 64, "width": 80, "detect": "detect_64x80", "embed": "embed_64x80"},
    ]
    assert photo["faces"] == 2 and photo["parity"]["found"] == 2
    assert json.loads(file.with_name("face.tflite.json").read_text(encoding="utf-8"))["photo"] == photo


def test_a_file_without_photo_says_so(network, tmp_path):
    """Its metadata have null there."""
    export.to_tflite(network, tmp_path / "plain.tflite")
    assert metadata.read(tmp_path / "plain.tflite")["photo"] is None


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.24, 1.26, 2.0, 2.7, 3.9, 4.2, 7.0])
@pytest.mark.parametrize("angle", [0.0, -0.6, 2.0])
def test_the_crop_is_the_aligners(interpreter, scale, angle, seed):
    """Within one grey level on noise, where it shrinks and where it hangs over the edge of a part of the canvas."""
    generator = np.random.default_rng(seed)
    photo = generator.integers(0, 256, (*CANVAS, 3), dtype=np.uint8)
    size = np.array([101, 139], np.int32)
    template = alignment.landmark_template(SHAPE) - alignment.landmark_template(SHAPE).mean(0)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = (template @ turn + [80, 45] + generator.normal(0, 0.3 * scale, (5, 2))).astype(np.float32)
    found = interpreter.get_signature_runner("embed")(photo=photo, size=size, points=points)["face"]
    wanted = alignment.align_points(np.ascontiguousarray(photo[:101, :139]), points.astype(np.float64), SHAPE)
    assert np.abs(found.astype(np.int64) - wanted).max() <= 1
    assert np.mean(found != wanted) < 0.01


def test_pixels_beyond_the_photograph_count_for_nothing(interpreter, photograph):
    """Whatever the host leaves there, both signatures answer the same."""
    placed = canvas.place(photograph, CANVAS)
    noisy = np.random.default_rng(0).integers(0, 256, placed.pixels.shape, dtype=np.uint8)
    noisy[: placed.size[0], : placed.size[1]] = placed.pixels[: placed.size[0], : placed.size[1]]
    answers = []
    for pixels in (placed.pixels, noisy):
        found = interpreter.get_signature_runner("detect")(photo=pixels, size=placed.size)
        points = found["points"][0]
        answers.append(
            (found, interpreter.get_signature_runner("embed")(photo=pixels, size=placed.size, points=points))
        )
    for one, other in zip(*answers, strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=1e-3)


@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_eight_bits_are_refused(network, tmp_path, quantize):
    """With the reason, and before anything is converted."""
    faces = np.random.default_rng(0).integers(0, 256, (9, *SHAPE, 3), dtype=np.uint8)
    representative = faces if quantize == "int8" else None
    with pytest.raises(ValueError, match="misses most faces.*export the embedder alone"):
        export.to_tflite(network, tmp_path / "a.tflite", quantize=quantize, photo=True, representative=representative)


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        ("480x640", TypeError, r"photo must be True, \(height, width\)"),
        ([], TypeError, r"Received: photo=\[\]"),
        ((8, 640), ValueError, "sides of 12 pixels"),
        ([(48, 64), (48, 64)], ValueError, "different canvases"),
        ((16, 640), ValueError, "min_face_size=20"),
    ],
)
def test_photographs_of_no_size_are_refused(photo, error, message):
    """The message says what was received."""
    with pytest.raises(error, match=message):
        export.Photo.of(photo)


def test_a_file_that_finds_no_face_is_not_written(network, file, photograph, tmp_path, monkeypatch):
    """The gate raises, and nothing is left."""
    from keras_margin.export import _photo, _photo_gate

    monkeypatch.setattr(_photo, "converted", lambda *arguments: file.read_bytes())
    monkeypatch.setattr(_photo_gate, "_detected", lambda detect, placed: (np.empty((0, 4)), np.empty((0, 5, 2))))
    with pytest.raises(export.ParityError, match="1 of 1 faces of the Keras detector are not found"):
        export.to_tflite(network, tmp_path / "a.tflite", photo=CANVAS, photographs=[photograph])
    assert list(tmp_path.iterdir()) == []

"""Exported files: equal to the model in every way of training it, what they promise, and nothing half-written."""

import functools
import json
import logging
import shutil
import sys

import keras
import numpy as np
import pytest
from exported import cosines, run_tflite, unit
from PIL import Image
from scripts import run_main

import keras_margin as km

tf = pytest.importorskip("tensorflow")
from keras_margin import export  # noqa: E402
from keras_margin.export import _source, precisions  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

SIDE, SIZE, CLASSES = 32, 8, 5


def made(seed=1):
    """A small network with every kind of layer that a backbone has, its weights and statistics drawn."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127.5 / 128)(images)
    x = keras.layers.Conv2D(8, 3, strides=4, use_bias=False)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2])(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(SIZE)(keras.layers.Flatten()(keras.layers.Dropout(0.4)(x)))
    model = keras.Model(images, keras.layers.BatchNormalization(scale=False)(x), name="small")
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "moving" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return model


# Built once a seed; a test that changes the weights, or the policy, calls `made`.
network = functools.cache(made)


def way_1(backbone):
    return keras.Sequential([backbone, km.ArcFaceHead(CLASSES)])


def way_2(backbone):
    images, labels = keras.Input((SIDE, SIDE, 3)), keras.Input((), dtype="int32")
    return keras.Model([images, labels], km.ArcFaceHead(CLASSES)(backbone(images), labels))


def way_3(backbone):
    return km.EmbeddingModel(backbone, km.ArcFaceHead(CLASSES))


WAYS = {"a backbone": lambda backbone: backbone, "way 1": way_1, "way 2": way_2, "way 3": way_3}


@pytest.fixture(scope="module")
def images():
    """Eight smooth pictures, as unlike noise as faces are; uint8."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize((SIDE, SIDE), Image.BICUBIC)) for each in coarse])


def run_savedmodel(path, images):
    return tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(images))["embedding"].numpy()


EXPORTS = {
    "face": (export.to_savedmodel, run_savedmodel),
    "face.tflite": (export.to_tflite, run_tflite),
}


def left_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- Equal to the model ---------------------------------------------------------------------------------------------


# Every way of training in both formats, and half precision in turn.
CASES = [
    ("face", "a backbone", "float32"),
    ("face", "way 1", "mixed_float16"),
    ("face", "way 2", "float32"),
    ("face", "way 3", "mixed_bfloat16"),
    ("face.tflite", "a backbone", "mixed_bfloat16"),
    ("face.tflite", "way 1", "float32"),
    ("face.tflite", "way 2", "mixed_bfloat16"),
    ("face.tflite", "way 3", "float32"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way", "policy"), CASES)
def test_a_file_gives_the_model_s_embeddings_at_unit_length(name, way, policy, images, tmp_path):
    """Writes a file with the model's embeddings at unit length."""
    twin = network()
    wanted = twin.predict(images.astype("float32"), verbose=0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = WAYS[way](made())
    finally:
        keras.config.set_dtype_policy(before)
    write, run = EXPORTS[name]
    report = write(model, tmp_path / name, samples=images)
    found = run(tmp_path / name, images)
    assert found.dtype == np.float32 and found.shape == (8, SIZE)
    # Of a mixed precision model the float32 weights are what counts: the file is as near to them as any other.
    assert cosines(found, wanted).min() >= 1 - 1e-5
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert report.worst_cosine == pytest.approx(cosines(found, wanted).min(), abs=1e-7)
    assert report.passed


@pytest.mark.slow
def test_a_model_that_was_saved_and_read_back_is_exported_alike(images, tmp_path):
    """Exports a model that was saved and read back like the original."""
    model = way_3(km.models.backbones.ir_resnet((1,), widths=(4,), image_size=(SIDE, SIDE), embedding_size=SIZE))
    for weight in model.embedder.non_trainable_weights:
        if "moving" in weight.path:
            weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    export.to_tflite(again, tmp_path / "face.tflite", samples=images)
    wanted = model.predict(images, verbose=0)
    assert cosines(run_tflite(tmp_path / "face.tflite", images), wanted).min() >= 1 - 1e-5


@pytest.fixture(scope="module")
def exported(images, tmp_path_factory):
    """(the folder with the small network in both formats, the report of each)."""
    folder = tmp_path_factory.mktemp("exported")
    return folder, {name: write(network(), folder / name, samples=images) for name, (write, _) in EXPORTS.items()}


@pytest.mark.slow
def test_the_signature_is_image_to_embedding(exported):
    """Has the signature image to embedding."""
    from ai_edge_litert.interpreter import Interpreter

    folder, _ = exported
    signature = tf.saved_model.load(str(folder / "face")).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "image": tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")
    }
    (output,) = signature.structured_outputs.items()
    assert output[0] == "embedding" and output[1].dtype == tf.float32 and output[1].shape == (None, SIZE)
    interpreter = Interpreter(str(folder / "face.tflite"))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["embedding"]}}
    (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["dtype"] == np.uint8 and image["shape_signature"].tolist() == [-1, SIDE, SIDE, 3]
    assert embedding["dtype"] == np.float32 and embedding["shape_signature"].tolist() == [-1, SIZE]


@pytest.mark.slow
@pytest.mark.parametrize(("quantize", "least"), [("float16", 1 - 1e-4), ("dynamic", 0.995), ("int8", 0.98)])
def test_a_smaller_file_keeps_to_its_limit(quantize, least, exported, images, tmp_path):
    """Keeps a smaller file within its limit."""
    whole = exported[1]["face.tflite"]
    report = export.to_tflite(network(), tmp_path / "face.tflite", quantize=quantize, representative=images)
    drift = cosines(run_tflite(tmp_path / "face.tflite", images), network().predict(images, verbose=0))
    assert least <= drift.mean() < whole.mean_cosine
    assert report.bytes < whole.bytes
    limits = export.Limits(worst=least) if quantize == "float16" else export.Limits(mean=least)
    assert (report.limits, report.quantize, report.num_images) == (limits, quantize, 8)
    assert report.mean_cosine == pytest.approx(drift.mean(), abs=1e-6)
    assert report.worst_cosine == pytest.approx(drift.min(), abs=1e-6)
    assert report.worst_images == tuple(np.argsort(drift, kind="stable")[:5])
    # LiteRT's PReLU is slow in integers: it stays in floats.
    assert prelu_types(tmp_path / "face.tflite") == [np.float32]


def prelu_types(path):
    """The types that the PRELU operators of a file compute in."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    types = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    operators = [each for each in interpreter._get_ops_details() if each["op_name"] == "PRELU"]
    return [types[operator["inputs"][0]] for operator in operators]


def test_pairs_hold_a_file_to_the_model_s_accuracy():
    """Holds a file to the model's accuracy on pairs."""
    generator = np.random.default_rng(0)
    faces = generator.integers(0, 256, (12, SIDE, SIDE, 3))
    images = np.clip(faces.repeat(4, axis=0) + generator.normal(0, 20, (48, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    labels = np.arange(12).repeat(4)
    limits = export.Limits(eer_rise=0.01, tar_drop=0.01)
    judge = export._parity.Judge.of(network(), export.Options(limits=limits, far=0.01), None, (images, labels))
    wanted = np.float64(network().predict(images, verbose=0))

    def shuffled(given):
        """A file that mixes people up."""
        return wanted[np.random.default_rng(1).permutation(48)][: len(given)]

    first, second = np.triu_indices(48, 1)
    same = labels[first] == labels[second]
    scores = np.sum(unit(wanted)[first] * unit(wanted)[second], axis=1)
    refused = np.sort(scores[~same])[-(int(0.01 * (~same).sum()) + 1)]
    report = judge.judge(lambda given: wanted[: len(given)], "face.tflite", None, 1)
    assert report.accuracy.model_tar == report.accuracy.tar == pytest.approx(np.mean(scores[same] > refused))
    assert report.accuracy.threshold == pytest.approx(scores[scores > refused].min(), abs=1e-6)
    assert "72 genuine and 1,056 impostor pairs" in str(report)
    with pytest.raises(
        export.ParityError, match=r"EER \+0\.\d+ against the model's, limit \+0.0100; TAR -\d\.\d+"
    ) as caught:
        judge.judge(shuffled, "face.tflite", None, 1)
    assert caught.value.report.accuracy.eer > report.accuracy.eer + 0.01
    with pytest.raises(ValueError, match="far=0.0001 cannot be measured on 1,056 impostor pairs"):
        export._parity.Judge.of(network(), export.Options(far=1e-4), None, (images, labels))
    with pytest.raises(ValueError, match=r"one bool for each two images.*48 images with int64 \(47,\)"):
        export._parity.Judge.of(network(), export.Options(), None, (images, labels[1:]))


@pytest.mark.parametrize(
    ("people", "each", "far", "reason"),
    [
        (12, 4, 0.01, None),
        (9, 4, 0.5, "9 people are too few to choose one on, 10 are the least"),
        (12, 2, 0.03, "FAR 0.03 on 264 impostor pairs lets fewer than 10 of them pass. Give more pairs, or a FAR"),
    ],
)
def test_a_threshold_ships_with_ten_people_and_ten_impostors(people, each, far, reason):
    """Below ten people, or ten impostor pairs that may pass, the report and the metadata have a reason instead."""
    labels = np.arange(people).repeat(each)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    options = export.Options(far=far)
    judge = export._parity.Judge.of(network(), options, None, (images, labels))
    wanted = network().predict(images, verbose=0)
    report = judge.judge(lambda given: wanted[: len(given)], "face.tflite", None, 1)
    source = export._source.open_source(network())
    metadata = export._metadata.build_metadata(source, options, report)
    assert metadata["accuracy"]["num_people"] == people
    if reason is None:
        assert metadata["threshold"]["cosine"] == report.accuracy.threshold and metadata["no_threshold"] is None
        assert metadata["threshold"]["basis"].startswith(
            "1,056 impostor pairs of 12 people: enough for a demonstration"
        )
    else:
        assert metadata["threshold"] is None and reason in metadata["no_threshold"] and reason in str(report)
        assert precisions.as_table([report]).splitlines()[-1].endswith("| none |")


def test_nine_impostor_pairs_give_no_threshold():
    """A `.bin` of nine genuine and nine impostor pairs ships none, at any FAR; its people are not known."""
    images = np.random.default_rng(0).integers(0, 256, (36, SIDE, SIDE, 3), dtype=np.uint8)
    judge = export._parity.Judge.of(network(), export.Options(far=1.0), None, (images, np.arange(18) % 2 == 0))
    wanted = network().predict(images, verbose=0)
    accuracy = judge.judge(lambda given: wanted[: len(given)], "face.tflite", None, 1).accuracy
    assert accuracy.threshold is None and "on 9 impostor pairs lets fewer than 10" in accuracy.no_threshold


@pytest.mark.slow
def test_a_precision_that_is_too_far_has_no_file(images, tmp_path):
    """Leaves a precision that differs too much out of the files of the table."""
    given = {"representative": images, "quantize": (None, "dynamic")}
    options = export.Options(limits=export.Limits(worst=1 - 1e-7))
    reports = export.to_precisions(network(), tmp_path, options=options, strict=False, **given)
    assert [report.passed for report in reports] == [True, False]
    assert left_in(tmp_path) == ["embedder.tflite", "embedder.tflite.json"]
    lines = precisions.as_table(reports).splitlines()
    assert lines[2].startswith("| embedder.tflite | float32 |")
    assert lines[3].startswith("| refused, not written | dynamic |")


def test_an_onnx_file_has_the_models_embeddings(images, tmp_path):
    """Writes an ONNX file with the model's embeddings and the metadata."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = tmp_path / "顔 x.onnx"
    report = export.to_onnx(network(), path, samples=images)
    session = onnxruntime.InferenceSession(path.read_bytes())
    found = session.run(["embedding"], {"image": images})[0]
    assert cosines(found, network().predict(images, verbose=0)).min() >= 1 - 1e-5 and report.passed
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    inside = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(inside["keras_margin.contract"]) == km.runtime.read_metadata(path)


def test_heads_on_different_embeddings_are_refused():
    """Refuses heads on different embeddings."""
    images = keras.Input((SIDE, SIDE, 3))
    one, other = keras.layers.Dense(4)(network()(images)), keras.layers.Dense(4)(network()(images))
    model = keras.Model(images, [km.ArcFaceHead(5)(one), km.ArcFaceHead(5)(other)], name="two")
    with pytest.raises(ValueError, match="two has heads on different embeddings: arc_face_head.*, arc_face_head"):
        _source.extract_embedder(model)


# --- The report and the metadata ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_says_what_was_compared_and_how_near_it_came(images, tmp_path):
    """Reports what was compared, and the difference."""
    report = export.to_tflite(network(), tmp_path / "face.tflite", samples=np.tile(images, (10, 1, 1, 1)))
    assert report.path == str(tmp_path / "face.tflite")
    assert report.bytes == (tmp_path / "face.tflite").stat().st_size
    assert (report.num_images, report.synthetic, report.quantize) == (64, False, None)
    assert report.limits == export.Limits(worst=1 - 1e-5)
    assert str(report) == (
        f"{tmp_path}/face.tflite: 0.0 MiB, float32. Against the model on 64 images: cosine mean 1.000000, worst "
        f"1.000000 (image {report.worst_images[0]}); the worst had to reach 0.99999."
    )


def test_without_samples_the_comparison_is_on_noise_and_says_so(tmp_path, caplog):
    """Compares on noise without samples, and says so."""
    with caplog.at_level(logging.WARNING, logger="keras_margin.export"):
        report = export.to_savedmodel(network(), tmp_path / "face")
    assert (report.num_images, report.synthetic) == (16, True)
    assert caplog.messages == ["No sample images given: the exported file is compared on noise."]
    assert "16 images of noise" in str(report)
    assert report.bytes == sum(
        path.stat().st_size for path in (tmp_path / "face").rglob("*") if path.is_file() and path.suffix != ".json"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_the_metadata_say_what_the_file_takes_and_gives(name, exported):
    """Describes in the metadata what the file takes and gives."""
    folder, reports = exported
    report = reports[name]
    found = km.runtime.read_metadata(folder / name)
    made_with, signature = found.pop("made_with"), found.pop("signature")
    assert made_with == {"keras": keras.__version__, "tensorflow": tf.__version__} and signature == "serving_default"
    parity = {"mean_cosine": report.mean_cosine, "worst_cosine": report.worst_cosine, "images": 8, "synthetic": False}
    image = {"name": "image", "dtype": "uint8", "batch": None, "height": SIDE, "width": SIDE}
    embedding = {"name": "embedding", "dtype": "float32", "size": SIZE, "unit_length": True, "flip_sum": False}
    assert found == {
        "format": "keras-margin embedder",
        "format_version": 1,
        "keras_margin": km.__version__,
        "image": {**image, "channels": "RGB", "range": [0, 255]},
        "embedding": embedding,
        "quantize": None,
        "parity": parity,
        "no_threshold": "No threshold: the file was exported without pairs to choose one on.",
        **dict.fromkeys(("alignment", "threshold", "accuracy", "head", "recipe", "measured", "about")),
    }


def test_metadata_in_a_tflite_file_equal_the_json(exported):
    """Writes the metadata into a TFLite file as into the JSON file next to it."""
    folder, _ = exported
    beside = json.loads((folder / "face.tflite.json").read_text())
    assert km.runtime.read_metadata(folder / "face.tflite") == beside
    assert km.runtime.read_metadata(folder / "face") == json.loads((folder / "face" / "contract.json").read_text())


# --- Nothing half-written -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_an_inexact_file_goes_and_an_older_one_stays(name, exported, images, tmp_path):
    """Leaves no file that is not near enough, and keeps an older one."""
    write, run = EXPORTS[name]
    shutil.copytree(exported[0], tmp_path, dirs_exist_ok=True)
    before = {path: (tmp_path / path).read_bytes() for path in left_in(tmp_path)}
    options = export.Options(limits=export.Limits(mean=1.1))
    message = r"was not written.*mean cosine 1.000000, limit 1.1.*Mean cosine 1.000000, worst 1.000000; worst sample im"
    with pytest.raises(export.ParityError, match=message):
        write(network(seed=2), tmp_path / name, samples=images, options=options)
    assert {path: (tmp_path / path).read_bytes() for path in left_in(tmp_path)} == before
    assert cosines(run(tmp_path / name, images), network().predict(images, verbose=0)).min() > 1 - 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_a_file_of_another_network_is_found_out(name, images, tmp_path, monkeypatch):
    """Detects a file of another network."""
    right = export._graph.write_savedmodel
    other = network(seed=2)
    monkeypatch.setattr(export._graph, "write_savedmodel", lambda _, *arguments: right(other, *arguments))
    with pytest.raises(export.ParityError, match="differ from the model's"):
        EXPORTS[name][0](network(), tmp_path / name, samples=images)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_puts_out_nan_is_not_written(images, tmp_path):
    """Refuses to write a network that puts out NaN."""
    model = made()
    model.layers[-2].kernel.assign(model.layers[-2].kernel * np.nan)
    with pytest.raises(export.ParityError, match="worst cosine -1.000000, limit -0.999"):
        options = export.Options(limits=export.Limits(worst=-0.999))
        export.to_savedmodel(model, tmp_path / "face", samples=images, options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_something_else_at_the_path_is_left_alone(images, tmp_path):
    """Leaves something else at the path alone."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for write in (export.to_savedmodel, export.to_tflite):
        with pytest.raises(
            ValueError, match="folder (exists and is not a SavedModel|is a folder): nothing was written"
        ):
            write(network(), tmp_path / "folder", samples=images)
    with pytest.raises(ValueError, match="mine.txt exists and is not a SavedModel"):
        export.to_savedmodel(network(), tmp_path / "folder" / "mine.txt", samples=images)
    assert left_in(tmp_path) == ["folder/mine.txt"]
    (tmp_path / "empty").mkdir()
    export.to_savedmodel(network(), tmp_path / "empty", samples=images)
    assert "empty/saved_model.pb" in left_in(tmp_path)


# --- Misuse ---------------------------------------------------------------------------------------------------------

OTHER_IMAGES = [
    (lambda images: images.astype("float32"), r"uint8 images \(n, 32, 32, 3\), n >= 1. Received: float32"),
    (lambda images: images[:, :16], r"Received: uint8 \(8, 16, 32, 3\)"),
    (lambda images: images[:0], r"Received: uint8 \(0, 32, 32, 3\)"),
    (lambda images: images[0], r"Received: uint8 \(32, 32, 3\)"),
]


@pytest.mark.parametrize(("change", "message"), OTHER_IMAGES)
def test_images_of_another_shape_or_type_are_refused(change, message, images, tmp_path):
    """Refuses images of another shape or type."""
    bad = change(images)
    for write in (export.to_savedmodel, export.to_tflite):
        with pytest.raises(ValueError, match=f"samples must be .*{message}|{message}"):
            write(network(), tmp_path / "face", samples=bad)
    with pytest.raises(ValueError, match=message):
        export.to_tflite(network(), tmp_path / "face", quantize="int8", representative=bad, samples=images)
    assert list(tmp_path.iterdir()) == []


def test_options_that_do_not_go_together_are_refused(images, tmp_path):
    """Refuses options that contradict one another."""
    path = tmp_path / "face.tflite"
    with pytest.raises(ValueError, match="one of None, 'float16', 'dynamic', 'int8'. Received: quantize='int4'"):
        export.to_tflite(network(), path, quantize="int4")
    with pytest.raises(ValueError, match="'int8' sets its ranges by real faces: pass representative="):
        export.to_tflite(network(), path, quantize="int8", samples=images)
    with pytest.raises(ValueError, match="sets the ranges of 'int8'. Received: quantize='float16'"):
        export.to_tflite(network(), path, quantize="float16", representative=images, samples=images)
    assert list(tmp_path.iterdir()) == []


class Subclassed(keras.Model):
    def call(self, images):
        return images


def two_outputs():
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, [keras.layers.Flatten()(images), keras.layers.GlobalMaxPooling2D()(images)])


def inner_head():
    inner = keras.Sequential([keras.Input((SIZE,)), km.ArcFaceHead(CLASSES)], name="inner")
    return keras.Sequential([network(), inner], name="outer")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: "no.keras", FileNotFoundError, "no model at no.keras: name a .keras file"),
        (lambda: 3, TypeError, "a Keras model, or the path of a .keras file or of a run. Received: 3"),
        (lambda: keras.layers.Dense(3), TypeError, "a Keras model, or the path .* Received: <Dense"),
        (lambda: keras.Sequential([keras.layers.Flatten()], name="raw"), ValueError, "knows its input shape.*raw"),
        (lambda: keras.Sequential([km.ArcFaceHead(5)], name="raw"), ValueError, "knows its input shape.*raw"),
        (lambda: Subclassed(name="own"), ValueError, "functional or Sequential.*own"),
        (lambda: keras.Sequential([keras.Input((9,)), keras.layers.Dense(2)]), ValueError, r"input shape \(None, 9\)"),
        (
            lambda: keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalMaxPooling2D()]),
            ValueError,
            "RGB",
        ),
        (lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]), ValueError, "RGB"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]), ValueError, "one embedding"),
        (two_outputs, ValueError, "one embedding an image. Received: output shape"),
        (inner_head, ValueError, "(?s)The head arc_face_head.* of outer is inside one of its layers"),
    ],
)
def test_what_is_no_embedder_is_refused(model, error, message, tmp_path):
    """Refuses an object that is not an embedder."""
    for write in (export.to_savedmodel, export.to_tflite):
        with pytest.raises(error, match=message):
            write(model(), tmp_path / "face")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_litert_the_error_names_the_extra(images, tmp_path, monkeypatch):
    """Names the extra where LiteRT is missing."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r'pip install -e ".\[litert\]"'):
        export.to_tflite(network(), tmp_path / "face.tflite", samples=images)
    assert list(tmp_path.iterdir()) == []


# --- The scripts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory, images):
    """A saved model, and a folder of two people with the images."""
    folder = tmp_path_factory.mktemp("saved")
    way_3(network()).save(folder / "model.keras")
    for number, image in enumerate(images):
        person = folder / "faces" / f"person {number % 2}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(person / f"{number}.png")
    return folder


@pytest.mark.slow
def test_the_tflite_script_writes_a_file_or_says_why_not(saved, images, tmp_path):
    """Writes the TFLite file, or says in one line why not."""
    model, out = f"--model={saved / 'model.keras'}", tmp_path / "face.tflite"
    faces = f"--representative={saved / 'faces'}"
    found, stderr = run_main(
        "export/to_tflite.py",
        [model, f"--out={out}", faces],
        [model, f"--out={tmp_path / 'int8.tflite'}", faces, "--quantize=int8"],
        [model, f"--out={tmp_path / 'no.tflite'}", "--quantize=int8"],
        [model, f"--out={tmp_path / 'no.tflite'}", "--representative=nowhere"],
        ["--model=nowhere.keras", f"--out={tmp_path / 'no.tflite'}"],
        [model, f"--out={saved}"],
        [model, f"--out={out}", "face.tflite"],
    )
    # The report's words, after a size of a few kilobytes and before whatever image happens to be the worst.
    assert found[0][0] == found[1][0] == 0
    said = f"{out}: 0.0 MiB, float32. Against the model on 8 images: cosine mean 1.000000, worst 1.000000 (image "
    assert found[0][1].startswith(said) and found[0][1].endswith("the worst had to reach 0.99999.\n")
    assert "int8 weights and activations" in found[1][1] and "the mean had to reach 0.98" in found[1][1]
    wanted = network().predict(images, verbose=0)
    assert cosines(run_tflite(out, images), wanted).min() > 1 - 1e-5
    assert cosines(run_tflite(tmp_path / "int8.tflite", images), wanted).mean() > 0.98
    endings = ["pass representative=", "nowhere", "nowhere.keras", "is a folder", "All options are flags"]
    for (code, printed), ending in zip(found[2:], endings, strict=True):
        assert code.startswith("error: ") and ending in code and "\n" not in code
        assert printed == ""
    assert left_in(tmp_path) == ["face.tflite", "face.tflite.json", "int8.tflite", "int8.tflite.json"]
    # The int8 run, whose network has a PReLU.
    assert stderr.count("\n") == 1 and "PReLUs compute in float32" in stderr


@pytest.mark.slow
def test_the_savedmodel_script_writes_or_says_why_not(saved, images, tmp_path):
    """Writes the SavedModel folder, or says in one line why not."""
    model = f"--model={saved / 'model.keras'}"
    found, stderr = run_main(
        "export/to_savedmodel.py",
        [model, f"--out={tmp_path / 'face'}", f"--samples={saved / 'faces'}"],
        [model, f"--out={tmp_path / 'noise'}"],
        [model, f"--out={saved / 'faces'}"],
    )
    assert found[0][0] == found[1][0] == 0
    assert "Against the model on 8 images: cosine mean 1.000000, worst 1.000000" in found[0][1]
    assert "16 images of noise" in found[1][1]
    refusal = f"error: {saved / 'faces'} exists and is not a SavedModel: nothing was written. Choose another path."
    assert found[2] == (refusal, "")
    assert cosines(run_savedmodel(tmp_path / "face", images), network().predict(images, verbose=0)).min() > 1 - 1e-5
    assert stderr == "WARNING: No sample images given: the exported file is compared on noise.\n"

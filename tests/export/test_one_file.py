"""One .tflite from the photograph to the embedding: its signatures, its gate, and the runtime on it."""

import json
import math
import pathlib
import re
import subprocess
import sys

import hopper
import numpy as np
import pytest

from keras_margin import alignment, export, runtime
from keras_margin._utils import canvas, metadata
from keras_margin.alignment import transform

pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

pytest.importorskip("mtcnn", reason="the align extra is not installed")
pytest.importorskip("ai_edge_litert", reason="the litert extra is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
CANVAS, SIDE, SHAPE = (120, 160), (64, 80), (32, 28)


@pytest.fixture(scope="module")
def photograph():
    return hopper.photograph()


@pytest.fixture(scope="module")
def network():
    """A network of random weights on faces of 32 x 28 pixels."""
    return hopper.network(SHAPE)


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


def test_the_length_is_an_output_of_aligned_faces(network, tmp_path):
    """With Options(length=True) `quality` is the length of the network's own embedding."""
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE, 3), dtype=np.uint8)
    path = tmp_path / "length.tflite"
    export.to_tflite(network, path, samples=images, photo=SIDE, options=export.Options(length=True))
    lengths = np.linalg.norm(network.predict(np.float32(images), verbose=0).astype(np.float64), axis=1)
    embedder = runtime.Embedder(path)
    assert embedder.takes_photographs and embedder.keeps_length
    np.testing.assert_allclose(embedder.quality(images), lengths, rtol=1e-4)


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
    photo = metadata.read_metadata(file)["photo"]
    assert photo["canvases"] == [
        {"height": 120, "width": 160, "detect": "detect", "embed": "embed"},
        {"height": 64, "width": 80, "detect": "detect_64x80", "embed": "embed_64x80"},
    ]
    assert photo["faces"] == 2 and photo["parity"]["found"] == 2
    assert json.loads(file.with_name("face.tflite.json").read_text(encoding="utf-8"))["photo"] == photo


def test_a_file_without_photo_names_none(network, tmp_path):
    """Its metadata do not have the key."""
    export.to_tflite(network, tmp_path / "plain.tflite")
    assert "photo" not in metadata.read_metadata(tmp_path / "plain.tflite")


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.24, 1.26, 2.0, 2.7, 3.9, 4.2, 7.0])
@pytest.mark.parametrize("angle", [0.0, -0.6, 2.0])
def test_the_crop_is_the_aligners(interpreter, scale, angle, seed):
    """Within one grey level on noise, where it shrinks and where it hangs over the edge of a part of the canvas."""
    generator = np.random.default_rng(seed)
    photo = generator.integers(0, 256, (*CANVAS, 3), dtype=np.uint8)
    size = np.array([101, 139], np.int32)
    template = transform.landmark_template(SHAPE) - transform.landmark_template(SHAPE).mean(0)
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


@pytest.mark.slow
def test_float16_keeps_the_crop(network, photograph, tmp_path):
    """The template's coordinates in float16 would move it by several grey levels; the gate holds it to one."""
    report = export.to_tflite(network, tmp_path / "a.tflite", quantize="float16", photo=SIDE, photographs=[photograph])
    assert report.photo.worst_warp <= 1 and report.photo.found == report.photo.faces == 1


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
        ((8, 640), ValueError, "sides of 12 to 8,192 pixels"),
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


@pytest.fixture(scope="module")
def embedder(file):
    from keras_margin.runtime import Embedder

    return Embedder(file, num_threads=1)


def cosine(one, other):
    one, other = np.float64(one).ravel(), np.float64(other).ravel()
    return one @ other / math.sqrt((one @ one) * (other @ other))


def test_faces_are_those_of_our_aligner_and_network(embedder, photograph, network):
    """On a photograph that fits: the network in Keras, on the crop that the aligner makes of the points found."""
    small = canvas.shrunk(photograph, (113, 96))
    (face,) = embedder.faces(small)
    crop = alignment.align_points(small, face.points, SHAPE)
    assert np.abs(face.image.astype(np.int64) - crop).max() <= 1
    assert cosine(face.embedding, network(crop[None].astype(np.float32)).numpy()) >= 0.9999
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5) and face.score > 0.9


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_larger_photograph_is_cropped_from_itself(embedder, photograph, times):
    """Five to twenty times larger than the canvas: the crop is the aligner's of the photograph, not of the copy."""
    large = np.repeat(np.repeat(photograph, times, axis=0), times, axis=1)
    (face,) = embedder.faces(large)
    np.testing.assert_allclose(face.points, hopper.POINTS * times + (times - 1) / 2, atol=15 * times)
    crop = alignment.align_points(large, face.points, SHAPE)
    np.testing.assert_array_equal(face.image, crop)
    np.testing.assert_allclose(face.embedding, embedder.embed(crop)[0], atol=1e-6)


def test_the_largest_of_many_faces_are_kept_and_it_is_said(embedder, photograph, caplog):
    """Three faces on a canvas, room for two."""
    picture, tight = np.full((*CANVAS, 3), 90, np.uint8), photograph[20:480, 60:460]
    for left, side in ((0, 50), (50, 54), (104, 56)):
        picture[:side, left : left + side] = canvas.shrunk(tight, (side, side))
    faces = embedder.faces(picture)
    assert len(faces) == 2 and all(face.points[:, 0].min() > 50 for face in faces)
    assert "more faces than the 2 that" in caplog.text


def test_the_smaller_canvas_is_taken_where_it_fits(embedder, photograph, monkeypatch):
    """Of two canvases the smallest that the photograph fits on, else the one that shrinks it least."""
    signatures = embedder._photographs
    assert signatures._canvas_for((60, 80)) == SIDE
    assert signatures._canvas_for((65, 60)) == CANVAS
    assert signatures._canvas_for((1000, 500)) == CANVAS


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (11, 300), (12, 12), (1, 4000), (64, 80), (500, 500)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_one_color_shows_nobody(embedder, shape, grey):
    """Smaller than 12 pixels, of one row, larger than the canvas: an empty list."""
    assert embedder.faces(np.full((*shape, 3), grey, np.uint8)) == []


@pytest.mark.parametrize("part", [np.s_[:260], np.s_[:, :270], np.s_[200:], np.s_[150:300, 200:330]])
def test_a_face_at_the_border_gives_finite_numbers(embedder, photograph, part):
    """Cut below, at a side, above, and on all sides: boxes inside, unit embeddings, or nobody."""
    cut = np.ascontiguousarray(photograph[part])
    for face in embedder.faces(cut):
        assert (face.box >= 0).all() and (face.box[2:] <= [cut.shape[1] - 1, cut.shape[0] - 1]).all()
        assert np.isfinite(face.points).all() and np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)


def test_photographs_are_verified_by_their_largest_face(embedder, photograph):
    """Her photograph against itself at two sizes, and against the aligned face of it."""
    (face,) = embedder.faces(photograph)
    assert embedder.verify(photograph, photograph) == pytest.approx(1, abs=1e-6)
    assert embedder.verify(photograph, face.image) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="No face was found in a photograph of 40 x 50 pixels"):
        embedder.verify(photograph, np.zeros((40, 50, 3), np.uint8))


def test_a_gallery_takes_photographs(embedder, photograph):
    """Enrolled by one photograph, she is found on another; a stranger's threshold finds nobody."""
    from keras_margin.runtime import Gallery

    gallery = Gallery(embedder.embedding_size, embedder.model_id)
    gallery.enroll_photographs("Grace", [photograph], embedder)
    ((face, match),) = gallery.identify(photograph, embedder, threshold=0.9)
    assert match.name == "Grace" and match.score == pytest.approx(1, abs=1e-5) and face.score > 0.9
    assert gallery.identify(np.zeros((50, 50, 3), np.uint8), embedder, threshold=0.9) == []
    gallery.remove("Grace")
    gallery.enroll("Nobody", -face.embedding)
    assert gallery.identify(photograph, embedder, threshold=0.9)[0][1] is None
    with pytest.raises(ValueError, match="No face was found"):
        gallery.enroll_photographs("Two", [photograph, np.zeros((50, 50, 3), np.uint8)], embedder)
    assert "Two" not in gallery
    gallery.model = "0" * 64
    with pytest.raises(ValueError, match="another model"):
        gallery.identify(photograph, embedder, threshold=0.9)


def test_a_file_of_aligned_faces_says_what_to_do(network, tmp_path):
    """Its `faces` names the export that takes photographs."""
    from keras_margin.runtime import Embedder

    export.to_tflite(network, tmp_path / "plain.tflite")
    plain = Embedder(tmp_path / "plain.tflite")
    assert not plain.takes_photographs
    with pytest.raises(ValueError, match="takes aligned faces alone.*--photo"):
        plain.faces(np.zeros((60, 60, 3), np.uint8))


def test_the_runtime_finds_faces_without_tensorflow(file, photograph, tmp_path):
    """A fresh process in which neither TensorFlow nor Keras, mtcnn or Pillow can be imported."""
    np.save(tmp_path / "photograph.npy", photograph)
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'mtcnn', 'joblib', 'PIL'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from keras_margin.runtime import Embedder\n"
        f"print(len(Embedder({str(file)!r}).faces(np.load({str(tmp_path / 'photograph.npy')!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1", done.stderr


def test_commands_find_the_faces_of_photographs(file, photograph, tmp_path, capfd):
    """verify, enroll, identify and embed on photographs without --align; align with the file as its detector."""
    from keras_margin import cli

    (tmp_path / "people" / "Grace").mkdir(parents=True)
    one, dark = tmp_path / "people" / "Grace" / "one.png", tmp_path / "dark.png"
    alignment.images.save_image(one, photograph)
    alignment.images.save_image(dark, np.zeros((90, 90, 3), np.uint8))
    gallery, model = tmp_path / "people.npz", f"--model={file}"
    assert cli.main(["verify", str(file), str(one), str(one), "--threshold=0.5"]) == 0
    assert cli.main(["verify", str(file), str(one), str(dark), "--threshold=0.5"]) == 1
    assert cli.main(["enroll", str(tmp_path / "people"), str(gallery), model]) == 0
    assert cli.main(["identify", str(one), str(gallery), model, "--threshold=0.5"]) == 0
    assert cli.main(["embed", str(file), str(one), str(dark), f"--out={tmp_path / 'rows.npz'}"]) == 0
    assert cli.main(["align", str(tmp_path / "people"), str(tmp_path / "faces"), f"--detector={file}"]) == 0
    said = capfd.readouterr()
    assert "Grace, cosine 1.0" in said.out and "1 without a face" in said.out and "No face was found in" in said.err
    assert (tmp_path / "faces" / "Grace" / "one.jpg").exists()
    assert np.load(tmp_path / "rows.npz")["embeddings"].shape == (1, 16)


def test_damaged_files_end_in_an_answer_or_an_error(file, photograph, tmp_path):
    """Forty seeded mutations of a JPEG and of the model, each run in a process of its own: no crash, no other error."""
    alignment.images.save_image(tmp_path / "photograph.jpg", canvas.shrunk(photograph, (113, 96)))
    command = [sys.executable, "-m", "benchmarks.mutations", str(file), str(tmp_path / "photograph.jpg"), "--count=40"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    counts = [re.findall(r"(\d+) (\w[\w ]*)", line.partition("mutations: ")[2]) for line in done.stdout.splitlines()]
    assert [sum(int(number) for number, _ in each) for each in counts] == [40, 40]
    assert [{what for _, what in each} for each in counts] == [{"pixels", "ImageError"}, {"faces", "ValueError"}]


@pytest.mark.parametrize("change", ["canvases", "faces", "signature", "huge"])
def test_metadata_that_make_no_sense_are_refused(file, tmp_path, change):
    """A field that is missing, a canvas of a million pixels a side, a signature that the file does not have."""
    from keras_margin.runtime._photographs import Photographs

    about = metadata.read_metadata(file)["photo"]
    if change == "signature":
        about["canvases"][0]["detect"] = "find"
    elif change == "huge":
        about["canvases"][0]["height"] = 10**6
    else:
        del about[change]
    with pytest.raises(ValueError, match="do not describe its photographs|cannot run find"):
        Photographs(str(file), about, None).detect(np.zeros((100, 100, 3), np.uint8))


def test_evaluate_finds_faces_by_the_file_itself(file, photograph, tmp_path, capsys):
    """`--align` asks the model's own detector; the report says so."""
    from PIL import Image

    from keras_margin import cli

    pictures = {"a": photograph, "b": photograph[:, ::-1], "c": photograph // 2 + 60}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    lines = ["fold,same,first,second", "0,1,a.png,b.png", "0,0,a.png,c.png", "1,1,b.png,c.png", "1,0,c.png,b.png"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    out = tmp_path.parent / f"{tmp_path.name}.json"
    options = ["--align", "--no_checks", "--resamples=0", f"--out={out}"]
    assert cli.main(["evaluate", str(file), f"set={tmp_path}", *options]) == 0
    found = json.loads(out.read_text())["sets"]["set"]
    assert "3 photographs, their faces found by the model (of several: largest); 0 of several" in found["notes"][-1]

"""align's choice of face and its errors with stand-in detectors; MTCNN itself where its extra is installed."""

import builtins
import math
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

from keras_margin.alignment import MTCNNDetector, _mtcnn, align, align_points
from keras_margin.alignment import detector as detector_module
from keras_margin.alignment.transform import LANDMARKS_112, warp
from keras_margin.detection import FaceDetector

ROOT = pathlib.Path(__file__).resolve().parents[2]


def picture(height=300, width=400):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


def found(*faces):
    """A detector that finds `faces`, each (box, points), whatever the image."""
    boxes, points = zip(*faces, strict=True)
    return lambda image: (np.array(boxes), np.array(points), np.ones(len(faces)))


SMALL = ((10, 10, 60, 60), LANDMARKS_112 + [5, 7])
LARGE = ((100, 50, 300, 250), LANDMARKS_112 + [150, 80])


def test_the_largest_face_is_the_one_that_is_cropped():
    """Crops the largest face."""
    image = picture()
    # Template points moved by whole pixels: the crop is a plain slice of the image.
    np.testing.assert_array_equal(align(image, detector=found(SMALL, LARGE)), image[80:192, 150:262])
    np.testing.assert_array_equal(align(image, detector=found(LARGE, SMALL)), image[80:192, 150:262])
    np.testing.assert_array_equal(align(image, detector=found(SMALL)), image[7:119, 5:117])


def test_the_narrow_crop_is_the_middle_of_the_square_one():
    """Cuts the narrow crop from the middle of the square one."""
    narrow = align(picture(), size=(112, 96), detector=found(LARGE))
    np.testing.assert_array_equal(narrow, picture()[80:192, 158:254])


def test_an_image_without_a_face_gives_none():
    """Returns None for an image without a face."""
    assert align(picture(), detector=lambda image: (np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0))) is None
    assert align(picture(), detector=lambda image: ([], [], [])) is None


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (picture() / 255.0, TypeError, "align needs a uint8 RGB image.*Received: float64"),
        ("face.jpg", TypeError, "Received: str"),
        (picture()[..., 0], ValueError, r"Received: shape \(300, 400\)"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"Received: shape \(8, 8, 4\)"),
    ],
)
def test_a_bad_image_is_refused_before_any_detector_sees_it(image, error, message):
    """Refuses a bad image before any detector gets it."""

    def never(image):
        raise AssertionError("the detector was called")

    with pytest.raises(error, match=message):
        align(image, detector=never)


def test_a_detector_that_answers_other_shapes_is_refused():
    """Refuses the answer of a detector that has other shapes."""
    with pytest.raises(ValueError, match=r"boxes \(n, 4\).*Received: boxes \(1, 4\), points \(1, 4, 2\)"):
        align(picture(), detector=lambda image: ([[0, 0, 9, 9]], np.zeros((1, 4, 2)), [1.0]))
    with pytest.raises(ValueError, match=r"Received: boxes \(1, 5\)"):
        align(picture(), detector=lambda image: ([[0, 0, 9, 9, 1]], LANDMARKS_112[None], [1.0]))


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    """Names the extra where the package is missing."""
    real_import = builtins.__import__

    def no_mtcnn(name, *args, **kwargs):
        if name.split(".")[0] == "mtcnn":
            raise ImportError("blocked")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_mtcnn)
    with pytest.raises(ImportError, match=r'pip install -e ".\[align\]".*blocked'):
        MTCNNDetector()


def test_importing_alignment_imports_no_detector():
    """Imports neither a detector nor a framework with alignment."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import keras_margin.alignment; "
        "print([name for name in ('mtcnn', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [{"min_face_size": 0}, {"min_score": 1.5}, {"min_score": math.nan}])
def test_a_detector_setting_out_of_range_is_refused(arguments):
    """Refuses a detector's setting that is out of range."""
    with pytest.raises(ValueError, match=f"MTCNNDetector needs {next(iter(arguments))}"):
        MTCNNDetector(**arguments)


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    return MTCNNDetector()


@pytest.fixture(scope="module")
def photograph():
    """Rear Admiral Grace Hopper, a public-domain photograph that matplotlib ships: 600 x 512, one face."""
    matplotlib = pytest.importorskip("matplotlib")
    Image = pytest.importorskip("PIL.Image")
    path = pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.slow
def test_mtcnn_finds_five_points_in_the_templates_order(detector, photograph):
    """Finds the five points of a photograph, in the template's order."""
    boxes, points, scores = detector(photograph)
    assert boxes.shape == (1, 4) and scores[0] > 0.9
    # Read off the photograph by eye, to a few pixels: her eyes, nose tip and mouth corners, viewer's left first.
    np.testing.assert_allclose(points[0], [[220, 190], [308, 186], [268, 237], [232, 277], [304, 273]], atol=10)
    assert (points != np.rint(points)).any()  # fractions survive


@pytest.mark.slow
def test_aligning_a_photograph_puts_its_points_on_the_template(detector, photograph):
    """Moves the points of a photograph onto the template."""
    face = align(photograph, detector=detector)
    assert face.shape == (112, 112, 3) and face.dtype == np.uint8
    # The detector looks again at its own crop; the fit itself leaves 2 pixels, her pose against the mean face's.
    _, points, _ = detector(face)
    np.testing.assert_allclose(points[0], LANDMARKS_112, atol=5)


@pytest.mark.slow
def test_the_default_detector_is_the_fast_one(monkeypatch, detector, photograph):
    """LiteRT's where it is installed, here on a small canvas; else the package's."""
    pytest.importorskip("ai_edge_litert", reason="the align extra is not installed")
    small = photograph[::5, ::5]
    fast = FaceDetector((120, 160))
    default = detector_module.default_detector
    monkeypatch.setattr(detector_module, "FaceDetector", lambda: fast)
    default.cache_clear()
    try:
        np.testing.assert_array_equal(align(small), align(small, detector=fast))
        monkeypatch.setattr(detector_module, "is_available", lambda: False)
        default.cache_clear()
        np.testing.assert_array_equal(align(small), align(small, detector=detector))
    finally:
        default.cache_clear()


def test_settings_go_to_the_detector_that_is_there(monkeypatch):
    """`make_detector`, behind --min_face_size and --min_score, without LiteRT and with it."""
    for available, name in ((True, "FaceDetector"), (False, "MTCNNDetector")):
        monkeypatch.setattr(detector_module, "is_available", lambda answer=available: answer)
        monkeypatch.setattr(detector_module, name, lambda name=name, **settings: (name, settings))
        assert detector_module.make_detector(min_face_size=40) == (name, {"min_face_size": 40})


@pytest.mark.slow
def test_a_tilted_photograph_is_turned_upright(detector, photograph):
    """Turns a tilted photograph upright."""
    cosine, sine = math.cos(0.35), math.sin(0.35)
    tilted = warp(photograph, [[cosine, -sine, 220], [sine, cosine, 30]], (800, 800))
    _, points, _ = detector(align(tilted, detector=detector))
    np.testing.assert_allclose(points[0], LANDMARKS_112, atol=6)


@pytest.mark.slow
def test_of_two_people_the_nearer_is_aligned(detector, photograph):
    """Aligns the nearer of two people."""
    far = photograph[::2, ::2]
    both = np.zeros((600, 800, 3), np.uint8)
    both[100:400, :256], both[:, 288:] = far, photograph
    _, points, _ = detector(both)
    assert len(points) == 2
    nearer = align_points(both, points[points[:, 0, 0] > 288][0])
    np.testing.assert_array_equal(align(both, detector=detector), nearer)


@pytest.fixture(scope="module")
def coarse():
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    return MTCNNDetector(min_face_size=60)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (12, 12), (13, 500), (36, 60), (200, 300)])
def test_mtcnn_finds_nothing_in_an_empty_image_of_any_size(detector, coarse, shape):
    """Finds nothing in an empty image of any size."""
    for grey in (0, 127, 255):
        image = np.full((*shape, 3), grey, np.uint8)
        assert align(image, detector=detector) is None and align(image, detector=coarse) is None


@pytest.mark.parametrize("min_face_size", [12, 20, 30, 40, 60, 100, 150, 200])
@pytest.mark.parametrize(("height", "width"), [(1, 900), (19, 19), (20, 20), (250, 250), (600, 512), (2048, 1365)])
def test_the_pyramid_has_each_level_of_twelve_pixels(height, width, min_face_size):
    """The k-th level is 12 / min_face_size * 0.709^k of the image; its shorter side has at least 12 whole pixels."""
    count = math.floor(1 + math.log(min(height, width) / min_face_size) / -math.log(0.709) + 1e-9)
    wanted = [12 / min_face_size * 0.709**level for level in range(max(0, count))]
    np.testing.assert_allclose(_mtcnn.pyramid_scales(height, width, min_face_size), wanted, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("min_face_size", [12, 30, 40, 60, 100, 150])
def test_a_larger_face_than_the_smallest_is_found(photograph, min_face_size):
    """Her face is some 170 x 220 pixels. mtcnn's own pyramid raised from 30 on, and found nothing at 60 and 100."""
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    boxes, points, _ = MTCNNDetector(min_face_size)(photograph)
    assert len(boxes) == 1
    np.testing.assert_allclose(points[0], [[220, 190], [308, 186], [268, 237], [232, 277], [304, 273]], atol=10)


def test_no_face_fits_an_image_smaller_than_the_smallest(photograph):
    """An answer, not an exception."""
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    assert align(photograph, detector=MTCNNDetector(513)) is None


@pytest.mark.slow
def test_the_default_pyramid_finds_what_mtcnn_finds(detector, photograph):
    """At 20 pixels the package's own levels are right: the same numbers to the bit."""
    mtcnn = pytest.importorskip("mtcnn")
    rows = mtcnn.MTCNN().detect_faces(photograph, output_type="numpy", box_format="xyxy")
    boxes, points, scores = detector(photograph)
    np.testing.assert_array_equal(np.column_stack([boxes, scores, points[..., 0], points[..., 1]]), rows[:, 1:])


def test_weights_planted_in_the_current_folder_are_not_loaded(detector, tmp_path, monkeypatch, photograph):
    """Loads no weights that somebody put into the current folder."""
    for name in ("pnet.lz4", "rnet.lz4", "onet.lz4"):
        (tmp_path / name).write_bytes(b"not weights")
    monkeypatch.chdir(tmp_path)
    assert len(MTCNNDetector()(photograph)[0]) == 1


def test_the_detector_travels_between_processes_by_its_settings(detector):
    """Pickles the detector by its settings for other processes."""
    assert detector.__reduce__() == (MTCNNDetector, (20, 0.8))


@pytest.mark.slow
def test_threads_share_one_detector(detector, photograph):
    """Detects the same from several threads that share a detector."""
    alone, answers = detector(photograph)[1], []
    threads = [threading.Thread(target=lambda: answers.append(detector(photograph)[1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for points in answers:
        np.testing.assert_allclose(points, alone, atol=0.01)


def test_networks_are_traced_once(detector, photograph, monkeypatch):
    """A second photograph, of another size, runs no layer in Python: the stages are graphs."""
    keras = pytest.importorskip("keras")
    detector(photograph)
    called = []
    monkeypatch.setattr(keras.layers.Conv2D, "call", lambda *arguments, **options: called.append(arguments))
    boxes, _, _ = detector(np.ascontiguousarray(photograph[:-16, :-8]))
    assert len(boxes) and not called

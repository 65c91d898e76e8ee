"""FaceDetector on a small canvas: what it finds, beside the package it is made of, and what it does with bad input."""

import logging
import pickle
import subprocess
import sys
import threading

import hopper
import numpy as np
import pytest

from keras_margin._utils import canvas
from keras_margin.alignment import MTCNNDetector
from keras_margin.detection import FaceDetector, _cache
from keras_margin.detection import detector as detector_module

pytest.importorskip("mtcnn", reason="the align extra is not installed")
pytest.importorskip("ai_edge_litert", reason="the align extra is not installed")

CANVAS = (120, 160)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(CANVAS, num_threads=1)


@pytest.fixture(scope="module")
def photograph():
    return hopper.photograph()


@pytest.fixture(scope="module")
def small(photograph):
    """Grace Hopper, 113 x 96 pixels, which fit on the canvas."""
    return canvas.shrunk(photograph, (113, 96))


def package(image):
    """What the mtcnn package finds, the largest face first."""
    boxes, points, scores = MTCNNDetector()(image)
    order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return boxes[order], points[order], scores[order]


def test_points_are_in_pixels_of_the_large_photograph(detector, photograph):
    """Five times larger than the canvas; read off by eye. Her box is inside."""
    boxes, points, scores = detector(photograph)
    assert boxes.shape == (1, 4) and scores[0] > 0.9
    np.testing.assert_allclose(points[0], hopper.POINTS, atol=12)
    assert (boxes[0, :2] < points[0].min(0)).all() and (points[0].max(0) < boxes[0, 2:]).all()


@pytest.mark.parametrize(
    "cut", [(slice(None), slice(None)), (slice(3, 104), slice(0, 77)), (slice(0, 96), slice(20, 95))]
)
def test_it_finds_what_the_package_finds(detector, small, cut):
    """On photographs of odd sizes on one canvas, the package on each alone: the same numbers to 0.01 pixels."""
    image = np.ascontiguousarray(small[cut])
    for found, wanted in zip(detector(image), package(image), strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.01)


def test_several_faces_come_the_largest_first(detector, photograph):
    """Two of her, 96 and 64 pixels wide, as the package finds them."""
    picture = np.full((*CANVAS, 3), 90, np.uint8)
    picture[:75, :64], picture[:113, 64:160] = canvas.shrunk(photograph, (75, 64)), canvas.shrunk(photograph, (113, 96))
    boxes, points, _ = detector(picture)
    assert len(boxes) == 2 and boxes[0, 0] > 64 > boxes[1, 0]
    np.testing.assert_allclose(points, package(picture)[1], atol=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (11, 400), (12, 12), (1, 3000), (120, 160), (250, 333)])
@pytest.mark.parametrize("grey", [0, 127, 255])
def test_one_color_has_no_face(detector, shape, grey):
    """Of any size, smaller than a cell and larger than the canvas."""
    boxes, points, scores = detector(np.full((*shape, 3), grey, np.uint8))
    assert (boxes.shape, points.shape, scores.shape) == ((0, 4), (0, 5, 2), (0,))


def test_a_face_cut_by_the_border_has_a_box_inside(detector, photograph):
    """Her chin is cut off: whatever is found lies inside, its points finite."""
    boxes, points, _ = detector(photograph[:290])
    assert np.isfinite(points).all()
    assert (boxes >= 0).all() and (boxes <= [511, 289, 511, 289]).all()


def test_a_larger_smallest_face_is_of_the_photograph(detector, monkeypatch, photograph, small):
    """On the canvas it is looked for from min_face_size / shrink, and from 20 pixels where that is less."""
    asked, content = [], _cache.path_of(CANVAS, 20.0, 0.8).read_bytes()

    def model(canvas, min_face_size, min_score):
        asked.append(min_face_size)
        return content

    monkeypatch.setattr(_cache, "model", model)
    coarse = FaceDetector(CANVAS, min_face_size=60)
    coarse(small)
    coarse(canvas.shrunk(photograph, (240, 204)))  # Shrunk twice: 30 pixels, and 60 * 0.709^3 is the next finer.
    coarse(photograph)  # Five times: 12 pixels, below the 20 that are looked for.
    assert asked == [60.0, pytest.approx(60 * 0.709**3), 20.0]


def test_the_score_is_a_threshold(detector, small):
    """Of a higher one than her score nothing is left, of a lower one she is."""
    score = detector(small)[2][0]
    for threshold, count in (((1 + score) / 2, 0), ((0.8 + score) / 2, 1)):
        assert len(FaceDetector(CANVAS, min_score=threshold)(small)[0]) == count


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"canvas": (8, 640)}, ValueError, "sides of 12 to 8,192 pixels"),
        ({"canvas": (8192, 8192)}, ValueError, "16,777,216"),
        ({"canvas": (12, 8193)}, ValueError, "sides of 12 to 8,192 pixels"),
        ({"canvas": 480}, TypeError, "two integers"),
        ({"canvas": CANVAS, "min_face_size": 11}, ValueError, "min_face_size=11"),
        ({"canvas": CANVAS, "min_face_size": 121}, ValueError, "shorter side, 120"),
        ({"min_score": 1.0}, ValueError, "min_score=1.0"),
        ({"num_threads": 0}, ValueError, "FaceDetector needs num_threads >= 1. Received: num_threads=0"),
        ({"num_threads": 1.5}, TypeError, "FaceDetector needs num_threads as an integer"),
    ],
)
def test_a_setting_out_of_range_is_refused(arguments, error, message):
    """Before anything is converted."""
    with pytest.raises(error, match=message):
        FaceDetector(**arguments)


def test_no_photograph_is_refused(detector):
    """By its type or its shape."""
    with pytest.raises(TypeError, match="float64"):
        detector(np.zeros((20, 20, 3)))
    with pytest.raises(ValueError, match=r"\(20, 20\)"):
        detector(np.zeros((20, 20), np.uint8))


def test_the_detector_travels_by_its_settings(detector, small):
    """Pickled, it finds the same."""
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again(small)[1], detector(small)[1])


def test_threads_share_one_detector(detector, small):
    """Calls wait for one another."""
    alone, answers = detector(small)[1], []
    threads = [threading.Thread(target=lambda: answers.append(detector(small)[1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(np.array_equal(points, alone) for points in answers)


def test_a_cached_model_needs_neither_tensorflow_nor_mtcnn(detector):
    """A fresh process in which neither can be imported finds the detector in the cache folder."""
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'mtcnn', 'joblib'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from keras_margin.detection import FaceDetector\n"
        f"print(len(FaceDetector({CANVAS})(np.zeros((64, 64, 3), np.uint8))[0]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr


def test_a_damaged_cached_model_is_made_again(detector, monkeypatch, tmp_path, small):
    """Half a file, an empty one, or another file: converted again, and put in its place."""
    whole = _cache.path_of(CANVAS, 20.0, 0.8).read_bytes()
    monkeypatch.setenv("KERAS_MARGIN_CACHE", str(tmp_path))
    monkeypatch.setattr(_cache, "_converted", lambda *settings: whole)
    path = _cache.path_of(CANVAS, 20.0, 0.8)
    for content in (whole[: len(whole) // 2], b"", b"another file"):
        path.write_bytes(content)
        assert len(FaceDetector(CANVAS)(small)[0]) == 1
        assert path.read_bytes() == whole


def test_without_a_place_for_the_cache_it_works_and_warns(detector, monkeypatch, tmp_path, caplog, small):
    """The model is kept in memory alone."""
    whole = _cache.path_of(CANVAS, 20.0, 0.8).read_bytes()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_MARGIN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(_cache, "_converted", lambda *settings: whole)
    with caplog.at_level(logging.WARNING, "keras_margin.detection"):
        assert len(FaceDetector(CANVAS)(small)[0]) == 1
    assert "converted again next time" in caplog.text


def test_without_litert_the_error_names_the_extra(monkeypatch):
    """And `is_available` says so beforehand."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert not detector_module.is_available()
    with pytest.raises(ImportError, match=r'FaceDetector runs on ai-edge-litert: pip install -e ".\[align\]"'):
        FaceDetector(CANVAS)


def test_without_the_weights_the_error_names_the_extra(monkeypatch, tmp_path):
    """A model that was never converted needs the package."""
    from keras_margin.detection import _networks

    monkeypatch.setenv("KERAS_MARGIN_CACHE", str(tmp_path))
    monkeypatch.setattr(_networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'the mtcnn package\'s weights: pip install -e ".\[align\]"'):
        FaceDetector(CANVAS)

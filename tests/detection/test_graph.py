"""The detector's parts against their formulas, and the whole as one function against the stages."""

import math

import hopper
import numpy as np
import pytest

from keras_margin._utils import canvas
from keras_margin.detection import FaceDetector, _cascade
from keras_margin.detection.pyramid_scales import finer

pytestmark = pytest.mark.tensorflow_only

CANVAS = (120, 160)


def removed_by_a_stronger(boxes, threshold, of_smaller):
    """Which boxes go: any earlier one overlaps them by more than the threshold, whether or not it went itself."""
    gone = []
    for place, box in enumerate(boxes.astype(np.float64)):
        for other in boxes[:place].astype(np.float64):
            sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            shared = math.prod(max(0.0, side) for side in sides)
            areas = [math.prod(each[2:] - each[:2]) for each in (box, other)]
            whole = min(areas) if of_smaller else sum(areas) - shared
            if shared > threshold * whole:
                gone.append(place)
                break
    return gone


def chain(count=40, seed=0):
    """Boxes of which each overlaps some others."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 30, (count, 2))
    return np.concatenate([low, low + generator.uniform(5, 20, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("of_smaller", [False, True])
def test_a_box_goes_if_any_stronger_one_overlaps_it(of_smaller):
    """In NumPy and in the graph, by a loop over pairs: a box that went itself still removes others."""
    from keras_margin.detection import _boxes

    boxes, strengths = chain(), np.linspace(5, 1, 40).astype(np.float32)
    gone = removed_by_a_stronger(boxes, 0.3, of_smaller)
    assert 5 < len(gone) < 38
    left = np.setdiff1d(np.arange(40), gone)
    np.testing.assert_array_equal(_cascade._kept(boxes, strengths, 0.3, of_smaller=of_smaller), left)
    found = _boxes.suppress(boxes, strengths, 0.3, of_smaller).numpy()
    np.testing.assert_array_equal(np.flatnonzero(found), left)


@pytest.mark.parametrize(("side", "count"), [(40.0, 24.0), (37.0, 22.0), (12.0, 12.0), (5.0, 2.0)])
def test_area_means_of_a_part_of_an_axis(side, count):
    """The first `side` of 40 pixels in `count` stretches, by the overlaps in float64; beyond them 0."""
    from keras_margin.detection import _pyramid

    image = np.random.default_rng(0).uniform(-1, 1, (40, 3, 3)).astype(np.float32)
    edges, pixels = np.arange(count + 1) * side / count, np.arange(40)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    wanted = np.einsum("cn,nxy->cxy", np.maximum(overlap, 0) * count / side, image.astype(np.float64))
    found = _pyramid.area_means(image, 0, 24, np.float32(side), np.float32(count)).numpy()
    np.testing.assert_allclose(found[: int(count)], wanted, atol=2e-5)
    np.testing.assert_allclose(found[int(count) :], 0, atol=2e-5)


def test_reading_outside_is_black_tap_by_tap():
    """Half a pixel above the first row is half of it; one pixel above, nothing."""
    from keras_margin.detection import sampling

    photo = np.full((4, 5, 3), 200, np.uint8)
    ys, xs = np.float32([[-0.5], [-1.0], [0.0], [2.75]]), np.float32([[1.0, 2.5]])
    reading = sampling.bilinear(photo, np.float32([3, 4]), ys, xs)
    found = sampling.black_outside(reading).numpy()[..., 0]
    # The photograph ends after three rows: its last is 2, and 2.75 is three quarters outside.
    np.testing.assert_allclose(found, [[100, 100], [0, 0], [200, 200], [50, 50]], atol=1e-4)


def test_a_smaller_smallest_face_is_a_level_more():
    """The largest of size * 0.709^k that is at most the limit."""
    assert finer(30.0, 30.0) == 30.0
    assert finer(30.0, 20.0) == pytest.approx(30 * 0.709**2)


@pytest.fixture(scope="module")
def one_function():
    """The whole cascade as one TensorFlow function, with two slots for faces."""
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    import tensorflow as tf

    from keras_margin.detection import graph

    return tf.function(graph.Cascade(slots=graph.Slots(faces=2)).detect, autograph=False)


def four_of_her():
    """A canvas with her face four times, of four sizes."""
    picture, photo = np.full((*CANVAS, 3), 90, np.uint8), hopper.photograph()[20:480, 60:460]
    for (top, left), side in zip([(0, 0), (0, 80), (60, 0), (60, 80)], (59, 55, 51, 47), strict=True):
        picture[top : top + side, left : left + side] = canvas.shrunk(photo, (side, side))
    return picture


def test_one_function_finds_what_the_stages_find(one_function):
    """A single face, on a part of the canvas."""
    pytest.importorskip("ai_edge_litert", reason="the align extra is not installed")
    placed = canvas.place(canvas.shrunk(hopper.photograph(), (113, 96)), CANVAS)
    found = {name: value.numpy() for name, value in one_function(placed.pixels, placed.size).items()}
    boxes, points, scores = FaceDetector(CANVAS)(placed.pixels[:113, :96])
    assert found["count"] == len(boxes) == 1 and not found["dropped"].any()
    np.testing.assert_allclose(found["boxes"][:1], boxes, atol=1e-2)
    np.testing.assert_allclose(found["points"][:1], points, atol=1e-2)
    np.testing.assert_allclose(found["scores"][:1], scores, atol=1e-4)
    assert not found["boxes"][1:].any() and not found["points"][1:].any()


def test_of_more_faces_than_slots_the_largest_are_kept(one_function):
    """Four faces, two slots: the two largest, and the others are counted."""
    picture = four_of_her()
    found = {name: value.numpy() for name, value in one_function(picture, np.int32(CANVAS)).items()}
    boxes, points, _ = FaceDetector(CANVAS)(picture)
    assert len(boxes) == 4 and found["count"] == 2 and found["dropped"].tolist() == [0, 0, 2]
    np.testing.assert_allclose(found["points"], points[:2], atol=1e-2)


def test_each_prelu_is_one_operator():
    """Of R-Net's three convolutions and of the layer behind them; XNNPACK then reads each map once, not five times."""
    pytest.importorskip("mtcnn", reason="the align extra is not installed")
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    from keras_margin.detection import _networks, build

    networks = _networks.Networks()
    crops = tf.TensorSpec((2, 24, 24, 3), tf.float32, name="crops")
    content = build.convert({"refine": (lambda crops: {"logits": networks.refine(crops)[1]}, [crops])})
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    names = [flatbuffer_utils.opcode_to_name(model, each.opcodeIndex) for each in model.subgraphs[0].operators]
    assert names.count("PRELU") == 4 and not {"RELU", "NEG"} & set(names)

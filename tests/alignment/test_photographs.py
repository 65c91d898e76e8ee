"""prepare_photograph: a face is aligned, or the picture is refused or scaled with a warning, as the metadata say."""

import logging
import types

import faces
import numpy as np
import pytest

from keras_margin import alignment
from keras_margin.alignment import photographs, transform
from keras_margin.alignment.transform import LANDMARKS_112
from keras_margin.detection import FaceDetector
from keras_margin.runtime import Embedder

SIZE = (112, 112)
TEMPLATE = {"points": transform.landmark_template(SIZE).round(4).tolist()}


def embedder(metadata, size=SIZE, path="face.tflite"):
    """What prepare reads of an embedder."""
    return types.SimpleNamespace(image_size=size, metadata=metadata, path=path)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def every_warning():
    """Each warning is logged once a process: every test starts from none."""
    photographs._warn_once.cache_clear()


def test_an_image_of_the_networks_size_is_taken_as_it_is():
    """A picture of the size is a crop already, whatever the metadata have."""
    image = noise(*SIZE)
    for metadata in ({"alignment": TEMPLATE}, {"alignment": None}, None):
        np.testing.assert_array_equal(photographs.prepare_photograph(image, embedder(metadata)), image)


def test_another_size_is_refused_where_faces_are_aligned():
    """Metadata with an alignment: a picture of another size is refused; both sizes and the ways out are named."""
    with pytest.raises(ValueError, match=r"112 x 112 pixels.*Received: a picture of 800 x 600.*align=True.*fit="):
        photographs.prepare_photograph(noise(800, 600), embedder({"alignment": TEMPLATE}))


@pytest.mark.parametrize(
    ("metadata", "words"), [({"alignment": None}, "have alignment null"), (None, "what it was trained on is unknown")]
)
def test_a_whole_picture_is_scaled_with_a_warning(metadata, words, caplog):
    """Without an alignment in the metadata the whole picture is scaled, and a warning says so, once."""
    ramp = np.repeat(np.repeat(np.arange(32, dtype=np.uint8)[None, :, None] * 4, 16, 0), 3, 2)
    for _ in range(2):
        scaled = photographs.prepare_photograph(ramp, embedder(metadata, (8, 16)))
    # Half the width: pixel i lies over 2 i and 2 i + 1, and a symmetric filter keeps a ramp: 4 (2 i + 1/2).
    wanted = 8.0 * np.arange(16) + 2
    np.testing.assert_array_equal(scaled[:, 1:-1], np.broadcast_to(wanted[None, 1:-1, None], (8, 14, 3)))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and words in record.message


def test_align_where_the_metadata_have_none_warns(caplog):
    """A network trained on whole pictures gets an aligned face on request, with a warning."""
    face = photographs.prepare_photograph(
        faces.photograph((20, 30)), embedder({"alignment": None}), detector=faces.detect
    )
    assert face.shape == (*SIZE, 3)
    assert "trained on pictures that were not" in caplog.text


def test_a_detector_aligns_the_face(caplog):
    """The face whose points lie at the template's places, shifted by whole pixels, is the shifted picture itself."""
    image = faces.photograph((20, 30))
    face = photographs.prepare_photograph(image, embedder({"alignment": TEMPLATE}), detector=faces.detect)
    np.testing.assert_array_equal(face, image[30:142, 20:132])
    assert not caplog.records


def test_an_image_of_the_networks_size_is_aligned_on_request():
    """`align` is obeyed whatever the size: a 112 x 112 picture need not be a crop."""
    assert photographs.prepare_photograph(noise(*SIZE), embedder(None), detector=faces.detect) is None


def test_a_picture_without_a_face_gives_none():
    """As alignment.align: no face is an answer, not an error."""
    assert (
        photographs.prepare_photograph(faces.photograph(), embedder({"alignment": TEMPLATE}), detector=faces.detect)
        is None
    )


def test_a_large_picture_is_searched_in_a_smaller_copy():
    """The detector sees at most 2,048 pixels a side; its points come back in the picture's own pixels."""
    image, seen = noise(3072, 4096), []

    def detector(copy):
        seen.append(copy.shape)
        # The template's places at (1000, 500) of the picture, in the pixels of a copy of half the size.
        points = (LANDMARKS_112 + (1000, 500) + 0.5) / 2 - 0.5
        return np.array([[500.0, 250.0, 556.0, 306.0]]), points[None], np.ones(1)

    face = photographs.prepare_photograph(image, embedder({"alignment": TEMPLATE}), detector=detector)
    assert seen == [(1536, 2048, 3)]
    np.testing.assert_array_equal(face, image[500:612, 1000:1112])


@pytest.mark.parametrize("as_method", [False, True])
def test_a_detector_that_shrinks_sees_the_picture_itself(as_method):
    """FaceDetector's canvas may be larger than 2,048 pixels; so may that of a file whose `detect` is the detector."""

    class Detector:
        shrinks_photographs = True

        def __call__(self, image):
            seen.append(image.shape)
            return np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0)

        detect = __call__

    image, seen, detector = noise(40, 2100), [], Detector()
    detector = detector.detect if as_method else detector
    photographs.prepare_photograph(image, embedder({"alignment": TEMPLATE}), detector=detector)
    assert seen == [(40, 2100, 3)]


def test_both_detectors_of_ours_that_have_a_canvas_shrink():
    """What they promise, and MTCNNDetector does not."""
    assert FaceDetector.shrinks_photographs and Embedder.shrinks_photographs
    assert not hasattr(alignment.MTCNNDetector, "shrinks_photographs")


def test_fit_crop_cuts_the_middle_out():
    """112 x 96 out of 112 x 112: eight columns less on either side, as SphereFace's crops are."""
    image = noise(*SIZE)
    face = photographs.prepare_photograph(image, embedder({"alignment": TEMPLATE}, (112, 96)), fit="crop")
    np.testing.assert_array_equal(face, image[:, 8:104])


def test_fit_resize_stretches_without_a_warning(caplog):
    """Asked for by name, a picture of one grey becomes a smaller one of the same grey, silently."""
    face = photographs.prepare_photograph(
        np.full((50, 40, 3), 77, np.uint8), embedder({"alignment": TEMPLATE}), fit="resize"
    )
    np.testing.assert_array_equal(face, np.full((*SIZE, 3), 77))
    assert not caplog.records


def test_a_foreign_template_is_refused():
    """Faces aligned onto another template than the file's would be plausible and wrong."""
    shifted = {"points": (transform.landmark_template(SIZE) + 3).tolist()}
    with pytest.raises(ValueError, match="another template than the library's"):
        photographs.prepare_photograph(
            faces.photograph((20, 30)), embedder({"alignment": shifted}), detector=faces.detect
        )


@pytest.mark.parametrize(
    ("image", "options", "error", "words"),
    [
        (noise(9, 9).astype(float), {}, TypeError, "Received: float64 of shape"),
        (noise(9, 9)[..., 0], {}, TypeError, r"of shape \(9, 9\)"),
        ([[0]], {}, TypeError, "Received: list"),
        (noise(9, 9), {"fit": "squeeze"}, ValueError, "fit='squeeze'"),
        (noise(9, 9), {"fit": "crop"}, ValueError, r"Received: a picture of 9 x 9\. Pass fit=\"resize\""),
        (noise(9, 9), {"fit": "crop", "align": True}, ValueError, "Pass one of them"),
    ],
)
def test_what_cannot_be_prepared_is_refused(image, options, error, words):
    """A wrong array or contradicting options: the rule, the value, a fix."""
    with pytest.raises(error, match=words):
        photographs.prepare_photograph(image, embedder(None), **options)

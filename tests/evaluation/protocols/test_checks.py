"""What spoils an evaluation is found by measuring: swapped channels, wrong normalisation, the same images twice."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_margin import evaluation
from keras_margin.evaluation.embedders import FileEmbedder
from keras_margin.evaluation.protocols import checks

SIDE, PEOPLE, EACH = 16, 30, 4


class Faces:
    """Blobs that look like photographs in one respect, more red than blue; who it is shows in one channel alone."""

    name = "faces"

    def __init__(self, channel=0, order=(0, 1, 2)):
        generator = np.random.default_rng(0)
        who = np.repeat(generator.integers(-60, 61, (PEOPLE, SIDE, SIDE)), EACH, axis=0)
        noise = generator.integers(-30, 31, (PEOPLE * EACH, SIDE, SIDE, 3))
        pixels = noise + (150, 110, 85)
        pixels[..., channel] += who
        self.all = np.clip(pixels, 0, 255).astype(np.uint8)[..., list(order)]
        labels = np.arange(PEOPLE * EACH) // EACH
        self._pairs = evaluation.make_pairs(labels, 100, 100)

    def sample_pairs(self, count, seed=0):
        return self._pairs

    def images(self, rows):
        return self.all[rows]


def embedder(network, **options):
    defaults = {"channels": "RGB", "normalization": None, "takes_pixels": True}
    return FileEmbedder(
        "net", "tflite", (SIDE, SIDE), 4, keeps_length=True, metadata=None, network=network, **(defaults | options)
    )


def sees(channel):
    """A network that sees one channel of what it is fed, less its mean."""

    def network(images, normalization):
        rows = images[..., channel].reshape(len(images), -1).astype(np.float64)
        return rows - rows.mean(axis=1, keepdims=True)

    return network


@pytest.mark.parametrize(
    ("faces", "channel", "level", "words"),
    [
        (Faces(0), 0, "ok", "redder than blue"),
        (Faces(0), 2, "warning", "Probably the model was trained on BGR. If it was, say so: channels=BGR."),
        (Faces(0, order=(2, 1, 0)), 0, "warning", "Probably the images were stored as BGR."),
        (Faces(0, order=(2, 1, 0)), 2, "warning", "looks stored as BGR, the model notwithstanding"),
        (Faces(1), 1, "unknown", "hardly sees colour"),
        (Faces(0, order=(0, 0, 0)), 0, "unknown", "is grey"),
    ],
)
def test_the_order_of_channels_is_measured(faces, channel, level, words):
    """Measures the order of the channels."""
    found = checks.check_channels(embedder(sees(channel)), faces)
    assert (found.check, found.level) == ("channels", level) and words in found.text


def test_a_model_declared_bgr_is_fed_bgr_and_found_right():
    """Feeds BGR to a model that declares it, and finds it right."""
    assert checks.check_channels(embedder(sees(2), channels="BGR"), Faces(0)).level == "ok"


def saturating(images, normalization):
    """A network that was trained on pixels around 0 and sees their sign alone."""
    mean, std = normalization or (0.0, 1.0)
    return np.where((images.astype(np.float64) - mean) / std > 0.15, 1.0, -1.0)[..., 0].reshape(len(images), -1)


def test_another_normalization_that_separates_better_is_named():
    """Names another normalization that separates better."""
    told = embedder(saturating, takes_pixels=False, normalization=(127.5, 128.0))
    assert checks.check_normalization(told, Faces(0)).level == "ok"
    found = checks.check_normalization(told.varied(normalization=None), Faces(0))
    assert found.level == "warning" and ("at best 1.000 with" in found.text and "0 to 255" not in found.text)
    assert (
        checks.check_normalization(embedder(saturating), Faces(0)).text
        == "The file takes pixels and normalises inside."
    )


def test_a_dead_network_does_not_speak_for_a_normalization():
    """Draws no conclusion from a network that dies under another normalization."""

    def network(images, normalization):
        return sees(0)(images, None) if normalization is None else np.zeros((len(images), 4))

    assert checks.check_normalization(embedder(network, takes_pixels=False), Faces(0)).level == "ok"


def compressed(image, quality=40):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).convert("RGB"))


def smooth(count, seed):
    """Pictures with structure at the scale of a face's, as noise has none that survives compression."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.array(Image.fromarray(image).resize((48, 40), Image.Resampling.BICUBIC)) for image in small])


def test_images_of_two_sets_are_matched_by_pixels_and_by_looks():
    """Matches images of two sets by pixels and by thumbnails."""
    one, other = smooth(30, 0), smooth(40, 1)
    assert (
        checks.check_overlap(checks.image_fingerprints([one]), checks.image_fingerprints([other]), ("a", "b")).level
        == "ok"
    )
    other[7], other[9] = one[4], compressed(one[20])
    found = checks.check_overlap(
        checks.image_fingerprints([one[:10], one[10:]]), checks.image_fingerprints([other]), ("a", "b")
    )
    assert found.level == "warning"
    assert found.text == "2 of 30 images of a are in b too: 1 pixel for pixel, 1 nearly; the first is image 4."


def test_thumbnails_are_means_of_equal_parts_of_any_size():
    """Averages equal parts of images of any size into thumbnails."""
    image = np.random.default_rng(0).integers(0, 256, (1, 24, 40, 3), dtype=np.uint8)
    grey = image[0].astype(np.float64) @ [0.299, 0.587, 0.114]
    # Each of 16 parts is 1.5 x 2.5 pixels: on a grid of half pixels, 3 x 5.
    fine = np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1).reshape(16, 3, 16, 5).mean(axis=(1, 3))
    expected = (fine - fine.mean()).ravel()
    np.testing.assert_allclose(
        checks.image_fingerprints([image]).thumbnails[0], expected / np.linalg.norm(expected), atol=1e-5
    )
    blank = checks.image_fingerprints([np.full((2, 24, 40, 3), 9, np.uint8)])
    assert not blank.thumbnails.any()  # Blanks match by their pixels alone.


@pytest.mark.parametrize(
    ("people", "level", "words"),
    [
        (None, "unknown", "no names"),
        (np.array(["1", "2"]), "unknown", "no names"),
        (np.array(["Ann", "Bob"]), "ok", "share no name"),
        (np.array(["Ann", "Cat", "Ann"]), "warning", "1 of 2 people of lfw are in casia too: Cat first."),
    ],
)
def test_people_who_were_trained_on_are_found_by_name(people, level, words):
    """Finds by name the people of the training set."""
    found = checks.check_people(people, ("Cat", "Dan"), ("lfw", "casia"))
    assert found.level == level and words in found.text

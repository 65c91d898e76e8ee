"""Exports with a second output `length`: the length that the network gave an embedding, as its quality."""

import keras
import numpy as np
import pytest

import keras_margin as km
from keras_margin import export
from keras_margin._utils import metadata
from keras_margin.evaluation.embedders import load_embedder
from keras_margin.runtime import Embedder

pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

SIDE = 16


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.AveragePooling2D(4)]
        + [keras.layers.Flatten(), keras.layers.Dense(12)]
    )
    return km.EmbeddingModel(backbone, km.CosFaceHead(6))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8)


def own_lengths(model, images):
    return np.linalg.norm(np.float64(model.predict(np.float32(images), verbose=0)), axis=1)


@pytest.mark.parametrize(
    ("quantize", "tolerance"), [(None, 1e-5), ("float16", 2e-3), ("dynamic", 2e-2), ("int8", 5e-2)]
)
def test_a_tflite_file_tells_the_length_of_the_models_embedding(model, images, tmp_path, quantize, tolerance):
    """Embeddings stay of unit length; quality is what the model's measured."""
    representative = images if quantize == "int8" else None
    options = export.Options(length=True)
    path = tmp_path / "face.tflite"
    export.to_tflite(model, path, quantize=quantize, representative=representative, options=options)
    embedder = Embedder(path)
    np.testing.assert_allclose(embedder.quality(images), own_lengths(model, images), rtol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(images), axis=1), 1, rtol=1e-5)
    assert metadata.read_metadata(path)["length"] == {"name": "length", "dtype": "float32"}


def test_the_lengths_of_a_sum_are_the_sums(model, images, tmp_path):
    """With flip_sum the length is that of image and mirror image together."""
    path = tmp_path / "face.tflite"
    export.to_tflite(model, path, samples=images, options=export.Options(length=True, flip_sum=True))
    both = [np.float64(model.predict(np.float32(each), verbose=0)) for each in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(Embedder(path).quality(images), np.linalg.norm(sum(both), axis=1), rtol=1e-5)


def test_an_evaluation_gets_rows_with_their_lengths(model, images, tmp_path):
    """load_embedder keeps the length of a file that tells it, and of a Keras file, alike."""
    path = tmp_path / "face.tflite"
    export.to_tflite(model, path, samples=images, options=export.Options(length=True))
    rows = load_embedder(path).embed(images, lengths=True)
    np.testing.assert_allclose(rows, model.predict(np.float32(images), verbose=0), rtol=1e-4, atol=1e-5)


def test_a_savedmodel_keeps_the_length_that_it_tells(model, images, tmp_path):
    """Rows of a SavedModel with `length` are the model's own; those of one without are of unit length alone."""
    export.to_savedmodel(model, tmp_path / "told", samples=images, options=export.Options(length=True))
    embedder = load_embedder(tmp_path / "told")
    wanted = model.predict(np.float32(images), verbose=0)
    np.testing.assert_allclose(embedder.embed(images, lengths=True), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(images), axis=1), 1, rtol=1e-5)
    export.to_savedmodel(model, tmp_path / "lost", samples=images)
    with pytest.raises(ValueError, match="exported with --length"):
        load_embedder(tmp_path / "lost").embed(images, lengths=True)


def test_a_file_without_it_says_how_to_get_it(model, images, tmp_path):
    """Unit rows have lost their length."""
    path = tmp_path / "face.tflite"
    export.to_tflite(model, path, samples=images)
    assert "length" not in metadata.read_metadata(path) and not Embedder(path).keeps_length
    with pytest.raises(ValueError, match=r"Options\(length=True\), or --length"):
        Embedder(path).quality(images)


def test_integers_have_no_length():
    """A file of integers alone has no float output."""
    with pytest.raises(ValueError, match="length is a float"):
        export.Options(length=True, integer_only=True)


def test_enroll_leaves_images_of_low_quality_out(model, images, tmp_path, capsys):
    """Below --least_quality an image is named and counted, the others are enrolled with unit embeddings."""
    from PIL import Image

    from keras_margin import cli
    from keras_margin.runtime import Gallery

    path, people = tmp_path / "face.tflite", tmp_path / "people"
    export.to_tflite(model, path, samples=images, options=export.Options(length=True))
    (people / "Ada").mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(people / "Ada" / f"{number}.png")
    lengths = own_lengths(model, images)
    least = float(np.sort(lengths)[3:5].mean())
    arguments = ["enroll", str(people), str(tmp_path / "g.npz"), f"--model={path}", f"--least_quality={least}"]
    assert cli.main(arguments) == 0
    rows = Gallery.load(tmp_path / "g.npz").embeddings_of("Ada")
    np.testing.assert_allclose(rows, Embedder(path).embed(images)[lengths >= least], atol=1e-6)
    assert "4 that cannot be used" in capsys.readouterr().out


def test_an_onnx_file_has_no_length(model, tmp_path):
    """Options(length=True) is refused there, where nothing would read it."""
    with pytest.raises(ValueError, match="TFLite's and SavedModel's. Received: an ONNX file"):
        export.to_onnx(model, tmp_path / "face.onnx", options=export.Options(length=True))
    assert not list(tmp_path.iterdir())


def test_calibrating_without_pairs_is_refused(model, tmp_path):
    """Options(calibrate=True) is not ignored where there is nothing to calibrate on."""
    with pytest.raises(ValueError, match="measures pairs. Pass pairs="):
        export.to_tflite(model, tmp_path / "face.tflite", options=export.Options(calibrate=True))

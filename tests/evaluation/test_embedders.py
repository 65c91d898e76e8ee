"""One embedder from any file: the same rows whatever the format, and errors that say what is wrong with a file."""

import json
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_margin as km

tf = pytest.importorskip("tensorflow")
from keras_margin import export  # noqa: E402
from keras_margin.evaluation import embedders  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

SIDE, SIZE = 16, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def network(rescale=True):
    images = x = keras.Input((SIDE, SIDE, 3))
    if rescale:
        x = keras.layers.Rescaling(1 / 128, offset=-127.5 / 128)(x)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
    kernel = keras.initializers.Constant(np.random.default_rng(1).normal(size=(48, SIZE)))
    return keras.Model(images, keras.layers.Dense(SIZE, kernel_initializer=kernel)(x), name="net")


def by_hand(images, mean=127.5, std=128.0):
    """What `network` computes, in float64."""
    means = images.astype(np.float64).reshape(-1, 4, 4, 4, 4, 3).mean(axis=(2, 4))
    return ((means - mean) / std).reshape(len(images), -1) @ np.random.default_rng(1).normal(size=(48, SIZE))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    backbone = network()
    km.EmbeddingModel(backbone, km.ArcFaceHead(4)).save(folder / "model.keras")
    export.to_tflite(backbone, folder / "embedder.tflite", samples=PIXELS)
    export.to_savedmodel(backbone, folder / "savedmodel", samples=PIXELS)
    bare = network(rescale=False)
    bare.save(folder / "bare.keras")
    bare.export(folder / "foreign", verbose=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "takes_pixels"),
    [("model.keras", "keras", False), ("embedder.tflite", "tflite", True), ("savedmodel", "savedmodel", True)],
)
def test_every_format_gives_the_networks_unit_rows(folder, name, kind, takes_pixels):
    """Returns the network's unit rows from every format."""
    embedder = embedders.load_embedder(folder / name)
    assert (embedder.kind, embedder.takes_pixels, embedder.channels) == (kind, takes_pixels, "RGB")
    assert (embedder.image_size, embedder.embedding_size) == ((SIDE, SIDE), SIZE)
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(by_hand(PIXELS)), atol=1e-5)
    swapped = embedders.load_embedder(folder / name).varied(channels="BGR")
    np.testing.assert_allclose(swapped.embed(PIXELS), unit(by_hand(PIXELS[..., ::-1])), atol=1e-5)


@pytest.mark.slow
def test_a_runs_folder_is_opened_by_its_model(folder):
    """Opens the model of a run's folder."""
    assert embedders.load_embedder(folder).path.endswith("model.keras")


def test_lengths_of_a_keras_file_are_the_networks_own(folder):
    """Returns the network's own lengths from a Keras file."""
    np.testing.assert_allclose(
        embedders.load_embedder(folder / "model.keras").embed(PIXELS, lengths=True), by_hand(PIXELS), rtol=1e-4
    )


@pytest.mark.parametrize("name", ["embedder.tflite", "savedmodel"])
def test_lengths_of_an_exported_file_are_refused(folder, name):
    """Refuses lengths of a file whose rows have unit length."""
    with pytest.raises(ValueError, match="their own length is lost"):
        embedders.load_embedder(folder / name).embed(PIXELS, lengths=True)


@pytest.mark.parametrize("name", ["bare.keras", "foreign"])
def test_a_network_that_takes_floats_is_fed_what_is_declared(folder, name):
    """Feeds a network of floats the declared values."""
    mean, std = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
    embedder = embedders.load_embedder(folder / name, normalization=(mean, std))
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(by_hand(PIXELS, mean, std)), atol=1e-5)
    varied = embedder.varied(normalization=(0.0, 255.0))
    np.testing.assert_allclose(varied.embed(PIXELS, lengths=True), by_hand(PIXELS, 0, 255), rtol=1e-4)


def test_metadata_are_compared_with_the_file(folder, tmp_path):
    """Compares the metadata with the file."""
    path = tmp_path / "savedmodel"
    shutil.copytree(folder / "savedmodel", path)
    metadata = json.loads((path / "contract.json").read_text())

    def opened(changes, **options):
        written = {**metadata, **{name: {**metadata[name], **values} for name, values in changes.items()}}
        (path / "contract.json").write_text(json.dumps(written))
        return embedders.load_embedder(path, **options)

    assert opened({"image": {"channels": "BGR"}}).channels == "BGR"
    with pytest.raises(ValueError, match=re.escape("(16, 16, 512), the network has (16, 16, 6)")):
        opened({"embedding": {"size": 512}})
    with pytest.raises(ValueError, match="say RGB. Received: channels='BGR'"):
        opened({}, channels="BGR")
    with pytest.raises(ValueError, match="Received: 'GBR'"):
        opened({"image": {"channels": "GBR"}})


def test_channels_are_turned_once_whoever_turns_them(folder, tmp_path):
    """Swaps the channels once, whoever swaps them."""
    content = (folder / "embedder.tflite").read_bytes()
    assert content.count(b'"channels": "RGB"') == 1
    (tmp_path / "bgr.tflite").write_bytes(content.replace(b'"channels": "RGB"', b'"channels": "BGR"'))
    embedder = embedders.load_embedder(tmp_path / "bgr.tflite")
    assert embedder.channels == "BGR"
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(by_hand(PIXELS[..., ::-1])), atol=1e-5)
    np.testing.assert_allclose(embedder.varied(channels="RGB").embed(PIXELS), unit(by_hand(PIXELS)), atol=1e-5)


def test_a_row_of_zeros_stays_zero_and_nan_is_an_error(folder):
    """Keeps a row of zeros, and raises for NaN."""
    embedder = embedders.load_embedder(folder / "bare.keras")
    assert not embedder.embed(np.zeros((1, SIDE, SIDE, 3), np.uint8)).any()
    broken = embedder.varied(network=lambda images, normalization: np.full((len(images), SIZE), np.nan))
    with pytest.raises(ValueError, match="NaN or infinity to 5 of 5 images, first 0"):
        broken.embed(PIXELS)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (PIXELS.astype(np.float32), TypeError, "takes uint8 RGB images"),
        (PIXELS[:, :8], ValueError, "(n, 16, 16, 3). Received: (5, 8, 16, 3)"),
        (PIXELS[0], ValueError, "Received: (16, 16, 3)"),
        (PIXELS[:0], ValueError, "Received: (0, 16, 16, 3)"),
    ],
)
def test_other_images_are_refused(folder, images, error, words):
    """Refuses images of another shape or type."""
    with pytest.raises(error, match=re.escape(words)):
        embedders.load_embedder(folder / "bare.keras").embed(images)


_WITHOUT_TENSORFLOW = """
import sys
for name in ('tensorflow', 'keras', 'jax', 'torch', 'h5py'): sys.modules[name] = None
import numpy as np
from keras_margin.evaluation import embedders
folder = sys.argv[1]
embedder = embedders.load_embedder(folder + '/embedder.tflite')
np.save(folder + '/rows.npy', embedder.embed(np.load(folder + '/pixels.npy')))
for name in ('model.keras', 'savedmodel'):
    try: embedders.load_embedder(folder + '/' + name)
    except ImportError as error: print(error)
"""


def test_a_tflite_file_needs_neither_tensorflow_nor_keras(folder):
    """The same rows in a process that can import neither; the other formats name what to install."""
    np.save(folder / "pixels.npy", PIXELS)
    command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(folder / "rows.npy"), unit(by_hand(PIXELS)), atol=1e-5)
    for line, name in zip(done.stdout.splitlines(), ("model.keras", "savedmodel"), strict=True):
        assert re.search(rf'{name} is run by TensorFlow: pip install -e "\.\[cpu\]"', line)


@pytest.mark.parametrize(
    ("path", "options", "error", "words"),
    [
        ("gone.keras", {}, FileNotFoundError, "No such file or directory: "),
        ("notes.txt", {}, ValueError, "is not an embedder. Pass a Keras file"),
        ("torn.keras", {}, ValueError, "cannot be read as a Keras model"),
        ("empty", {}, ValueError, "a folder without an embedder"),
        ("folder/foreign", {}, ValueError, "must be told how its pixels are normalised"),
        ("folder/savedmodel", {"normalization": (0, 1)}, ValueError, "normalises inside"),
        ("folder/foreign", {"normalization": 127.5}, TypeError, "normalization must be (mean, std)"),
        ("folder/bare.keras", {"normalization": (0, 0)}, ValueError, "with std > 0"),
        ("folder/bare.keras", {"channels": "GRB"}, ValueError, 'channels must be "RGB" or "BGR"'),
    ],
)
def test_files_that_are_no_embedders_are_named(folder, tmp_path, path, options, error, words):
    """Names files that are not embedders."""
    (tmp_path / "notes.txt").write_text("no model at all")
    (tmp_path / "torn.keras").write_bytes((folder / "bare.keras").read_bytes()[:500])
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").symlink_to(folder)
    with pytest.raises(error, match=re.escape(words)):
        embedders.load_embedder(tmp_path / path, **options)

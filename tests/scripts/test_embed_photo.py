"""export/c/embed_photo.c: compiled as its first lines say, its faces and embeddings beside the runtime's."""

import subprocess

import c_programs
import hopper
import numpy as np
import pytest
from exported import small_network
from PIL import Image
from scripts import ROOT

from keras_margin._utils import canvas

pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

pytest.importorskip("mtcnn", reason="the align extra is not installed")

SOURCE = ROOT / "export" / "c" / "embed_photo.c"
CANVAS = (72, 64)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """With JPEG where libjpeg's header is there."""
    return c_programs.compiled(SOURCE, tmp_path_factory.mktemp("c") / "embed_photo")


@pytest.fixture(scope="module")
def photograph():
    return hopper.photograph()


@pytest.fixture(scope="module")
def small(photograph):
    """Fits on the canvas."""
    return canvas.shrunk(photograph, (70, 60))


@pytest.fixture(scope="module")
def model(photograph, tmp_path_factory):
    from keras_margin import export

    path = tmp_path_factory.mktemp("model") / "my face.tflite"
    export.to_tflite(small_network(32, 28, seed=3), path, photo=CANVAS, photographs=[photograph])
    return path


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def faces(program, model, path):
    """float64 array (faces, 5 + embedding size) of what the program prints."""
    found = run(program, model, path)
    assert found.returncode == 0, found.stderr
    return np.array([[float(number) for number in line.split()] for line in found.stdout.splitlines()])


def saved(path, picture, **options):
    Image.fromarray(picture).save(path, **options)
    return path


def test_it_gives_the_runtimes_face_and_embedding(program, model, small, tmp_path):
    """Of a photograph that fits on the canvas: box, score and embedding."""
    from keras_margin.runtime import Embedder

    (row,) = faces(program, model, saved(tmp_path / "photo.ppm", small))
    (face,) = Embedder(model).faces(small)
    np.testing.assert_allclose(row[:4], face.box, atol=2e-3)
    np.testing.assert_allclose(row[4], face.score, atol=1e-5)
    np.testing.assert_allclose(row[5:], face.embedding, atol=1e-5)


def test_it_shrinks_a_large_photograph_as_the_runtime_does(program, model, photograph, tmp_path):
    """Eight times the canvas: the box in pixels of the photograph, the embedding of the face in the shrunken copy."""
    from keras_margin.runtime import Embedder

    (row,) = faces(program, model, saved(tmp_path / "photo.ppm", photograph))
    (boxes, _, _), embedder = Embedder(model).detect(photograph), Embedder(model)
    np.testing.assert_allclose(row[:4], boxes[0], atol=0.05)
    placed = canvas.place(photograph, CANVAS)
    (face,) = embedder.faces(placed.pixels[: placed.size[0], : placed.size[1]])
    assert row[5:] @ face.embedding > 0.9999


def test_it_compares_the_largest_faces_of_two_photographs(program, model, small, tmp_path):
    """The runtime's cosine of a photograph and its mirror image."""
    from keras_margin.runtime import Embedder

    one, other = saved(tmp_path / "one.ppm", small), saved(tmp_path / "other.ppm", small[:, ::-1])
    found = run(program, model, one, other)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) == pytest.approx(Embedder(model).verify(small, small[:, ::-1]), abs=1e-4)


def test_it_reads_jpeg_as_pillow_does(program, model, small, tmp_path):
    """The same face as in the pixels that Pillow decodes."""
    if not c_programs.has_jpeg():
        pytest.skip("libjpeg's header is not installed")
    path = saved(tmp_path / "photo.jpg", small, quality=95)
    wanted = faces(program, model, saved(tmp_path / "photo.ppm", np.asarray(Image.open(path))))
    np.testing.assert_allclose(faces(program, model, path), wanted, atol=1e-2)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(small).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "cut.jpg").write_bytes(path.read_bytes()[:1500])
    content = bytearray(path.read_bytes())
    sides = content.index(b"\xff\xc0") + 5
    content[sides : sides + 4] = (40_000).to_bytes(2, "big") * 2
    (tmp_path / "huge.jpg").write_bytes(content)
    for name, words in (
        ("turned.jpg", "not upright, by its EXIF"),
        ("cut.jpg", "Premature end of JPEG"),
        ("huge.jpg", "above 32768 pixels"),
    ):
        found = run(program, model, tmp_path / name)
        assert found.returncode == 1 and words in found.stderr and not found.stdout, found.stderr


def test_a_photograph_without_a_face_prints_nothing(program, model, tmp_path):
    """No face is an answer; to compare there has to be one."""
    grey = saved(tmp_path / "grey.ppm", np.full((50, 60, 3), 128, np.uint8))
    tiny = saved(tmp_path / "tiny.ppm", np.full((3, 2, 3), 128, np.uint8))
    for path in (grey, tiny):
        assert faces(program, model, path).size == 0
    found = run(program, model, grey, grey)
    assert found.returncode == 1 and "no face was found" in found.stderr


def test_it_refuses_what_it_cannot_use(program, model, small, tmp_path):
    """One line that says what was wrong, and exit code 1."""
    from keras_margin import export

    good = saved(tmp_path / "good.ppm", small)
    aligned = tmp_path / "aligned.tflite"
    export.to_tflite(small_network(32, 28, seed=3), aligned)
    (tmp_path / "cut.ppm").write_bytes(good.read_bytes()[:-1])
    (tmp_path / "huge.ppm").write_bytes(b"P6 100000 100000 255\n")
    saved(tmp_path / "picture.png", small)
    for arguments, words in (
        ([model], "one or two photographs are wanted"),
        ([model, tmp_path / "none.ppm"], "no such file"),
        ([model, tmp_path / "cut.ppm"], "ends early"),
        ([model, tmp_path / "huge.ppm"], "above 32768 pixels"),
        ([model, tmp_path / "picture.png"], "not a binary PPM"),
        ([aligned, good], "export it with --photo"),
        ([good, good], "LiteRT cannot read the model"),
    ):
        found = run(program, *arguments)
        assert found.returncode == 1 and words in found.stderr and not found.stdout, (words, found.stderr)

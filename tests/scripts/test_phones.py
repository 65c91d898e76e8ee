"""What docs/phones.md shows: the C program is compiled and run, the snippets have the library's numbers."""

import re
import shutil
import subprocess

import c_programs
import numpy as np
import pytest
from exported import small_network, smooth_picture
from PIL import Image
from scripts import ROOT

from keras_margin import alignment
from keras_margin.alignment.transform import LANDMARKS_112

SOURCE = ROOT / "export" / "c" / "embed_pair.c"
PAGE = ROOT / "docs" / "phones.md"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C program, compiled as its first lines say."""
    return c_programs.compiled(SOURCE, tmp_path_factory.mktemp("c") / "embed_pair")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("tensorflow")
    from keras_margin import export

    path = tmp_path_factory.mktemp("model") / "my face.tflite"
    pictures = np.stack([smooth_picture(seed, 96, 112) for seed in (1, 2)])
    export.to_tflite(small_network(112, 96, seed=3), path, samples=pictures)
    return path


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def ppm(path, picture):
    Image.fromarray(picture).save(path)
    return path


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_the_c_program_gives_the_runtime_s_cosine(program, model, tmp_path):
    """Computes the runtime's cosine in the C program."""
    from keras_margin.runtime import Embedder

    one, other = smooth_picture(5, 96, 112), smooth_picture(6, 96, 112)
    found = run(program, model, ppm(tmp_path / "one.ppm", one), ppm(tmp_path / "other.ppm", other))
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) == pytest.approx(Embedder(model).verify(one, other), abs=1e-5)
    same = run(program, model, tmp_path / "one.ppm", tmp_path / "one.ppm")
    assert float(same.stdout) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_the_c_program_refuses_what_it_cannot_use(program, model, tmp_path):
    """Refuses invalid input in the C program."""
    good = ppm(tmp_path / "good.ppm", smooth_picture(5, 96, 112))
    wide = ppm(tmp_path / "wide.ppm", smooth_picture(5, 112, 112))
    png = tmp_path / "picture.ppm"
    Image.fromarray(smooth_picture(5, 96, 112)).save(png, format="PNG")
    cut = tmp_path / "cut.ppm"
    cut.write_bytes(good.read_bytes()[:-1])
    cases = [
        ([model, good], "three files are wanted"),
        ([model, good, tmp_path / "none.ppm"], "no such file"),
        ([model, good, wide], "96 x 112 pixels, this picture has 112 x 112"),
        ([model, good, png], "not a binary PPM"),
        ([model, good, cut], "ends early"),
        ([good, good, good], "LiteRT cannot read the model"),
    ]
    for arguments, words in cases:
        found = run(program, *arguments)
        assert found.returncode == 1 and words in found.stderr and not found.stdout, (words, found.stderr)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_the_c_program_refuses_nan(program, tmp_path):
    """A network that answers NaN has no cosine: not 0, and not exit code 0."""
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    module.embed = tf.function(
        lambda image: {"embedding": tf.sqrt(tf.cast(image[:, 0, :4, 0], tf.float32) - 300.0)},
        input_signature=[tf.TensorSpec([1, 112, 96, 3], tf.uint8, name="image")],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.embed})
    path = tmp_path / "nan.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    picture = ppm(tmp_path / "one.ppm", smooth_picture(5, 96, 112))
    found = run(program, path, picture, picture)
    assert found.returncode == 1 and "answered NaN or infinity" in found.stderr and not found.stdout


@pytest.mark.parametrize("language", ["kotlin", "swift"])
def test_the_snippets_have_the_library_s_template(language):
    """They cannot be run here: at least their numbers are held."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    table = next(block for block in blocks if "TEMPLATE" in block or "template" in block)
    numbers = [float(number) for number in re.findall(r"\d+\.\d{4}", table)]
    np.testing.assert_array_equal(np.reshape(numbers, (5, 2)), LANDMARKS_112)


KOTLIN_MAIN = """
import java.io.File

fun main(arguments: Array<String>) {
  val (size, pixels, points) = File(arguments[0]).readLines().map { it.split(" ") }
  val places = points.map { it.toDouble() }.chunked(2).map { Point(it[0], it[1]) }
  val (width, height) = size.map { it.toInt() }
  val crop = FaceAlignment.crop(pixels.map { it.toInt() }.toIntArray(), width, height, places)
  println(crop.joinToString(" ") { "${it.toInt() and 0xff}" })
}
"""


@pytest.mark.slow
def test_the_kotlin_alignment_has_the_library_s_pixels(tmp_path):
    """Computes the library's pixels in the Kotlin alignment."""
    if not (shutil.which("kotlinc") and shutil.which("java")):
        pytest.skip("needs kotlinc and java (Debian's kotlin)")
    blocks = re.findall(r"```kotlin\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "FaceAlignment.kt").write_text(next(block for block in blocks if "object FaceAlignment" in block))
    (tmp_path / "Main.kt").write_text(KOTLIN_MAIN)
    # The compiler runs once and briefly: compiled itself without much ado, it takes half of the time.
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]
    build = ["kotlinc", *quick, "FaceAlignment.kt", "Main.kt", "-include-runtime", "-d", "main.jar"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    picture = np.random.default_rng(8).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    # A Bitmap's ARGB, opaque, as the signed integers of Kotlin.
    argb = ((255 << 24) | (picture.astype(np.uint32) << [16, 8, 0]).sum(axis=-1)).astype(np.uint32).view(np.int32)
    turned = LANDMARKS_112 @ [[0.96, 0.28], [-0.28, 0.96]]
    for points in (
        [[30.5, 20.25], [55, 21], [43, 36], [33, 48.5], [52, 49]],
        [[5, 60], [30, 30], [40, 52], [60, 66], [75, 45]],
        # Faces twice, thrice and nine times as large as the crop's, most of them outside of the picture.
        *(shrink * (turned - [60, 55]) + [45.2, 30.3] for shrink in (2.0, 2.9, 9.0)),
    ):
        lines = [[90, 70], argb.ravel(), np.ravel(points)]
        (tmp_path / "in.txt").write_text("\n".join(" ".join(map(str, line)) for line in lines))
        found = subprocess.run(
            ["java", "-jar", "main.jar", "in.txt"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        pixels = np.array(found.stdout.split(), np.uint8).reshape(112, 112, 3)
        np.testing.assert_array_equal(pixels, alignment.align_points(picture, points))

"""The two-image script on top of the runtime, where neither TensorFlow nor Keras can be imported."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tflite_networks import (
    HEIGHT,
    WIDTH,
    aligned_metadata,
    convert,
    expected,
    images_of,
    own_export,
    project,
    with_metadata,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def free_batch(folder):
    return convert(folder, "free_batch", [None, HEIGHT, WIDTH, 3], "uint8", own_export)


@pytest.fixture(scope="module")
def fixed_batch(folder):
    return convert(folder, "fixed_batch", [3, HEIGHT, WIDTH, 3], "float32", project)


def embed_pair(*arguments):
    """The script's (exit code, stdout, stderr), run where importing TensorFlow or Keras fails."""
    script = str(ROOT / "export" / "embed_pair.py")
    program = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"sys.argv[0] = {script!r}\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def pair(tmp_path):
    """Two images in lossless formats, one colour and one grey, and their pixels."""
    color, grey = images_of(1)[0], np.repeat(images_of(1, seed=9)[0, :, :, :1], 3, axis=2)
    Image.fromarray(color).save(tmp_path / "colour.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.pgm")
    return tmp_path / "colour.png", tmp_path / "grey.pgm", color, grey


@pytest.mark.slow
def test_a_similarity_is_printed_without_tensorflow(free_batch, pair):
    """Prints the similarity of two files without TensorFlow."""
    color_file, grey_file, color, grey = pair
    cosine = float(expected(color[None])[0] @ expected(grey[None])[0])
    code, out, err = embed_pair("--model", free_batch, color_file, grey_file)
    assert code == 0, err
    assert out.startswith("similarity ")
    assert float(out.split()[1]) == pytest.approx(cosine, abs=2e-6)

    code, out, err = embed_pair("--model", free_batch, "--threshold", cosine - 0.01, color_file, grey_file)
    assert code == 0 and "the same person" in out, err
    code, out, err = embed_pair("--model", free_batch, "--threshold", cosine + 0.01, color_file, grey_file)
    assert code == 0 and "different people" in out, err


def test_the_verdict_falls_at_the_files_threshold(free_batch, pair, tmp_path):
    """Without --threshold the shipped one decides; its FAR and the number of pairs behind it are printed."""
    color_file, grey_file, color, grey = pair
    cosine = float(expected(color[None])[0] @ expected(grey[None])[0])
    threshold = {"cosine": cosine - 0.01, "far": 0.001, "tar": 0.9}
    accuracy = {"num_genuine": 450, "num_impostor": 4500}
    model = with_metadata(free_batch, tmp_path / "shipped.tflite", threshold=threshold, accuracy=accuracy)
    code, out, err = embed_pair("--model", model, color_file, grey_file)
    assert code == 0 and "the same person" in out, err
    assert "TAR 90.00% on 450 genuine pairs, FAR 0.001 on 4,500 impostor pairs" in out


def test_the_script_refuses_a_photograph_where_faces_are_aligned(free_batch, tmp_path):
    """A verdict on a squeezed photograph would be one about something else: --align is named."""
    Image.fromarray(np.zeros((80, 60, 3), np.uint8)).save(tmp_path / "photograph.png")
    model = with_metadata(free_batch, tmp_path / "aligned.tflite", **aligned_metadata())
    code, out, err = embed_pair("--model", model, tmp_path / "photograph.png", tmp_path / "photograph.png")
    assert (code, out) == (1, "")
    assert "takes faces aligned by five points, 8 x 6" in err and "picture of 80 x 60. Pass --align" in err


def test_the_script_says_that_it_scales_a_picture(free_batch, tmp_path):
    """Alignment null in the metadata: the whole picture is scaled, and a warning says so."""
    Image.fromarray(np.zeros((80, 60, 3), np.uint8)).save(tmp_path / "photograph.png")
    model = with_metadata(free_batch, tmp_path / "whole.tflite", alignment=None)
    code, out, err = embed_pair("--model", model, tmp_path / "photograph.png", tmp_path / "photograph.png")
    assert code == 0 and out.startswith("similarity ")
    assert "Pictures are scaled as a whole to 8 x 6" in err


@pytest.mark.slow
def test_a_photograph_is_resized_for_a_foreign_network(fixed_batch, tmp_path):
    """Resizes a photograph and feeds a foreign network."""
    plain = np.empty((40, 30, 3), np.uint8)
    plain[:] = (200, 100, 50)
    Image.fromarray(plain).save(tmp_path / "large.png")
    Image.fromarray(plain[:HEIGHT, :WIDTH]).save(tmp_path / "small.png")
    files = (tmp_path / "large.png", tmp_path / "small.png")
    code, out, err = embed_pair("--model", fixed_batch, "--normalization", "127.5,128", *files)
    assert code == 0, err
    assert float(out.split()[1]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_misuse_is_one_line_with_an_exit_code(free_batch, fixed_batch, pair, tmp_path):
    """Answers misuse in one line, with its exit code."""
    image, *_ = pair
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04 and more")
    cases = [
        (("--model", free_batch, image), 2, "two image files are needed. Received: 1"),
        ((image, image), 2, "--model is missing"),
        (("--model", free_batch, "--threshold", "40", image, image), 2, "--threshold must be a cosine"),
        (("--model", fixed_batch, "--normalization", "1", image, image), 2, "--normalization must be MEAN/STD"),
        (("--model", free_batch, image, "missing.jpg"), 1, "no such image file: missing.jpg"),
        (("--model", free_batch, image, tmp_path / "broken.jpg"), 1, "broken.jpg"),
        (("--model", free_batch, image, tmp_path / "deep.png"), 1, "more than 8 bits a channel"),
        (("--model", image, image, image), 1, "'TFL3'"),
        (("--model", fixed_batch, image, image), 1, "pass for example --normalization=(127.5, 128.0)"),
        (("--model", free_batch, "--align", "--fit", "crop", image, image), 2, "--align and --fit exclude each other"),
        (("--model", tmp_path / "net.keras", image, image), 1, "It is a Keras file: export it first"),
    ]
    for arguments, code, message in cases:
        got_code, out, err = embed_pair(*arguments)
        ours = [line for line in err.splitlines() if line.startswith("embed_pair:")]
        assert (got_code, out, len(ours)) == (code, "", 1), (arguments, err)
        assert message in ours[0]
        assert "Traceback" not in err

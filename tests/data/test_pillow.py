"""Pillow's decoding, where TensorFlow is not installed, is TensorFlow's."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from keras_margin.data import _encoded, _pillow

pytestmark = pytest.mark.tensorflow_only


def encoded(mode, kind, **options):
    """A smooth picture of a mode, as the bytes of a file."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((50, 64), Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.arange(50 * 64, dtype=np.uint16).reshape(64, 50) * 20)
    elif mode == "RGBA":
        image.putalpha(128)
    else:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {"quality": 90}),
        ("RGB", "JPEG", {"quality": 40, "progressive": True}),
        ("L", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "BMP", {}),
    ],
)
def test_pillow_decodes_as_tensorflow_does(mode, kind, options):
    """Every kind of file gives the same pixels, bit by bit."""
    contents = encoded(mode, kind, **options)
    np.testing.assert_array_equal(_pillow.decode(contents), _encoded.decode(contents).numpy())


@pytest.mark.parametrize("contents", [b"", b"no image", encoded("RGB", "JPEG")[:300]])
def test_what_pillow_cannot_decode_is_unreadable(contents):
    """A file that is cut off or no image is named as unreadable, as with TensorFlow."""
    with pytest.raises(_encoded.UnreadableError, match="."):
        _encoded._decode_by_pillow(contents)


def test_a_single_file_is_decoded_without_importing_tensorflow(tmp_path):
    """Where TensorFlow is installed and not imported, Pillow decodes: importing it takes seconds."""
    (tmp_path / "a.jpg").write_bytes(encoded("RGB", "JPEG"))
    program = (
        "import pathlib, sys\n"
        "from keras_margin.data._encoded import decode\n"
        f"print(decode(pathlib.Path({str(tmp_path / 'a.jpg')!r}).read_bytes()).shape, 'tensorflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(64, 50, 3) False"

"""Image files of every kind, or the reason why not."""

import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, features

from keras_margin.alignment import read_image
from keras_margin.alignment.images import ImageError

RED_FIRST = np.array([[[200, 10, 20], [30, 40, 50], [60, 70, 80]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]], np.uint8)


def png(path, array, bit_depth, color_type):
    """A PNG written by the format's specification: Pillow writes no 16-bit colour."""
    height, width = array.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(f">u{bit_depth // 8}").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff"])
def test_a_color_file_gives_its_pixels(tmp_path, extension):
    """Reads the pixels of a color file."""
    Image.fromarray(RED_FIRST).save(tmp_path / f"a.{extension}")
    found = read_image(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(found, RED_FIRST)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable


# What each orientation of EXIF says was done to the upright image.
TURNS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_the_camera_s_orientation_is_applied(tmp_path, orientation):
    """Applies the camera's orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(TURNS[orientation](RED_FIRST))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RED_FIRST)


def test_grey_alpha_and_palettes_become_rgb(tmp_path):
    """Repeats grey three times, drops alpha and looks palettes up."""
    grey, alpha = RED_FIRST[..., 0], np.dstack([RED_FIRST, np.array([[0, 128, 255], [1, 2, 3]], np.uint8)])
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    Image.fromarray(np.dstack([grey, alpha[..., 3]])).save(tmp_path / "grey_alpha.png")
    Image.fromarray(RED_FIRST).quantize(6).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), RED_FIRST)
    np.testing.assert_array_equal(read_image(tmp_path / "grey_alpha.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), RED_FIRST)


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path):
    """Keeps the upper eight bits of sixteen."""
    deep = np.array([[0, 255, 256], [0x1234, 0xFF00, 0xFFFF]], np.uint16)
    png(tmp_path / "grey.png", deep, 16, 0)
    png(tmp_path / "colour.png", np.dstack([deep, deep // 2, deep // 3]), 16, 2)
    Image.fromarray(deep).save(tmp_path / "grey.tiff")
    wanted = np.dstack([deep >> 8] * 3)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), wanted)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tiff"), wanted)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png"), np.dstack([deep, deep // 2, deep // 3]) >> 8)


def test_floats_and_deeper_integers_are_refused(tmp_path):
    """Refuses floats and deeper integers."""
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tiff")
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "int.tiff")
    with pytest.raises(ImageError, match="its pixels are floats"):
        read_image(tmp_path / "float.tiff")
    with pytest.raises(ImageError, match="its values run from 70000 to 70000"):
        read_image(tmp_path / "int.tiff")


def test_too_many_announced_pixels_are_refused_undecoded(tmp_path):
    """Refuses a file that announces too many pixels before it is decoded."""
    # Fifteen gigapixels in a file of a hundred bytes: decoding it would want 45 GB.
    png(tmp_path / "bomb.png", np.zeros((1, 1), np.uint8), 8, 0)
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = struct.pack(">II", 125_000, 120_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"15000000000 pixels"):
        read_image(tmp_path / "bomb.png")
    Image.fromarray(RED_FIRST).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="it has 2 x 3 pixels, more than 5"):
        read_image(tmp_path / "a.png", largest_pixels=5)
    assert read_image(tmp_path / "a.png", largest_pixels=6).shape == (2, 3, 3)


def test_what_is_no_image_is_refused_in_words(tmp_path):
    """Refuses a file that is not an image, and says why."""
    (tmp_path / "text.png").write_bytes(b"hello, world")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"no readable BMP.*it begins with b'hello, w'"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ImageError, match="the file is empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "gone.png")


def test_the_first_frame_of_a_gif_is_read(tmp_path):
    """Six colours fit its palette: the pixels come back as they were."""
    frames = [Image.fromarray(each).quantize(6) for each in (RED_FIRST, 255 - RED_FIRST)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), RED_FIRST)


def smooth_image():
    rows, columns = np.mgrid[0:48, 0:64]
    return np.stack([4 * rows, 3 * columns, 255 - 2 * (rows + columns)], axis=-1).astype(np.uint8)


def test_avif_is_read_where_pillow_can(tmp_path):
    """To a few grey levels, which the codec's colours cost."""
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(smooth_image()).save(tmp_path / "a.avif", quality=95)
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - smooth_image()).max() <= 12


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_is_read_whatever_its_name_with_pillow_heif(tmp_path, name):
    """Phones and messengers rename files: the content counts."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the heic extra is not installed")
    pillow_heif.from_pillow(Image.fromarray(smooth_image())).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(tmp_path / name)
    assert np.abs(read_image(tmp_path / name).astype(int) - smooth_image()).max() <= 12


@pytest.mark.parametrize(
    ("brand", "message"),
    [(b"heic", r'HEIC needs pillow-heif: pip install -e ".\[heic\]"'), (b"avif", "AVIF needs Pillow 11.3")],
)
def test_a_missing_decoder_is_named(tmp_path, monkeypatch, brand, message):
    """What to install, instead of the file's first bytes."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Image.init()
    for name in ("HEIF", "AVIF"):
        monkeypatch.delitem(Image.OPEN, name, raising=False)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x1cftyp" + brand + bytes(100))
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "tiff", "webp", "gif", "avif"])
def test_a_damaged_file_is_read_or_refused_and_never_breaks_out(tmp_path, extension):
    """Reads a damaged file or refuses it with the documented error."""
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = tmp_path / f"a.{extension}"
    Image.fromarray(image).save(path)
    sound, refused = path.read_bytes(), 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        data = bytearray(sound)
        for place in generator.integers(0, len(data) if seed % 2 else min(len(data), 80), 4):
            data[place] = generator.integers(256)
        path.write_bytes(data[: generator.integers(1, len(data))] if seed % 3 == 0 else data)
        try:
            found = read_image(path)
            assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
        except ImageError as error:
            assert str(error)
            refused += 1
    assert refused > 10

"""The EXIF orientation of a file decides which way up it is read, for every reader."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from keras_margin._utils import exif

UPRIGHT = np.arange(24, dtype=np.uint8).reshape(4, 6)
# How a camera that was held so stores an upright image: EXIF 2.3, table 6, in NumPy.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, -1),
}


def tag(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def encoded(kind, orientation=None, **options):
    buffer = io.BytesIO()
    if orientation is not None:
        options["exif"] = tag(orientation)
    Image.fromarray(UPRIGHT).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(order, kind=3, value=6, count=1, entries=1):
    """A TIFF structure as EXIF has it, its one entry the orientation."""
    code = {1: "B3x", 3: "H2x", 4: "I"}[kind]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, entries)
    return head + struct.pack(order + "HHI" + code, 0x0112, kind, count, value) + bytes(4)


def jpeg_of(*segments):
    """A JPEG whose application segments are these (marker, data), and then those of Pillow's."""
    joined = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data for marker, data in segments)
    return b"\xff\xd8" + joined + encoded("JPEG")[2:]


@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(orientation):
    """Each of the eight orientations of EXIF is undone."""
    turned = exif.turn(np.ascontiguousarray(STORED[orientation](UPRIGHT)), orientation)
    np.testing.assert_array_equal(turned, UPRIGHT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", STORED)
def test_what_pillow_writes_is_found(kind, orientation):
    """The tag that Pillow writes is read from bytes and from an open file."""
    assert exif.orientation(encoded(kind, orientation)) == orientation
    assert exif.orientation_of_file(io.BytesIO(encoded(kind, orientation))) == orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_file_without_the_tag_is_upright(kind):
    """Files without EXIF need no turning."""
    assert exif.orientation(encoded(kind)) == exif.UPRIGHT


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_both_byte_orders_and_every_whole_type_are_read(order, kind):
    """The tag is read as BYTE, SHORT and LONG, of either byte order."""
    assert exif.orientation(jpeg_of((0xE1, b"Exif\0\0" + tiff(order, kind)))) == 6


def test_exif_is_found_behind_other_segments():
    """EXIF behind JFIF, a large profile and a comment is found, beyond the first page too."""
    exif_segment = (0xE1, b"Exif\0\0" + tiff("<"))
    others = [(0xE0, b"JFIF\0" + bytes(9)), (0xE2, bytes(60_000)), (0xFE, b"\xff\xda a comment"), (0xE1, b"http://ns")]
    contents = jpeg_of(*others, exif_segment)
    assert exif.orientation(contents) == 6
    assert exif.orientation_of_file(io.BytesIO(contents), contents[:4096]) == 6


def test_exif_behind_the_pixels_of_a_png_is_found():
    """An eXIf chunk may come after the image data."""
    contents = encoded("PNG")
    chunk = struct.pack(">I", len(tiff(">"))) + b"eXIf" + tiff(">") + bytes(4)
    assert exif.orientation(contents[:-12] + chunk + contents[-12:]) == 6


@pytest.mark.parametrize(
    "structure",
    [b"", b"II*\0", tiff("<")[:12], b"XX" + tiff("<")[2:], tiff("<", value=9), tiff("<", value=0), tiff("<", count=2)],
)
def test_a_damaged_tag_is_upright(structure):
    """A tag that is cut, out of range or of a wrong count turns nothing."""
    assert exif.orientation(jpeg_of((0xE1, b"Exif\0\0" + structure))) == exif.UPRIGHT


def test_no_cut_or_overwritten_file_is_an_error():
    """Whatever happened to a file, the orientation is a number from 1 to 8."""
    for kind in ("JPEG", "PNG"):
        contents = encoded(kind, 6)
        generator = np.random.default_rng(0)
        for place in range(min(len(contents), 300)):
            assert 1 <= exif.orientation(contents[:place]) <= 8
            changed = bytearray(contents)
            changed[place] = generator.integers(256)
            assert 1 <= exif.orientation(bytes(changed)) <= 8

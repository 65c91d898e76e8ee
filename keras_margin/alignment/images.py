"""Image files of any kind as upright uint8 RGB arrays, or the reason why not. Needs Pillow, of the `align` extra."""

import os
import warnings
from typing import Any

import numpy as np

from keras_margin._typing import PathLike, Size
from keras_margin._utils import exif
from keras_margin._utils.messages import install_hint

EXTENSIONS = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".hif",
    ".jfif",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF", "HEIF")

# Files of the HEIF family begin with their size and "ftyp"; the next four bytes name the kind.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_NEEDS = {
    "HEIC": f"HEIC needs pillow-heif: {install_hint('heic')}",
    "AVIF": "AVIF needs Pillow 11.3 or newer: pip install --upgrade pillow",
}

# What a file may unpack to: a file of a few kilobytes can announce gigabytes.
LARGEST_PIXELS = 100_000_000

# Formats that the readers of data sets read too: one function decides which way up they are. MPO is JPEG of two frames.
_EXIF_FORMATS = ("JPEG", "MPO", "PNG")

# Modes whose values are not shades of 8 bits, and what brings them there. Pillow's own convert() clips them.
_DEEP = {"I;16": 8, "I;16L": 8, "I;16B": 8, "I": 8}


class ImageError(ValueError):
    """Says in a few words why a file is not an image that can be aligned."""


def read_image(path: PathLike, largest_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Reads an image file as a person would see it.

    The orientation that a camera notes in EXIF is applied. Grey, palette and CMYK become RGB, of 16 bits the upper 8
    are kept, alpha is dropped; of several frames the first counts.

    Args:
        path: A BMP, JPEG, PNG, TIFF, WebP or GIF file; AVIF with Pillow 11.3 or newer, HEIC with pillow-heif.
        largest_pixels: Height times width above which a file is refused before it is decoded.

    Returns:
        uint8 array (height, width, 3), RGB.

    Raises:
        ImageError: If it cannot be read, is damaged, too large, or of values that are not shades, such as floats.
        ImportError: If Pillow is not installed.

    Example:
        >>> from PIL import Image
        >>> Image.new("RGB", (60, 40)).save("photograph.jpg")
        >>> read_image("photograph.jpg").shape
        (40, 60, 3)
    """
    Image, ImageOps = _pillow()
    try:
        # Pillow warns of bombs, at a size of its own, and of odd metadata, which changes no pixel.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open(path, "rb") as file, Image.open(file, formats=_readable_formats(Image)) as image:
                width, height = image.size
                if width * height > largest_pixels:
                    raise ImageError(f"it has {height:,} x {width:,} pixels, more than {largest_pixels:,}")
                image.load()
                if image.format in _EXIF_FORMATS:
                    return np.ascontiguousarray(exif.turn(_rgb(image), exif.orientation_of_file(file)))
                return _rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(_what_it_is(path, _readable_formats(Image))) from None
    except Image.DecompressionBombError as error:  # Where Pillow's own limit is below ours.
        raise ImageError(str(error)) from None
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None
    # A damaged file makes Pillow raise almost anything: struct.error, SyntaxError, IndexError, zlib.error.
    except Exception as error:
        raise ImageError(f"{type(error).__name__}: {error}") from None


def _rgb(image):
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() >= 2**16:
            raise ImageError(f"its values run from {deep.min()} to {deep.max()}: grey of 16 bits ends at 65,535")
        return np.repeat((deep >> _DEEP[image.mode]).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise ImageError("its pixels are floats, whose white is not known; convert it to 8 or 16 bits")
    if image.mode in ("RGBA", "RGBX"):
        return np.ascontiguousarray(np.asarray(image)[..., :3])
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _readable_formats(Image):
    """Those of _FORMATS for which there is a decoder, by Pillow's names."""
    from PIL import features

    Image.init()
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif
        except ImportError:
            pass
        else:
            pillow_heif.register_heif_opener()
    return [name for name in _FORMATS if name in Image.OPEN and (name != "AVIF" or features.check("avif"))]


def _what_it_is(path, formats):
    """Why no decoder took a file."""
    with open(path, "rb") as file:
        head = file.read(12)
    kind = _BRANDS.get(head[8:]) if head[4:8] == b"ftyp" else None
    if kind is not None and {"HEIC": "HEIF"}.get(kind, kind) not in formats:
        return _NEEDS[kind]
    if not head:
        return "the file is empty"
    return f"no readable BMP, JPEG, PNG, TIFF, WebP, GIF, AVIF or HEIC file; it begins with {head[:8]}"


def save_image(path: PathLike, image: np.ndarray, quality: int = 95) -> None:
    """Writes a uint8 RGB array as the file that the extension of `path` names; JPEG with all of its colour."""
    Image, _ = _pillow()
    options = {} if os.fspath(path).endswith(".png") else {"quality": quality, "subsampling": 0}
    Image.fromarray(image).save(path, **options)


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """A uint8 RGB array made smaller, every pixel the mean of those it stands for; `size` is (height, width)."""
    Image, _ = _pillow()
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX))


def thumbnail(image: np.ndarray, side: int) -> Any:
    """A uint8 RGB array as a Pillow image of at most `side` pixels a side."""
    Image, _ = _pillow()
    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return small


def _pillow():
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            f"Image files are read with Pillow: {install_hint('align')}. The import failed with: {error}"
        ) from error
    return Image, ImageOps

"""Decoding of image files where TensorFlow is not installed, by Pillow."""

import io
import warnings

import numpy as np

from keras_margin.data._decoding import LARGEST_PIXELS

# Modes of 16 bits a pixel, of which the upper 8 are kept, as TensorFlow's decoder does.
_DEEP = ("I;16", "I;16L", "I;16B", "I")


def decode(contents: bytes) -> np.ndarray:
    """Decodes an image as TensorFlow's decoders do: JPEG by the accurate inverse DCT, alpha dropped, grey as RGB.

    Args:
        contents: bytes of a JPEG, PNG or BMP file.

    Returns:
        uint8 array (height, width, 3), RGB, as stored: no EXIF orientation is applied.

    Raises:
        ValueError: If it cannot be decoded, or has more than LARGEST_PIXELS.
        ImportError: If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Decoding images takes TensorFlow or Pillow, and neither is installed.") from error
    try:
        # Pillow warns of odd metadata, which changes no pixel, and of sizes below our limit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(contents), formats=("BMP", "JPEG", "PNG")) as file:
                image: Image.Image = file
                width, height = image.size
                if width * height > LARGEST_PIXELS:
                    raise ValueError(f"it has {height:,} x {width:,} pixels, more than {LARGEST_PIXELS:,}")
                if image.mode in _DEEP:
                    image = Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
                return np.array(image.convert("RGB"))
    # A damaged file makes Pillow raise almost anything: struct.error, SyntaxError, IndexError, zlib.error.
    except Exception as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error

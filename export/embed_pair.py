"""Embeds two image files with a TFLite face embedder, through LiteRT alone, and prints how alike they are.

    python export/embed_pair.py --model face.tflite a.jpg b.jpg
    python export/embed_pair.py --model face.tflite --threshold 0.35 a.jpg b.jpg
    python export/embed_pair.py --model foreign.tflite --normalization 127.5,128 a.jpg b.jpg

Needs numpy, absl-py, Pillow and ai-edge-litert; TensorFlow is never imported. The images should be face crops aligned
as the network was trained; one of another size is resized. Exit code: 0, 1 for a file that cannot be used, 2 for a
wrong command line.
"""

import math
import sys

import numpy as np
from absl import app, flags
from PIL import Image, ImageOps

from keras_margin.runtime import Embedder

_MODEL = flags.DEFINE_string("model", None, "The .tflite face embedder.")
_THRESHOLD = flags.DEFINE_float("threshold", None, "Cosine in [-1, 1] from which two faces count as the same person.")
_NORMALIZATION = flags.DEFINE_list(
    "normalization", None, "mean,std of a foreign network that takes (pixel - mean) / std, in grey levels."
)
_THREADS = flags.DEFINE_integer("threads", None, "Threads for LiteRT.")


def read_image(path, size):
    """An image file as a uint8 RGB array (height, width, 3) of `size`, turned upright by its EXIF tag.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: Pillow cannot decode it, or its grey levels do not fit uint8.
    """
    height, width = size
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {path}") from None
    # Pillow's decoders raise SyntaxError on some damaged PNGs.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error
    if upright.size != (width, height):
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(upright)


def _command_line_error(files):
    """What is wrong with the command line, or None."""
    if _MODEL.value is None:
        return "--model is missing: the .tflite file to run."
    if len(files) != 2:
        return f"two image files are needed. Received: {len(files)}."
    threshold = _THRESHOLD.value
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        return f"--threshold must be a cosine in [-1, 1]. Received: {threshold}."
    try:
        normalization = [float(value) for value in _NORMALIZATION.value or (0, 1)]
    except ValueError:
        normalization = []
    if len(normalization) != 2 or not all(map(math.isfinite, normalization)):
        return f"--normalization must be mean,std. Received: {','.join(_NORMALIZATION.value)}."
    return None


def _similarity(files):
    normalization = _NORMALIZATION.value and tuple(float(value) for value in _NORMALIZATION.value)
    embedder = Embedder(_MODEL.value, normalization=normalization, num_threads=_THREADS.value)
    return embedder.verify(*(read_image(path, embedder.image_size) for path in files))


def main(argv):
    files = argv[1:]
    error = _command_line_error(files)
    if error is not None:
        print(f"embed_pair: {error}", file=sys.stderr)
        return 2
    try:
        similarity = _similarity(files)
    except (OSError, ValueError, ImportError) as error:
        print(f"embed_pair: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"similarity {similarity:.6f} (cosine, -1 to 1) of {files[0]} and {files[1]}")
    if _THRESHOLD.value is not None:
        same = similarity >= _THRESHOLD.value
        sign, verdict = (">=", "the same person") if same else ("<", "different people")
        print(f"{verdict}: {similarity:.6f} {sign} threshold {_THRESHOLD.value:g}")
    return 0


if __name__ == "__main__":
    app.run(main)

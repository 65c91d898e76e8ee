"""Embeds two image files with a TFLite face embedder, through LiteRT alone, and prints how similar they are.

    python export/embed_pair.py --model face.tflite a.jpg b.jpg
    python export/embed_pair.py --model face.tflite --align --threshold 0.35 a.jpg b.jpg
    python export/embed_pair.py --model foreign.tflite --normalization 127.5,128 a.jpg b.jpg

Needs numpy, absl-py, Pillow and ai-edge-litert; TensorFlow is never imported without --align. Where the file's metadata
have an alignment, an image of another size than the network's is refused, or with --align its largest face cropped.
Where they have none, it is scaled, and a warning says so. The verdict falls at --threshold, or at the threshold shipped
with the file. Exit code: 0, 1 for a file that cannot be used, 2 for a wrong command line.
"""

import argparse
import sys

import numpy as np
from absl import app, flags
from PIL import Image, ImageOps

from keras_margin.alignment import photographs
from keras_margin.cli import _errors, _flags, _words
from keras_margin.runtime import Embedder

_MODEL = flags.DEFINE_string("model", None, "The .tflite face embedder.")
_THRESHOLD = flags.DEFINE_float(
    "threshold", None, "Cosine in [-1, 1] from which two faces count as the same person; default: the file's."
)
_ALIGN = flags.DEFINE_bool("align", False, "Find the largest face of each image and crop it (extras align and cpu).")
_FIT = flags.DEFINE_enum(
    "fit", None, ["crop", "resize"], "Of images of another size that are not to be aligned: cut the middle, or stretch."
)
_NORMALIZATION = flags.DEFINE_list(
    "normalization",
    None,
    "mean,std of a foreign network that takes (pixel - mean) / std, in grey levels; R,G,B/R,G,B for three of each.",
)
_THREADS = flags.DEFINE_integer("threads", None, "Threads for LiteRT.")


def read_image(path):
    """An image file as a uint8 RGB array (height, width, 3), turned upright by its EXIF tag.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: Pillow cannot decode it, or its grey levels do not fit uint8.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {path}") from None
    # Pillow's decoders raise SyntaxError on some damaged PNGs.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def face_of(path, embedder):
    """An image file as the network takes it.

    Raises:
        FileNotFoundError, ValueError: as `read_image`; its size is refused, or no face was found.
    """
    try:
        face = photographs.prepare_photograph(read_image(path), embedder, align=_ALIGN.value, fit=_FIT.value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if face is None:
        raise ValueError(f"no face was found in {path}")
    return face


def _command_line_error(files):
    """What is wrong with the command line, or None."""
    if _MODEL.value is None:
        return "--model is missing: the .tflite file to run."
    if len(files) != 2:
        return f"two image files are needed. Received: {len(files)}."
    if _ALIGN.value and _FIT.value:
        return f"--align and --fit exclude each other. Received: --fit={_FIT.value} with --align."
    threshold = _THRESHOLD.value
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        return f"--threshold must be a cosine in [-1, 1]. Received: {threshold}."
    try:
        _normalization()
    except argparse.ArgumentTypeError as error:
        return f"--normalization {error}."
    return None


def _normalization():
    return _NORMALIZATION.value and _flags.normalization(",".join(_NORMALIZATION.value))


def _compared(files):
    """(cosine, threshold or None, what the threshold rests on)."""
    embedder = Embedder(_MODEL.value, normalization=_normalization(), num_threads=_THREADS.value)
    similarity = embedder.verify(*(face_of(path, embedder) for path in files))
    return similarity, *_words.shown_threshold(_THRESHOLD.value, embedder.metadata)


def main(argv):
    files = argv[1:]
    error = _command_line_error(files)
    if error is not None:
        print(f"embed_pair: {error}", file=sys.stderr)
        return 2
    try:
        similarity, threshold, basis = _compared(files)
    except (OSError, ValueError, ImportError) as error:
        text = _errors.sentence(error, ("align", "fit", "normalization", "threads"))
        print(f"embed_pair: {' '.join(text.split())}", file=sys.stderr)
        return 1
    print(f"similarity {similarity:.6f} (cosine, -1 to 1) of {files[0]} and {files[1]}")
    if threshold is not None:
        print(_words.verdict(similarity, threshold, basis))
    return 0


if __name__ == "__main__":
    app.run(main)

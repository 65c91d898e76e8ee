"""Embeds two image files with a TFLite face embedder, through LiteRT alone, and prints how similar they are.

    python export/embed_pair.py --model face.tflite a.jpg b.jpg
    python export/embed_pair.py --model face.tflite --align --threshold 0.35 a.jpg b.jpg
    python export/embed_pair.py --model foreign.tflite --normalization 127.5,128 a.jpg b.jpg

Needs numpy, absl-py, Pillow and ai-edge-litert; TensorFlow is never imported without --align. Where the file's metadata
have an alignment, an image of another size than the network's is refused, or with --align its largest face cropped.
Where they have none, it is scaled, and a warning says so. The verdict falls at --threshold, or at the threshold shipped
with the file. Exit code: 0, 1 for a file that cannot be used, 2 for a wrong command line.
"""

import re
import sys

import numpy as np
from absl import app, flags
from PIL import Image, ImageOps

import keras_margin as km

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "The .tflite face embedder.")
flags.DEFINE_float("threshold", None, "Cosine in [-1, 1] from which two faces are one person; default: the file's.")
flags.DEFINE_bool("align", False, "Find the largest face of each image and crop it (extra align).")
flags.DEFINE_enum("fit", None, ["crop", "resize"], "Of images of another size: cut the middle out, or stretch.")
flags.DEFINE_string(
    "normalization", None, "mean,std of a network that takes (pixel - mean) / std; R,G,B/R,G,B for three of each."
)
flags.DEFINE_integer("threads", None, "Threads for LiteRT.")


def normalization():
    """(mean, std) out of --normalization, in grey levels; or the name that it gives."""
    text = FLAGS.normalization
    if text is None or text.replace("_", "").isalpha():
        return text
    parts = text.split("/") if "/" in text else text.split(",")
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in parts)
    except ValueError:
        raise ValueError(f"--normalization must be MEAN/STD, such as 127.5/128. Received: {text}.") from None
    return (mean, std) if len(mean) > 1 or len(std) > 1 else (mean[0], std[0])


def check_command_line(files):
    """ValueError where the command line cannot be run."""
    if FLAGS.model is None:
        raise ValueError("--model is missing: the .tflite file to run.")
    if len(files) != 2:
        raise ValueError(f"two image files are needed. Received: {len(files)}.")
    if FLAGS.align and FLAGS.fit:
        raise ValueError(f"--align and --fit exclude each other. Received: --fit={FLAGS.fit} with --align.")
    if FLAGS.threshold is not None and not -1.0 <= FLAGS.threshold <= 1.0:
        raise ValueError(f"--threshold must be a cosine in [-1, 1]. Received: {FLAGS.threshold}.")
    normalization()


def read_image(path):
    """The image file as a uint8 array (height, width, 3), RGB, turned upright by its EXIF tag."""
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
    """The image file as the network takes it: uint8 RGB of its size."""
    image = read_image(path)
    try:
        face = km.alignment.prepare_photograph(image, embedder, align=FLAGS.align, fit=FLAGS.fit)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if face is None:
        raise ValueError(f"no face was found in {path}")
    return face


def basis(embedder):
    """What the file's own threshold rests on: its error rates, and the pairs that they were measured on."""
    threshold, accuracy = embedder.metadata["threshold"], embedder.metadata.get("accuracy") or {}
    rates = []
    if threshold.get("tar") is not None:
        rates.append(f"TAR {threshold['tar']:.2%} on {accuracy.get('num_genuine', 0):,} genuine pairs")
    if threshold.get("far") is not None:
        rates.append(f"FAR {threshold['far']:g} on {accuracy.get('num_impostor', 0):,} impostor pairs")
    return ", ".join(["shipped with the file", *rates])


def main(argv):
    """Embeds both images, prints their cosine and the verdict."""
    files = argv[1:]
    try:
        check_command_line(files)
    except ValueError as error:
        print(f"embed_pair: {error}", file=sys.stderr)
        return 2
    try:
        embedder = km.runtime.Embedder(FLAGS.model, normalization=normalization(), num_threads=FLAGS.threads)
        similarity = embedder.verify(*(face_of(path, embedder) for path in files))
    except (OSError, ValueError, ImportError) as error:
        # The library speaks of its arguments, which are flags here.
        text = re.sub(r"\b(?:num_)?(align|fit|normalization|threads)=", r"--\1=", str(error))
        print(f"embed_pair: {' '.join(text.split())}", file=sys.stderr)
        return 1
    print(f"similarity {similarity:.6f} (cosine, -1 to 1) of {files[0]} and {files[1]}")
    given = FLAGS.threshold is not None
    threshold = FLAGS.threshold if given else embedder.threshold
    if threshold is not None:
        sign, verdict = (">=", "the same person") if similarity >= threshold else ("<", "different people")
        source = "given by --threshold" if given else basis(embedder)
        print(f"{verdict}: {similarity:.6f} {sign} threshold {threshold:.6g} ({source})")
    return 0


if __name__ == "__main__":
    app.run(main)

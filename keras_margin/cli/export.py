"""Writes the embedding alone, and compares it with its model before it gets its name.

keras-margin export runs/latest face.tflite
keras-margin export runs/latest face_int8.tflite --quantize=int8 --representative=faces --pairs=lfw.bin --far=1e-3
keras-margin export model.keras savedmodel/ --pairs=orl

MODEL: a .keras file or the folder of a training run. OUT: *.tflite, *.onnx, or a folder for a SavedModel. Sets of
images: whatever keras_margin.data.open reads, or a .bin of pairs.
"""

import argparse
import os
import pathlib

from rich.console import Console

from keras_margin import data, progress
from keras_margin.cli import _words

QUANTIZE = ("none", "float16", "dynamic", "int8")


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("model", help=".keras file, or folder of a training run")
    parser.add_argument("out", help="FILE.tflite, FILE.onnx, or a folder for a SavedModel")
    parser.add_argument("--quantize", choices=QUANTIZE, default="none", help="of TFLite; default: none, float32")
    parser.add_argument("--representative", metavar="SET", help="images that set int8's ranges")
    parser.add_argument("--samples", metavar="SET", help="images to compare on; default: those of the pairs, or noise")
    parser.add_argument("--pairs", metavar="SET", help="a .bin, or identities: gives accuracy and the threshold")
    parser.add_argument("--far", type=float, default=1e-3, help="target FAR of the threshold; default: 1e-3")
    parser.add_argument(
        "--most", type=_count, default=300, help="images read of each set, but for a .bin; default: 300"
    )
    parser.add_argument("--batch", type=_count, default=None, help="fix the batch; browsers want it")
    parser.add_argument("--flip_sum", action="store_true", help="add the mirror image's embedding, inside the file")
    parser.add_argument("--integer_only", action="store_true", help="int8 with PReLU in integers too: slow on CPUs")
    parser.add_argument("--not_aligned", action="store_true", help="the faces do not lie on the five-point template")
    for name in ("mean", "worst", "eer_rise", "tar_drop"):
        parser.add_argument(f"--{name}", type=float, default=None, help=_LIMITS[name])


_LIMITS = {
    "mean": "smallest mean cosine to the model's embeddings; any limit given replaces the precision's own",
    "worst": "smallest cosine of any image",
    "eer_rise": "largest rise of the EER over the model's",
    "tar_drop": "largest fall of the TAR under the model's",
}


def run(arguments):
    """Exports and prints the report."""
    from keras_margin import export

    quantize = None if arguments.quantize == "none" else arguments.quantize
    console = Console(stderr=True)
    with progress.bars(), console.status("Exporting ..."):
        network = export.embedder_of(arguments.model)
        sets = {
            name: _faces(export, getattr(arguments, name), network, arguments.most)
            for name in ("samples", "representative")
        }
        images = {name: faces.images for name, faces in sets.items() if faces is not None}
        pairs, pair_names = _pairs(export, arguments.pairs, network, arguments.most)
        compared = next((faces.names for faces in sets.values() if faces is not None and pairs is None), pair_names)
        try:
            report = _write(export, arguments, quantize, images, pairs, _options(export, arguments))
        except export.ParityError as error:
            names = "; ".join(_words.printable(compared[image]) for image in error.report.worst_images if compared)
            raise ValueError(f"{error} Worst: {names}." if names else str(error)) from error
    Console().print(str(report), markup=False, highlight=False, soft_wrap=True)


def _write(export, arguments, quantize, images, pairs, options):
    """Calls the format that the name of the output asks for."""
    out = arguments.out
    kind = os.path.splitext(out)[1].lower()
    if kind == ".tflite":
        return export.to_tflite(arguments.model, out, quantize=quantize, pairs=pairs, options=options, **images)
    if quantize is not None or "representative" in images:
        raise ValueError(f"--quantize and --representative are TFLite's. Received: {out}. Name a FILE.tflite.")
    write = export.to_onnx if kind == ".onnx" else export.to_savedmodel
    return write(arguments.model, out, samples=images.get("samples"), pairs=pairs, options=options)


def _options(export, arguments):
    limits = {name: getattr(arguments, name) for name in _LIMITS}
    given = any(value is not None for value in limits.values())
    return export.Options(
        batch_size=arguments.batch,
        flip_sum=arguments.flip_sum,
        limits=export.Limits(**limits) if given else None,
        far=arguments.far,
        aligned=False if arguments.not_aligned else None,
        integer_only=arguments.integer_only,
    )


def _faces(export, path, network, most):
    return None if path is None else export.faces_from(path, network, most)


def _pairs(export, path, network, most):
    """((images, is_same or labels) or None, names of the images)."""
    if path is None:
        return None, ()
    if pathlib.Path(path).suffix.lower() == ".bin":
        images, is_same = data.load_bin(path, image_size=network.input_shape[1:3])
        return (images, is_same), tuple(f"image {number} of {path}" for number in range(len(images)))
    faces = export.faces_from(path, network, most, whole_identities=True)
    return (faces.images, faces.labels), faces.names


def _count(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"needs an int >= 1, received {text}")
    return value

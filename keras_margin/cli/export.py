"""Writes the embedding alone, and compares it with its model before it gets its name.

keras-margin export runs/latest face.tflite
keras-margin export runs/latest face_int8.tflite --quantize=int8 --representative=faces --pairs=lfw.bin --far=1e-3
keras-margin export model.keras savedmodel/ --pairs=orl
keras-margin export runs/latest face.tflite --photo=480x640,240x320 --photographs=album --photograph_pairs=people

MODEL: a .keras file or the folder of a training run. OUT: *.tflite, *.onnx, or a folder for a SavedModel. Sets of
images: whatever keras_margin.data.open reads, or a .bin of pairs; for --samples also a folder of image files, or one.
"""

import argparse
import contextlib
import os
import pathlib

from rich.console import Console

from keras_margin._utils import progress
from keras_margin.cli import _photographs, _sets, _stages

QUANTIZE = ("none", "float16", "dynamic", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("model", help=".keras file, or folder of a training run")
    parser.add_argument("out", help="FILE.tflite, FILE.onnx, or a folder for a SavedModel")
    parser.add_argument("--quantize", choices=QUANTIZE, default="none", help="of TFLite; default: none, float32")
    parser.add_argument("--representative", metavar="SET", help="images that set int8's ranges, 8 or more")
    _sets.add_arguments(parser)
    parser.add_argument("--batch", type=_sets.count, default=None, help="fix the batch; browsers and LSTMs want it")
    parser.add_argument("--flip_sum", action="store_true", help="add the mirror image's embedding, inside the file")
    parser.add_argument("--integer_only", action="store_true", help="int8 from input to output, for accelerators")
    parser.add_argument("--card", action="store_true", help="a model card beside the file: OUT.md")
    parser.add_argument(
        "--about", action="append", default=[], metavar="NAME=TEXT", help="for metadata and card: intended_use, limits"
    )
    parser.add_argument("--calibrate", action="store_true", help="what a cosine is worth, from --pairs: a probability")
    parser.add_argument("--length", action="store_true", help="a second output: the embedding's length, a quality")
    parser.add_argument("--not_aligned", action="store_true", help="the faces do not lie on the five-point template")
    parser.add_argument(
        "--photo",
        nargs="?",
        const=True,
        type=_photo,
        metavar="HxW[,HxW]",
        help="take whole photographs too: find, align and embed faces; sizes of the canvas, default 480x640",
    )
    parser.add_argument("--photographs", metavar="FOLDER", help="with --photo: photographs with faces to compare on")
    parser.add_argument(
        "--photograph_pairs",
        metavar="FOLDER",
        help="with --photo, in place of --pairs: photographs, PERSON/image.jpg; accuracy and threshold from them on",
    )
    for name in ("mean", "worst", "eer_rise", "tar_drop"):
        parser.add_argument(f"--{name}", type=float, default=None, help=_LIMITS[name])


_LIMITS = {
    "mean": "smallest mean cosine to the model's embeddings; any limit given replaces the precision's own",
    "worst": "smallest cosine of any image",
    "eer_rise": "largest rise of the EER over the model's",
    "tar_drop": "largest fall of the TAR under the model's",
}


def run(arguments: argparse.Namespace) -> None:
    """Exports and prints the report."""
    if arguments.calibrate and arguments.pairs is None and arguments.photograph_pairs is None:
        raise ValueError("--calibrate measures pairs. Pass --pairs=SET, of people that were not trained on.")
    if arguments.photograph_pairs is not None and (arguments.photo is None or arguments.pairs is not None):
        raise ValueError("--photograph_pairs takes the place of --pairs in a file of photographs: pass --photo too.")
    with _stages.reported():
        from keras_margin import export
        from keras_margin.export import _source

        quantize = None if arguments.quantize == "none" else arguments.quantize
        with progress.stage(f"Reading {arguments.model}"):
            network = _source.extract_embedder(arguments.model)
        given = [each for each in (arguments.samples, arguments.representative, arguments.pairs) if each is not None]
        with progress.stage(f"Reading {', '.join(given)}") if given else contextlib.nullcontext():
            sets = {
                name: _sets.faces(getattr(arguments, name), network, arguments.most)
                for name in ("samples", "representative")
            }
            pairs, names = _sets.pairs(arguments.pairs, network, arguments.most)
        images = {name: faces.images for name, faces in sets.items() if faces is not None}
        # What the gate compares on: the samples, else the images of the pairs, else those that set the ranges.
        for name in ("representative", "samples"):
            if sets[name] is not None and (name == "samples" or pairs is None):
                names = sets[name].names
        options = _options(export, arguments)
        with _sets.naming(names):
            report = _write(export, arguments, quantize, images, pairs, options)
    Console().print(str(report), markup=False, highlight=False, soft_wrap=True)
    if arguments.card:
        _write_card(arguments.out)


def _write_card(path):
    """Writes OUT.md, what the file's own metadata say."""
    from keras_margin._utils import files, metadata
    from keras_margin.evaluation.model_card import model_card

    path = pathlib.Path(path)
    card = model_card(metadata.read_metadata(path), path.name)
    with files.atomic_write(path.with_name(f"{path.name}.md")) as temporary:
        temporary.write_text(card, encoding="utf-8")


def _write(export, arguments, quantize, images, pairs, options):
    """Calls the format that the name of the output asks for."""
    out = arguments.out
    kind = os.path.splitext(out)[1].lower()
    if kind == ".tflite":
        photographs = None if arguments.photographs is None else _photographs.read(arguments.photographs)
        given = {"pairs": pairs, "options": options, "photo": arguments.photo, "photographs": photographs}
        if arguments.photograph_pairs is not None:
            given["photograph_pairs"] = _sets.photograph_pairs(arguments.photograph_pairs, arguments.most)
        return export.to_tflite(arguments.model, out, quantize=quantize, **given, **images)
    if arguments.photo is not None or arguments.photographs is not None:
        raise ValueError(f"--photo and --photographs are TFLite's. Received: {out}. Name a FILE.tflite.")
    if quantize is not None or "representative" in images:
        raise ValueError(f"--quantize and --representative are TFLite's. Received: {out}. Name a FILE.tflite.")
    write = export.to_onnx if kind == ".onnx" else export.to_savedmodel
    return write(arguments.model, out, samples=images.get("samples"), pairs=pairs, options=options)


def _photo(text):
    """Reads 480x640,240x320 as a tuple of (height, width)."""
    try:
        canvases = tuple(tuple(int(side) for side in each.split("x")) for each in text.split(","))
    except ValueError:
        canvases = ((),)
    if any(len(each) != 2 for each in canvases):
        raise argparse.ArgumentTypeError(f"needs HEIGHTxWIDTH, or some of them with commas, received {text}")
    return canvases


def _about(given):
    about = dict(text.partition("=")[::2] for text in given)
    if not all(about) or not all("=" in text for text in given):
        raise ValueError(f"--about takes NAME=TEXT, such as limits=... Received: {' '.join(given)}.")
    return about or None


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
        calibrate=arguments.calibrate,
        length=arguments.length,
        about=_about(arguments.about),
    )

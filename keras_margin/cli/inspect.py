"""The metadata of an exported file. Needs neither TensorFlow nor LiteRT.

keras-margin inspect face.tflite
keras-margin inspect runs/latest --json
keras-margin inspect face.tflite --card --report=face.tflite.evaluation.json > CARD.md
"""

import argparse
import json
import os

from keras_margin._utils import decisions, metadata
from keras_margin.cli import _exported, _photographs, _tables, _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("file", help=".tflite or .onnx file, SavedModel folder, or a run's folder")
    parser.add_argument("--json", action="store_true", help="all metadata as JSON")
    parser.add_argument("--card", action="store_true", help="a model card in Markdown")
    parser.add_argument(
        "--report", action="append", default=[], metavar="JSON", help="of keras-margin evaluate, for the card"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the metadata."""
    file = _exported.file_with_metadata(arguments.file)
    found = metadata.read_metadata(file)
    if found is None:
        raise ValueError(
            f"{file} carries no metadata of keras-margin: it was not exported by it, or lost them on the way."
        )
    if arguments.json and (arguments.card or arguments.report):
        raise ValueError("--json prints the metadata, --card a model card. Received: both. Leave one out.")
    if arguments.json:
        _tables.show_json(found)
        return
    if arguments.card or arguments.report:
        # These read images too, which the rest of the command need not.
        from keras_margin.evaluation.protocols import report
        from keras_margin.evaluation.protocols.model_card import model_card

        reports = [report.read(path) for path in arguments.report]
        _photographs.say(model_card(found, _words.printable(os.path.basename(file)), reports))
        return
    table = _tables.Table(["", ""], title=_words.printable(file), left=2, header=False)
    for name, text in rows(found):
        table.add(name, text)
    table.show()


def rows(found):
    """(name, text) of each line; what the file does not say is left out."""
    lines = [(name, _text(words, found[name])) for name, words in _WORDS.items() if found.get(name) is not None]
    lines = [(name, f"{text}; {_words.basis(found)}" if name == "threshold" else text) for name, text in lines]
    return [line for line in lines if line[1]]


def _text(words, value):
    try:
        return words(value)
    except (AttributeError, KeyError, TypeError, ValueError):  # Of another version: what is there, as it is.
        return json.dumps(value, ensure_ascii=False)


def _image(image):
    batch = "any batch" if image.get("batch") is None else f"batch {image['batch']}"
    return f"{image['dtype']} {image['channels']} {image['height']} x {image['width']}, {batch}"


def _embedding(embedding):
    flip = ", mirror image added" if embedding.get("flip_sum") else ""
    length = "unit length" if embedding.get("unit_length", True) else "not of unit length"
    return f"{embedding['dtype']} x {embedding['size']}, {length}{flip}"


def _alignment(alignment):
    return "five points at " + " ".join(f"({x:g}, {y:g})" for x, y in alignment["points"])


def _pairs_of(values, separator=", "):
    return separator.join(f"{name}={_plain(value)}" for name, value in values.items() if value is not None)


def _plain(value):
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False).strip('"')


def _head(head):
    return f"{head['class']}({_pairs_of({name: value for name, value in head.items() if name != 'class'})})"


def _threshold(threshold):
    return f"cosine >= {threshold['cosine']:.4f}"


def _calibration(found):
    people = f" of {found['num_people']:,} people" if found.get("num_people") else ""
    zone = found["zone"]
    asks = f"; ask a person between {zone['different_below']:.4f} and {zone['same_from']:.4f}" if zone else ""
    return (
        f"{found['method']}, Cllr {found['cllr']:.4f}, ECE {found['ece']:.2%} at a prior of {found['prior']:g}, on "
        f"{found['num_genuine']:,} genuine and {found['num_impostor']:,} impostor pairs{people}{asks}"
    )


def _search(found):
    return _words.searches(decisions.SearchThresholds.from_metadata({"search": found}))


def _accuracy(found):
    pairs = f"{found['num_genuine']:,} genuine, {found['num_impostor']:,} impostor pairs"
    tar = f"TAR {found['tar']:.2%} (model {found['model_tar']:.2%}) at FAR {found['far']:g}"
    return f"EER {found['eer']:.2%} (model {found['model_eer']:.2%}), {tar}; {pairs}"


def _parity(parity):
    images = f"{parity['images']} images{' of noise' if parity.get('synthetic') else ''}"
    return f"cosine mean {parity['mean_cosine']:.6f}, worst {parity['worst_cosine']:.6f} on {images}"


_WORDS = {
    "image": _image,
    "embedding": _embedding,
    "alignment": _alignment,
    "quantize": str,
    "threshold": _threshold,
    "no_threshold": str,
    "calibration": _calibration,
    "search": _search,
    "accuracy": _accuracy,
    "parity": _parity,
    "head": _head,
    "recipe": _pairs_of,
    "measured": lambda measured: "\n".join(_pairs_of(each) for each in measured),
    "about": _pairs_of,
    "made_with": _pairs_of,
    "keras_margin": str,
}

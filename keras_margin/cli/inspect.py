"""The metadata of an exported file. Needs neither TensorFlow nor LiteRT.

keras-margin inspect face.tflite
keras-margin inspect runs/latest --json
keras-margin inspect face.tflite --card --report=face.tflite.evaluation.json > CARD.md
"""

import argparse
import os
import pathlib

from keras_margin._utils import metadata
from keras_margin._utils.descriptions import DESCRIBED, described
from keras_margin.cli import _exported, _photographs, _tables, _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("file", help=".tflite or .onnx file, SavedModel folder, preset, or a run's folder")
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
        from keras_margin.evaluation.model_card import model_card, preset_card
        from keras_margin.evaluation.protocols import report

        reports = [report.read(path) for path in arguments.report]
        card = preset_card if metadata.is_preset(file) else model_card
        name = _words.printable(pathlib.Path(os.path.abspath(file)).name)
        _photographs.say(card(found, name, reports).removesuffix("\n"))
        return
    table = _tables.Table(["", ""], title=_words.printable(file), left=2, header=False)
    for name, text in rows(found):
        table.add(name, text)
    table.show()


def rows(found):
    """(name, text) of each line; what the file does not say is left out."""
    lines = [(name, described(name, found[name])) for name in DESCRIBED if found.get(name) is not None]
    lines = [(name, f"{text}; {_words.basis(found)}" if name == "threshold" else text) for name, text in lines]
    return [line for line in lines if line[1]]

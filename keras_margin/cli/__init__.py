"""The command line, `keras-margin COMMAND`: one file a command, each a few flags and one call of the library.

A command is a module with `add_arguments(parser)` and `run(arguments)`; its first docstring line is its help. Its row
in COMMANDS makes it known.
"""

import argparse
import importlib
import os
import sys

from keras_margin import __version__

_DESCRIPTION = "Margin-softmax embeddings for Keras 3, from the data to the device."

COMMANDS = {
    "align": "find the faces of a folder of photographs and crop them onto the 112x112 template",
    "prepare": "write any set as shuffled TFRecord shards",
    "split": "choose people of a set to hold out, and write who they are",
    "pairs": "draw a verification protocol from a set: a .bin, or a list of pairs",
    "audit": "look for what is wrong with a set: damage, duplicates, swapped channels, overlap",
    "evaluate": "any embedder by the protocols of the field: LFW-style sets, IJB, YTF, labelled folders",
    "export": "the embedding alone as TFLite, SavedModel or ONNX, compared with its model before it gets its name",
    "inspect": "what an exported file says of itself: input, head, accuracy, threshold",
    "embed": "embeddings of image files by a TFLite embedder, without TensorFlow",
    "verify": "whether two photographs show one person, by a TFLite embedder, without TensorFlow",
    "plot": "figures of reports, runs, heads and embeddings: ROC, DET, CMC, angles, errors, curves",
    "backbones": "the networks by name: parameters, multiply-adds, shapes",
    "convert": "insightface's PyTorch and ONNX weights to Keras and TFLite, and back",
    "recipes": "the training recipes: the papers' published ones, and the demo's",
    "train": "trains an embedding by a recipe, measures it on people it never met, and exports it",
    "plan": "what fits where: memory and work of each engine, for a number of classes and devices",
}


def main(argv=None):
    """Runs one command.

    Args:
        argv: Arguments without the program's name; None for the process's own.

    Returns:
        The exit status: 0, 1 for an error that the command named, 2 for arguments that make no sense; `audit` has 3.
    """
    # Before anything imports TensorFlow, which otherwise speaks of itself first.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser = argparse.ArgumentParser(prog="keras-margin", description=_DESCRIPTION)
    # The short name also gives argparse the room to keep each command and its help on one line.
    parser.add_argument("-V", "--version", action="version", version=f"keras-margin {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    argv = sys.argv[1:] if argv is None else list(argv)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in argv[:1]:  # A command's imports are its own.
            module = importlib.import_module(f"keras_margin.cli.{name}")
            command.description = module.__doc__
            module.add_arguments(command)
    arguments = parser.parse_args(argv)
    module = importlib.import_module(f"keras_margin.cli.{arguments.command}")
    try:
        return module.run(arguments) or 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"keras-margin {arguments.command}: {error}", file=sys.stderr)  # noqa: T201  The command line speaks.
        return 1

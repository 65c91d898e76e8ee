"""The command line, `keras-margin COMMAND`: one file a command, each a few flags and one call of the library.

A command is a module with `add_arguments(parser)` and `run(arguments)`; its first docstring line is its help. Its row
in COMMANDS makes it known.
"""

import argparse
import importlib
import os
import sys

from keras_margin import __version__
from keras_margin._utils.messages import did_you_mean
from keras_margin.cli import _errors

_DESCRIPTION = "Margin-softmax embeddings for Keras 3, from the data to the device."

COMMANDS = {
    "align": "find the faces of a folder of photographs and crop them onto the 112x112 template",
    "prepare": "write any set as shuffled TFRecord shards",
    "split": "choose people of a set to hold out, and write who they are",
    "pairs": "draw a verification protocol from a set: a .bin, or a list of pairs",
    "audit": "look for what is wrong with a set: damage, duplicates, swapped channels, overlap",
    "evaluate": "any embedder by the protocols of the field: LFW-style sets, IJB, YTF, labelled folders",
    "export": "the embedding alone as TFLite, SavedModel or ONNX, compared with its model before it gets its name",
    "calibrate": "write into an exported file what its cosines are worth: probability, thresholds by gallery size",
    "inspect": "the metadata of an exported file: input, head, accuracy, threshold",
    "embed": "embeddings of image files by a TFLite or ONNX embedder, without TensorFlow",
    "verify": "whether two photographs show one person, by a TFLite or ONNX embedder, without TensorFlow",
    "enroll": "put the people of a folder into a gallery, by a TFLite or ONNX embedder, without TensorFlow",
    "identify": "which person of a gallery a photograph shows, by a TFLite or ONNX embedder, without TensorFlow",
    "cluster": "put photographs of unknown people together by person, by a TFLite or ONNX embedder, without TensorFlow",
    "gallery": "list the people of a gallery, or remove some",
    "plot": "figures of reports, runs, heads and embeddings: ROC, DET, CMC, angles, errors, curves",
    "backbones": "the networks by name: parameters, multiply-adds, shapes",
    "convert": "other people's weights, ONNX, PyTorch or TFLite, to Keras and TFLite; insightface's also back",
    "recipes": "the training recipes: the papers' published ones, and the demo's",
    "train": "trains an embedding by a recipe, measures it on people it never met, and exports it",
    "plan": "what fits where: memory and work of each implementation, for a number of classes and devices",
}


def main(argv=None):
    """Runs one command; without one, prints the help.

    Args:
        argv: Arguments without the program's name; None for the process's own.

    Returns:
        The exit status: 0, 1 for an error that the command named, 2 for arguments that make no sense; `audit`,
        `evaluate`, `verify` and `identify` have more.
    """
    # Before anything imports TensorFlow, which otherwise writes its own start to standard error first.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="keras-margin", description=_DESCRIPTION)
    # The short name also gives argparse the room to keep each command and its help on one line.
    parser.add_argument("-V", "--version", action="version", version=f"keras-margin {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    subparsers = {
        name: commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        for name, summary in COMMANDS.items()
    }
    if not argv:
        parser.print_help()
        return 0
    name = argv[0]
    if name not in COMMANDS:
        if not name.startswith("-"):
            parser.error(f"there is no command {name!r}.{did_you_mean(name, COMMANDS)} {parser.prog} --help lists them")
        parser.parse_args(argv)  # --help and --version end here, anything else is an error.
    return _run(name, subparsers[name], parser, argv)


def _run(name, command, parser, argv):
    """Runs the command `name`; its module is imported only now, because a command's imports are its own."""
    try:
        module = importlib.import_module(f"keras_margin.cli.{name}")
        command.description = module.__doc__
        module.add_arguments(command)
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            command.error(_unknown(unknown, command))
        return module.run(arguments) or 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        flags = [action.dest for action in command._actions if action.option_strings]
        print(f"keras-margin {name}: {_errors.sentence(error, flags)}", file=sys.stderr)  # noqa: T201  The command line speaks.
        return 1


def _unknown(unknown, command):
    """What is wrong with arguments that a command does not have."""
    flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
    if flag is None:
        return f"unexpected arguments: {' '.join(unknown)}"
    return f"there is no flag {flag}.{did_you_mean(flag, command._option_string_actions)}"

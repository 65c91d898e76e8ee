"""Writes into an exported file what its cosines are worth: a probability, two thresholds, thresholds of searches.

keras-margin calibrate face.tflite lfw.bin
keras-margin calibrate face.tflite people/ --prior=0.1 --far=1e-4 --frr=0.02

FILE: a .tflite or .onnx file, a SavedModel folder, or a run's folder. PAIRS: what `keras-margin evaluate` measures, of
people that the network was not trained on; where their names are known, intervals and folds are of people. The network
stays as it was, and so do galleries of its embeddings. `verify` then prints a probability, `identify` takes
--far_per_search.
"""

import argparse

from keras_margin._utils import files, progress
from keras_margin.cli import _exported, _flags, _tables
from keras_margin.cli._photographs import say
from keras_margin.evaluation import embedders, protocols
from keras_margin.evaluation.calibration import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("file", help="exported file, or a run's folder")
    parser.add_argument("pairs", help="set of pairs, or folder of people")
    parser.add_argument("--method", choices=METHODS, default="auto", help="default: auto")
    parser.add_argument("--prior", type=float, default=0.5, help="probability of one person that is assumed; 0.5")
    parser.add_argument("--far", type=float, default=1e-3, help='of "the same person"; default: 1e-3')
    parser.add_argument("--frr", type=float, default=1e-2, help='of "different people"; default: 1e-2')
    parser.add_argument("--resamples", type=_flags.count, default=200, help="of the bootstrap; default: 200")
    parser.add_argument("--seed", type=int, default=0, help="of drawn pairs and of the bootstrap")
    parser.add_argument("--protocol", choices=sorted(protocols.FORMATS), help="of the set; default: by what is there")
    parser.add_argument("--fit", choices=("crop", "resize"), help="what to do with images of another size")
    parser.add_argument("--batch", type=_flags.count, default=64, help="images at a time")
    parser.add_argument(
        "--normalization", type=_flags.normalization, metavar="MEAN/STD", help=_flags.NORMALIZATION_HELP
    )
    parser.add_argument("--channels", choices=embedders.CHANNELS, help="what a foreign network takes; default: RGB")
    parser.add_argument("--dry_run", action="store_true", help="say what was found, and write nothing")
    parser.add_argument("--json", action="store_true", help="print what is written as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Measures, writes and says what was found."""
    path = _exported.file_with_metadata(arguments.file)
    with progress.bars():
        protocol, found = _calibrated(path, arguments)
        if not arguments.dry_run:
            with progress.stage(f"Writing {path}"):
                embedders.update_metadata(path, found.as_metadata())
    if arguments.json:
        _tables.show_json(found.as_metadata())
        return
    say(f"{path}, on {protocol.name}: {found.report}")
    say(f"Threshold {found.search}." if found.search else found.no_search)
    say("Nothing was written: --dry_run." if arguments.dry_run else f"Written into {path}.")


def _calibrated(path, arguments):
    """(protocol, what was found) of an exported file on the set."""
    with progress.stage(f"Opening {path}"), files.suppress_native_stderr():
        embedder = embedders.load_embedder(path, normalization=arguments.normalization, channels=arguments.channels)
    protocol = protocols.load_protocol(
        arguments.pairs, image_size=embedder.image_size, fit=arguments.fit, protocol=arguments.protocol
    )
    with progress.stage(f"Embedding {protocol.name}, {protocol.num_images:,} images"):
        counted = progress.Progress("Embedded", f"images of {protocol.name}", protocol.num_images)
        embeddings = protocols.embed(embedder, protocol, batch_size=arguments.batch, progress=counted.add)
    options = {name: getattr(arguments, name) for name in ("method", "prior", "far", "frr", "seed", "resamples")}
    with progress.stage("Calibrating"):
        return protocol, protocols.calibrate(protocol, embeddings, **options)

"""Which person of a gallery a photograph shows, by a TFLite or ONNX embedder, without TensorFlow.

keras-margin identify photograph.jpg people.npz --model=face.tflite
keras-margin identify door/*.jpg people.npz --model=runs/latest --align --threshold=0.4

The nearest person counts where their cosine reaches the threshold, the one shipped with the file unless another is
given; otherwise the photograph is nobody's. Without any threshold the command refuses. The more people a gallery has,
the more often a stranger is like one of them: of a file that `keras-margin calibrate` has seen, --far_per_search sets
how often a stranger may be named, whatever the size of the gallery. Exit status: 0 everybody was found; 3 a photograph
that is nobody's; 1 an error, or a photograph that cannot be used.
"""

import argparse
import sys

from keras_margin.cli import _flags, _photographs, _words

NOBODY = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("photographs", nargs="+", metavar="photograph", help="image files")
    parser.add_argument("gallery", help="the gallery's file, as enroll writes it")
    parser.add_argument(
        "--model", default="runs/latest", help="the .tflite or .onnx embedder, or a run's folder; default runs/latest"
    )
    parser.add_argument("--threshold", type=float, help="cosine from which a face is a person's")
    parser.add_argument("--far_per_search", type=float, help="how often a stranger may be named: 0.01")
    _photographs.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int | None:
    """Searches and prints."""
    from keras_margin import runtime

    given = _flags.checked_cosine(arguments.threshold)
    source = _photographs.Photographs(arguments)
    gallery = runtime.Gallery.load(arguments.gallery)
    threshold, basis = _words.shown_threshold(given, source.embedder.metadata)
    if arguments.far_per_search is not None:
        threshold, basis = _of_searches(arguments, source.embedder, gallery)
    if threshold is None:
        reason = _words.why_none(source.embedder.metadata)
        raise ValueError(f"{reason} Without one everybody would be somebody. Pass --threshold.")
    missed = failed = 0
    for path in arguments.photographs:
        try:
            face = source.face(path)
        except _photographs.UnusableError as error:
            print(f"keras-margin identify: {error}", file=sys.stderr)  # noqa: T201  The others are searched all the same.
            failed += 1
            continue
        (match,) = source.embedder.identify(face, gallery, threshold=threshold)
        missed += match is None
        _photographs.say(f"{path}: {'nobody' if match is None else f'{match.name}, cosine {match.score:.6f}'}")
    _photographs.say(
        f"threshold {threshold:.6g} ({basis}), for each of {len(gallery):,} embeddings of {len(gallery.names):,} people"
    )
    return 1 if failed else NOBODY if missed else 0


def _of_searches(arguments, embedder, gallery):
    """(threshold, where it comes from) of --far_per_search among a gallery's embeddings."""
    if arguments.threshold is not None:
        raise ValueError("Give --threshold or --far_per_search, one of them.")
    thresholds = embedder.search_thresholds
    if thresholds is None:
        raise ValueError(f"--far_per_search needs a calibration: keras-margin calibrate {embedder.path} PAIRS.")
    threshold = thresholds.threshold(max(len(gallery), 1), arguments.far_per_search)
    return threshold, f"names {arguments.far_per_search:.2%} of all strangers among so many"

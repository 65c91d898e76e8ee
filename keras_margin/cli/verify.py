"""Whether two photographs show one person, by a TFLite embedder through LiteRT alone, or an ONNX one.

keras-margin verify face.tflite one.jpg other.jpg
keras-margin verify runs/latest one.jpg other.jpg --align --threshold=0.35

MODEL: a .tflite or .onnx file, or a run's folder. The threshold is the one shipped with the file, unless another is
given; the verdict tells its FAR and on how many pairs it was measured. A file that `keras-margin calibrate` has seen
also tells the probability of one person, and has two thresholds, between which a person should look. Exit status: 0 the
same person; 3 different people; 4 no threshold to tell by; 5 ask a person; 1 an error.
"""

import argparse

from keras_margin._utils import decisions
from keras_margin.cli import _flags, _photographs, _words

DIFFERENT, NO_VERDICT, ASK = 3, 4, 5
_STATUS = {decisions.SAME: 0, decisions.DIFFERENT: DIFFERENT, decisions.ASK: ASK}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("model", help="the .tflite or .onnx embedder, or a run's folder")
    parser.add_argument("one", help="image file")
    parser.add_argument("other", help="image file")
    parser.add_argument("--threshold", type=float, help="cosine from which two faces are one person's")
    parser.add_argument("--prior", type=float, help="probability of one person before; default: the file's, mostly 0.5")
    _photographs.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int | None:
    """Compares and prints."""
    given = _flags.checked_cosine(arguments.threshold)
    source = _photographs.Photographs(arguments)
    similarity = source.embedder.verify(*(source.face(path) for path in (arguments.one, arguments.other)))
    _photographs.say(f"similarity {similarity:.6f} (cosine, -1 to 1)")
    calibration = decisions.Calibration.from_metadata(source.embedder.metadata)
    if calibration is not None:
        _photographs.say(f"one person: {calibration.probability(similarity, arguments.prior)}")
    elif arguments.prior is not None:
        raise ValueError(f"--prior needs a calibration: keras-margin calibrate {source.embedder.path} PAIRS.")
    if given is None and calibration is not None and calibration.zone is not None:
        verdict, words = _words.zone_verdict(similarity, calibration.zone)
        _photographs.say(words)
        return _STATUS[verdict]
    threshold, basis = _words.shown_threshold(given, source.embedder.metadata)
    if threshold is None:
        _photographs.say(f"No verdict. {_words.why_none(source.embedder.metadata)} Pass --threshold.")
        return NO_VERDICT
    _photographs.say(_words.verdict(similarity, threshold, basis))
    return 0 if similarity >= threshold else DIFFERENT

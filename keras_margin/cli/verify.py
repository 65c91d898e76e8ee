"""Whether two photographs show one person, by a TFLite embedder through LiteRT alone, or an ONNX one.

keras-margin verify face.tflite one.jpg other.jpg
keras-margin verify runs/latest one.jpg other.jpg --align --threshold=0.35

MODEL: a .tflite or .onnx file, or a run's folder. The threshold is the one shipped with the file, unless another is
given; the verdict tells its FAR and on how many pairs it was measured. Exit status: 0 the same person; 3 different
people; 4 no threshold to tell by; 1 an error.
"""

from keras_margin.cli import _flags, _photographs, _words

DIFFERENT, NO_VERDICT = 3, 4


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("model", help="the .tflite or .onnx embedder, or a run's folder")
    parser.add_argument("one", help="image file")
    parser.add_argument("other", help="image file")
    parser.add_argument("--threshold", type=float, help="cosine from which two faces are one person's")
    _photographs.add_arguments(parser)


def run(arguments):
    """Compares and prints."""
    given = _flags.checked_cosine(arguments.threshold)
    source = _photographs.Photographs(arguments)
    similarity = source.embedder.verify(*(source.face(path) for path in (arguments.one, arguments.other)))
    _photographs.say(f"similarity {similarity:.6f} (cosine, -1 to 1)")
    threshold, basis = _words.shown_threshold(given, source.embedder.metadata)
    if threshold is None:
        _photographs.say(f"No verdict. {_words.why_none(source.embedder.metadata)} Pass --threshold.")
        return NO_VERDICT
    _photographs.say(_words.verdict(similarity, threshold, basis))
    return 0 if similarity >= threshold else DIFFERENT

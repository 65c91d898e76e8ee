"""Whether two photographs show one person, by a TFLite embedder through LiteRT alone.

keras-margin verify face.tflite one.jpg other.jpg
keras-margin verify face.tflite one.jpg other.jpg --align --threshold=0.35

The threshold is the one shipped with the file, unless another is given. Exit status: 0 the same person, or no threshold
to tell by; 3 different people; 1 an error.
"""

from rich.console import Console

from keras_margin.cli import _photographs

DIFFERENT = 3


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("model", help="the .tflite embedder")
    parser.add_argument("one", help="image file")
    parser.add_argument("other", help="image file")
    parser.add_argument("--threshold", type=float, default=None, help="cosine from which two faces are one person's")
    _photographs.add_arguments(parser)


def run(arguments):
    """Compares and prints."""
    if arguments.threshold is not None and not -1 <= arguments.threshold <= 1:
        raise ValueError(f"--threshold must be a cosine in [-1, 1]. Received: {arguments.threshold}.")
    embedder = _photographs.embedder_of(arguments)
    faces = (_photographs.read(path, embedder.image_size, arguments.align) for path in (arguments.one, arguments.other))
    similarity = embedder.verify(*faces)
    console = Console()
    console.print(f"similarity {similarity:.6f} (cosine, -1 to 1)", highlight=False)
    threshold = embedder.threshold if arguments.threshold is None else arguments.threshold
    if threshold is None:
        console.print("No verdict: the file ships no threshold. Pass --threshold.", highlight=False)
        return 0
    same = similarity >= threshold
    sign, verdict = (">=", "the same person") if same else ("<", "different people")
    console.print(f"{verdict}: {similarity:.6f} {sign} threshold {threshold:.6g}", highlight=False)
    return 0 if same else DIFFERENT

"""Embeddings of image files, by a TFLite embedder through LiteRT alone.

keras-margin embed face.tflite one.jpg two.jpg --out=faces.npz
keras-margin embed face.tflite photographs/ --align --out=faces.npz

FILES: images, or folders that are searched for them. The .npz holds `embeddings`, float32 (n, size) of unit length, and
`names`, the files. An image of another size than the network's is resized, or with --align its largest face cropped.
"""

import pathlib

import numpy as np
from rich.console import Console

from keras_margin import files
from keras_margin.alignment.images import EXTENSIONS
from keras_margin.cli import _photographs
from keras_margin.progress import Progress, bars

_AT_ONCE = 32


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("model", help="the .tflite embedder")
    parser.add_argument("files", nargs="+", help="image files and folders")
    parser.add_argument("--out", required=True, help="the .npz to write")
    _photographs.add_arguments(parser)


def run(arguments):
    """Embeds and writes."""
    if not arguments.out.endswith(".npz"):
        raise ValueError(f"--out must end in .npz. Received: {arguments.out}.")
    paths = [path for given in arguments.files for path in _images_in(pathlib.Path(given))]
    embedder = _photographs.embedder_of(arguments)
    rows = []
    with bars():
        progress = Progress("Embedded", "images", len(paths))
        for start in range(0, len(paths), _AT_ONCE):
            part = paths[start : start + _AT_ONCE]
            rows.append(
                embedder.embed([_photographs.read(path, embedder.image_size, arguments.align) for path in part])
            )
            progress.at(start + len(part))
    # Bytes: file names may hold what is no text, and no pickle is needed to read them.
    names = np.array([str(path).encode("utf-8", "surrogateescape") for path in paths])
    with files.written_whole(arguments.out) as temporary:
        np.savez(temporary, embeddings=np.concatenate(rows), names=names)
    Console().print(f"{arguments.out}: {len(paths):,} embeddings of {embedder.embedding_size}.", markup=False)


def _images_in(path):
    """The image files that a path means, in order of their names."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if not found:
        raise ValueError(f"{path} holds no image: {', '.join(EXTENSIONS)}.")
    return found

"""Embeddings of image files, by a TFLite embedder through LiteRT alone, or an ONNX one through ONNX Runtime.

keras-margin embed face.tflite one.jpg two.jpg --out=faces.npz
keras-margin embed runs/latest photographs/ --align --out=faces.npz

MODEL: a .tflite or .onnx file, or a run's folder. FILES: images, or folders that are searched for them. The .npz holds
`embeddings`, float32 (n, size) of unit length, and `names`, the files, as text. With --align the largest face of each
picture is cropped. Files that cannot be read and pictures without a face are left out, counted and named.
"""

import argparse

import numpy as np
from rich.console import Console

from keras_margin._utils import files
from keras_margin._utils.progress import bars
from keras_margin.cli import _photographs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("model", help="the .tflite or .onnx embedder, or a run's folder")
    parser.add_argument("files", nargs="+", help="image files and folders")
    parser.add_argument("--out", required=True, help="the .npz to write")
    _photographs.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Embeds and writes."""
    if not arguments.out.endswith(".npz"):
        raise ValueError(f"--out must end in .npz. Received: {arguments.out}.")
    paths = [path for given in arguments.files for path in _photographs.images_in(given)]
    source, left_out = _photographs.Photographs(arguments), _photographs.LeftOut()
    busy = Console(stderr=True)
    busy.print(f"Embedding {len(paths):,} images.", highlight=False)
    names, rows = [], []
    with bars(busy):
        for kept, embeddings in source.embedded(paths, left_out):
            names += [str(path) for path in kept]
            rows.append(embeddings)
    left_out.check(names)
    with files.atomic_write(arguments.out) as temporary:
        np.savez(temporary, embeddings=np.concatenate(rows), names=np.array(names))
    size = source.embedder.embedding_size
    _photographs.say(f"{arguments.out}: {len(names):,} embeddings of {size}{left_out.counts()}.")
    left_out.say()

"""Processor time of embedder files, one thread, side by side in one run: TFLite in any precision, ONNX, Keras.

    python -m benchmarks.embedders face.onnx face.tflite face_int8.tflite --normalization=imagenet

The files take turns, an image each, so that the machine's clock and its other work are shared alike; the ratio of a
turn is that of its own two times, to the first file.
"""

import argparse
import time

import numpy as np

from keras_margin.cli import _flags
from keras_margin.evaluation import embedders


def measured(opened, images, turns):
    """Processor seconds (turns, files) of one image each."""
    seconds = np.zeros((turns, len(opened)))
    for turn in range(turns):
        for number, embedder in enumerate(opened):
            part = images[turn % len(images)][None]
            start = time.process_time()
            embedder.embed(part)
            seconds[turn, number] = time.process_time() - start
    return seconds


def opened(path, normalization):
    """The embedder of a file, on one thread; one that takes pixels gets no normalization."""
    try:
        return embedders.load_embedder(path, num_threads=1)
    except ValueError:
        return embedders.load_embedder(path, normalization=normalization, num_threads=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--normalization", type=_flags.normalization, default=None)
    parser.add_argument("--turns", type=_flags.count, default=200)
    arguments = parser.parse_args()
    files = [opened(path, arguments.normalization) for path in arguments.files]
    images = np.random.default_rng(0).integers(0, 256, (8, *files[0].image_size, 3), dtype=np.uint8)
    measured(files, images, 10)
    seconds = measured(files, images, arguments.turns)
    print("| file | ms of processor time | to the first file (quartiles) |\n|---|---|---|")
    for path, column in zip(arguments.files, seconds.T, strict=True):
        low, middle, high = np.quantile(column / seconds[:, 0], (0.25, 0.5, 0.75))
        print(f"| {path} | {1e3 * np.median(column):.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()

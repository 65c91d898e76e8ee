"""What `keras-margin evaluate` and `align` add to the network and to the detector, as ratios of one run.

Contenders take turns in one process, whatever else the machine does falls on all alike; figures are processor time of
this process, the ratio of medians. The interpreter and the detector run on one thread where OMP_NUM_THREADS and
TF_NUM_INTRAOP_THREADS say so.
"""

import itertools
import pathlib
import statistics
import tempfile

import numpy as np

from benchmarks import real_faces_sets
from keras_margin import alignment
from keras_margin.alignment.images import read_image
from keras_margin.evaluation import embedders, protocols
from keras_margin.evaluation.protocols import checks


def measured(arguments):
    """Returns {"evaluate": ..., "align": ...}, seconds of each contender and the ratio."""
    return {"evaluate": _evaluate(arguments), "align": _align(arguments)}


def _evaluate(arguments):
    """What the command does on LFW, against the interpreter on arrays that are there already.

    Reading, decoding and embedding take turns with the interpreter over some of the images. What the command does once
    - opening, its checks, measuring - is added to as much for all images: the ratio is that of the whole set.
    """
    from ai_edge_litert.interpreter import Interpreter

    start = real_faces_sets.cpu_seconds()
    root = real_faces_sets.part(arguments.faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there.")
    embedder = embedders.load_embedder(arguments.model, normalization=arguments.normalization)
    protocol = protocols.load_protocol(root, image_size=embedder.image_size, fit=arguments.fit)
    look = checks.Look(embedder, protocol)
    checks.check_channels(embedder, protocol, look=look)
    checks.check_normalization(embedder, protocol, look=look)
    embedded = np.random.default_rng(0).normal(size=(protocol.num_images, embedder.embedding_size))
    protocol.measure(embedded.astype(np.float32))
    once = real_faces_sets.cpu_seconds() - start

    some = _First(protocol, arguments.images)
    mean, std = arguments.normalization or (0.0, 1.0)
    interpreter = Interpreter(arguments.model, num_threads=1)
    taken = interpreter.get_input_details()[0]
    batch = max(1, int(taken["shape"][0]))
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]["index"]
    pixels = some.images(range(some.num_images))
    pixels = ((pixels - np.float32(mean)) / np.float32(std)).astype(taken["dtype"])

    def bare():
        for first in range(0, len(pixels) - batch + 1, batch):
            interpreter.set_tensor(taken["index"], pixels[first : first + batch])
            interpreter.invoke()
            interpreter.get_tensor(output)

    found = _ratio({"bare interpreter": bare, "evaluate": lambda: protocols.embed(embedder, some)}, arguments.repeats)
    share = protocol.num_images / some.num_images
    bare_seconds, embed_seconds = (share * each for each in found["seconds"].values())
    return found | {"once": once, "ratio of the whole set": (once + embed_seconds) / bare_seconds}


def _align(arguments):
    """Reading, detecting, warping and writing photographs, against the detector on arrays that are there already."""
    root = real_faces_sets.part(arguments.faces, "lfw_photos", "LFW's photographs belong there.")
    paths = sorted(root.glob("*/*.jpg"))[:: max(1, len(list(root.glob("*/*.jpg"))) // arguments.photographs)]
    paths = paths[: arguments.photographs]
    detector = alignment.MTCNNDetector()
    images = [read_image(path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source")
        for path in paths:
            (source / path.parent.name).mkdir(parents=True, exist_ok=True)
            (source / path.parent.name / path.name).symlink_to(path.resolve())
        runs = itertools.count()
        detector(images[0])  # Builds its graphs.

        def bare():
            for image in images:
                detector(image)

        def ours():
            alignment.align_folder(source, pathlib.Path(folder, f"out{next(runs)}"), detector=detector)

        return _ratio({"detector alone": bare, "align": ours}, arguments.repeats)


class _First:
    """The first images of a protocol."""

    def __init__(self, protocol, count):
        self._protocol, self.num_images = protocol, min(count, protocol.num_images)

    def batches(self, batch_size):
        for start in range(0, self.num_images, batch_size):
            yield self.images(range(start, min(start + batch_size, self.num_images)))

    def images(self, rows):
        return self._protocol.images(rows)


def _ratio(contenders, repeats):
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            start = real_faces_sets.cpu_seconds()
            function()
            seconds[name].append(real_faces_sets.cpu_seconds() - start)
    bare, ours = (statistics.median(each) for each in seconds.values())
    return {"seconds": {name: statistics.median(each) for name, each in seconds.items()}, "ratio": ours / bare}

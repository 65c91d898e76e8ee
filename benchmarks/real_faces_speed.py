"""What `keras-margin evaluate` and `align` add to the network and to the detector, as ratios of one run.

Contenders take turns in one process, whatever else the machine does falls on all alike; figures are processor time of
this process, the ratio of medians. The interpreter and the detector run on one thread where OMP_NUM_THREADS and
TF_NUM_INTRAOP_THREADS say so.
"""

import contextlib
import itertools
import os
import pathlib
import statistics
import tempfile

import numpy as np

from benchmarks import real_faces_sets
from keras_margin import alignment, embedders, protocols
from keras_margin.alignment.images import read_image
from keras_margin.cli import main


def measured(arguments):
    """Returns {"evaluate": ..., "align": ...}, seconds of each contender and the ratio."""
    return {"evaluate": _evaluate(arguments), "align": _align(arguments)}


def _evaluate(arguments):
    """The whole command on LFW, its checks too, against the interpreter on arrays that are there already."""
    from ai_edge_litert.interpreter import Interpreter

    root = real_faces_sets.part(arguments.faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there.")
    embedder = embedders.load_embedder(arguments.model, normalization=arguments.normalization)
    protocol = protocols.load_protocol(root, image_size=embedder.image_size, fit=arguments.fit)
    mean, std = arguments.normalization or (0.0, 1.0)
    interpreter = Interpreter(arguments.model, num_threads=1)
    taken = interpreter.get_input_details()[0]
    batch = max(1, int(taken["shape"][0]))
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]["index"]
    some = protocol.images(range(256))
    some = ((some - np.float32(mean)) / np.float32(std)).astype(taken["dtype"])

    def bare():
        for start in range(0, protocol.num_images - batch + 1, batch):
            first = start % (len(some) - batch + 1)
            interpreter.set_tensor(taken["index"], some[first : first + batch])
            interpreter.invoke()
            interpreter.get_tensor(output)

    with tempfile.TemporaryDirectory() as folder:
        command = ["evaluate", arguments.model, str(root), f"--out={folder}/report.json"]
        if arguments.normalization:
            command.append(f"--normalization={arguments.normalization_text}")

        def ours():
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                main(command)

        return _ratio({"bare interpreter": bare, "evaluate": ours}, arguments.evaluations)


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


def _ratio(contenders, repeats):
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            start = real_faces_sets.cpu_seconds()
            function()
            seconds[name].append(real_faces_sets.cpu_seconds() - start)
    bare, ours = (statistics.median(each) for each in seconds.values())
    return {"seconds": {name: statistics.median(each) for name, each in seconds.items()}, "ratio": ours / bare}

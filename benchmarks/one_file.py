"""Processor time of each stage of a file that takes photographs, on one and two threads, and the memory it needs.

    python -m benchmarks.one_file FACE.tflite PHOTOGRAPHS [--sample=40] [--threads=1,2]

The signatures in turn on each photograph, shrunk to the canvas; then the stages of `detection.FaceDetector` on the same
canvas. Medians over the photographs, of one run each after one that is not timed. Memory is the growth of the process
while a fresh interpreter runs all signatures of a canvas, each count of threads in a process of its own.
"""

import collections
import multiprocessing
import pathlib
import resource
import time

import numpy as np
from absl import app, flags

from keras_margin import detection
from keras_margin._utils import canvas, metadata
from keras_margin.alignment import images
from keras_margin.detection import _cascade

_SAMPLE = flags.DEFINE_integer("sample", 40, "Photographs, evenly spread over the folder.")
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "Threads of LiteRT.")


def main(arguments):
    if len(arguments) != 3 or not pathlib.Path(arguments[2]).is_dir():
        raise app.UsageError("Name a .tflite that takes photographs, and a folder of photographs.")
    paths = sorted(path for path in pathlib.Path(arguments[2]).rglob("*") if path.suffix.lower() in images.EXTENSIONS)
    chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, min(_SAMPLE.value, len(paths))).astype(int)]
    photographs = [images.read_image(path) for path in chosen]
    for each in metadata.read_metadata(arguments[1])["photo"]["canvases"]:
        for threads in map(int, _THREADS.value):
            # Spawned: the memory of what ran before does not count.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(_measured, (arguments[1], each, photographs, threads)))


def _measured(path, about, photographs, threads):
    """A few lines for a canvas and a number of threads."""
    from ai_edge_litert.interpreter import Interpreter

    size = about["height"], about["width"]
    placed = [canvas.place(photo, size) for photo in photographs]
    before = _resident()
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    times, faces = collections.defaultdict(list), 0
    detect, embed = (_timed(interpreter.get_signature_runner(about[name]), name, times) for name in ("detect", "embed"))
    for each in placed[:1] + placed:
        found = detect(photo=each.pixels, size=each.size)
        faces += int(found["count"])
        if found["count"]:
            embed(photo=each.pixels, size=each.size, points=found["points"][0])
    memory = _resident() - before
    shape = metadata.read_metadata(path)["image"]
    aligned = _timed(interpreter.get_signature_runner("embed_aligned"), "embed_aligned", times)
    for _ in range(10):
        aligned(image=np.zeros((1, shape["height"], shape["width"], 3), np.uint8))
    _of_detector(size, placed, threads, times)
    shown = ", ".join(f"{name} {np.median(values[1:]):.1f}" for name, values in times.items())
    return (
        f"{size[0]}x{size[1]}, {threads} threads, {len(placed)} photographs, {faces} faces: processor ms: {shown}; "
        f"detect and embed take {memory / 2**20:.0f} MiB"
    )


def _of_detector(size, placed, threads, times):
    """Times FaceDetector and its stages; "propose" is the pyramid and P-Net, "refine" R-Net, "output" O-Net."""
    detector = detection.FaceDetector(size, num_threads=threads)
    runners = detector._runners_for(detector.min_face_size)
    totals = collections.defaultdict(list)
    timed = {name: _timed(runner, name, totals) for name, runner in runners.items()}
    for each in placed[:1] + placed:
        totals.clear()
        start = time.process_time()
        _cascade.detect(timed, each.pixels, each.size, 0.8)
        times["FaceDetector"].append((time.process_time() - start) * 1e3)
        for name in runners:
            times[name].append(sum(totals[name]))


def _timed(function, name, times):
    def run(**inputs):
        start = time.process_time()
        answer = function(**inputs)
        times[name].append((time.process_time() - start) * 1e3)
        return answer

    return run


def _resident():
    """Most resident memory so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    app.run(main)

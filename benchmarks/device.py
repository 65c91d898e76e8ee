"""Latency and size of exported networks in each precision, on one image: LiteRT, ONNX Runtime and Keras in one run.

    python -m benchmarks.device
    python -m benchmarks.device --networks=mobilefacenet,ir_resnet18,ir_resnet50 --threads=1,2

The networks have the weights they start with; speed does not depend on them. Turns alternate between all candidates of
a network, so that what else the machine does meets each of them. A turn is a rest, the first image after it, some that
are not timed, and a few in a row. Two figures come of it: images in a row, as a folder of photographs gives them, and
the first after a rest, as a camera does, whose price is that of waking the threads. Ratios are to float32 LiteRT on as
many threads.
int8 gains much only where the processor has int8 dot products (AVX512-VNNI, AVX-VNNI, Arm dotprod): the first line
says whether it has.
"""

import pathlib
import platform
import random
import re
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from keras_margin import export, runtime
from keras_margin.models import backbones

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "networks",
    ["mobilefacenet", "mobilefacenet:relu", "mobilefacenet:leaky_relu", "ir_resnet18", "ir_resnet50"],
    "Names in keras_margin.models.backbones.BACKBONES, perhaps with :activation.",
)
flags.DEFINE_list("threads", ["1", "2"], "Threads of LiteRT and of ONNX Runtime.")
flags.DEFINE_integer("turns", 30, "Turns of each candidate.")
flags.DEFINE_integer("in_a_row", 8, "Timed images of a turn.")
flags.DEFINE_bool("integer_prelu", False, "Also int8 with every tensor in integers.")
flags.DEFINE_string("keep", None, "Folder for the exported files; files already there are timed as they are.")

# Seconds before each turn: threads of the candidate before, those of ONNX Runtime above all, wait for work awake.
_REST = 0.03
# Seconds of images that are not timed, after the first: a processor that rested is slow for longer than one of them.
_WARM_UP = 0.1

INT8_INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def processor():
    """The processor in words, and whether it has int8 dot products."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*:\s*(.*)", text)
    has = INT8_INSTRUCTIONS & set(text.split())
    return f"{name[1] if name else platform.machine()}; int8 dot products: {', '.join(sorted(has)) or 'none'}"


def files_of(name, folder, images):
    """The exported files of a network by their precision, made where they are not there; and the network."""
    backbone, _, activation = name.partition(":")
    network = backbones.build(backbone, **({"activation": activation} if activation else {}))
    stem = folder / name.replace(":", "_")
    limits = export.Limits()
    found = {}
    kinds = {"float32": None, "float16": "float16", "dynamic": "dynamic", "int8": "int8"}
    if FLAGS.integer_prelu:
        kinds["int8, integers alone"] = "int8"
    for kind, quantize in kinds.items():
        path = found[kind] = stem.with_name(f"{stem.name}_{kind.replace(', ', '_').replace(' ', '_')}.tflite")
        options = export.Options(batch_size=1, limits=limits, integer_only=kind == "int8, integers alone")
        if not path.exists():
            export.to_tflite(
                network,
                path,
                quantize=quantize,
                samples=images[:2],
                representative=images if quantize == "int8" else None,
                options=options,
            )
    path = found["onnx"] = stem.with_suffix(".onnx")
    if not path.exists():
        export.to_onnx(network, path, samples=images[:2], options=export.Options(batch_size=1, limits=limits))
    return network, found


def candidates_of(network, found, threads):
    """Functions of one uint8 image (1, h, w, 3) by name."""
    import onnxruntime

    candidates = {}
    for kind, path in found.items():
        if kind != "onnx":
            candidates[f"LiteRT {kind}"] = (runtime.Embedder(path, num_threads=threads).embed, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(found["onnx"]), options, providers=["CPUExecutionProvider"])
    candidates["ONNX Runtime float32"] = (lambda image: session.run(None, {"image": image}), found["onnx"])
    if threads == 1:
        candidates["Keras predict"] = (lambda image: network.predict(image, verbose=0), None)
    return candidates


def latencies(candidates, image):
    """Milliseconds by name: of every image in a row, and of the first after each rest."""
    in_a_row = {name: [] for name in candidates}
    first = {name: [] for name in candidates}
    for run, _ in candidates.values():
        run(image)
    order = random.Random(0)
    for _ in range(FLAGS.turns):
        # A new order each turn: the one whose turn comes after the largest finds the caches emptiest.
        for name, (run, _) in order.sample(sorted(candidates.items()), len(candidates)):
            time.sleep(_REST)
            first[name].append(milliseconds(run, image))
            warm = time.perf_counter() + _WARM_UP
            while time.perf_counter() < warm:
                run(image)
            in_a_row[name] += [milliseconds(run, image) for _ in range(FLAGS.in_a_row)]
    return in_a_row, first


def milliseconds(run, image):
    """By the clock, of one call."""
    start = time.perf_counter()
    run(image)
    return 1e3 * (time.perf_counter() - start)


def main(_):
    """Exports, times, prints."""
    logging.set_verbosity(logging.ERROR)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print(f"{processor()}\n")
    images = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(FLAGS.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FLAGS.networks:
            network, found = files_of(name, folder, images)
            for threads in map(int, FLAGS.threads):
                candidates = candidates_of(network, found, threads)
                in_a_row, first = latencies(candidates, images[:1])
                base = np.median(in_a_row["LiteRT float32"])
                print(f"{name}, {threads} thread{'s' if threads > 1 else ''}")
                for candidate, (_, path) in candidates.items():
                    p50, p95 = np.percentile(in_a_row[candidate], [50, 95])
                    size = f"{path.stat().st_size / 2**20:6.1f} MiB" if path else " " * 10
                    times = f"p50 {p50:7.2f} ms  p95 {p95:7.2f} ms  ratio {p50 / base:5.2f}"
                    rested = f"after a rest p50 {np.median(first[candidate]):7.2f} ms"
                    print(f"  {candidate:24} {size}  {times}  {rested}", flush=True)


if __name__ == "__main__":
    app.run(main)

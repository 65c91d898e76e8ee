"""Cost of a head's loss and gradient compared with its three bare matrix products, in one run.

    python -m benchmarks.head                                    the two shapes of the design, minutes
    python -m benchmarks.head --shapes=512x85742 --repeats=9 --out=head.json
    python -m benchmarks.head --torch=.venv-torch/bin/python     and the PyTorch peers, each to PyTorch's own products
    KERAS_BACKEND=jax python -m benchmarks.head                  on another backend, its default device

Every variant of a shape takes turns with the bare products (X W^T, G W, G^T X), so that whatever else the machine does
falls on all equally; a figure is the ratio of medians. `cpu` is the same of the process's processor seconds, which
other programs disturb less. Memory is the peak above the resident X and W, each variant in a process of its own
(Linux, on a CPU); the gradient of W is part of it. Estimates are `ops.peak_bytes`.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from absl import app, flags

from benchmarks import head_variants
from benchmarks.memory import peak_mib

FLAGS = flags.FLAGS
flags.DEFINE_list("shapes", ["256x10575", "512x85742"], "Batch x classes.")
flags.DEFINE_integer("size", 512, "Size of the embeddings.")
flags.DEFINE_integer("repeats", 7, "Turns of each variant.")
flags.DEFINE_integer("threads", 2, "Threads to compute with.")
flags.DEFINE_list("variants", None, "Names of the variants; all by default. The first is what ratios are to.")
flags.DEFINE_bool("memory", True, "Measure peaks too, each variant in a process of its own.")
flags.DEFINE_string("torch", None, "Python of an environment with PyTorch, to measure it in the same run.")
flags.DEFINE_list("torch_variants", None, "Names of PyTorch's variants; all by default.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")
flags.DEFINE_string("memory_of", None, "Internal: the variant whose peak memory this process measures.")

MIB = 2**20


def run_once(function, arguments):
    """(seconds, processor seconds) of one call, its results waited for."""
    start, processor = time.perf_counter(), time.process_time()
    head_variants.wait(function(*arguments))
    return time.perf_counter() - start, time.process_time() - processor


def peak_memory(name, batch, classes):
    """MiB above the resident inputs that one step of the variant needs; in this process."""
    arguments = head_variants.inputs(batch, classes, FLAGS.size)
    function = head_variants.variants()[name]
    run_once(function, head_variants.inputs(8, 4096, FLAGS.size))  # Libraries and compilers are not the variant's.
    return peak_mib(lambda: run_once(function, arguments))


def measure(shape):
    """Rows of one shape."""
    batch, classes = map(int, shape.split("x"))
    arguments = head_variants.inputs(batch, classes, FLAGS.size)
    functions = head_variants.variants()
    functions = {name: functions[name] for name in FLAGS.variants or functions}
    turns = {name: [] for name in functions}
    for function in functions.values():
        run_once(function, arguments)
    for _ in range(FLAGS.repeats):
        for name, function in functions.items():
            turns[name].append(run_once(function, arguments))
    bare = [statistics.median(each) for each in zip(*turns[next(iter(functions))], strict=True)]
    del arguments
    rows = []
    for name, times in turns.items():
        wall, processor = (statistics.median(each) for each in zip(*times, strict=True))
        row = {"backend": os.environ["KERAS_BACKEND"], "shape": shape, "variant": name, "ratio": wall / bare[0]}
        row |= {"cpu_ratio": processor / bare[1], "seconds": [seconds for seconds, _ in times]}
        row |= {"mib": peak_elsewhere(name, shape) if FLAGS.memory else None}
        row |= {"estimated_mib": estimate(name, batch, classes)}
        rows.append(row)
    return rows


def estimate(name, batch, classes):
    """MiB as estimated, for the implementations."""
    from keras_margin.ops import memory

    known = ("reference", "fused", "streaming")
    return memory.peak_bytes(name, batch, classes, FLAGS.size) / MIB if name in known else None


def peak_elsewhere(name, shape):
    command = [sys.executable, "-m", "benchmarks.head", f"--memory_of={name}", f"--shapes={shape}"]
    command += [f"--size={FLAGS.size}", f"--threads={FLAGS.threads}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def rows_of_torch():
    """The same shapes on PyTorch, by its own interpreter."""
    path = f"{FLAGS.out or 'head.json'}.torch"
    command = [FLAGS.torch, "-m", "benchmarks.head", f"--shapes={','.join(FLAGS.shapes)}", f"--out={path}"]
    command += [f"--size={FLAGS.size}", f"--repeats={FLAGS.repeats}", f"--threads={FLAGS.threads}"]
    command += [f"--memory={FLAGS.memory}"]
    if FLAGS.torch_variants:
        command += [f"--variants={','.join(FLAGS.torch_variants)}"]
    try:
        subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "torch"}, check=True, stdout=subprocess.DEVNULL)
        with open(path) as file:
            return json.load(file)["rows"]
    finally:
        if os.path.exists(path):
            os.remove(path)


def show(rows):
    """Prints the table."""
    columns = f"{'batch x classes':>16}  {'backend':<10} {'variant':<30} {'time / bare':>11} {'cpu / bare':>10}"
    print(f"{columns} {'seconds':>8} {'peak MiB':>9} {'estimated':>9}")
    for row in rows:
        mib = ["" if row[key] is None else f"{row[key]:.0f}" for key in ("mib", "estimated_mib")]
        print(
            f"{row['shape']:>16}  {row['backend']:<10} {row['variant']:<30} {row['ratio']:>11.2f} "
            f"{row['cpu_ratio']:>10.2f} {statistics.median(row['seconds']):>8.3f} {mib[0]:>9} {mib[1]:>9}"
        )


def main(_):
    head_variants.use_threads(FLAGS.threads)
    if FLAGS.memory_of:
        print(peak_memory(FLAGS.memory_of, *map(int, FLAGS.shapes[0].split("x"))))
        return
    rows = [row for shape in FLAGS.shapes for row in measure(shape)]
    if FLAGS.torch:
        rows += rows_of_torch()
    show(rows)
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"threads": FLAGS.threads, "size": FLAGS.size, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    app.run(main)

"""Cost of a head's loss and gradient beside its three bare matrix products, in one run.

    python -m benchmarks.head                                    the two shapes of the design, minutes
    python -m benchmarks.head --shapes=512x85742 --repeats=9 --out=head.json

Every variant of a shape takes turns with the bare products (X W^T, G W, G^T X), so that whatever else the machine does
falls on all alike; a figure is the ratio of medians. Memory is the peak above the resident X and W, each variant in a
process of its own (Linux); the gradient of W is part of it.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

from benchmarks.memory import peak_mib

FLAGS = flags.FLAGS
flags.DEFINE_list("shapes", ["256x10575", "512x85742"], "Batch x classes.")
flags.DEFINE_integer("size", 512, "Size of the embeddings.")
flags.DEFINE_integer("repeats", 7, "Turns of each variant.")
flags.DEFINE_integer("threads", 2, "Threads to compute with.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")
flags.DEFINE_string("memory_of", None, "Internal: the variant whose peak memory this process measures.")


def variants():
    """Name -> function of (embeddings, prototypes, labels) to (loss, gradients), compiled."""
    import tensorflow as tf

    from keras_margin import engines, margins, numerics

    def head_loss(engine, margin="arcface"):
        def loss(embeddings, prototypes, labels):
            unit, _ = numerics.unit_normalize(embeddings)
            meeting = engines.ENGINES[engine](unit, prototypes, labels, 64.0)
            own, _ = numerics.unit_normalize(meeting.own_prototype)
            _, theta = numerics.angle_between(unit, own)
            return tf.math.softplus(meeting.log_sum - 64.0 * margins.combined(theta, m2=0.5))

        return loss

    def usual_script(embeddings, prototypes, labels):
        """arccos of the whole matrix and one-hot labels, as most scripts have it."""
        cosines = tf.matmul(tf.nn.l2_normalize(embeddings, 1), tf.nn.l2_normalize(prototypes, 1), transpose_b=True)
        theta = tf.acos(tf.clip_by_value(cosines, -1 + 1e-7, 1 - 1e-7))
        one_hot = tf.one_hot(labels, tf.shape(prototypes)[0])
        logits = 64.0 * tf.where(one_hot > 0, tf.cos(theta + 0.5), cosines)
        return tf.nn.softmax_cross_entropy_with_logits(one_hot, logits)

    def target_only(embeddings, prototypes, labels):
        """The margin on the target alone, sparse cross-entropy, autodiff."""
        cosines = tf.matmul(tf.nn.l2_normalize(embeddings, 1), tf.nn.l2_normalize(prototypes, 1), transpose_b=True)
        index = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
        theta = tf.acos(tf.clip_by_value(tf.gather_nd(cosines, index), -1 + 1e-7, 1 - 1e-7))
        logits = 64.0 * tf.tensor_scatter_nd_update(cosines, index, tf.cos(theta + 0.5))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def bare(embeddings, prototypes, labels):
        products = tf.matmul(embeddings, prototypes, transpose_b=True)
        by_rows = tf.matmul(products, embeddings, transpose_a=True)
        return tf.reduce_sum(products[:1]), tf.matmul(products, prototypes), by_rows

    def step(loss):
        @tf.function
        def compiled(embeddings, prototypes, labels):
            with tf.GradientTape() as tape:
                tape.watch([embeddings, prototypes])
                value = tf.reduce_mean(loss(embeddings, prototypes, labels))
            return value, *tape.gradient(value, [embeddings, prototypes])

        return compiled

    return {
        "bare products": tf.function(bare),
        "bare products, XLA": tf.function(bare, jit_compile=True),
        "usual script": step(usual_script),
        "target-only autodiff": step(target_only),
        "plain engine": step(head_loss("plain")),
        "fused engine": step(head_loss("fused")),
        "streaming engine": step(head_loss("streaming")),
    }


def inputs(batch, classes, size):
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    embeddings = tf.constant(generator.standard_normal((batch, size), "float32"))
    prototypes = tf.constant(0.05 * generator.standard_normal((classes, size), "float32"))
    return embeddings, prototypes, tf.constant(generator.integers(0, classes, batch), tf.int32)


def run_once(function, arguments):
    """Seconds of one call, its results waited for."""
    start = time.perf_counter()
    for result in function(*arguments):
        result[:1].numpy() if result.shape.rank else result.numpy()
    return time.perf_counter() - start


def use_threads():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)


def peak_memory(name, batch, classes):
    """MiB above the resident inputs that one step of the variant needs; in this process."""
    use_threads()
    arguments = inputs(batch, classes, FLAGS.size)
    function = variants()[name]
    tiny = inputs(8, 64, FLAGS.size)
    run_once(function, tiny)  # Libraries, threads and compilers are not the variant's.
    return peak_mib(lambda: run_once(function, arguments))


def measure(shape):
    """Rows of one shape: name, ratio of medians, MiB."""
    batch, classes = map(int, shape.split("x"))
    arguments = inputs(batch, classes, FLAGS.size)
    functions = variants()
    for function in functions.values():
        run_once(function, arguments)
    seconds = {name: [] for name in functions}
    for _ in range(FLAGS.repeats):
        for name, function in functions.items():
            seconds[name].append(run_once(function, arguments))
    bare = statistics.median(seconds["bare products"])
    rows = []
    for name, times in seconds.items():
        command = [sys.executable, "-m", "benchmarks.head", f"--memory_of={name}", f"--shapes={shape}"]
        command += [f"--size={FLAGS.size}", f"--threads={FLAGS.threads}"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ratio = statistics.median(times) / bare
        rows.append(
            {"shape": shape, "variant": name, "ratio": ratio, "mib": float(found.split()[-1]), "seconds": times}
        )
    return rows


def main(_):
    if FLAGS.memory_of:
        print(peak_memory(FLAGS.memory_of, *map(int, FLAGS.shapes[0].split("x"))))
        return
    use_threads()
    rows = [row for shape in FLAGS.shapes for row in measure(shape)]
    print(f"{'batch x classes':>16}  {'variant':<22} {'time / bare':>11} {'peak MiB':>9}")
    for row in rows:
        print(f"{row['shape']:>16}  {row['variant']:<22} {row['ratio']:>11.2f} {row['mib']:>9.0f}")
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"threads": FLAGS.threads, "size": FLAGS.size, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    app.run(main)

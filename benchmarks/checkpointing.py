"""Memory and time of one gradient, plain and with gradient checkpointing: backbones.rematerialized.

    python -m benchmarks.checkpointing --networks=ir_resnet50,ir_resnet100 --batch_sizes=8,16

Each figure comes from a process of its own: how far it grew in the gradient of the mean square of the embeddings, with
the gradients in it, and the processor seconds of that first step.
"""

import os
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks.memory import peak_mib

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["ir_resnet50", "ir_resnet100", "ir_resnet200"], "networks with residual units")
flags.DEFINE_list("batch_sizes", ["8"], "images a step")
flags.DEFINE_integer("threads", 1, "threads inside an operator")
flags.DEFINE_string("measure", "", "used by the script itself: what to measure in this process")


def main(_):
    if FLAGS.measure:
        network, size, kind = FLAGS.measure.split(":")
        print(*gradient(network, int(size), kind))
        return
    print(f"{'network':14} {'images':>6} {'':12} {'MiB':>7} {'gradients':>9} {'seconds':>8}")
    for network in FLAGS.networks:
        for size in FLAGS.batch_sizes:
            for kind in ("plain", "checkpointed"):
                grown, gradients, seconds = map(float, in_a_process(f"{network}:{size}:{kind}").split())
                print(f"{network:14} {size:>6} {kind:12} {grown:7.0f} {gradients:9.0f} {seconds:8.1f}", flush=True)


def in_a_process(what):
    """The line that a fresh process prints."""
    command = [sys.executable, "-m", "benchmarks.checkpointing", f"--measure={what}"]
    threads = str(FLAGS.threads)
    settings = {"TF_ENABLE_ONEDNN_OPTS": "1", "OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    # What is given back to the system counts as given back.
    settings["TF_CPU_ALLOCATOR_USE_BFC"] = "0"
    environment = {**os.environ, **settings, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{run.stderr[-2000:]}")
    return run.stdout.splitlines()[-1]


def gradient(network, size, kind):
    """(MiB the process grew by, MiB of the gradients, processor seconds)."""
    import tensorflow as tf

    from keras_margin.models import backbones

    model = backbones.build(network)
    called = backbones.rematerialized(model) if kind == "checkpointed" else model
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (size, 112, 112, 3)).astype("float32"))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(called(x, training=True)))
        return tape.gradient(loss, model.trainable_variables)

    compute = step.get_concrete_function(images)
    start = time.process_time()
    grown = peak_mib(lambda: [each.numpy().shape for each in compute(images)])
    gradients = sum(np.prod(each.shape) for each in model.trainable_variables) * 4 / 2**20
    return grown, gradients, time.process_time() - start


if __name__ == "__main__":
    app.run(main)

"""Backbones on this CPU: images a second, forward and training, beside PyTorch's channels_last, in one run.

    python -m benchmarks.backbones --networks=mobilefacenet_x2,ir_resnet18 --torch=.venv-torch/bin/python

Each network is timed in a process of its own, the two frameworks in turn, `--turns` times; the least time counts. A
training step is forward, backward and SGD with momentum on the squares of the embeddings: no head, no data. The PyTorch
networks are those of tests/torch_networks.py, in channels_last.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["mobilefacenet_x2", "ir_resnet18", "ir_resnet50"], "networks that both sides have")
flags.DEFINE_string("torch", "", "Python of an environment with PyTorch; default: Keras alone")
flags.DEFINE_integer("batch_size", 8, "images a step")
flags.DEFINE_integer("threads", 1, "threads inside an operator")
flags.DEFINE_integer("turns", 2, "how often the two take turns")
flags.DEFINE_float("seconds", 4, "least time of each measurement")
flags.DEFINE_bool("xla", False, "compile with XLA on the Keras side")
flags.DEFINE_enum("onednn", "1", ["0", "1", "default"], "TensorFlow with oneDNN, without, or as it chooses by the CPU")
flags.DEFINE_string("measure", "", "used by the script itself: what to measure in this process")


def main(_):
    if FLAGS.measure:
        side, network, kind = FLAGS.measure.split(":")
        print(json.dumps(MEASURES[side](network, kind)))
        return
    sides = {"keras": sys.executable} | ({"torch": FLAGS.torch} if FLAGS.torch else {})
    print(f"{'network':20} {'':8} {'Keras':>9} {'PyTorch':>9} images/s   ratio")
    for network in FLAGS.networks:
        for kind in ("forward", "training"):
            best = dict.fromkeys(sides, 0.0)
            for _ in range(FLAGS.turns):
                for side, python in sides.items():
                    best[side] = max(best[side], in_a_process(python, side, network, kind))
            ratio = f"{best['keras'] / best['torch']:.2f}" if "torch" in best else ""
            print(f"{network:20} {kind:8} {best['keras']:9.1f} {best.get('torch', 0):9.1f} {'':10} {ratio}", flush=True)


def in_a_process(python, side, network, kind):
    """Images a second, measured in a fresh process: threads are set once a process."""
    options = ("batch_size", "threads", "seconds", "xla", "onednn")
    command = [python, "-m", "benchmarks.backbones", f"--measure={side}:{network}:{kind}"]
    command += [f"--{name}={FLAGS[name].value}" for name in options]
    settings = {} if FLAGS.onednn == "default" else {"TF_ENABLE_ONEDNN_OPTS": FLAGS.onednn}
    environment = {
        **os.environ,
        **settings,
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "OMP_NUM_THREADS": str(FLAGS.threads),
        "TF_NUM_INTRAOP_THREADS": str(FLAGS.threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "KERAS_BACKEND": "tensorflow",
    }
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def images_a_second(step):
    """Of a function that does one batch; the first two calls, which compile and allocate, do not count."""
    step()
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < FLAGS.seconds or count < 3:
        step()
        count += 1
    return FLAGS.batch_size * count / (time.perf_counter() - start)


def images():
    return np.random.default_rng(0).uniform(0, 255, (FLAGS.batch_size, 112, 112, 3)).astype("float32")


def keras_step(network, kind):
    """A function that does one batch on the Keras side."""
    import keras
    import tensorflow as tf

    from keras_margin import backbones

    model = backbones.build(network)
    batch = tf.constant(images())
    if kind == "forward":
        forward = tf.function(lambda x: model(x, training=False), jit_compile=FLAGS.xla)
        return lambda: forward(batch).numpy()
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=FLAGS.xla)
    def train(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return lambda: train(batch).numpy()


def torch_step(network, kind):
    """A function that does one batch on the PyTorch side."""
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    import torch_networks

    torch.set_num_threads(FLAGS.threads)
    model = torch_networks.build(network).to(memory_format=torch.channels_last)
    batch = torch.from_numpy(images()).permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
    if kind == "forward":
        model.eval()

        def forward():
            with torch.inference_mode():
                return model((batch - 127.5) / 127.5)

        return forward
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)

    def train():
        optimizer.zero_grad()
        model((batch - 127.5) / 127.5).square().mean().backward()
        optimizer.step()

    return train


MEASURES = {
    "keras": lambda network, kind: images_a_second(keras_step(network, kind)),
    "torch": lambda network, kind: images_a_second(torch_step(network, kind)),
}


if __name__ == "__main__":
    app.run(main)

"""Backbones on this CPU: images a second, forward and training, compared with PyTorch's channels_last, in one run.

    python -m benchmarks.backbones --networks=mobilefacenet_x2,ir_resnet18 --torch=.venv-torch/bin/python

Each framework has a process of its own; the two take turns of `--seconds`, one waits while the other computes. A turn's
two figures lie moments apart, so what the machine does meanwhile meets both: the ratio is the median of the turns'
ratios, with their quartiles; images a second are each side's median. A training step is forward, backward and SGD with
momentum on the squares of the embeddings: no head, no data. The PyTorch networks are those of
tests/helpers/torch_networks.py, in channels_last.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["mobilefacenet_x2", "ir_resnet18", "ir_resnet50"], "networks that both sides have")
flags.DEFINE_multi_enum("kinds", ["forward", "training"], ["forward", "training"], "what to time")
flags.DEFINE_string("torch", "", "Python of an environment with PyTorch; default: Keras alone")
flags.DEFINE_integer("batch_size", 8, "images a step")
flags.DEFINE_integer("threads", 1, "threads inside an operator")
flags.DEFINE_integer("turns", 15, "how often the two take turns")
flags.DEFINE_float("seconds", 1, "least time of a turn; one step at least")
flags.DEFINE_bool("xla", False, "compile with XLA on the Keras side")
flags.DEFINE_enum("onednn", "1", ["0", "1", "default"], "TensorFlow with oneDNN, without, or as it chooses by the CPU")
flags.DEFINE_string("measure", "", "used by the script itself: what to measure in this process")


def main(_):
    if FLAGS.measure:
        take_turns(*FLAGS.measure.split(":"))
        return
    sides = {"keras": sys.executable} | ({"torch": FLAGS.torch} if FLAGS.torch else {})
    print(f"{'network':20} {'':8} {'Keras':>9} {'PyTorch':>9} images/s   ratio (quartiles)")
    for network in FLAGS.networks:
        for kind in FLAGS.kinds:
            found = {side: [] for side in sides}
            with contextlib.ExitStack() as stack:
                workers = {side: stack.enter_context(Worker(sides[side], side, network, kind)) for side in sides}
                for _ in range(FLAGS.turns):
                    for side, worker in workers.items():
                        found[side].append(worker.turn())
            speeds = {side: np.median(values) for side, values in found.items()}
            ratio = ""
            if "torch" in found:
                low, middle, high = np.percentile(np.divide(found["keras"], found["torch"]), [25, 50, 75])
                ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            print(
                f"{network:20} {kind:8} {speeds['keras']:9.1f} {speeds.get('torch', 0):9.1f} {'':10} {ratio}",
                flush=True,
            )


class Worker:
    """A process that prepares a network, and does a turn when asked: threads are set once a process."""

    def __init__(self, python, side, network, kind):
        options = ("batch_size", "threads", "seconds", "xla", "onednn")
        self._command = [python, "-m", "benchmarks.backbones", f"--measure={side}:{network}:{kind}"]
        self._command += [f"--{name}={FLAGS[name].value}" for name in options]
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
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - __exit__ closes it.
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )
        self._read()  # It says "ready" once it has compiled.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def turn(self):
        """Images a second of one turn."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"error: {' '.join(self._command)}\n{self._errors.read()[-2000:]}")
        return line


def take_turns(side, network, kind):
    """The worker's side: prepares, says so, and answers each line on its input with images a second."""
    step = STEPS[side](network, kind)
    step()
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(images_a_second(step), flush=True)


def images_a_second(step):
    """Of a function that does one batch."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < FLAGS.seconds:
        step()
        count += 1
    return FLAGS.batch_size * count / (time.perf_counter() - start)


def images():
    return np.random.default_rng(0).uniform(0, 255, (FLAGS.batch_size, 112, 112, 3)).astype("float32")


def keras_step(network, kind):
    """A function that does one batch on the Keras side."""
    import keras
    import tensorflow as tf

    from keras_margin.models import backbones

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

    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
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


STEPS = {"keras": keras_step, "torch": torch_step}


if __name__ == "__main__":
    app.run(main)

"""All losses under one budget on real colour faces: one small convolutional network, trained whole.

    python -m benchmarks.real_faces training_set FACES CROPS TRAIN
    python -m benchmarks.real_faces_study TRAIN FACES CROPS WORK --out docs/study-faces.jsonl    resumable
    python -m benchmarks.real_faces_study TRAIN FACES CROPS WORK --longer --methods arcface      four times the steps
    python -m benchmarks.real_faces_study --report --out docs/study-faces.jsonl                  tables and figure alone

FACES, CROPS and TRAIN as in benchmarks/real_faces.py; WORK takes the lists of pairs. Network, steps, batches,
optimizer and learning rate are the same for all methods. Each has three configurations
(benchmarks/real_faces_study_methods.py), trained once with seed 0; the one with the lowest mean EER on the people to
choose by is trained with the other seeds (benchmarks/real_faces_study_data.py: who is who). A finished run is a line of
JSON in --out; a call that was interrupted goes on with the runs that are not there yet.
"""

import argparse
import logging
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import real_faces_study_data as study_data
from benchmarks import real_faces_study_report as report
from benchmarks import study, study_report
from benchmarks.real_faces_study_data import SHIFT, SIZE
from benchmarks.real_faces_study_methods import METHODS
from benchmarks.real_faces_study_report import LONGER, SEEDS
from keras_margin.models import backbones

STEPS, BATCH = 400, 64
# AdamW, up over the first tenth of the steps and down by a cosine.
RATE, WEIGHT_DECAY = 3e-3, 5e-2


def network():
    """What every loss trains: an IR network of three stages, 0.15 million parameters."""
    options = {"widths": (16, 32, 64), "embedding_size": 128, "stem_strides": 2, "dropout": 0.0}
    return backbones.ir_resnet((1, 1, 1), image_size=(SIZE, SIZE), **options)


def augmentations(steps, batch, seed):
    """Returns (rows, columns): int32 (steps, batch, SIZE) pixels to take, moved, half of them mirrored."""
    generator = np.random.default_rng((seed, 1))
    first = generator.integers(0, 2 * SHIFT + 1, (2, steps, batch, 1))
    rows, columns = first + np.arange(SIZE)
    mirrored = generator.random((steps, batch, 1)) < 0.5
    return rows.astype(np.int32), np.where(mirrored, columns[..., ::-1], columns).astype(np.int32)


class Runner:
    """One configuration of one method, whose graph is traced once and run for every seed."""

    def __init__(self, task, method, configuration, steps=STEPS, batch=BATCH):
        self.task, self.method, self.configuration, self.steps, self.batch = task, method, configuration, steps, batch
        self.rate = RATE * METHODS[method].rate(configuration)
        self.net, self.head = self._fresh(0)
        self.trainable = self.net.trainable_variables + self.head.trainable_variables
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - steps // 10, warmup_target=self.rate, warmup_steps=max(1, steps // 10)
        )
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
        self.optimizer.build(self.trainable)
        self.images, self.labels = tf.constant(task.train.images), tf.constant(task.train.labels)
        self._train = tf.function(self._steps, autograph=False)
        self._embed = tf.function(lambda images: self.net(images, training=False), autograph=False)

    def _fresh(self, seed):
        keras.utils.set_random_seed(seed)
        head = METHODS[self.method].build(self.configuration, self.task.train.num_classes, self.steps)
        net = network()
        head.build(net.output_shape)
        return net, head

    def _steps(self, order, rows, columns):
        """Takes all steps; returns the moving mean of the loss."""

        def step(number, mean):
            chosen = order[number]
            images = tf.gather(tf.gather(self.images, chosen), rows[number], axis=1, batch_dims=1)
            images = tf.gather(images, columns[number], axis=2, batch_dims=1)
            images = tf.ensure_shape(images, (self.batch, SIZE, SIZE, 3))
            with tf.GradientTape() as tape:
                embeddings = self.net(tf.cast(images, tf.float32), training=True)
                loss = self.head.compute_loss(embeddings, tf.gather(self.labels, chosen), training=True)
                loss = tf.reduce_mean(loss)
            self.optimizer.apply(tape.gradient(loss, self.trainable), self.trainable)
            return number + 1, 0.98 * mean + 0.02 * loss

        return tf.while_loop(lambda number, mean: number < tf.shape(order)[0], step, (0, 0.0))[1]

    def __call__(self, seed):
        """One run: a dict of what it was and what came out; test figures are there for any seed."""
        began = time.process_time()
        self._reset(seed)
        order = study.batches(self.task.train.labels, self.steps, self.batch, seed)
        run = {"task": self.task.name, "method": self.method, "configuration": self.configuration, "seed": seed}
        run.update(steps=self.steps, rate=self.rate, settings=METHODS[self.method].grid[self.configuration])
        try:
            taken = map(tf.constant, (order, *augmentations(self.steps, self.batch, seed)))
            run["loss"] = round(float(self._train(*taken)), 5)
        except tf.errors.InvalidArgumentError as error:
            return {**run, "diverged": str(error)[:200]}
        run["train_seconds"] = round(time.process_time() - began, 2)
        run["validation"] = study_data.measure(self.embed, self.task, choosing=True)
        run["test"] = study_data.measure(self.embed, self.task, choosing=False)
        run["processor_seconds"] = round(time.process_time() - began, 2)
        if run["validation"] is None or run["test"] is None:
            run["diverged"] = f"Embeddings are not finite, or zero; loss {run['loss']}."
        return run

    def _reset(self, seed):
        net, head = self._fresh(seed)
        fresh = [*net.variables, *head.variables]
        for variable, value in zip([*self.net.variables, *self.head.variables], fresh, strict=True):
            variable.assign(value)
        for variable in self.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))

    def embed(self, images):
        """Embeddings of uint8 images (n, SIZE, SIZE, 3)."""
        chunks = (images[start : start + 256] for start in range(0, len(images), 256))
        return np.concatenate([self._embed(tf.constant(chunk, tf.float32)) for chunk in chunks])


def choose_and_repeat(runs, task, method, seeds=SEEDS, steps=STEPS):
    """Runs every configuration with the first seed and the chosen one with the others, but for what is there."""
    keras.backend.clear_session()
    runners = {}

    def run(configuration, seed):
        found = runs.find(task.name, method, configuration, seed, steps)
        if found is None:
            if configuration not in runners:
                runners[configuration] = Runner(task, method, configuration, steps)
            found = runs.add(runners[configuration](seed))
        return found

    best = study_report.chosen([run(number, seeds[0]) for number in range(len(METHODS[method].grid))])
    if best is not None:
        for seed in seeds[1:]:
            run(best["configuration"], seed)


def repeat_longer(runs, task, method, seeds=SEEDS, steps=STEPS, times=LONGER):
    """Runs the configuration that was chosen at `steps` for as many times the steps, with every seed."""
    keras.backend.clear_session()
    tried = [runs.find(task.name, method, number, seeds[0], steps) for number in range(len(METHODS[method].grid))]
    best = study_report.chosen(tried) if None not in tried else None
    if best is None:
        raise ValueError(f"--longer needs the choice of {method} first. Received: runs without it. Leave --longer out.")
    runner = None
    for seed in seeds:
        if runs.find(task.name, method, best["configuration"], seed, times * steps) is None:
            runner = runner or Runner(task, method, best["configuration"], times * steps)
            runs.add(runner(seed))


def main():
    """Trains what is not there yet and writes tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("training_set", "faces", "crops", "work"):
        parser.add_argument(name, nargs="?", type=pathlib.Path)
    parser.add_argument("--out", default="docs/study-faces.jsonl")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--longer", action="store_true", help="the chosen configurations at four times the steps")
    parser.add_argument("--report", action="store_true", help="no training: tables and figure from the runs of --out")
    parser.add_argument("--page", default="docs/study-faces.md", help="page whose tables are written again")
    parser.add_argument("--figure", default="docs/img/study_faces.png")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tf.get_logger().setLevel(logging.ERROR)  # Tracing each configuration again is meant.
    runs = study.Runs(arguments.out)
    if not arguments.report:
        if arguments.work is None:
            parser.error("TRAIN, FACES, CROPS and WORK are needed to train; --report needs none of them.")
        task = study_data.load(arguments.training_set, arguments.faces, arguments.crops, arguments.work)
        logging.info("%d images of %d people train.", len(task.train.labels), task.train.num_classes)
        for method in arguments.methods:
            (repeat_longer if arguments.longer else choose_and_repeat)(runs, task, method)
    made = list(runs.runs.values())
    if made and pathlib.Path(arguments.page).exists():
        report.write_page(arguments.page, made)
        report.draw(report.summarize(made), arguments.figure)


if __name__ == "__main__":
    main()

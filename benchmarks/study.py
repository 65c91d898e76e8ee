"""All heads and auxiliary losses under one budget: ArcFace's table 2, IAM's tables 3 to 5, on a small machine.

    python -m benchmarks.study                   every method on glyphs and ORL, an hour or two on one core
    python -m benchmarks.study --short           four methods, fewer steps, minutes; a file of its own
    python -m benchmarks.study --tasks=orl_open  one task alone, which then must be there
    python -m benchmarks.study --report          no training: tables and figure from the runs that are there

Each method has three configurations (benchmarks/study_methods.py), trained once with seed 0 each. The one with the
lowest EER on validation classes, which neither training nor test sees, is trained with the other seeds, and its three
seeds are what the tables show on the test classes. Network, steps, batches, optimiser and learning rate are the same
for all; batches hold four images each of some classes, for the losses that compare images.

A task whose data is not on this machine, such as the glyphs without their fonts, is left out with a line that says what
to install, unless --tasks names it.

A finished run is one line of JSON in --out; a call that was interrupted goes on with the runs that are not there yet.
The glyphs are type, not faces: what holds there need not hold for faces.
"""

import json
import logging
import os
import pathlib
import platform
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import study_report
from benchmarks.study_methods import CONFIGURATIONS, METHODS
from benchmarks.study_tasks import TASKS

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "docs/study.jsonl", "File of the runs, a line each.")
flags.DEFINE_list("tasks", list(TASKS), "Which of the tasks.")
flags.DEFINE_list("methods", list(METHODS), "Which of the methods.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds; the configuration is chosen by the first.")
flags.DEFINE_bool("short", False, "Four methods, a tenth of the steps, one seed; writes next to --out.")
flags.DEFINE_bool("report", False, "Only write the tables and the figure.")
flags.DEFINE_string("page", "docs/study.md", "Page whose tables are written again; empty for none.")
flags.DEFINE_string("figure", "docs/img/study.png", "Figure to write; empty for none.")

# Steps and batch of a task.
STEPS = {"glyphs": 400, "orl_open": 100, "orl_closed": 100}
BATCH = {"glyphs": 128, "orl_open": 64, "orl_closed": 64}
IMAGES_PER_CLASS = 4
HIDDEN_SIZE, EMBEDDING_SIZE = 256, 64
# Adam, up over the first tenth of the steps and down by a cosine.
RATE = 6e-3
SHORT_METHODS = ("normsoftmax", "arcface", "cosface", "normsoftmax+iam")


def network(size):
    """Two layers: what every loss trains."""
    inputs = keras.Input((size,))
    x = keras.layers.Dense(HIDDEN_SIZE, use_bias=False)(inputs)
    x = keras.layers.PReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dense(EMBEDDING_SIZE, use_bias=False)(x)
    return keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9)(x))


def batches(labels, steps, batch, seed):
    """Int array (steps, batch): every image once an epoch, where it fills a batch, up to four of a class together."""
    generator = np.random.default_rng(seed)
    count, epochs = 0, []
    while count < steps:
        groups = []
        for label in range(labels.max() + 1):
            rows = generator.permutation(np.flatnonzero(labels == label))
            groups += [rows[start : start + IMAGES_PER_CLASS] for start in range(0, len(rows), IMAGES_PER_CLASS)]
        order = np.concatenate([groups[place] for place in generator.permutation(len(groups))])
        epochs.append(order[: len(order) // batch * batch].reshape(-1, batch))
        count += len(epochs[-1])
    return np.concatenate(epochs)[:steps]


class Runner:
    """One configuration of one method on one task, whose graph is traced once and run for every seed."""

    def __init__(self, task, method, configuration, steps):
        self.task, self.method, self.configuration, self.steps = task, method, configuration, steps
        rate = RATE * METHODS[method].rate(configuration)
        self.schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
        )
        self.net, self.head = self._fresh(0)
        self.trainable = self.net.trainable_variables + self.head.trainable_variables
        self.optimizer = keras.optimizers.Adam(self.schedule)
        self.optimizer.build(self.trainable)
        self.inputs = tf.constant(task.train.inputs)
        self.labels = tf.constant(task.train.labels)
        self._train = tf.function(self._steps, autograph=False)

    def _fresh(self, seed):
        keras.utils.set_random_seed(seed)
        head = METHODS[self.method].build(self.configuration, self.task.train.num_classes, self.steps)
        net = network(self.task.train.inputs.shape[-1])
        head.build(net.output_shape)
        return net, head

    def _steps(self, order, variants):
        def step(number, mean):
            rows = order[number]
            with tf.GradientTape() as tape:
                embeddings = self.net(tf.gather(self.inputs[variants[number]], rows), training=True)
                loss = self.head.compute_loss(embeddings, tf.gather(self.labels, rows), training=True)
                loss = tf.reduce_mean(loss)
            self.optimizer.apply(tape.gradient(loss, self.trainable), self.trainable)
            return number + 1, 0.98 * mean + 0.02 * loss

        return tf.while_loop(lambda number, mean: number < tf.shape(order)[0], step, (0, 0.0))[1]

    def __call__(self, seed):
        """One run: a dict of what it was and what came out."""
        began, began_processor = time.perf_counter(), time.process_time()
        net, head = self._fresh(seed)
        fresh = [*net.variables, *head.variables]
        for variable, value in zip([*self.net.variables, *self.head.variables], fresh, strict=True):
            variable.assign(value)
        for variable in self.optimizer.variables:
            if variable.dtype != "string":
                variable.assign(keras.ops.zeros_like(variable))
        order = batches(self.task.train.labels, self.steps, BATCH[self.task.name], seed)
        variants = np.random.default_rng((seed, 1)).integers(0, len(self.task.train.inputs), self.steps)
        run = {"task": self.task.name, "method": self.method, "configuration": self.configuration, "seed": seed}
        run.update(steps=self.steps, settings=METHODS[self.method].grid[self.configuration])
        try:
            run["loss"] = round(float(self._train(tf.constant(order), tf.constant(variants))), 5)
        except tf.errors.InvalidArgumentError as error:
            return {**run, "diverged": str(error)[:200]}
        run["train_seconds"] = round(time.perf_counter() - began, 2)
        run["validation"] = self.task.measure(self.embed, self.task.validation)
        run["test"] = self.task.measure(self.embed, self.task.test)
        run["seconds"] = round(time.perf_counter() - began, 2)
        run["processor_seconds"] = round(time.process_time() - began_processor, 2)
        return run

    def embed(self, inputs):
        """Embeddings of a part, (n, EMBEDDING_SIZE)."""
        return np.asarray(self.net(inputs, training=False))


class Runs:
    """The lines of the file, by what was run."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if lines and not lines[-1].endswith("\n"):
            # Killed in the midst of it: the run is made again.
            lines.pop()
            self.path.write_text("".join(lines))
        self.runs = {self._key(run): run for run in map(json.loads, lines)}

    @staticmethod
    def _key(run):
        return tuple(run[name] for name in ("task", "method", "configuration", "seed", "steps"))

    def find(self, task, method, configuration, seed, steps):
        """The run, or None where it is not there."""
        return self.runs.get((task, method, configuration, seed, steps))

    def add(self, run):
        """Writes a run."""
        run["machine"] = machine()
        with self.path.open("a") as file:
            file.write(json.dumps(run) + "\n")
        logging.info("%s", _in_words(run))
        self.runs[self._key(run)] = run
        return run


def machine():
    """What made the numbers, in words."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, TensorFlow {tf.__version__}, Keras {keras.__version__}"


def _in_words(run):
    found = run.get("test")
    numbers = " ".join(f"{name} {value:.2f}" for name, value in found.items()) if found else "diverged"
    return f"{run['task']} {run['method']} {run['settings']} seed {run['seed']}: {numbers} ({run.get('seconds')} s)"


def loaded(names, required):
    """The tasks called `names` whose data is on this machine; the others are logged.

    Args:
        names: Names in TASKS.
        required: Whether a task that is not there is an error, since somebody asked for it.

    Returns:
        List of Task, in the order of `names`.

    Raises:
        FileNotFoundError, ImportError: Where data or a package is missing for a required task, or for all.
    """
    tasks, missing = [], None
    for name in names:
        try:
            tasks.append(TASKS[name]())
        except (FileNotFoundError, ImportError) as error:
            if required:
                raise
            logging.warning("The task %s is left out: %s", name, error)
            missing = error
    if missing is not None and not tasks:
        raise missing
    return tasks


def study(runs, task, method, seeds, steps):
    """All runs of one method on one task."""
    keras.backend.clear_session()
    runners = {}

    def run(configuration, seed):
        found = runs.find(task.name, method, configuration, seed, steps)
        if found is None:
            if configuration not in runners:
                runners[configuration] = Runner(task, method, configuration, steps)
            found = runs.add(runners[configuration](seed))
        return found

    best = study_report.chosen([run(number, seeds[0]) for number in range(CONFIGURATIONS)])
    if best is not None:
        for seed in seeds[1:]:
            run(best["configuration"], seed)


def main(argv):
    del argv
    # That each configuration is traced again is meant.
    tf.get_logger().setLevel(logging.ERROR)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    methods, seeds, share, out = FLAGS.methods, [int(seed) for seed in FLAGS.seeds], 1, pathlib.Path(FLAGS.out)
    if FLAGS.short:
        methods, seeds, share = [name for name in methods if name in SHORT_METHODS], seeds[:1], 10
        out = out.with_name(f"{out.stem}_short{out.suffix}")
    unknown = [name for name in [*FLAGS.tasks, *methods] if name not in {**TASKS, **METHODS}]
    if unknown:
        raise app.UsageError(f"unknown: {', '.join(unknown)}. Tasks: {', '.join(TASKS)}. Methods: {', '.join(METHODS)}")
    runs = Runs(out)
    if not FLAGS.report:
        tasks = loaded(FLAGS.tasks, required=FLAGS["tasks"].present)
        for method in methods:
            for task in tasks:
                study(runs, task, method, seeds, STEPS[task.name] // share)
    made = list(runs.runs.values())
    report = study_report.summarize(made, seeds)
    print(study_report.tables(report))
    print(study_report.orders(report))
    if report and not FLAGS.short and FLAGS.page:
        study_report.write_page(FLAGS.page, report, made)
    if report and not FLAGS.short and FLAGS.figure:
        study_report.draw(report, FLAGS.figure)


if __name__ == "__main__":
    app.run(main)

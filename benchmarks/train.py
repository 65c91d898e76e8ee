"""A whole training step compared with its parts: the backbone's forward and backward pass, the head's three products.

    python -m benchmarks.train                                         ir_small at 112x112 and CASIA's classes, minutes
    python -m benchmarks.train --backbone=ir_resnet18 --batch_size=64 --repeats=5
    python -m benchmarks.train --head=sphereface --out=train.json

Parts and step take turns, so that whatever else the machine does falls on all equally. `parts / step` is how much of a
step's time its two parts explain, by the clock and by the process's processor seconds, which other programs disturb
less: 1 means that loss, optimiser, batch-norm updates and bookkeeping cost nothing. The input is a folder of JPEGs,
decoded and flipped, read alone at its own pace: `input / step` above 1 means that it never holds the step up, given
processors of its own; on a CPU both want the same. Traces of the step's program are counted: one is the target.
"""

import json
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("backbone", "ir_small", "Name of the backbone.")
flags.DEFINE_string("head", "arcface", "Name of the head.")
flags.DEFINE_integer("classes", 10_575, "Classes.")
flags.DEFINE_integer("batch_size", 64, "Images a step.")
flags.DEFINE_integer("side", 112, "Pixels of an image's side.")
flags.DEFINE_integer("repeats", 7, "Turns of each.")
flags.DEFINE_integer("threads", 1, "Threads to compute with.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")


def timed(function):
    """(seconds, processor seconds) of one call that waits for its result."""
    start, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - processor


def parts(network, prototypes, images):
    """The two parts as functions: the backbone's two passes, the head's three products."""
    import tensorflow as tf

    size = network.output_shape[-1]
    gradient = tf.random.normal((FLAGS.batch_size, size))
    logits = tf.random.normal((FLAGS.batch_size, FLAGS.classes))

    @tf.function(autograph=False)
    def passes():
        with tf.GradientTape() as tape:
            embeddings = network(images, training=True)
        found = tape.gradient(embeddings, network.trainable_variables, output_gradients=gradient)
        return [tf.reduce_sum(each) for each in found]

    @tf.function(autograph=False)
    def products():
        rows = tf.convert_to_tensor(prototypes)
        forward = tf.matmul(gradient, rows, transpose_b=True)
        return (
            tf.reduce_sum(forward[:1]),
            tf.reduce_sum(tf.matmul(logits, rows)[:1]),
            tf.reduce_sum(tf.matmul(logits, gradient, transpose_a=True)[:1]),
        )

    return lambda: [each.numpy() for each in passes()], lambda: [each.numpy() for each in products()]


def input_speed(recipe, repeats):
    """Images a second of the input alone, from a folder of JPEGs; and the same of processor time."""
    import numpy as np
    import tensorflow as tf

    from keras_margin import data
    from keras_margin.training import _batches

    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        for number in range(4 * recipe.data.batch_size):
            path = pathlib.Path(root) / f"{number % 8}" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            image = tf.image.resize(generator.integers(0, 256, (14, 14, 3)), recipe.model.image_size)
            path.write_bytes(tf.io.encode_jpeg(tf.cast(image, tf.uint8), quality=95).numpy())
        reader = data.open(root, image_size=recipe.model.image_size)
        batches = iter(_batches.batches(recipe, reader))
        for _ in range(4):
            next(batches)
        times = [timed(lambda: next(batches)[0].numpy()) for _ in range(4 * repeats)]
    return [recipe.data.batch_size / (sum(each) / len(times)) for each in zip(*times, strict=True)]


def main(_):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from keras_margin import recipes
    from keras_margin.training import _building, _step

    recipe = recipes.Recipe("benchmark", "").replace(
        head=FLAGS.head,
        backbone=FLAGS.backbone,
        batch_size=FLAGS.batch_size,
        image_size=(FLAGS.side, FLAGS.side),
        steps=1000,
        decay="constant",
        learning_rate=1e-3,
    )
    images = tf.random.uniform((FLAGS.batch_size, FLAGS.side, FLAGS.side, 3), 0, 255)
    labels = tf.random.uniform((FLAGS.batch_size,), 0, FLAGS.classes, tf.int32)
    model = _building.build_model(recipe, FLAGS.classes)
    model.optimizer.build(model.trainable_variables)
    step = _step.Step(model, recipe, tf.distribute.get_strategy())
    passes, products = parts(model.embedder, model.head.prototypes.value, images)
    functions = {"passes": passes, "products": products, "step": lambda: step(images, labels)[0].numpy()}
    turns = {name: [] for name in functions}
    for function in functions.values():
        function()
        function()
    for _ in range(FLAGS.repeats):
        for name, function in functions.items():
            turns[name].append(timed(function))
    found = {name: [statistics.median(each) for each in zip(*times, strict=True)] for name, times in turns.items()}
    speed = input_speed(recipe, FLAGS.repeats)
    print(
        f"{FLAGS.backbone} {FLAGS.side}x{FLAGS.side}, {FLAGS.head}, {FLAGS.classes:,} classes, batch {FLAGS.batch_size}"
    )
    row = {"arguments": FLAGS.flag_values_dict(), "traces": step.traces}
    for number, unit in enumerate(("clock", "processor")):
        both = found["passes"][number] + found["products"][number]
        row[unit] = {name: times[number] for name, times in found.items()}
        row[unit] |= {"parts_over_step": both / found["step"][number], "input_images_per_second": speed[number]}
        row[unit]["step_images_per_second"] = FLAGS.batch_size / found["step"][number]
        print(
            f"{unit:9}  passes {found['passes'][number]:.3f} s  products {found['products'][number]:.3f} s  "
            f"step {found['step'][number]:.3f} s  parts / step {row[unit]['parts_over_step']:.2f}  "
            f"input / step {speed[number] / row[unit]['step_images_per_second']:.1f}"
        )
    print(f"traces of the step's program: {step.traces}")
    if FLAGS.out:
        pathlib.Path(FLAGS.out).write_text(json.dumps(row, indent=2, default=str) + "\n")


if __name__ == "__main__":
    app.run(main)

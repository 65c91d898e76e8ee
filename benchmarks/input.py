"""Speed of the input pipeline compared with bare decoding, in one run.

    python -m benchmarks.input                         4,096 JPEGs of 112x112, minutes
    python -m benchmarks.input --images=20000 --threads=8 --out=input.json
    python -m benchmarks.input --torch=.venv-torch/bin/python    and PyTorch's DataLoader in the same turns

The ORL faces, resized to 112x112 and cut and mirrored again for every image, are written as JPEGs of quality 95 into a
folder of identities, a .rec file and TFRecord shards. Each format gives shuffled, decoded batches, and the same flipped
at random, as training takes them; they take turns with `tf.io.decode_jpeg` alone over the same bytes in memory, in
parallel, in no order: by the fast inverse DCT that it takes unasked, and by the accurate one that the formats take. A
figure is bare decoding's time over the format's, so that 1 is the speed of bare decoding: by the clock (median of the
turns), and by the processor time of all threads, which others on the machine change less.
All files are in the page cache: the disk is not measured. PyTorch's DataLoader decodes with Pillow in as many worker
processes as there are threads, flips single images and puts out uint8; its processor time is not measured.
"""

import functools
import json
import os
import pathlib
import statistics
import struct
import subprocess
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 4096, "Images of each set.")
flags.DEFINE_integer("identities", 64, "Identities, that is folders.")
flags.DEFINE_integer("batch_size", 128, "Images per batch.")
flags.DEFINE_integer("repeats", 7, "Turns of each variant.")
flags.DEFINE_integer("threads", 2, "Threads of tf.data.")
flags.DEFINE_string("torch", None, "Python of an environment with PyTorch and Pillow, to measure it in the same run.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")


def jpegs(number):
    """JPEG bytes (list) of faces, each another cut of an ORL photograph."""
    import numpy as np
    import tensorflow as tf

    from keras_margin.data import orl

    faces = orl.load().images
    generator = np.random.default_rng(0)
    found = []
    for face in generator.integers(0, len(faces), number):
        top, left = generator.integers(0, 12), generator.integers(0, 12)
        cut = faces[face, top : top + 100, left : left + 80]
        tint = generator.uniform(0.8, 1.2, 3)
        image = np.clip((cut[:, :: generator.choice([1, -1]), None] * tint), 0, 255)
        image = tf.cast(tf.image.resize(image, (112, 112)), tf.uint8)
        found.append(tf.io.encode_jpeg(image, quality=95).numpy())
    return found


def write_folder(root, images, labels):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / f"{label:04}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)


def write_records(root, images, labels):
    """A .rec file and its .idx, by the format's specification."""
    root.mkdir()
    at = 0
    with open(root / "train.rec", "wb") as records, open(root / "train.idx", "w") as index:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            payload = struct.pack("<IfQQ", 0, label, number, 0) + image
            index.write(f"{number}\t{at}\n")
            at += records.write(struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4))


def seconds_of(dataset, options):
    """(clock, processor) seconds of one pass, which ends inside TensorFlow: Python sees no batch."""
    dataset = dataset.with_options(options)
    clock, processor = time.perf_counter(), time.process_time()
    dataset.reduce(0, lambda count, *_: count + 1).numpy()
    return time.perf_counter() - clock, time.process_time() - processor


def variants(folder):
    """Name -> tf.data set of one pass over all images."""
    import tensorflow as tf

    from keras_margin import data
    from keras_margin.data.augmentation import Augmentation

    generator_labels = [number * FLAGS.identities // FLAGS.images for number in range(FLAGS.images)]
    images = jpegs(FLAGS.images)
    write_folder(folder / "folder", images, generator_labels)
    write_records(folder / "rec", images, generator_labels)
    data.prepare(folder / "rec", folder / "tfrecord", shards=4)

    def decode(image):
        return tf.io.decode_jpeg(image, channels=3)

    def decode_accurately(image):
        return tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")

    memory = tf.data.Dataset.from_tensor_slices(images)
    found = {
        "bare decode_jpeg": memory.map(decode, tf.data.AUTOTUNE, deterministic=False),
        "bare, INTEGER_ACCURATE": memory.map(decode_accurately, tf.data.AUTOTUNE, deterministic=False),
    }
    for name in ("folder", "rec", "tfrecord"):
        reader = data.open(folder / name, image_size=(112, 112))
        found[name] = reader.dataset(FLAGS.batch_size, shuffle=True)
        found[f"{name}, flipped"] = reader.dataset(FLAGS.batch_size, shuffle=True, augmentation=Augmentation(flip=True))
    return found, sum(map(len, images)) / len(images)


class Torch:
    """PyTorch's DataLoader in a process of its own, which waits between its turns."""

    def __init__(self, folder):
        command = [FLAGS.torch, "-m", "benchmarks.input_torch", folder, str(FLAGS.batch_size), str(FLAGS.threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} did not start.")

    def seconds_of(self, name):
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline()), float("nan")

    def stop(self):
        self._process.stdin.close()
        self._process.wait()


def main(_):
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    options = tf.data.Options()
    options.threading.private_threadpool_size = FLAGS.threads
    with tempfile.TemporaryDirectory() as folder:
        datasets, size = variants(pathlib.Path(folder))
        measures = {name: functools.partial(seconds_of, dataset, options) for name, dataset in datasets.items()}
        torch = Torch(folder) if FLAGS.torch else None
        if torch:
            measures |= {f"{name}, DataLoader": functools.partial(torch.seconds_of, name) for name in ("folder", "rec")}
        seconds = {name: [] for name in measures}
        for turn in range(FLAGS.repeats + 1):
            for name, measure in measures.items():
                measured = measure()
                if turn:  # The first warms up.
                    seconds[name].append(measured)
        if torch:
            torch.stop()
    clocks, processors = (
        {name: statistics.median(pair[part] for pair in pairs) for name, pairs in seconds.items()} for part in (0, 1)
    )
    rows = [
        {
            "variant": name,
            "speed_by_clock": clocks["bare decode_jpeg"] / clocks[name],
            "speed_by_processor": processors["bare decode_jpeg"] / processors[name],
            "images_per_second": FLAGS.images / clocks[name],
        }
        for name in measures
    ]
    print(f"{FLAGS.images} JPEGs of {size:,.0f} bytes, {FLAGS.threads} threads")
    print(f"{'variant':<24} {'bare / it, clock':>17} {'bare / it, cpu':>15} {'images/s':>9}")
    for row in rows:
        print(
            f"{row['variant']:<24} {row['speed_by_clock']:>17.2f} {row['speed_by_processor']:>15.2f} "
            f"{row['images_per_second']:>9,.0f}"
        )
    if FLAGS.out:
        pathlib.Path(FLAGS.out).write_text(json.dumps({"threads": FLAGS.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)

"""The exported computation: uint8 images to unit embeddings, as TensorFlow graph and SavedModel."""

import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_margin._utils import progress

logger = logging.getLogger("keras_margin.export")

SIGNATURE = "serving_default"
# Of the operations that make the output `length`.
LENGTH_SCOPE = "embedding_length"

# What TensorFlow raises where a file system refuses it: a full disk, a limit, a folder that may not be written.
_OF_THE_DISK = (
    tf.errors.ResourceExhaustedError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.DataLossError,
    tf.errors.UnavailableError,
)


def embed(network, image, flip_sum=False):
    """Raw embeddings of uint8 images, (n, size) float32; with `flip_sum` those of the mirror images added."""
    if not flip_sum:
        return network(tf.cast(image, tf.float32), training=False)
    # One pass over both halves: the file then has each layer once.
    both = network(tf.cast(tf.concat([image, tf.reverse(image, axis=[2])], axis=0), tf.float32), training=False)
    return tf.reduce_sum(tf.reshape(both, (2, -1, both.shape[-1])), axis=0)


def answers(network, image, options):
    """What the signature gives of uint8 images: a dict of `embedding`, of unit length, and perhaps `length`."""
    rows = embed(network, image, options.flip_sum)
    lengths = {}
    if options.length:
        with tf.name_scope(LENGTH_SCOPE):
            lengths = {"length": tf.sqrt(tf.reduce_sum(tf.square(rows), axis=1))}
    return {"embedding": tf.math.l2_normalize(rows, axis=1)} | lengths


def write_savedmodel(network, folder, options, pixels=tf.uint8):
    """Writes the SavedModel with the one signature: `image` -> `embedding`, of unit length, and perhaps `length`.

    Args:
        network: Keras model.
        folder: Folder to write.
        options: Options.
        pixels: Type of `image`, tf.uint8, or tf.float32 for a converter that makes integers of it; [0, 255].

    Raises:
        OSError: Where the disk refuses it.
    """
    shape = (options.batch_size, *network.input_shape[1:])

    def serve(image):
        return answers(network, image, options)

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(SIGNATURE, serve, input_signature=[tf.TensorSpec(shape, pixels, name="image")])
    with progress.stage(f"Writing the graph of {network.name}"):
        try:
            archive.write_out(str(folder), verbose=False)
        except _OF_THE_DISK as error:
            raise OSError(f"The SavedModel cannot be written to {folder}. Is the disk full? {error.message}") from error


def loops_in(folder):
    """Paths of the loops in a SavedModel's graph, such as "face_1/memory_1/while": what LSTM, GRU and RNN become."""
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel.FromString((pathlib.Path(folder) / "saved_model.pb").read_bytes())
    functions = found.meta_graphs[0].graph_def.library.function
    return [node.name for each in functions for node in each.node_def if node.op in ("While", "StatelessWhile")]


def run_in_batches(function, images, batch_size, what="images"):
    """float64 rows of function(images), called on `batch_size` images a time, the last batch filled up."""
    rows, reached = [], progress.Progress("Ran", what, len(images))
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        filled = np.concatenate([part, np.repeat(part[-1:], batch_size - len(part), axis=0)])
        rows.append(np.asarray(function(filled), np.float64)[: len(part)])
        reached.at(start + len(part))
    return np.concatenate(rows)


def samples_of(network, samples):
    """(uint8 images to compare on, whether they are noise)."""
    if samples is None:
        logger.warning("No sample images given: the exported file is compared on noise.")
        return np.random.default_rng(0).integers(0, 256, (16, *network.input_shape[1:]), dtype=np.uint8), True
    return checked_images(network, samples, "samples")[:64], False


def checked_images(network, images, name):
    """`images` as an array, once they are uint8 and of the network's size."""
    images, shape = np.asarray(images), network.input_shape
    if images.dtype != np.uint8 or images.shape[1:] != shape[1:] or not len(images):
        raise ValueError(
            f"{name} must be uint8 images (n, {', '.join(map(str, shape[1:]))}), n >= 1. "
            f"Received: {images.dtype} {images.shape}."
        )
    return images

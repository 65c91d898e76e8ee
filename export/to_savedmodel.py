"""Writes the embedding network of a saved model as a SavedModel folder, compares the two, and prints how near they are.

    python export/to_savedmodel.py --model=runs/latest/model.keras --out=face
    python export/to_savedmodel.py --model=runs/latest/model.keras --out=face --samples=faces

The model is a .keras file: an EmbeddingModel, a model that ends in a margin head, or a backbone. The images are a
folder of identities, root/identity/*.jpg, aligned as in training, or "orl" for the ORL faces; without them the two are
compared on noise. In the folder lands contract.json, which says what the network takes and gives. Exit code: 0, or 1
with one line that says what was wrong; then nothing was written.
"""

import logging
import os
import sys
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from absl import app, flags
from absl import logging as absl_logging

import keras_margin as km

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "The .keras file.", required=True)
flags.DEFINE_string("out", None, "The folder to write.", required=True)
flags.DEFINE_string("samples", None, "Folder of identities to compare on.")


def main(argv):
    """Reads, writes, compares, prints."""
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --out=face. Received: {' '.join(argv[1:])}.")
        network = keras.saving.load_model(FLAGS.model, compile=False)
        samples = km.export.faces_from(FLAGS.samples, network).images if FLAGS.samples else None
        report = km.export.to_savedmodel(network, FLAGS.out, samples=samples)
    except (ValueError, OSError, ImportError, zipfile.BadZipFile, tf.errors.OpError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(report)


if __name__ == "__main__":
    app.run(main)

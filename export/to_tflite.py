"""Writes the embedding network of a saved model as a TFLite file, compares the two, and prints how near they are.

    python export/to_tflite.py --model=runs/latest/model.keras --out=face.tflite
    python export/to_tflite.py --model=runs/latest/model.keras --out=face.tflite --quantize=float16
    python export/to_tflite.py --model=runs/latest/model.keras --out=face.tflite --quantize=int8 --representative=faces

The model is a .keras file: an EmbeddingModel, a model that ends in a margin head, or a backbone. The images are a
folder of identities, root/identity/*.jpg, aligned as in training, or "orl" for the ORL faces. Next to face.tflite lands
face.tflite.json, which says what the file takes and gives. Exit code: 0, or 1 with one line that says what was wrong;
then nothing was written.
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
flags.DEFINE_string("out", None, "The .tflite file to write.", required=True)
flags.DEFINE_enum("quantize", "none", ["none", "float16", "dynamic", "int8"], "What is stored with fewer bits.")
flags.DEFINE_string("representative", None, "Folder of identities: int8's ranges come from it, and the comparison.")


def main(argv):
    """Reads, converts, compares, prints."""
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --out=face.tflite. Received: {' '.join(argv[1:])}.")
        network = keras.saving.load_model(FLAGS.model, compile=False)
        images = km.export.faces_from(FLAGS.representative, network).images if FLAGS.representative else None
        quantize = None if FLAGS.quantize == "none" else FLAGS.quantize
        report = km.export.to_tflite(network, FLAGS.out, quantize=quantize, representative=images)
    except (ValueError, OSError, ImportError, zipfile.BadZipFile, tf.errors.OpError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(report)


if __name__ == "__main__":
    app.run(main)

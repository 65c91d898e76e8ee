"""Trains a face embedding with a margin head, measures it on people it never met, and exports it.

    python examples/train_casia.py                                        the embedded ORL faces, minutes
    python examples/train_casia.py --data_dir=CASIA-WebFace --out=runs/casia --replicas=4

A data_dir, of images aligned to 112x112, is a folder of identities (root/identity/*.jpg, as CASIA-WebFace), a folder
with insightface's train.rec, train.idx and property, or TFRecord shards that keras_margin.data.prepare wrote. Killed,
the same command goes on. `keras-margin train` is the same with the same flags.
"""

import logging
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console

from keras_margin._utils import files
from keras_margin.cli import _cpu

_cpu.choose_onednn(sys.argv)

with files.suppress_native_stderr():
    import tensorflow as tf

    from keras_margin.cli import _flags, train
    from keras_margin.training import _errors

FLAGS = flags.FLAGS
_flags.define(flags)


def speak_plainly():
    """Warnings in one line each, and nothing of what TensorFlow logs about itself; --verbosity=0 brings that back."""
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    if not FLAGS["verbosity"].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


def main(argv):
    """Runs the recipe and prints what it found."""
    speak_plainly()
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --steps=50. Received: {' '.join(argv[1:])}.")
        train.train(FLAGS, Console())
    except (ValueError, OSError, ImportError, tf.errors.OpError) as error:
        sys.exit(f"error: {_errors.friendly_message(error)}")
    except KeyboardInterrupt:
        sys.exit(f"error: {train.interrupted(FLAGS.out)}")


if __name__ == "__main__":
    app.run(main)

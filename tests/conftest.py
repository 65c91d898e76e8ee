"""What every test stands on: a quiet backend on one thread, two logical devices, one seed."""

import gc
import os
import random
import shutil
import sys
import tempfile

# Before anything imports Keras, whose own default comes from a file in the home folder: no test should depend on that.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import numpy as np
import pytest

# What is imported stays, and each full collection would look through the millions of objects of it: a tenth of the
# suite's time. See pytest_collection_finish.
gc.disable()

SEED = 20180801
BACKEND = os.environ["KERAS_BACKEND"]

# No deadline: a first example that traces a graph is slow, and says nothing. The same examples in every run.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


def pytest_configure(config):
    """Sets TensorFlow's devices up, once a process and before its first op: afterwards they are fixed."""
    computes_here = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if BACKEND == "tensorflow" and computes_here:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
        cpu = tf.config.list_physical_devices("CPU")[0]
        # As make_strategy does: two replicas ask the system for the same pages again and again otherwise.
        os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    # Converted models of this run alone: one of an older graph must not pass for today's. Workers share it.
    if "KERAS_MARGIN_CACHE" not in os.environ:
        os.environ["KERAS_MARGIN_CACHE"] = tempfile.mkdtemp(prefix="keras-margin-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop("KERAS_MARGIN_CACHE"), ignore_errors=True))


def pytest_collection_finish():
    """From here on rubbish is collected again, a little later than Python would, and what is imported is left out."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
    gc.enable()


def pytest_collection_modifyitems(items):
    if BACKEND == "tensorflow":
        return
    reasons = {
        "tensorflow_only": f"TensorFlow's part; this run is on {BACKEND}",
        "once": "the same on every backend: run on TensorFlow alone",
    }
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same seed; the number, for a test that needs a generator of its own."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  Keras initialisers and other people's code draw from the global generator.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(SEED)
    return SEED

"""Damaged photographs and damaged models: each ends in an answer or in an error of the library, never in a crash.

python -m benchmarks.mutations FACE.tflite PHOTOGRAPH.jpg [--count=2000] [--seed=0]

COUNT seeded mutations of each file: bytes changed, cut out, doubled, or the end cut off. A photograph is read by
`alignment.read_image`, which gives pixels or ImageError. A model is loaded and run on the photograph in a process of
its own, which gives faces, ValueError, or ends by a signal. Prints how many of each.
"""

import collections
import os
import pathlib
import signal
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from keras_margin import alignment, runtime
from keras_margin._utils import files
from keras_margin.alignment.images import ImageError

_COUNT = flags.DEFINE_integer("count", 2000, "Mutations of each file.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the mutations.")
_SECONDS = flags.DEFINE_integer("seconds", 20, "Longest run of a damaged model.")


def mutated(content, generator):
    """Bytes with one to eight changes of one kind."""
    content, kind = bytearray(content), generator.integers(4)
    if kind == 3:
        return bytes(content[: generator.integers(len(content))])
    # Headers and tables are few of the bytes and most of the damage.
    reach = len(content) if generator.integers(2) else min(len(content), 4096)
    for _ in range(generator.integers(1, 9)):
        at = int(generator.integers(reach))
        end = at + int(generator.integers(1, 64))
        if kind == 0:
            content[at : at + 1] = bytes([generator.integers(256)])
        elif kind == 1:
            del content[at:end]
        else:
            content[at:at] = content[at:end]
        reach = min(reach, max(1, len(content)))
    return bytes(content)


def outcome_of_photograph(path):
    """Reads it: "pixels" or "ImageError"; anything else raises."""
    try:
        image = alignment.read_image(path)
    except ImageError:
        return "ImageError"
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return "pixels"


def outcome_of_model(path, photo, seconds=20):
    """Runs it in a child process: "faces", "ValueError", another error's name, a signal's, or "too slow"."""
    child = os.fork()
    if not child:
        os._exit(_run(path, photo))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return signal.Signals(os.WTERMSIG(status)).name
            return {0: "faces", 1: "ValueError"}.get(os.WEXITSTATUS(status), "another error")
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too slow"


def _run(path, photo):
    try:
        with files.suppress_native_stderr():
            embedder = runtime.Embedder(path, num_threads=1)
            faces = embedder.faces(photo)
            embedder.embed(np.zeros((1, *embedder.image_size, 3), np.uint8))
        return 0 if all(np.isfinite(face.embedding).all() for face in faces) else 2
    except ValueError:
        return 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def main(arguments):
    if len(arguments) != 3:
        raise app.UsageError("Name a .tflite that takes photographs, and a photograph.")
    model, photograph = (pathlib.Path(path).read_bytes() for path in arguments[1:])
    photo = alignment.read_image(arguments[2])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mutated")
        for name, content, outcome in (
            ("photograph", photograph, outcome_of_photograph),
            ("model", model, lambda path: outcome_of_model(path, photo, _SECONDS.value)),
        ):
            generator, found = np.random.default_rng(_SEED.value), collections.Counter()
            for _ in range(_COUNT.value):
                with open(path, "wb") as file:
                    file.write(mutated(content, generator))
                found[outcome(path)] += 1
            print(f"{name}: {_COUNT.value} mutations: " + ", ".join(f"{n} {what}" for what, n in found.most_common()))


if __name__ == "__main__":
    app.run(main)

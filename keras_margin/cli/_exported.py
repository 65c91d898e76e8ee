"""The exported file that a path on the command line means."""

import os

_IN_A_RUN = ("embedder.tflite", "savedmodel")


def file_of(path, kinds=_IN_A_RUN[:1]):
    """Returns the file itself, or the exported file of a training run's folder.

    Args:
        path: What the user gave.
        kinds: Names in a run's folder that will do, best first.
    """
    inside = (os.path.join(path, name) for name in kinds)
    return next((each for each in inside if os.path.exists(each)), path)


def file_with_metadata(path):
    """As `file_of`, of a file or SavedModel folder that may have metadata.

    Raises:
        ValueError: A Keras file or a run's folder without an export; the message says how to make one.
    """
    path = file_of(path, _IN_A_RUN)
    if path.lower().endswith((".keras", ".h5", ".hdf5")):
        run = os.path.dirname(path)
        beside = file_of(run, _IN_A_RUN)
        other = (
            f"Pass {beside} instead" if beside != run else f"Export it first: keras-margin export {path} face.tflite"
        )
        raise ValueError(f"{path} is a Keras file; metadata are written when a model is exported. {other}.")
    if os.path.exists(os.path.join(path, "model.keras")):
        raise ValueError(
            f"{path} is a training run without an exported file. Export it first: "
            f"keras-margin export {path} face.tflite."
        )
    return path

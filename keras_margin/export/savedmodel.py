"""SavedModel: for TensorFlow Serving and other servers."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_margin._typing import PathLike
from keras_margin._utils import files, progress
from keras_margin._utils.metadata import FILE_NAME
from keras_margin.export import _graph, _metadata
from keras_margin.export._options import Options
from keras_margin.export._parity import Judge, ParityReport
from keras_margin.export._source import open_source


def to_savedmodel(
    model: keras.Model | PathLike,
    path: PathLike,
    *,
    samples: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    options: Options | None = None,
) -> ParityReport:
    """Writes the embedding network as a SavedModel folder, its metadata in contract.json.

    Args:
        model: EmbeddingModel, a model with a MarginHead (ways 1 and 2), a backbone; or the path of a .keras file or
            of a training run's folder.
        path: Folder to write; an older SavedModel there is replaced.
        samples: uint8 images (n, height, width, 3), RGB, to compare on, the first 64 of them; None for those of
            `pairs`, or 16 of noise.
        pairs: (images, is_same) as data.load_bin gives them, image 2i next to 2i + 1; or (images, labels) for every
            pair of them. They give the change in EER and TAR, and the threshold that the metadata ship.
        options: Options.

    Returns:
        ParityReport.

    Raises:
        TypeError, ValueError: Where `path` holds something else, or the model, the samples, the pairs or the options
            are not what they should be.
        ParityError: Where the reloaded file's embeddings differ from the model's.
        OSError: Where the place cannot be written, a full disk among the causes; nothing half-written is left.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> to_savedmodel(model, "saved", samples=images).passed
        True
    """
    path, options = pathlib.Path(path), options or Options()
    if path.is_file() or path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise ValueError(f"{path} exists and is not a SavedModel: nothing was written. Choose another path.")
    source = open_source(model)
    judge = Judge.of(source.network, options, samples, pairs)
    with files.atomic_write(path) as temporary:
        _graph.write_savedmodel(source.network, temporary, options)
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        with progress.stage(f"Comparing {path.name} with the model"):
            report = judge.judge(_runner(temporary, options), path, None, size)
        text = _metadata.as_json(_metadata.build_metadata(source, options, report))
        (temporary / FILE_NAME).write_text(text, encoding="utf-8")
    return report


def _runner(folder, options):
    signature = tf.saved_model.load(str(folder)).signatures[_graph.SIGNATURE]

    def run(images):
        def embed(part):
            return signature(image=tf.constant(part))["embedding"]

        return _graph.run_in_batches(embed, images, options.batch_size or min(16, len(images)))

    return run

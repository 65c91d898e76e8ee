"""The embedding alone, as SavedModel, TFLite and ONNX, proven equal to the model before it gets its name.

All formats have the signature `image` (uint8, N x height x width x 3, RGB) -> `embedding` (float32, N x size, unit
length); the normalisation of pixels is inside. A file is written under a temporary name, reloaded, run on sample images
and compared; only what passes is renamed into place. What it takes and gives, how it was trained and measured, and the
threshold to use travel with it: `keras_margin._utils.metadata`.
"""

from keras_margin.export._activation import with_activation
from keras_margin.export._errors import ConversionError
from keras_margin.export._faces import Faces, faces_from
from keras_margin.export._options import LIMITS, MIN_REPRESENTATIVE, Limits, Options
from keras_margin.export._parity import Accuracy, ParityError, ParityReport
from keras_margin.export._photo import Photo
from keras_margin.export._photo_gate import PhotoParity
from keras_margin.export._source import extract_embedder
from keras_margin.export.onnx import to_onnx
from keras_margin.export.precisions import PRECISIONS, as_rows, as_table, to_precisions
from keras_margin.export.savedmodel import to_savedmodel
from keras_margin.export.tflite import to_tflite

__all__ = [
    "LIMITS",
    "MIN_REPRESENTATIVE",
    "PRECISIONS",
    "Accuracy",
    "ConversionError",
    "Faces",
    "Limits",
    "Options",
    "ParityError",
    "ParityReport",
    "Photo",
    "PhotoParity",
    "as_rows",
    "as_table",
    "extract_embedder",
    "faces_from",
    "to_onnx",
    "to_precisions",
    "to_savedmodel",
    "to_tflite",
    "with_activation",
]

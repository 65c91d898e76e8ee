"""The embedding alone, as SavedModel, TFLite and ONNX, proven equal to the model before it gets its name.

All formats have the signature `image` (uint8, N x height x width x 3, RGB) -> `embedding` (float32, N x size, unit
length); the normalisation of pixels is inside. A file is written under a temporary name, reloaded, run on sample images
and compared; only what passes is renamed into place. What it takes and gives, how it was trained and measured, and the
threshold to use travel with it: `keras_margin._utils.metadata`.
"""

from keras_margin.export._activation import with_activation
from keras_margin.export._errors import ConversionError
from keras_margin.export._faces import faces_from
from keras_margin.export._options import Limits, Options
from keras_margin.export._parity import ParityError
from keras_margin.export._photo import Photo
from keras_margin.export.onnx import to_onnx
from keras_margin.export.precisions import to_precisions
from keras_margin.export.savedmodel import to_savedmodel
from keras_margin.export.tflite import to_tflite

__all__ = [
    "ConversionError",
    "Limits",
    "Options",
    "ParityError",
    "Photo",
    "faces_from",
    "to_onnx",
    "to_precisions",
    "to_savedmodel",
    "to_tflite",
    "with_activation",
]

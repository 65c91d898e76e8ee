"""The weights that people already have: ONNX files and PyTorch's state dicts to Keras, insightface's back again.

Nothing in a file is run: PyTorch is not needed, and its pickles are read by a machine that can call nothing.
"""

from keras_margin.models.convert.insightface import from_insightface, to_insightface
from keras_margin.models.convert.onnx import from_onnx
from keras_margin.models.convert.state_dicts import from_state_dict
from keras_margin.models.convert.tflite import from_tflite

__all__ = [
    "from_insightface",
    "from_onnx",
    "from_state_dict",
    "from_tflite",
    "to_insightface",
]

"""The weights that people already have: insightface's PyTorch and ONNX files to Keras, and back.

Nothing in a file is run: PyTorch is not needed, and its pickles are read by a machine that can call nothing.
"""

from keras_margin.convert.insightface import ARCHITECTURES, from_insightface, to_insightface
from keras_margin.convert.onnx import compare_with_onnx, from_onnx

__all__ = ["ARCHITECTURES", "compare_with_onnx", "from_insightface", "from_onnx", "to_insightface"]

"""The weights that people already have: insightface's PyTorch and ONNX files to Keras, and back.

Nothing in a file is run: PyTorch is not needed, and its pickles are read by a machine that can call nothing.
"""

from keras_margin.models.convert.insightface import ARCHITECTURES, from_insightface, to_insightface

__all__ = ["ARCHITECTURES", "from_insightface", "to_insightface"]

"""Runs an exported face embedder on a device with NumPy and LiteRT alone: no TensorFlow, no Keras.

Our own exports take uint8 RGB pixels and normalise inside (signature `image` -> `embedding`). Embedders from elsewhere
run too: float or quantised, fixed or free batch, channels last or first. A file that takes photographs finds the faces
itself. `Gallery` keeps the people one looks for; `read_metadata` reads what an export wrote into its file.
"""

from keras_margin._utils.metadata import read_metadata
from keras_margin.runtime._gallery import Gallery
from keras_margin.runtime._photo_embedder import Embedder

__all__ = ["Embedder", "Gallery", "read_metadata"]

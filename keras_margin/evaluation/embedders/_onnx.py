"""An ONNX embedder through ONNX Runtime, an extra: neither TensorFlow nor Keras is needed."""

from keras_margin import runtime
from keras_margin.runtime._onnx import OnnxNetwork


class OnnxEmbedder(runtime.Embedder):
    """`runtime.Embedder` of an ONNX file: uint8 RGB images in, unit-length embeddings out, by ONNX Runtime.

    Args:
        path: A .onnx file; weights in external files are read along.
        normalization: As `runtime.Embedder`, of a network that takes float32.
        num_threads: Threads for ONNX Runtime, >= 1. None leaves its own default.
        channels: As `runtime.Embedder`.

    Raises:
        FileNotFoundError, ValueError, TypeError: As `runtime.Embedder`.
        ImportError: onnxruntime is not installed; the message names the extra.

    Example:
        >>> OnnxEmbedder("face.onnx", "imagenet").embed(images).shape  # (n, embedding size)
    """

    _open = OnnxNetwork

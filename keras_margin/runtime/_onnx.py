"""An ONNX network as a function of images, through ONNX Runtime, an extra: `evaluation.OnnxEmbedder` and others."""

import os

import numpy as np

from keras_margin._utils import metadata, normalization
from keras_margin._utils.arrays import checked_threads
from keras_margin._utils.messages import install_hint
from keras_margin.runtime import _loading, _tensors

_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
# Most images per call of a network with a free batch: bounds the activations' memory.
MAX_BATCH = 32


class OnnxNetwork:
    """An ONNX network: one image input of rank 4, channels first or last, and one output (or one named `embedding`).

    Weights in external files next to the model are read along. Not thread-safe.

    Args:
        path: The .onnx file.
        given: Normalization of a network that takes float32: a name, (mean, std), or None for what the metadata
            declare.
        num_threads: Threads for ONNX Runtime, >= 1. None leaves its own default.
        channels: "RGB" or "BGR", what the network takes of images in RGB; None for what its metadata say, else "RGB".

    Attributes:
        path: The file, a str.
        metadata: The metadata inside the file, else in the JSON next to it, else None.
        image_size: (height, width), pixels.
        batch: Images a call, or None for any number.
        details: What ONNX Runtime says of the input: a dict with name, shape and dtype.
        takes_pixels: Whether the input is uint8, 0 to 255.
        normalization: (mean, std) of what it is fed, or None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not an ONNX file, is damaged, is not an image embedder; the normalization is missing, not
            wanted or out of range; the channels contradict the metadata.
        TypeError: The normalization is not one; the number of threads is not an integer.
        ImportError: onnxruntime is not installed; the message names the extra.
    """

    tells_length = False

    def __init__(self, path, given=None, num_threads=None, channels=None):
        self.path = os.fsdecode(path)
        if not os.path.exists(self.path):
            raise FileNotFoundError(f"No such file or directory: {self.path!r}.")
        self._session = _session(self.path, checked_threads(num_threads, "Embedder"))
        self.metadata = _metadata(self._session, self.path)
        self._reverse = _loading.checked_channels(channels, self.metadata, self.path) == "BGR"
        self._input, self._output = _ends(self._session, self.path)
        shape = tuple(size if isinstance(size, int) else -1 for size in self._input.shape)
        self.batch, self.image_size, self._channels_first = _tensors.layout(shape, self.path)
        self._dtype = _TYPES.get(self._input.type)
        if self._dtype is None:
            raise ValueError(
                f"An embedder takes uint8 or float32. Received: {self.path}, which takes {self._input.type}."
            )
        self.takes_pixels = self._dtype is np.uint8
        self.details = {"name": self._input.name, "shape": shape, "dtype": self._dtype}
        given = normalization.declared(given, self.metadata, self.path)
        if self.takes_pixels and given is not None:
            raise ValueError(
                f"{self.path} takes uint8 pixels and normalises inside, so normalization must be left out. "
                f"Received: normalization={given!r}."
            )
        if not self.takes_pixels and given is None:
            raise normalization.missing(self.path, "float32")
        self.normalization = given

    def run(self, images, given=None):
        """Returns the network's own answer to uint8 RGB images, computed in batches, and None: it tells no lengths.

        Args:
            images: uint8 array (n, *image_size, 3), n >= 1.
            given: Another normalization than the network was opened with.

        Returns:
            (float32 array (n, d), None).
        """
        step = self.batch or MAX_BATCH
        given = given or self.normalization
        rows = [self._one_batch(images[at : at + step], given) for at in range(0, len(images), step)]
        return np.concatenate(rows), None

    def _one_batch(self, images, given):
        count, pixels = len(images), images
        if given is not None:
            mean, std = normalization.mean_and_std(given)
            pixels = (images.astype(np.float32) - mean) / std
        if self._reverse:
            # Behind the normalization, whose three numbers are in the order of the images.
            pixels = pixels[..., ::-1]
        if self._channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        if self.batch is not None and self.batch > count:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], self.batch - count, axis=0)])
        try:
            (answer,) = self._session.run([self._output], {self._input.name: np.ascontiguousarray(pixels)})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise ValueError(f"ONNX Runtime cannot run {self.path} on a batch of {len(pixels)}: {error}") from error
        if answer.ndim < 2 or len(answer) != len(pixels) or answer.size == 0 or answer.dtype.kind != "f":
            raise ValueError(
                f"An embedder answers one row of floats an image. Received: {self.path}, which answers {answer.dtype} "
                f"of shape {answer.shape} to a batch of {len(pixels)}."
            )
        return answer.reshape(len(answer), -1)[:count].astype(np.float32, copy=False)


def _session(path, num_threads):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"{path} is run by ONNX Runtime: {install_hint('onnx')}. The import failed with: {error}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors alone; they are raised, too.
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ValueError(
            f"ONNX Runtime cannot read {path} ({os.path.getsize(path)} bytes): {error}. Is the file whole, with the "
            "files of its external data next to it?"
        ) from error


def _metadata(session, path):
    """What the file itself says, else what the JSON next to it says."""
    text = session.get_modelmeta().custom_metadata_map.get(metadata.METADATA_NAME)
    return metadata.read_metadata(path) if text is None else metadata.parse(text, path)


def _ends(session, path):
    """(the image input, the name of the output)."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        names = [each.name for each in inputs]
        raise ValueError(f"An embedder has one input, the images. Received: {path}, with {len(inputs)}: {names}.")
    names = [each.name for each in outputs]
    if len(names) != 1 and "embedding" not in names:
        raise ValueError(f"An embedder has one output, or one called 'embedding'. Received: {path}, with {names}.")
    return inputs[0], names[0] if len(names) == 1 else "embedding"

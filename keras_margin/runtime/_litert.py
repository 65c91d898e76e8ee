"""A TFLite network as a function of images: opened once, fed what its input takes, its answer in float32."""

import numpy as np

from keras_margin._utils import metadata, normalization
from keras_margin._utils.arrays import checked_threads
from keras_margin.runtime import _loading, _tensors


class LiteRTNetwork:
    """A TFLite network through LiteRT. Not thread-safe: `Embedder` has the lock.

    Args:
        path: The file.
        given: Normalization, as `Embedder` takes it.
        num_threads: As `Embedder` takes it.
        channels: As `Embedder` takes it.

    Attributes:
        path: The file, a str.
        metadata: Its metadata, a dict, or None.
        image_size: (height, width), pixels.
        batch: Images a call, or None for any number.
        details: What LiteRT says of the input tensor, a dict.
        interpreter: LiteRT's.
    """

    def __init__(self, path, given=None, num_threads=None, channels=None):
        self.path = _loading.checked_path(path)
        self.interpreter, self.details, self._output = _loading.load(
            self.path, checked_threads(num_threads, "Embedder")
        )
        self.metadata = metadata.read_metadata(self.path)
        self._reverse = _loading.checked_channels(channels, self.metadata, self.path) == "BGR"
        # Files of old converters carry no signature of the shape, only the shape.
        shape = self.details["shape_signature"].tolist() or self.details["shape"].tolist()
        self.batch, self.image_size, self._channels_first = _tensors.layout(tuple(shape), self.path)
        given = normalization.declared(given, self.metadata, self.path)
        self._encode = _tensors.encoder(self.details, given, self.path)
        self._length = _loading.named_output(self.interpreter, "length")
        self._allocated_batch = None

    @property
    def tells_length(self):
        """Whether the file has an output `length`."""
        return self._length is not None

    def run(self, images):
        """The network's own answers to at most one batch of uint8 RGB images.

        Returns:
            (float32 array (n, d), the lengths that it tells, float32 (n,), or None).
        """
        count = len(images)
        pixels = self._encode(images)
        if self._reverse:
            # Behind the normalisation, whose three numbers are in the order of the images.
            pixels = pixels[..., ::-1]
        if self._channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        batch = self.batch or count
        if batch > count:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], batch - count, axis=0)])
        self._invoke(pixels)
        answer = _tensors.dequantize(self.interpreter.get_tensor(self._output["index"]), self._output, self.path)
        if answer.ndim < 2 or len(answer) != batch or answer.size == 0:
            raise ValueError(
                f"An embedder answers one row an image. Received: {self.path}, which answers shape {answer.shape} "
                f"to a batch of {batch}."
            )
        lengths = None
        if self._length is not None:
            told = self.interpreter.get_tensor(self._length["index"])
            lengths = _tensors.dequantize(told, self._length, self.path).reshape(batch)[:count]
        return answer.reshape(batch, -1)[:count], lengths

    def _invoke(self, pixels):
        batch, index = len(pixels), self.details["index"]
        try:
            if batch != self._allocated_batch:
                self._allocated_batch = None
                if self.batch is None:
                    self.interpreter.resize_tensor_input(index, pixels.shape)
                self.interpreter.allocate_tensors()
                self._allocated_batch = batch
            self.interpreter.set_tensor(index, np.ascontiguousarray(pixels))
            self.interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"LiteRT cannot run {self.path} on a batch of {batch}: {error}") from error

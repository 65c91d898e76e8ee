"""A TFLite network through LiteRT: uint8 images in, rows and perhaps their lengths out."""

import numpy as np

from keras_margin.runtime import _loading, _tensors


class Network:
    """A loaded network; not thread-safe.

    Args:
        path: Checked path of the file.
        normalization: As for `Embedder`.
        num_threads: As for `Embedder`.
        metadata: The file's, or None.
        channels: As for `Embedder`.
    """

    def __init__(self, path, normalization, num_threads, metadata, channels):
        self._path = path
        self._interpreter, self.input, self._output = _loading.load(path, _loading.checked_threads(num_threads))
        self._length = _loading.named_output(self._interpreter, "length")
        self._reverse = _loading.checked_channels(channels, metadata, path) == "BGR"
        self.batch, self.image_size, self._channels_first = _tensors.layout(self.input, path)
        self._encode = _tensors.encoder(self.input, normalization, path)
        self._allocated_batch = None

    @property
    def tells_length(self):
        """Whether the file has an output `length`."""
        return self._length is not None

    def run(self, images):
        """Returns the network's answers to at most one batch of images: rows, and lengths or None.

        Args:
            images: uint8 array (n, height, width, 3), RGB.

        Returns:
            (float32 array (n, d), float32 array (n,) or None).
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
        self._invoke(pixels, batch)
        answer = _tensors.dequantize(self._interpreter.get_tensor(self._output["index"]), self._output, self._path)
        if answer.ndim < 2 or len(answer) != batch or answer.size == 0:
            raise ValueError(
                f"An embedder answers one row an image. Received: {self._path}, which answers shape {answer.shape} "
                f"to a batch of {batch}."
            )
        lengths = None
        if self._length is not None:
            told = self._interpreter.get_tensor(self._length["index"])
            lengths = _tensors.dequantize(told, self._length, self._path).reshape(batch)[:count]
        return answer.reshape(batch, -1)[:count], lengths

    def _invoke(self, pixels, batch):
        interpreter, index = self._interpreter, self.input["index"]
        try:
            if batch != self._allocated_batch:
                self._allocated_batch = None
                if self.batch is None:
                    interpreter.resize_tensor_input(index, pixels.shape)
                interpreter.allocate_tensors()
                self._allocated_batch = batch
            interpreter.set_tensor(index, np.ascontiguousarray(pixels))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"LiteRT cannot run {self._path} on a batch of {batch}: {error}") from error

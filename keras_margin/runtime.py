"""Runs an exported face embedder on a device with NumPy and LiteRT alone: no TensorFlow, no Keras.

Our own exports take uint8 RGB pixels and normalise inside (signature `image` -> `embedding`). Embedders from elsewhere
run too: float or quantised, fixed or free batch, channels last or first.
"""

import math
import os
import threading

import numpy as np

# Most images per call of a network with a free batch: bounds the activations' memory.
_MAX_BATCH = 32
# Largest believable input, in values (1 GiB of float32): a damaged shape must not exhaust the memory.
_MAX_INPUT = 2**28
# Most probes per matrix product in `identify`: 64 x 1 million float32 scores are 256 MB.
_PROBES_AT_ONCE = 64


class Embedder:
    """A TFLite face embedder: uint8 RGB images in, unit-length embeddings out.

    embedding = y / ||y||,  y the network's output (dequantised: scale * (q - zero_point))

    What the network is fed depends on its input:

        pixels: uint8, or quantised so that its range is 0 to 255:  the image itself; `normalization` is refused
        float32:                                         (image - mean) / std; `normalization` is required
        other int8 or uint8, scale and zero point:       round((image - mean) / std / scale) + zero_point, clipped;
                                                         `normalization` is required

    Thread-safe: one embedder may be shared, calls that run the network wait for one another.

    Args:
        path: A .tflite file with one image input of rank 4 and one output (of several, the signature's `embedding`).
        normalization: (mean, std) of a network that takes normalised pixels, in grey levels 0 to 255; each a number
            or three numbers (R, G, B), std > 0. (127.5, 128.0) is the habit of ArcFace's code; (0.0, 1.0) feeds a
            float network raw pixels. None for a network that takes pixels.
        num_threads: Threads for LiteRT, >= 1. None leaves LiteRT's own default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a TFLite model, is damaged, or is no image embedder; `normalization` is missing,
            not wanted, or out of range; `num_threads` is below 1.
        TypeError: an argument has the wrong type.
        ImportError: ai-edge-litert is not installed; the message names the extra.

    Example:
        >>> embedder = Embedder("face.tflite")
        >>> embedder.embed(images).shape  # (n, embedder.embedding_size)
        >>> embedder.verify(images[0], images[1])  # cosine in [-1, 1]
    """

    def __init__(self, path, normalization=None, num_threads=None):
        self._path = _checked_path(path)
        self._lock = threading.Lock()
        self._interpreter, self._input, self._output = _load(self._path, _checked_threads(num_threads))
        self._batch, self._image_size, self._channels_first = _layout(self._input, self._path)
        self._encode = _encoder(self._input, normalization, self._path)
        self._allocated_batch = None
        # One black image: a file that loads but cannot run fails here, and the output's real shape is known.
        self._embedding_size = self._run(np.zeros((1, *self._image_size, 3), np.uint8)).shape[1]

    @property
    def image_size(self):
        """(height, width) in pixels of the images the network takes."""
        return self._image_size

    @property
    def embedding_size(self):
        """Length of one embedding."""
        return self._embedding_size

    @property
    def input_details(self):
        """What LiteRT says of the input tensor: a dict with name, shape, shape_signature, dtype, quantization, ..."""
        return dict(self._input)

    def __repr__(self):
        return f"Embedder({self._path!r}, image_size={self._image_size}, embedding_size={self._embedding_size})"

    def embed(self, images):
        """Embeds images.

        Args:
            images: uint8 array (n, height, width, 3), RGB, n >= 1, of `image_size`; or one image
                (height, width, 3). Aligned faces: see `keras_margin.alignment`.

        Returns:
            float32 array (n, embedding_size), rows of unit length (n = 1 for one image). A row the network left at
            zero length stays zero, so its cosine with anything is 0; it is never NaN.

        Raises:
            TypeError: `images` is not uint8.
            ValueError: the shape is wrong, there is no image, or the network answered NaN or infinity.

        Example:
            >>> np.linalg.norm(Embedder("face.tflite").embed(images), axis=1)  # all approx. 1
        """
        images = self._checked_images(images)
        step = self._batch or _MAX_BATCH
        with self._lock:
            rows = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return _unit_rows(np.concatenate(rows), f"The network in {self._path}")

    def verify(self, a, b):
        """How alike two faces are: the cosine of their embeddings.

        Args:
            a: uint8 array (height, width, 3), RGB, of `image_size`.
            b: The other image, likewise.

        Returns:
            float in [-1, 1], higher is more alike; 0.0 where the network left either embedding at zero.

        Raises:
            TypeError: an image is not uint8.
            ValueError: an image has the wrong shape, or the network answered NaN or infinity.

        Example:
            >>> Embedder("face.tflite").verify(image, image)  # approx. 1.0
        """
        a, b = (self._checked_images(image, single=True) for image in (a, b))
        first, second = self.embed(np.concatenate([a, b])).astype(np.float64)
        return float(np.clip(first @ second, -1.0, 1.0))

    def identify(self, images, gallery):
        """The gallery's most alike face for each image.

        score = max over rows g of cos(embedding, g)

        Args:
            images: uint8 array (n, height, width, 3) or (height, width, 3), as for `embed`.
            gallery: Float array (m, embedding_size), m >= 1, a known face a row; rows need not be unit length.

        Returns:
            indices: int64 array (n,), the best row of `gallery`; the first of equals.
            scores: float32 array (n,), its cosine in [-1, 1].

        Raises:
            TypeError: `images` is not uint8, or `gallery` is not floats.
            ValueError: a shape is wrong, or a value is NaN or infinite.

        Example:
            >>> indices, scores = embedder.identify(probes, embedder.embed(known))
        """
        gallery = np.asarray(gallery)
        if not np.issubdtype(gallery.dtype, np.floating):
            raise TypeError(
                f"identify needs a gallery of embeddings, floats. Received: {gallery.dtype} of shape {gallery.shape}. "
                "Embed the known faces first: gallery = embedder.embed(images)."
            )
        if gallery.ndim != 2 or gallery.shape[1] != self._embedding_size or len(gallery) == 0:
            raise ValueError(
                f"identify needs a gallery of shape (m, {self._embedding_size}), m >= 1. "
                f"Received: shape {gallery.shape}."
            )
        gallery, probes = _unit_rows(gallery, "The gallery"), self.embed(images)
        indices, scores = np.empty(len(probes), np.int64), np.empty(len(probes), np.float32)
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            part = slice(start, start + _PROBES_AT_ONCE)
            cosines = probes[part] @ gallery.T
            indices[part] = cosines.argmax(axis=1)
            scores[part] = np.clip(cosines.max(axis=1), -1.0, 1.0)
        return indices, scores

    def _checked_images(self, images, single=False):
        """`images` as a uint8 array (n, height, width, 3) of the network's size."""
        try:
            images = np.asarray(images)
        except ValueError as error:
            raise ValueError(f"Embedder needs images of one size, {self._image_size}. {error}") from error
        if images.dtype != np.uint8:
            raise TypeError(
                f"Embedder needs uint8 RGB images, 0 to 255. Received: {images.dtype} of shape {images.shape}. "
                "Pass the pixels as they were decoded; if they are in [0, 1], np.rint(images * 255).astype(np.uint8)."
            )
        wanted = (*self._image_size, 3)
        shown = f"{wanted}" if single else f"(n, {wanted[0]}, {wanted[1]}, 3) or {wanted}"
        batch = images[None] if images.ndim == 3 else images
        if batch.ndim != 4 or batch.shape[1:] != wanted or (single and images.ndim != 3):
            raise ValueError(f"Embedder needs images of shape {shown}. Received: shape {images.shape}.")
        if len(batch) == 0:
            raise ValueError(f"Embedder needs at least one image. Received: shape {images.shape}.")
        return batch

    def _run(self, images):
        """The network's own answer, float32 (n, d), to at most one batch of images. The caller holds the lock."""
        count = len(images)
        pixels = self._encode(images)
        if self._channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        batch = self._batch or count
        if batch > count:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], batch - count, axis=0)])
        interpreter, index = self._interpreter, self._input["index"]
        try:
            if batch != self._allocated_batch:
                self._allocated_batch = None
                if self._batch is None:
                    interpreter.resize_tensor_input(index, pixels.shape)
                interpreter.allocate_tensors()
                self._allocated_batch = batch
            interpreter.set_tensor(index, np.ascontiguousarray(pixels))
            interpreter.invoke()
            answer = interpreter.get_tensor(self._output["index"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"LiteRT cannot run {self._path} on a batch of {batch}: {error}") from error
        answer = _dequantize(answer, self._output, self._path)
        if answer.ndim < 2 or len(answer) != batch or answer.size == 0:
            raise ValueError(
                f"An embedder answers one row an image. Received: {self._path}, which answers shape {answer.shape} "
                f"to a batch of {batch}."
            )
        return answer.reshape(batch, -1)[:count]


def _checked_path(path):
    """`path` as a str, once it is a file that calls itself TFLite."""
    name = os.fsdecode(path)
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"LiteRT opens only files whose names are valid Unicode. Received: {name!r}. Rename it.")
    if os.path.isdir(name):
        raise ValueError(f"Embedder needs a .tflite file. Received: {name}, a folder. A SavedModel must be converted.")
    try:
        with open(name, "rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise FileNotFoundError(f"Embedder found no such file: {name}") from None
    if head[4:8] != b"TFL3":
        raise ValueError(
            f"Embedder needs a TFLite model, with 'TFL3' at bytes 4 to 7. Received: {name}, with {head[4:8]!r} there."
        )
    return name


def _checked_threads(num_threads):
    if num_threads is None:
        return None
    if isinstance(num_threads, bool) or not isinstance(num_threads, (int, np.integer)):
        raise TypeError(f"Embedder needs num_threads as an integer or None. Received: num_threads={num_threads!r}.")
    if num_threads < 1:
        raise ValueError(f"Embedder needs num_threads >= 1. Received: num_threads={num_threads}.")
    return int(num_threads)


def _load(path, num_threads):
    """(interpreter, details of its input, details of its embedding output)."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            f'Embedder runs on ai-edge-litert: pip install "keras-margin[litert]". The import failed with: {error}'
        ) from error
    try:
        interpreter = Interpreter(model_path=path, num_threads=num_threads)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        output = _embedding_output(interpreter, outputs)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"LiteRT cannot read {path} ({os.path.getsize(path)} bytes): {error}. Is the file whole?"
        ) from error
    if len(inputs) != 1:
        names = [detail["name"] for detail in inputs]
        raise ValueError(f"An embedder has one input, the images. Received: {path}, with {len(inputs)}: {names}.")
    if output is None:
        names = [detail["name"] for detail in outputs]
        raise ValueError(
            f"An embedder has one output, or one that its signature calls 'embedding'. Received: {path}, with {names}."
        )
    return interpreter, inputs[0], output


def _embedding_output(interpreter, outputs):
    """The only output, or of several the one that a signature calls `embedding`, or None."""
    if len(outputs) == 1:
        return outputs[0]
    for key, names in interpreter.get_signature_list().items():
        if "embedding" in names["outputs"]:
            named = interpreter.get_signature_runner(key).get_output_details()["embedding"]
            return next((detail for detail in outputs if detail["name"] == named["name"]), None)
    return None


def _layout(detail, path):
    """(fixed batch or None, (height, width), channels first) of the input."""
    # Files of old converters carry no signature of the shape, only the shape.
    shape = tuple(detail["shape_signature"].tolist() or detail["shape"].tolist())
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ValueError(
            "Embedder needs an input of shape (batch, height, width, 3) or (batch, 3, height, width). "
            f"Received: {path}, which takes {shape}."
        )
    if shape[1] == shape[3]:
        raise ValueError(
            f"Embedder cannot tell which axis holds the channels. Received: {path}, which takes {shape}. "
            "Convert the model with channels last and more than 3 rows."
        )
    channels_first = shape[1] == 3
    image_size = shape[2:] if channels_first else shape[1:3]
    if min(image_size) < 1:
        raise ValueError(
            f"Embedder needs an input of fixed height and width. Received: {path}, which takes {shape} (-1 is free)."
        )
    if math.prod(max(size, 1) for size in shape) > _MAX_INPUT:
        raise ValueError(f"{path} asks for an input of {shape}, more than {_MAX_INPUT} values. Is the file damaged?")
    return (None if shape[0] < 1 else shape[0]), image_size, channels_first


def _quantization(detail):
    """(scale, zero_point) of a quantised tensor, or None."""
    parameters = detail["quantization_parameters"]
    if len(parameters["scales"]) == 0:
        return None
    return parameters["scales"][0], int(parameters["zero_points"][0])


def _encoder(detail, normalization, path):
    """A function from uint8 images (n, height, width, 3) to what the input tensor takes."""
    dtype, quantization = np.dtype(detail["dtype"]), _quantization(detail)
    if dtype == np.uint8 and quantization is None:
        _refuse(normalization, path, "uint8 pixels")
        return lambda images: images
    if dtype == np.float32:
        mean, std = _checked_normalization(normalization, path, "float32")
        return lambda images: (images.astype(np.float32) - mean) / std
    if dtype not in (np.int8, np.uint8) or quantization is None:
        raise ValueError(
            "Embedder needs an input of uint8, float32, or int8 or uint8 with a scale and zero point. "
            f"Received: {path}, which takes {dtype}."
        )
    (scale, zero_point), limits = quantization, np.iinfo(dtype)
    lowest, highest = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    # The file says itself that it takes 0 to 255; a calibration that saw no pure white may stop a few levels short.
    if abs(lowest) < 8 and abs(highest - 255) < 8:
        _refuse(normalization, path, f"pixels from {lowest:.0f} to {highest:.0f}")
        mean, std = np.float32(0.0), np.float32(1.0)
    else:
        shown = f"{dtype} standing for {lowest:.3g} to {highest:.3g}"
        mean, std = _checked_normalization(normalization, path, shown)

    def encode(images):
        values = np.rint((images.astype(np.float32) - mean) / (std * scale)) + zero_point
        return np.clip(values, limits.min, limits.max).astype(dtype)

    return encode


def _refuse(normalization, path, takes):
    if normalization is not None:
        raise ValueError(
            f"{path} takes {takes} and normalises inside, so normalization must be left out. "
            f"Received: normalization={normalization!r}."
        )


def _checked_normalization(normalization, path, takes):
    """(mean, std) as float32 arrays that broadcast over RGB."""
    if normalization is None:
        raise ValueError(
            f"{path} takes {takes}, so Embedder must be told how its pixels are normalised, (image - mean) / std: pass "
            "for example normalization=(127.5, 128.0), or (0.0, 1.0) if it takes raw pixels."
        )
    try:
        mean, std = (np.asarray(part, dtype=np.float32) for part in normalization)
    except (TypeError, ValueError):
        raise TypeError(
            "normalization must be (mean, std), each a number or three numbers (R, G, B). "
            f"Received: normalization={normalization!r}."
        ) from None
    if mean.shape not in ((), (3,)) or std.shape not in ((), (3,)):
        raise ValueError(
            "normalization must be (mean, std), each a number or three numbers (R, G, B). "
            f"Received: normalization={normalization!r}."
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization must be finite, with std > 0. Received: normalization={normalization!r}.")
    return mean, std


def _dequantize(answer, detail, path):
    if np.issubdtype(answer.dtype, np.floating):
        return answer.astype(np.float32, copy=False)
    quantization = _quantization(detail)
    if quantization is None:
        raise ValueError(
            "Embedder needs an output of floats, or of integers with a scale and zero point. "
            f"Received: {path}, which answers {answer.dtype}. Is it an embedder?"
        )
    scale, zero_point = quantization
    return (answer.astype(np.float32) - zero_point) * scale


def _unit_rows(rows, source):
    """float32 rows over their length; a zero row stays zero."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(f"{source} holds NaN or infinity in {len(bad)} of {len(rows)} rows, first in row {bad[0]}.")
    # Squares of float32 overflow at 2e19 and vanish below 1e-23; those of float64 do neither.
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
    return np.divide(rows, lengths, out=np.zeros(rows.shape, np.float32), where=lengths > 0, casting="same_kind")

"""Readers of encoded images, and what they all do about damage: leave out, replace, or refuse, and always say so."""

import abc
import functools
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence

import numpy as np

from keras_margin._typing import Size, Tensor
from keras_margin._utils import exif
from keras_margin.data import _changes, _pillow
from keras_margin.data._batching import CHUNK_SIZE
from keras_margin.data._decoding import (
    LOOKED_AT,
    announced_size,
    decode_bytes,
    decode_image,
    decode_small,
    resize_image,
    turn_image,
)
from keras_margin.data.reader import Reader

_MAX_NAMED = 20

_logger = logging.getLogger("keras_margin.data")


class UnreadableError(Exception):
    """Says in a few words why an image cannot be read or decoded."""


class EncodedReader(Reader):
    """A reader of JPEG, PNG or BMP files, wherever their bytes are; none is in memory before its turn.

    A format subclasses this with `name_of`, `encoded` and `_select` of Reader and the hooks below. Images come out
    upright, by their files' EXIF orientation. A format whose handles are the files' own bytes turns them by `upright`;
    one whose handles are anything else passes `orientations`.

    Args:
        labels, label_names, image_size: See `Reader`.
        strict: Whether to refuse what is otherwise replaced with a warning.
        unreadable: Names of the images that were left out.
        orientations: EXIF orientation of every image, an integer array (num_images,); None where all are upright, or
            will be.

    Attributes:
        unreadable: Tuple of str, the images that were left out when the set was opened; they are not counted in
            `num_images`.
        replaced: Tuple of str, the images that were found unreadable only when their turn came, so far. They are
            still counted in `num_images`; what comes in their place is the next readable image of the set, with
            its own label.
    """

    def __init__(
        self,
        labels: np.ndarray | Sequence[int],
        label_names: Sequence[str],
        image_size: Size,
        strict: bool = False,
        unreadable: Sequence[str] = (),
        orientations: np.ndarray | None = None,
    ) -> None:
        super().__init__(labels, label_names, image_size)
        self.unreadable = tuple(unreadable)
        self._strict = strict
        self._orientations = orientations
        self._replaced: dict[int, str] = {}

    @property
    def replaced(self) -> tuple[str, ...]:
        # A copy, because the threads of the pipeline may be adding to it.
        return tuple(self.name_of(number) for number in sorted(self._replaced.copy()))

    @abc.abstractmethod
    def _handles(self) -> Callable[[Tensor], Tensor]:
        """A function for a TensorFlow graph: int64 image numbers (n,) -> a string tensor (n,), a handle of each."""

    def _contents(self, handle: Tensor) -> Tensor:
        """In a TensorFlow graph, the bytes behind a handle; where handles are the bytes themselves, the handle."""
        return handle

    def _loader(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        return self._mirroring_loader()

    def _mirroring_loader(self) -> Callable[..., tuple[Tensor, Tensor]]:
        import tensorflow as tf

        handles = self._handles()
        labels = tf.constant(self.labels)
        # Where no image is turned, nothing asks for it: the question alone takes a twentieth of a small image's time.
        turns = self._orientations is not None and (self._orientations != exif.UPRIGHT).any()
        orientations = tf.constant(self._orientations, tf.int32) if turns else None
        load, load_small = self._graph_decoders(turns)

        def load_carefully(numbers, *mirrored):
            images, numbers = tf.numpy_function(self._load_carefully, [numbers], (tf.uint8, tf.int64))
            images = _changes.mirror_some(tf.ensure_shape(images, (None, *self.image_size, 3)), *mirrored)
            return images, tf.ensure_shape(numbers, (None,))

        def load_chunk(numbers, *mirrored):
            turned = (tf.gather(orientations, numbers),) if turns else ()
            files = tf.data.Dataset.from_tensor_slices((handles(numbers), *turned, *mirrored))

            def small():
                if not turns:
                    return _loaded(files, load_small, self.image_size)
                upright = tf.reduce_all(tf.equal(*turned, exif.UPRIGHT))
                size = self.image_size
                return tf.cond(upright, lambda: _loaded(files, load_small, size), lambda: _no_images(size))

            # One after the other, until all are there: each takes more images than the one before, and is slower.
            ways = [
                lambda: (_loaded(files, load, self.image_size), numbers),
                lambda: load_carefully(numbers, *mirrored),
            ]
            if most_are_small:
                ways.insert(0, lambda: (small(), numbers))
            images, found = ways[0]()
            for way in ways[1:]:
                complete = tf.equal(tf.shape(images)[0], tf.size(numbers))
                images, found = tf.cond(complete, functools.partial(_as_it_is, images, found), way)
            return images, tf.gather(labels, found)

        most_are_small = self._starts_small()
        return load_chunk

    def _graph_decoders(self, turns: bool) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        """(load, load_small) for a graph: functions of a handle, of an EXIF orientation if `turns`, of a bool or not.

        They give an image of the reader's size; the bool says whether it is mirrored. The second takes upright images
        that `decode_small` takes.
        """

        def load(handle, *changes):
            image = decode_image(self._contents(handle))
            if turns:
                orientation, changes = changes[0], changes[1:]
                image = turn_image(image, orientation)
            return _changes.mirror_if(resize_image(image, self.image_size), *changes)

        def load_small(handle, *changes):
            mirrored = changes[1:] if turns else changes
            return _changes.mirror_if(decode_small(self._contents(handle), self.image_size), *mirrored)

        return load, load_small

    def _starts_small(self) -> bool:
        """Whether the first image is of those that `decode_small` takes, so that most others are too."""
        import tensorflow as tf

        try:
            contents = self.encoded(0)
            with tf.init_scope():
                size = tuple(announced_size(contents).numpy().tolist())
        except (UnreadableError, tf.errors.OpError):
            return False
        return size == tuple(self.image_size) and len(contents) <= LOOKED_AT // 2

    def _load_carefully(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Loads a chunk that has unreadable images; returns (images, the numbers of the images that they are)."""
        images, loaded = [], []
        for number in numbers:
            image = self._load_or_replace(number)
            while image is None:
                number = (number + 1) % self.num_images
                image = self._load_or_replace(number)
            images.append(image)
            loaded.append(number)
        return np.stack(images), np.array(loaded, np.int64)

    def _load_or_replace(self, number: int) -> Tensor | None:
        """Returns an image, or None if it cannot be read, which is logged; refuses to go on if there are too many."""
        try:
            image = decode(self.encoded(number))
        except UnreadableError as error:
            name = self.name_of(number)
            if self._strict:
                raise ValueError(f"Every image must be readable if strict=True. Received: {name} ({error}).") from None
            if number not in self._replaced:
                self._replaced[number] = str(error)
                _logger.warning("Another image takes the place of one that cannot be read: %s (%s).", name, error)
            # Without an end to it, a run would go on over a disk that has gone away.
            if len(self._replaced) > self.num_images / 2:
                raise ValueError(
                    f"At least half of the images must be readable. Received: {len(self._replaced):,} unreadable of "
                    f"{self.num_images:,}, the last {name} ({error}). Is the disk still there?"
                ) from None
            return None
        return resize_image(image, self.image_size).numpy()

    def _keep(self):
        return np.setdiff1d(np.arange(self.num_images), list(self._replaced))


def _as_it_is(*values: Tensor) -> tuple[Tensor, ...]:
    return values


def _no_images(image_size: Size) -> Tensor:
    import tensorflow as tf

    return tf.zeros((0, *image_size, 3), tf.uint8)


def _loaded(files: Tensor, load: Callable[..., Tensor], image_size: Size) -> Tensor:
    """The images of a data set of at most CHUNK_SIZE files, less those that cannot be decoded."""
    import tensorflow as tf

    # A graph cannot catch the error of a decoder, but a data set can drop the element that raised it.
    nothing = tf.data.Dataset.from_tensors(_no_images(image_size))
    images = files.map(load).ignore_errors().batch(CHUNK_SIZE).concatenate(nothing).take(1)
    return images.get_single_element()


def decode(contents: bytes) -> Tensor:
    """Decodes an image outside a graph, and turns it upright by its EXIF orientation.

    Args:
        contents: bytes of a JPEG, PNG or BMP file.

    Returns:
        uint8 RGB tensor (height, width, 3); an array where TensorFlow is not imported and Pillow decodes.

    Raises:
        UnreadableError: If it cannot be decoded.
    """
    # Importing TensorFlow takes seconds, and Pillow gives the same pixels: a TFLite file is evaluated without it.
    if "tensorflow" not in sys.modules and importlib.util.find_spec("PIL") is not None:
        return _decode_by_pillow(contents)
    try:
        import tensorflow as tf
    except ImportError:
        return _decode_by_pillow(contents)
    try:
        with tf.device("CPU:0"):
            image = decode_bytes(contents)
            orientation = exif.orientation(contents)
            return image if orientation == exif.UPRIGHT else tf.constant(exif.turn(image.numpy(), orientation))
    except (tf.errors.OpError, ValueError) as error:
        message = getattr(error, "message", str(error))
        # TensorFlow writes: {{function_node ...}} the reason [Op:DecodeJpeg]
        reason = message.rpartition("}} ")[2].partition("\n")[0].partition(" [Op:")[0]
        raise UnreadableError(reason.rstrip(".")) from None


def _decode_by_pillow(contents: bytes) -> np.ndarray:
    try:
        return exif.turn(_pillow.decode(contents), exif.orientation(contents))
    except ValueError as error:
        raise UnreadableError(str(error).rstrip(".")) from None


def upright(contents: bytes) -> bytes:
    """Returns an image file that needs no turning.

    Args:
        contents: bytes of a JPEG, PNG or BMP file.

    Returns:
        `contents`, or, where their EXIF orientation is not upright, the bytes of a PNG of the turned image.

    Raises:
        UnreadableError: If an image that must be turned cannot be decoded.
    """
    if exif.orientation(contents) == exif.UPRIGHT:
        return contents
    import tensorflow as tf

    with tf.device("CPU:0"):
        return tf.io.encode_png(decode(contents)).numpy()


def leave_out(what: str, names: Sequence[str], strict: bool, count: int | str | None = None) -> None:
    """Says what of a set is left out when it is opened, or refuses it.

    Args:
        what: What these are, in the plural.
        names: Their names; the first twenty are listed.
        strict: Whether to refuse.
        count: How many there are, where `names` says in one sentence which.

    Raises:
        ValueError: If `strict`.
    """
    count = len(names) if count is None else count
    message = f"{count:,} {what}: {'; '.join(names[:_MAX_NAMED])}"
    if len(names) > _MAX_NAMED:
        message += f"; and {len(names) - _MAX_NAMED:,} more"
    if strict:
        raise ValueError(f"Nothing may be left out if strict=True. Received: {message}.")
    _logger.warning("Left out %s.", message)

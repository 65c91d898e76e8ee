"""Which image comes when: a function of the seed and the place alone, so that a run can go on from any step."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_margin._typing import Tensor

if TYPE_CHECKING:
    import tensorflow as tf


class FileOrder:
    """The images as they are, in every epoch."""

    def __init__(self, num_images: int) -> None:
        self.epoch_size = num_images

    def cutter(self, epoch: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """A function for a TensorFlow graph: (first, end) -> int64 numbers of the images at these places."""
        import tensorflow as tf

        return tf.range


class _DrawnOrder:
    """An order that is drawn again for every epoch, by `numbers(epoch)`."""

    epoch_size: int

    def numbers(self, epoch: int) -> np.ndarray:
        raise NotImplementedError

    def cutter(self, epoch: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        import tensorflow as tf

        # Dataset.shuffle would hold a tensor per image, a gigabyte for 5.8 million, and depend on the global seed.
        order = tf.ensure_shape(tf.numpy_function(self.numbers, [epoch], tf.int64), (self.epoch_size,))
        return lambda first, end: order[first:end]


class Shuffle(_DrawnOrder):
    """A new permutation of all images in every epoch."""

    def __init__(self, num_images: int, seed: int) -> None:
        self.epoch_size = num_images
        self._seed = seed

    def numbers(self, epoch: int) -> np.ndarray:
        """int64 array (epoch_size,), the images of an epoch in their order."""
        return np.random.default_rng((self._seed, epoch)).permutation(self.epoch_size)


class IdentityShuffle(_DrawnOrder):
    """Batches of some images each of some identities; every identity at most once in an epoch.

    Args:
        labels: Int array (num_images,), >= 0.
        identities: How many there are in a batch.
        images: How many of each.
        seed: Int >= 0.

    Raises:
        ValueError: If not so many identities have images.
    """

    def __init__(self, labels: np.ndarray, identities: int, images: int, seed: int) -> None:
        self._members = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        self._counts = counts[counts > 0]
        self._starts = np.cumsum(self._counts) - self._counts
        if identities > len(self._counts):
            raise ValueError(
                f"A batch needs images of {identities} identities, {images} of each. Received: {len(self._counts)} "
                "with images. Pass a smaller batch_size, or more images_per_identity."
            )
        self._images = images
        self._seed = seed
        # An epoch ends with a whole batch; who is left over changes from one to the next.
        self._used = len(self._counts) // identities * identities
        self.epoch_size = self._used * images

    def numbers(self, epoch: int) -> np.ndarray:
        """int64 array (epoch_size,), the images of an epoch in their order."""
        rng = np.random.default_rng((self._seed, epoch))
        identities = rng.permutation(len(self._counts))[: self._used]
        counts = self._counts[identities]
        # Who has fewer images than are wanted gives all of them, again and again.
        chosen = (rng.integers(0, counts)[:, None] + np.arange(self._images)) % counts[:, None]
        enough = np.flatnonzero(counts >= self._images)
        chosen[enough] = _distinct(rng, counts[enough], self._images)
        return self._members[self._starts[identities][:, None] + chosen].ravel()


def _distinct(rng: np.random.Generator, counts: np.ndarray, number: int) -> np.ndarray:
    """`number` different integers below each of `counts`, (n, number); every choice of them is equally likely.

    Floyd's sampling (Bentley and Floyd, Communications of the ACM 30(9), 1987), for all rows at once.
    """
    chosen = np.empty((len(counts), number), np.int64)
    for column in range(number):
        last = counts - number + column
        drawn = rng.integers(0, last + 1)
        taken = (chosen[:, :column] == drawn[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, last, drawn)
    return chosen


def chunks(order: FileOrder | Shuffle | IdentityShuffle, size: int, repeat: bool, start: int) -> "tf.data.Dataset":
    """A tf.data set of image numbers, (size,) or fewer at an epoch's end; one epoch, or with `repeat` all.

    Args:
        order: One of the above.
        size: Numbers in a chunk.
        repeat: Whether to go on without end.
        start: How many images to leave out at the beginning, which are then not even looked up; 0 without `repeat`.
    """
    import tensorflow as tf

    def chunks_of(epoch, first):
        cut = order.cutter(epoch)
        starts = tf.data.Dataset.range(first, order.epoch_size, size)
        return starts.map(lambda start: cut(start, tf.minimum(start + size, order.epoch_size)))

    if repeat:
        first_epoch, first = divmod(start, order.epoch_size)
        epochs = tf.data.Dataset.counter(first_epoch)
        return epochs.flat_map(lambda epoch: chunks_of(epoch, tf.where(epoch == first_epoch, np.int64(first), 0)))
    if isinstance(order, FileOrder):
        return chunks_of(0, 0)
    passes = itertools.count()
    epoch = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(lambda: np.int64(next(passes)), [], tf.int64))
    return epoch.flat_map(lambda epoch: chunks_of(epoch, 0))

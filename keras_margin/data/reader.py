"""What every data format gives back: a reader of labelled images, and the decoding that readers share."""

import abc
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_margin._typing import ArrayLike, Size, Tensor
from keras_margin._utils import arrays
from keras_margin.data import _arguments, _batching, _changes, _order
from keras_margin.data._labels import renumbered

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_margin.data.augmentation import Augmentation


class LabelledImages(Protocol):
    """What functions need of a set of labelled images: each `Reader` has it, and so may a class of your own."""

    @property
    def labels(self) -> np.ndarray:
        """The class of every image, int array (num_images,)."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The identity behind every class."""

    @property
    def num_images(self) -> int:
        """How many images there are."""

    @property
    def num_classes(self) -> int:
        """How many identities there are."""

    @property
    def image_size(self) -> Size:
        """Height and width of the images that come out, in pixels."""

    def name_of(self, number: int) -> str:
        """Says where an image is."""

    def encoded(self, number: int) -> bytes:
        """Returns the bytes of an image file."""


class Reader(abc.ABC):
    """Labelled face images, read one by one, in a fixed order.

    A format subclasses this with `encoded` and the two hooks below, `_loader` and `_select`. TensorFlow is imported
    when a dataset is built, not before: the labels and names of a reader can be had without it.

    Every class has an image: `keras_margin.data.relabel` numbers classes without gaps.

    Attributes:
        labels: int32 array, (num_images,); the class of every image in file order, 0 .. num_classes - 1.
        label_names: Tuple of str; the identity behind every class.
        image_size: (height, width) in pixels, of every image that comes out.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> isinstance(reader, Reader), reader.num_classes, reader.image_size
        (True, 40, (112, 92))
    """

    def __init__(self, labels: np.ndarray | Sequence[int], label_names: Sequence[str], image_size: Size) -> None:
        self.label_names = tuple(label_names)
        self.labels = arrays.check_labels(labels, len(labels), type(self).__name__, len(self.label_names))
        self.labels.setflags(write=False)
        self.image_size = image_size

    @property
    def num_images(self) -> int:
        """How many images an epoch has."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many identities there are: what a head wants as its `num_classes`."""
        return len(self.label_names)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.num_images} images of {self.num_classes} identities, "
            f"image_size={self.image_size}>"
        )

    def dataset(
        self,
        batch_size: int | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
        repeat: bool = False,
        drop_remainder: bool = False,
        start: int = 0,
        images_per_identity: int | None = None,
        part: tuple[int, int] = (0, 1),
        augmentation: "Augmentation | None" = None,
    ) -> "tf.data.Dataset":
        """A tf.data set of (image, label).

        The shuffle is uniform over all the images, never a window of them: the order of epoch e is
        `numpy.random.default_rng((seed, e)).permutation(num_images)`, whatever the global seeds are. With `repeat`,
        each iterator starts at epoch 0, so a run's batches do not depend on who else looked at the set; without, epochs
        count the passes over the returned set. Images are decoded in parallel and come out in that order.

        With `images_per_identity` K, a batch holds K images each of batch_size / K identities, for losses that compare
        images. An epoch takes each identity once, in a new order (fewer than batch_size / K may be left over), and
        draws K different images of it at random; who has fewer gives them all, as evenly often as can be. K = 1
        balances the classes: every identity comes as often as any other, however many images it has.

        Args:
            batch_size: Images per batch, >= 1; None gives single images.
            shuffle: Whether to permute the images, again in every epoch.
            seed: Int >= 0; chooses the orders. Without `shuffle` there is nothing to choose.
            repeat: Whether to go on without end. Batches then run across the ends of epochs and are all full.
            drop_remainder: Whether to drop a last batch that is not full, so that batches have a static shape.
            start: How many batches of an endless set to leave out: the others are the same as without, and those left
                out are not read. A run that was interrupted after step k goes on with `start=k`.
            images_per_identity: K, a divisor of batch_size; needs `shuffle`. None for every image once an epoch.
            part: (k, n): the k-th of n equal parts of every batch of an endless set, 0 <= k < n, for n processes that
                share each; the others' images are not read.
            augmentation: Augmentation of the batches, or None. Batch k of a pass, those left out by `start` counted,
                changes as by `augmentation.apply(images, [k, seed], part)`. Mirroring is done image by image, as they
                are decoded, where nothing else moves pixels.

        Returns:
            A `tf.data.Dataset` of (RGB image (height, width, 3), int32 label ()), with a leading batch axis if
            `batch_size` is given. Images are uint8, or, where the augmentation does more than mirror, float32 in
            [0, 255].

        Raises:
            ValueError: If `batch_size`, `seed`, `start`, `images_per_identity` or `part` is out of range,
                `drop_remainder` or `augmentation` is set without batches, or `start` or `part` without `repeat`.

        Example:
            >>> images, labels = next(iter(keras_margin.data.open("orl").dataset(32, shuffle=True)))
            >>> images.shape[0], labels.shape[0]
            (32, 32)
        """
        batch_size, seed, start = _arguments.check_dataset_arguments(batch_size, seed, drop_remainder, repeat, start)
        share, shares = _arguments.check_part(part, batch_size, repeat)
        if augmentation is not None and batch_size is None:
            raise ValueError("augmentation changes batches. Received: an augmentation without a batch_size.")
        order = self._order(batch_size, shuffle, seed, images_per_identity)
        import tensorflow as tf

        mirrors, rest = _batching.split(augmentation)
        draw = _batching.Draw(seed, start, (share, shares))
        # A visible GPU would otherwise receive, and hand back, every constant that the input pipeline captures.
        with tf.device("CPU:0"):
            # A mirrored image is drawn by its place in the batch.
            size = batch_size if batch_size and (mirrors or shares > 1) else _batching.CHUNK_SIZE
            numbers = _order.chunks(order, size, repeat, start * (batch_size or 1))
            if batch_size and (mirrors or shares > 1):
                batch_size //= shares
                if repeat:  # The end of an epoch is not that of a batch.
                    numbers = numbers.unbatch().batch(batch_size).shard(shares, share)
                numbers = _batching.coded(numbers, augmentation if mirrors else None, draw)
            chunks = numbers.map(self._chunk_loader(mirrors), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            length = tf.data.INFINITE_CARDINALITY if repeat else order.epoch_size
            dataset = _batching.batched(chunks, batch_size, drop_remainder, length)
            if rest is not None:
                dataset = _batching.changed(dataset, rest, draw)
            options = tf.data.Options()
            # There are no file names in the pipeline to shard by, and looking for them logs a warning in every fit.
            options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
            return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)

    def _chunk_loader(self, mirrors: bool) -> Callable[..., Any]:
        if not mirrors:
            return self._loader()
        load = self._mirroring_loader()
        return lambda codes: load(*_batching.decoded(codes))

    def _order(
        self, batch_size: int | None, shuffle: bool, seed: int, images_per_identity: int | None
    ) -> "_order.FileOrder | _order.Shuffle | _order.IdentityShuffle":
        if images_per_identity is None:
            return _order.Shuffle(self.num_images, seed) if shuffle else _order.FileOrder(self.num_images)
        images = operator.index(images_per_identity)
        if not shuffle or batch_size is None or images < 1 or batch_size % images:
            raise ValueError(
                "images_per_identity needs shuffle=True and a batch_size that is a multiple of it. Received: "
                f"images_per_identity={images}, shuffle={shuffle}, batch_size={batch_size}."
            )
        return _order.IdentityShuffle(self.labels, batch_size // images, images, seed)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images in memory, in file order, for a small set.

        Returns:
            (uint8 array (num_images, height, width, 3), int32 array (num_images,)). An image that turns out to
            be unreadable only now is in neither, which are shorter then.

        Example:
            >>> images, labels = keras_margin.data.open("orl").arrays()
        """
        images = np.empty((self.num_images, *self.image_size, 3), np.uint8)
        labels = np.empty(self.num_images, np.int32)
        count = 0
        for batch, batch_labels in self.dataset(64).as_numpy_iterator():
            images[count : count + len(batch)] = batch
            labels[count : count + len(batch)] = batch_labels
            count += len(batch)
        keep = self._keep()
        return (images, labels) if keep is None else (images[keep], labels[keep])

    def subset(self, indices: ArrayLike) -> "Reader":
        """A reader of some of the images.

        The classes that are left are numbered 0 .. n-1 in the order they had, and keep their names.

        Args:
            indices: Int array, one-dimensional, of image numbers in [0, num_images); they come out in this order.

        Returns:
            A reader of the same kind.

        Raises:
            TypeError: If `indices` are not integers.
            ValueError: If there are none, or one is out of range.

        Example:
            >>> reader = keras_margin.data.open("orl")
            >>> train_indices, test_indices = keras_margin.data.identity_disjoint_split(reader.labels, 10)
            >>> train = reader.subset(train_indices)
        """
        indices = np.asarray(indices)
        if indices.size and not np.issubdtype(indices.dtype, np.integer):
            raise TypeError(
                f"subset() needs image numbers, integers. Received an array of dtype {indices.dtype}. "
                "If that is a mask, pass np.flatnonzero(mask)."
            )
        if indices.ndim != 1 or not indices.size:
            raise ValueError(
                f"subset() needs a one-dimensional array of at least one image number. Received shape {indices.shape}."
            )
        if indices.min() < 0 or indices.max() >= self.num_images:
            raise ValueError(
                f"subset() needs image numbers in [0, {self.num_images}). "
                f"Received numbers from {indices.min()} to {indices.max()}."
            )
        labels, classes = renumbered(self.labels[indices])
        return self._select(indices, labels, tuple(self.label_names[label] for label in classes))

    def name_of(self, number: int) -> str:
        """Where an image is, in words a user can go by: its file, and its byte there if it is one of many."""
        return f"image {number}"

    @abc.abstractmethod
    def encoded(self, number: int) -> bytes:
        """The bytes of an image's JPEG, PNG or BMP file, or of one made of it without loss.

        Args:
            number: Int in [0, num_images).

        Returns:
            bytes.

        Raises:
            UnreadableError: If they cannot be read, or are not what was written.
        """

    @abc.abstractmethod
    def _loader(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """A function for a TensorFlow graph: int64 image numbers (n,) -> (uint8 images, int32 labels), n of each."""

    def _mirroring_loader(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """As `_loader`, of (numbers, bools (n,)): the images that are to be mirrored are."""
        load = self._loader()

        def load_mirrored(numbers, mirrored):
            images, labels = load(numbers)
            return _changes.mirror_some(images, mirrored), labels

        return load_mirrored

    def _keep(self) -> np.ndarray | None:
        """The numbers of the images that were loaded, where others had to take some places; None for all."""
        return None

    @abc.abstractmethod
    def _select(self, indices: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> "Reader":
        """The reader of the images `indices`, which have these new labels and names."""

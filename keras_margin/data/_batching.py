"""From the numbers of images to changed batches of them, in tf.data; each mirrored while it is small and alone."""

import dataclasses
from typing import TYPE_CHECKING

from keras_margin._typing import Tensor

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_margin.data.augmentation import Augmentation

# Images are loaded so many at a time: enough to make what is done once for all of them cheap, few enough to keep a
# chunk for every processor core in memory.
CHUNK_SIZE = 32


def split(augmentation: "Augmentation | None") -> "tuple[bool, Augmentation | None]":
    """(whether images are mirrored as they are loaded, the Augmentation that is left to do on batches or None).

    A mirrored image is the same whether it is mirrored alone or in its batch, and alone it is still in the cache of
    the processor that decoded it: on batches, mirroring took twice the time. A warp mirrors in its own one pass.
    """
    if augmentation is None:
        return False, None
    alone = augmentation.flip and not augmentation.warps
    rest = dataclasses.replace(augmentation, flip=False) if alone else augmentation
    return alone, rest if rest.changes else None


def coded(batches: "tf.data.Dataset", augmentation: "Augmentation | None", draw: "Draw") -> "tf.data.Dataset":
    """Image numbers, and which of the images are mirrored: a tf.data set of int64 (CHUNK_SIZE,) for `decoded`.

    Args:
        batches: tf.data set of int64 image numbers, a batch's in each element.
        augmentation: Augmentation; None for the numbers alone.
        draw: Draw.
    """
    import tensorflow as tf

    def code(step, numbers):
        mirrored = augmentation.mirrored(tf.size(numbers), draw.seed_of(step), draw.part)
        return 2 * numbers + tf.cast(mirrored, tf.int64)

    # Not by rebatch(): it cuts out views, which TensorFlow complains of wherever it would write in place.
    coded_batches = batches if augmentation is None else batches.enumerate(draw.start).map(code)
    return coded_batches.unbatch().batch(CHUNK_SIZE)


def decoded(codes: Tensor) -> tuple[Tensor, Tensor]:
    """(numbers, bools) of what `coded` gave."""
    return codes // 2, codes % 2 == 1


@dataclasses.dataclass(frozen=True)
class Draw:
    """What the random changes of a batch are drawn from: its step and the seed."""

    seed: int
    start: int
    part: tuple

    def seed_of(self, step: Tensor) -> Tensor:
        import tensorflow as tf

        return tf.stack([step, tf.cast(self.seed, tf.int64)])


def batched(
    chunks: "tf.data.Dataset", batch_size: int | None, drop_remainder: bool, num_images: int
) -> "tf.data.Dataset":
    """Chunks of images as single ones (`batch_size` None) or in batches; `num_images` as tf.data's cardinality."""
    import tensorflow as tf

    if batch_size is None or batch_size % CHUNK_SIZE:
        # Keras shows no progress, and warns after the first epoch, where it does not know the length.
        images = chunks.unbatch().apply(tf.data.experimental.assert_cardinality(num_images))
        return images if batch_size is None else images.batch(batch_size, drop_remainder=drop_remainder)
    # A copy of every image less than above. Only of whole chunks: a batch within a chunk would be a view, see `coded`.
    batches = chunks.rebatch(batch_size, drop_remainder=drop_remainder)
    if num_images >= 0:
        num_images = num_images // batch_size if drop_remainder else -(-num_images // batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(num_images))


def changed(batches: "tf.data.Dataset", augmentation: "Augmentation", draw: "Draw") -> "tf.data.Dataset":
    """Batches of (images, labels) through what `Augmentation.apply` does."""
    import tensorflow as tf

    def change(step, batch):
        images, labels = batch
        return augmentation.apply(images, draw.seed_of(step), draw.part), labels

    return batches.enumerate(draw.start).map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

"""What a recipe trains on: the batches of a reader, from any step on, whole or one worker's part."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_margin.data.reader import Reader
from keras_margin.recipes.base import Recipe
from keras_margin.training import _strategies

if TYPE_CHECKING:
    import tensorflow as tf


def batches(
    recipe: Recipe, reader: Reader, seed: int = 0, start: int = 0, part: tuple[int, int] = (0, 1)
) -> "tf.data.Dataset":
    """Makes an endless tf.data set of shuffled, augmented batches: (images in [0, 255], int32 labels).

    The images are uint8 where the recipe does no more than mirror them, which is a quarter of the bytes to move, and
    else float32.

    Reproducible by seed; the same for one replica or many, and from any step on the same as from the first.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open.
        seed: Of order and augmentation.
        start: Batches to leave out, which are not read.
        part: (k, n): the k-th of n equal parts of every batch.

    Raises:
        ValueError: Where the reader has fewer images than one batch, or the parts are not equal.

    Example:
        >>> changes = {"backbone": "ir_small", "image_size": (32, 32), "batch_size": 8, "steps": 1}
        >>> recipe = keras_margin.recipes.Recipe("tiny", "").replace(**changes)
        >>> reader = keras_margin.data.open("orl", image_size=(32, 32))
        >>> images, labels = next(iter(batches(recipe, reader)))
        >>> tuple(images.shape), tuple(labels.shape)
        ((8, 32, 32, 3), (8,))
    """
    check(recipe, reader, part[1])
    return reader.dataset(
        recipe.data.batch_size,
        shuffle=True,
        seed=seed,
        repeat=True,
        drop_remainder=True,
        start=start,
        images_per_identity=recipe.data.images_per_identity,
        part=part,
        augmentation=recipe.data.augmentation,
    )


def check(recipe: Recipe, reader: Reader, replicas: int) -> None:
    """Raises ValueError where data and recipe do not make batches that split over the replicas."""
    if recipe.data.batch_size % (replicas * recipe.data.accumulate):
        parts = f" in {recipe.data.accumulate} parts each (accumulate)" if recipe.data.accumulate > 1 else ""
        raise ValueError(f"batch_size={recipe.data.batch_size} does not split evenly over {replicas} replicas{parts}.")
    if tuple(reader.image_size) != tuple(recipe.model.image_size):
        raise ValueError(
            f"Recipe {recipe.name!r} takes images of {tuple(recipe.model.image_size)} pixels (height, width), the data "
            f"have {tuple(reader.image_size)}. Pass image_size={tuple(recipe.model.image_size)} to "
            "keras_margin.data.open."
        )
    if reader.num_images < recipe.data.batch_size:
        raise ValueError(
            f"One batch takes {recipe.data.batch_size} images, the training data have {reader.num_images}. "
            "Pass a smaller --batch_size."
        )


def distributed(recipe: Recipe, reader: Reader, strategy: Any, seed: int, start: int) -> Iterator[Any]:
    """Iterator over the batches from step `start` on, each split over the strategy's replicas."""
    if not _strategies.is_multiworker(strategy):
        data = batches(recipe, reader, seed, start)
        return iter(data if strategy.num_replicas_in_sync == 1 else strategy.experimental_distribute_dataset(data))
    worker, workers = _strategies.worker_of(strategy)
    share = recipe.data.batch_size // strategy.num_replicas_in_sync

    def own_part(_):
        data = batches(recipe, reader, seed, start, (worker, workers))
        # Each element is one local replica's.
        return data if share * workers == recipe.data.batch_size else data.rebatch(share, drop_remainder=True)

    return iter(strategy.distribute_datasets_from_function(own_part))

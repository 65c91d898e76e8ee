"""From a recipe to a compiled model."""

import fnmatch
import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_margin import _keras, layers, losses, optimizers
from keras_margin._typing import PathLike
from keras_margin.layers.sampling import check_optimizer
from keras_margin.models import EmbeddingModel, backbones
from keras_margin.models.backbones import prewhitening
from keras_margin.recipes.base import Recipe
from keras_margin.training import _callbacks, _ramps


def build_model(recipe: Recipe, num_classes: int) -> EmbeddingModel:
    """Builds the recipe's EmbeddingModel, compiled.

    Args:
        recipe: recipes.Recipe.
        num_classes: Classes of the training data, >= 2.

    Returns:
        EmbeddingModel.

    Raises:
        ValueError: Where the recipe names a backbone, head, loss or optimiser that there is not, freezes layers that
            the backbone has not, or ramps what the head has not.

    Example:
        >>> changes = {"backbone": "ir_small", "image_size": (32, 32), "batch_size": 8, "steps": 1}
        >>> recipe = keras_margin.recipes.Recipe("tiny", "").replace(**changes)
        >>> build_model(recipe, num_classes=40).head.num_classes
        40
    """
    check_recipe(recipe, num_classes)
    head = layers.get(
        recipe.head.name, num_classes, auxiliary_loss=_auxiliary_loss(recipe), **dict(recipe.head.options)
    )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.run.precision if recipe.run.precision != "float32" else before)
    try:
        backbone = backbones.build(
            recipe.model.backbone, image_size=recipe.model.image_size, **dict(recipe.model.options)
        )
        if recipe.model.prewhiten:
            backbone = prewhitening.prewhitened(backbone)
        if recipe.model.weights:
            load_backbone(backbone, recipe.model.weights)
        freeze(backbone, recipe.model.freeze)
        model = EmbeddingModel(backbone, head=head)
        # On CPUs XLA compiles small convolutions for minutes and runs them slower than oneDNN does.
        jit_compile = "auto" if tf.config.list_physical_devices("GPU") else False
        model.compile(OPTIMIZERS[recipe.optimizer.name](recipe), jit_compile=jit_compile)
        # A margin that counts batches counts updates.
        model.head.margin = model.head.margin.with_accumulation(recipe.data.accumulate)
    finally:
        keras.config.set_dtype_policy(before)
    return model


def check_recipe(recipe: Recipe, num_classes: int) -> None:
    """Raises what `build_model` would for names and numbers, without building a network.

    Raises:
        ValueError: As `build_model`.
        FileNotFoundError: Where the recipe's `weights` are not there.

    Example:
        >>> changes = {"backbone": "ir_small", "image_size": (32, 32), "batch_size": 8, "steps": 1}
        >>> recipe = keras_margin.recipes.Recipe("tiny", "").replace(**changes)
        >>> check_recipe(recipe, num_classes=40)  # Nothing is wrong.
    """
    if recipe.optimizer.name not in OPTIMIZERS:
        raise ValueError(
            f"Unknown optimizer {recipe.optimizer.name!r}. Known optimizers: {', '.join(sorted(OPTIMIZERS))}."
        )
    head = layers.get(
        recipe.head.name, num_classes, auxiliary_loss=_auxiliary_loss(recipe), **dict(recipe.head.options)
    )
    _ramps.check(recipe, head)
    check_optimizer(head.sample_rate, OPTIMIZERS[recipe.optimizer.name](recipe))
    if recipe.data.accumulate > 1 and head.sample_rate < 1:
        raise ValueError(
            "A head that samples its classes takes the gradient of a whole batch. Received: "
            f"accumulate={recipe.data.accumulate}, sample_rate={head.sample_rate}."
        )
    _callbacks.check(recipe)
    backbones.get(recipe.model.backbone)
    if recipe.model.weights:
        _weights_file(recipe.model.weights)


def _auxiliary_loss(recipe):
    """The sum of what the recipe adds to the head's loss, or None."""
    added = [losses.IAM(recipe.head.iam_beta)] if recipe.head.iam_beta else []
    for name, options in recipe.head.auxiliary_losses:
        if name not in losses.LOSSES:
            raise ValueError(f"Unknown auxiliary loss {name!r}. Known ones: {', '.join(sorted(losses.LOSSES))}.")
        added.append(losses.LOSSES[name](**dict(options)))
    total = None
    for term in added:
        total = term if total is None else total + term
    return total


def _sgd(recipe):
    rate = optimizers.schedules.SettableSchedule(recipe.learning_rate_schedule())
    return optimizers.SGDWithL2(
        rate,
        momentum=recipe.optimizer.momentum,
        l2=recipe.optimizer.weight_decay,
        exclude=recipe.optimizer.decay_exclude,
    )


def _adamw(recipe):
    rate = optimizers.schedules.SettableSchedule(recipe.learning_rate_schedule())
    optimizer = optimizers.AdamW(rate, weight_decay=recipe.optimizer.weight_decay)
    # Decay pulls a prototype's length, which the loss does not see, and batch norm's scale, which it should not pull.
    optimizer.exclude_from_weight_decay(var_names=["prototypes", *recipe.optimizer.decay_exclude])
    return optimizer


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def freeze(backbone: keras.Model, patterns: Sequence[str]) -> None:
    """Makes the layers whose names match one of `patterns` keep their weights; batch norm then its statistics too.

    Args:
        backbone: Keras model.
        patterns: Names of layers, with * for any letters, as a recipe's `freeze`.

    Raises:
        ValueError: Where a pattern matches no layer.

    Example:
        >>> network = keras_margin.models.backbones.build("ir_small", image_size=(32, 32))
        >>> freeze(network, ["stem*"])
        >>> network.get_layer("stem_conv").trainable
        False
    """
    for pattern in patterns:
        layers = _keras.all_layers(backbone)
        found = [layer for layer in layers if fnmatch.fnmatchcase(layer.name, pattern)]
        if not found:
            names = ", ".join(layer.name for layer in layers if layer.weights)
            raise ValueError(f"freeze={pattern!r} matches no layer. The backbone's layers with weights: {names}.")
        for layer in found:
            layer.trainable = False


def _weights_file(path: PathLike):
    path = pathlib.Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"weights={str(path)!r}: there is no {file}.")
    return file


def load_backbone(backbone: keras.Model, path: PathLike) -> None:
    """Gives the backbone the weights of another of the same shapes, out of a .keras file or a run's folder.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is not a Keras model, or its backbone's weights have other shapes.

    Example:
        >>> network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> network.save("other.keras")
        >>> load_backbone(keras.models.clone_model(network), "other.keras")
    """
    file = _weights_file(path)
    try:
        given = keras.saving.load_model(file, compile=False)
    except Exception as error:
        raise ValueError(f"weights={str(path)!r} is not a Keras model that can be read: {error}") from error
    given = getattr(given, "embedder", given)
    for ours, theirs in zip(backbone.weights, given.weights, strict=False):
        if tuple(ours.shape) != tuple(theirs.shape):
            raise ValueError(
                f"weights={str(path)!r} are of another network: {ours.path} has the shape {tuple(ours.shape)}, there "
                f"it is {theirs.path}, {tuple(theirs.shape)}."
            )
    if len(backbone.weights) != len(given.weights):
        raise ValueError(
            f"weights={str(path)!r} are of another network: {len(given.weights)} weights for {len(backbone.weights)}."
        )
    for ours, theirs in zip(backbone.weights, given.weights, strict=True):
        ours.assign(keras.ops.convert_to_numpy(theirs))

"""Fitting a recipe: strategy, data, optimiser, progress."""

import contextlib
import dataclasses
import functools
import re
import time

import keras
import tensorflow as tf

from keras_margin import backbones, heads, losses, optimizers
from keras_margin.model import EmbeddingModel


@dataclasses.dataclass(frozen=True)
class Trained:
    """What `fit` returns.

    Attributes:
        model: The trained EmbeddingModel, built under the strategy.
        history: Pairs (step, logs): loss and accuracy, averaged since the pair before.
        seconds: Time spent in fitting.
    """

    model: EmbeddingModel
    history: tuple
    seconds: float


def make_strategy(replicas=1):
    """tf.distribute strategy over `replicas` GPUs, or over as many logical CPUs where there is no GPU.

    Args:
        replicas: Devices that share each batch, >= 1.

    Returns:
        MirroredStrategy, the same at every call; for one replica the default strategy, which distributes nothing.

    Raises:
        ValueError: Where there are fewer GPUs, or TensorFlow started before its CPU could be split.
    """
    if replicas < 1:
        raise ValueError(f"Training needs at least one replica. Received: replicas={replicas}.")
    if replicas == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if len(gpus) < replicas:
            raise ValueError(f"This machine has {len(gpus)} GPUs. Received: replicas={replicas}.")
        return _mirrored("GPU", replicas)
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if len(tf.config.get_logical_device_configuration(cpu) or ()) < replicas:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:
        raise ValueError(
            f"TensorFlow is already running and its CPU is not split into {replicas} logical devices. "
            "Call make_strategy before anything computes."
        ) from error
    return _mirrored("CPU", replicas)


@functools.cache
def _mirrored(kind, replicas):
    # One for the whole process: each MirroredStrategy numbers its collective operations from 100 on, and where those
    # of two meet with unlike shapes TensorFlow aborts them, and every later one.
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(replicas)])


def build_model(recipe, num_classes):
    """The recipe's EmbeddingModel, compiled.

    Args:
        recipe: recipes.Recipe.
        num_classes: Classes of the training data, >= 2.

    Returns:
        EmbeddingModel.

    Raises:
        ValueError: Where the recipe names a backbone, head or optimiser that there is not.
    """
    if recipe.optimizer not in OPTIMIZERS:
        raise ValueError(f"Unknown optimizer {recipe.optimizer!r}. Known optimizers: {', '.join(sorted(OPTIMIZERS))}.")
    backbone = backbones.build(recipe.backbone, image_size=recipe.image_size, **dict(recipe.backbone_options))
    regularizer = losses.IAM(recipe.iam_beta) if recipe.iam_beta else None
    head = heads.get(recipe.head)(num_classes, regularizer=regularizer, **dict(recipe.head_options))
    model = EmbeddingModel(backbone, head=head)
    # On CPUs XLA compiles small convolutions for minutes and runs them slower than oneDNN does.
    jit_compile = "auto" if tf.config.list_physical_devices("GPU") else False
    model.compile(OPTIMIZERS[recipe.optimizer](recipe), jit_compile=jit_compile)
    return model


def _sgd(recipe):
    return optimizers.SGDWithL2(recipe.schedule(), momentum=0.9, l2=recipe.weight_decay)


def _adamw(recipe):
    optimizer = keras.optimizers.AdamW(recipe.schedule(), weight_decay=recipe.weight_decay)
    # Decay pulls a prototype's length, which the loss does not see, and batch norm's scale, which it should not pull.
    optimizer.exclude_from_weight_decay(var_names=["prototypes", *optimizers.SGDWithL2.NOT_DECAYED])
    return optimizer


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def batches(recipe, reader, seed=0):
    """Endless shuffled, augmented batches: a tf.data set of (float32 images in [0, 255], int32 labels).

    Reproducible by seed; the same for one replica or many.

    Raises:
        ValueError: Where the reader has fewer images than one batch.
    """
    if reader.num_images < recipe.batch_size:
        raise ValueError(
            f"One batch takes {recipe.batch_size} images, the training data have {reader.num_images}. "
            "Pass a smaller --batch_size."
        )
    data = reader.dataset(recipe.batch_size, shuffle=True, seed=seed, repeat=True, drop_remainder=True)

    def augment(index, batch):
        images, labels = batch
        return recipe.augmentation.apply(images, tf.stack([index, tf.cast(seed, tf.int64)])), labels

    data = data.enumerate().map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return data.prefetch(tf.data.AUTOTUNE)


def fit(recipe, reader, *, strategy=None, seed=0, callbacks=(), reports=20):
    """Trains the recipe on what the reader reads.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open, with images of the recipe's size.
        strategy: From make_strategy; None for one device.
        seed: Of weights, order and augmentation.
        callbacks: Keras callbacks. An "epoch" is a `reports`-th of the steps.
        reports: How often, at most, loss and accuracy are noted in the history: the largest such divisor of the steps.

    Returns:
        Trained.

    Raises:
        ValueError: Where a batch does not split evenly over the replicas, images and recipe differ in size, a label is
            out of range, the network puts out NaN, or a strict reader meets an image that it cannot read.
    """
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        raise ValueError(f"batch_size={recipe.batch_size} does not split evenly over {replicas} replicas.")
    if tuple(reader.image_size) != tuple(recipe.image_size):
        raise ValueError(
            f"Recipe {recipe.name!r} takes images of {tuple(recipe.image_size)} pixels (height, width), the data have "
            f"{tuple(reader.image_size)}. Pass image_size={tuple(recipe.image_size)} to keras_margin.data.open."
        )
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        model = build_model(recipe, reader.num_classes)
    # Keras counts epochs, a recipe counts updates: an "epoch" is an equal share of them, so that none is lost.
    reports = max(count for count in range(1, reports + 1) if recipe.steps % count == 0)
    noted = _Note(recipe.steps // reports)
    start = time.monotonic()
    with plain_errors():
        model.fit(
            batches(recipe, reader, seed),
            steps_per_epoch=recipe.steps // reports,
            epochs=reports,
            callbacks=[noted, *callbacks],
            verbose=0,
            # The data come shuffled; Keras warns that it cannot shuffle a tf.data set itself.
            shuffle=False,
        )
    return Trained(model=model, history=tuple(noted.rows), seconds=time.monotonic() - start)


@contextlib.contextmanager
def plain_errors():
    """Context that turns what our own checks say from inside a TensorFlow graph into the ValueError it stands for.

    A graph raises tf.errors.InvalidArgumentError, and buries the sentence in its own call stack.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = _own_words(str(error))
        if said is None:
            raise
        raise ValueError(said) from error


def plain_message(error):
    """One line that says what went wrong, whichever library raised it."""
    text = str(error)
    if isinstance(error, tf.errors.OpError):
        lines = [line.strip() for line in text.splitlines()]
        # Around the reason TensorFlow prints where its nodes were made, and their names in double brackets.
        telling = [line for line in lines if line and not line.startswith(("File ", "[[", "Detected at", "Graph exec"))]
        text = _own_words(text) or (telling[0] if telling else text)
    return " ".join(text.split())


def _own_words(text):
    """The sentence of a tf.debugging.Assert, or of a Python error inside a data set; None where there is neither."""
    asserted = re.search(r"assertion failed: \[(.*)\]", text)
    if asserted:
        return asserted[1].replace("] [", " ")
    raised = re.search(r"\bValueError: (.*)", text)
    return raised and raised[1]


class _Note(keras.callbacks.Callback):
    """Keeps (step, logs) at each epoch's end."""

    def __init__(self, steps_per_epoch):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(((epoch + 1) * self.steps_per_epoch, dict(logs or {})))


class ProgressBar(keras.callbacks.Callback):
    """One line for the whole run: updates done, loss, accuracy, images a second, time left.

    As a context it also ends the line where the training raises: `with ProgressBar(...) as bar: fit(callbacks=[bar])`.

    Args:
        total: Optimiser updates of the run.
        batch_size: Images an update.
        description: What is being trained.
        console: rich Console to draw on; None for standard output.
    """

    def __init__(self, total, batch_size, description="training", console=None):
        super().__init__()
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
            progress.TimeRemainingColumn(compact=True),
        )
        self.batch_size = batch_size
        self.done = 0
        self._bar = progress.Progress(*columns, console=console, refresh_per_second=4)
        self._task = self._bar.add_task(description, total=total, numbers="")
        self._shown = False

    def on_train_begin(self, logs=None):
        """Shows the line."""
        self.start = time.monotonic()
        self._bar.start()
        self._shown = True

    def on_train_batch_end(self, batch, logs=None):
        """Moves the line on."""
        self.done += 1
        speed = self.done * self.batch_size / max(1e-9, time.monotonic() - self.start)
        logs = logs or {}
        numbers = f"loss {logs.get('loss', 0.0):.3f}  accuracy {logs.get('accuracy', 0.0):.3f}  {speed:.0f} images/s"
        self._bar.update(self._task, completed=self.done, numbers=numbers)

    def on_train_end(self, logs=None):
        """Leaves the line standing."""
        if self._shown:
            self._bar.stop()
        self._shown = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.on_train_end()

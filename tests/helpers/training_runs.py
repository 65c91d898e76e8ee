"""Tiny runs of training that a process of its own can carry out, for tests that kill it."""

import json
import logging
import os
import pathlib

import keras
import numpy as np

from keras_margin import callbacks, recipes
from keras_margin.data import ArrayReader
from keras_margin.data.augmentation import Augmentation
from keras_margin.models import backbones

CLASSES, SIDE = 6, 8


def reader_of(num_images=60, side=SIDE, classes=CLASSES):
    """Noisy colours, a class each."""
    generator = np.random.default_rng(0)
    labels = np.arange(num_images) % classes
    colors = generator.integers(40, 215, (classes, 1, 1, 3))
    images = np.clip(colors[labels] + generator.normal(0, 40, (num_images, side, side, 3)), 0, 255)
    return ArrayReader(images.astype("uint8"), labels, [f"person {label}" for label in range(classes)])


def small(image_size, dropout=0.3):
    """A layer of each kind that has state: weights, batch statistics, a dropout's generator."""
    inputs = keras.Input((*image_size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
    x = keras.layers.Dense(8, name="first")(x)
    x = keras.layers.PReLU(name="slope")(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, keras.layers.Dense(4, name="last")(keras.layers.Dropout(dropout)(x)))


backbones.BACKBONES["small"] = small


def recipe_of(**changes):
    """A recipe of `small` under an annealed SphereFace."""
    plain = {
        "name": "small",
        "source": "",
        "head": "sphereface",
        "head_options": (("scale", 16.0),),
        "backbone": "small",
        "image_size": (SIDE, SIDE),
        "batch_size": 12,
        "steps": 120,
        "learning_rate": 0.05,
        "decay_steps": (60,),
        "augmentation": Augmentation(flip=True, contrast=0.2),
    }
    return recipes.Recipe(plain.pop("name"), plain.pop("source")).replace(**{**plain, **changes})


class FirstWorkerAlone(callbacks.RunCallback):
    """Sets a rate at the end of the second epoch and stops at that of the third, in the first worker alone."""

    def on_epoch_end(self, epoch, logs=None):
        if self.run.is_chief and epoch == 1:
            self.model.optimizer.learning_rate = 0.01
        if self.run.is_chief and epoch == 2:
            self.model.stop_training = True


def train(folder, changes=None, every=5, result=None, worker=None, then=None):
    """Trains from wherever the folder's checkpoints are; writes the result's weights and history as `result`.

    `then`, changes of another run on the same checkpoints, is refused; with what, stands in `result`.refused. After it
    the first run is begun again with FirstWorkerAlone; its reports and its rate stand in `result`.led.
    """
    if worker is not None:
        os.environ["TF_CONFIG"] = json.dumps(worker)
    import tensorflow as tf

    from keras_margin import training

    logging.disable(logging.WARNING)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    strategy = training.make_strategy(1, "mirrored" if worker is None else "multiworker")
    tf.config.experimental.enable_op_determinism()
    checkpoints = training.Checkpoints(folder, every=every)

    def fit(changes):
        return training.fit(
            recipe_of(**changes), reader_of(), strategy=strategy, seed=3, reports=40, checkpoints=checkpoints
        )

    trained = fit(changes or {})
    if result is not None:
        arrays = {f"{number:03d}": variable.numpy() for number, variable in enumerate(trained.model.variables)}
        history = json.dumps(trained.history)
        np.savez(f"{result}.tmp.npz", history=np.array(history), **arrays)
        os.replace(f"{result}.tmp.npz", result)
    if then is not None:
        try:
            fit({**(changes or {}), **then})
        except ValueError as error:
            pathlib.Path(f"{result}.refused").write_text(str(error), encoding="utf-8")
        led = training.fit(
            recipe_of(**(changes or {})), reader_of(), strategy=strategy, reports=10, callbacks=[FirstWorkerAlone()]
        )
        steps, rate = [step for step, _ in led.history], float(led.model.optimizer.learning_rate)
        pathlib.Path(f"{result}.led").write_text(json.dumps([steps, rate]), encoding="utf-8")


def read(result):
    """(weights, history) that `train` wrote."""
    with np.load(result) as file:
        arrays = {name: file[name] for name in file.files}
    history = json.loads(str(arrays.pop("history")))
    return arrays, history

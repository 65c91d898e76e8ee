"""Keras callbacks for embeddings: they work under Model.fit, and under `training.fit` and `keras-margin train`.

verification = km.callbacks.Verification("lfw.bin")
best = keras.callbacks.ModelCheckpoint("best.keras", monitor="lfw_accuracy", save_best_only=True)
model.fit(images, labels, epochs=20, callbacks=[verification, best])
"""

from keras_margin.callbacks._pair_sets import PairSet
from keras_margin.callbacks.base import RunCallback
from keras_margin.callbacks.diagnostics import TrainingDiagnostics
from keras_margin.callbacks.projector import EmbeddingProjector
from keras_margin.callbacks.schedules import MarginSchedule, ScaleSchedule
from keras_margin.callbacks.verification import Verification

__all__ = ["EmbeddingProjector", "MarginSchedule", "PairSet", "RunCallback", "ScaleSchedule"]
__all__ += ["TrainingDiagnostics", "Verification"]

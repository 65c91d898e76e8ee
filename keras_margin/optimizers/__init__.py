"""Optimizers of the papers, and their learning-rate schedules in `schedules`."""

from keras_margin.optimizers import schedules
from keras_margin.optimizers.sgd import AdamW, SGDWithL2

__all__ = ["AdamW", "SGDWithL2", "schedules"]

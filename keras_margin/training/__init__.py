"""Fitting a recipe: strategy, data, optimiser, checkpoints, progress."""

from keras_margin.training._batches import batches
from keras_margin.training._batches import check as check_batches
from keras_margin.training._building import OPTIMIZERS, build_model, check_recipe, freeze, load_backbone
from keras_margin.training._checkpoints import Checkpoints, DamagedError
from keras_margin.training._doctor import Doctor
from keras_margin.training._errors import plain_errors, plain_message
from keras_margin.training._logs import Events, Logs, rows
from keras_margin.training._loop import Trained, fit
from keras_margin.training._pair_sets import PairSet, as_text, drawn_pairs, read_pairs
from keras_margin.training._progress import ProgressBar
from keras_margin.training._state import load_checkpoint
from keras_margin.training._stop import interruptible
from keras_margin.training._strategies import KINDS, is_chief, is_multiworker, make_strategy
from keras_margin.training._verification import Verification, embedder_of
from keras_margin.training._vitals import Vitals

__all__ = ["KINDS", "OPTIMIZERS", "Checkpoints", "DamagedError", "Doctor", "Events", "Logs", "PairSet", "ProgressBar"]
__all__ += ["Trained", "Verification", "Vitals", "batches", "build_model", "check_batches", "check_recipe"]
__all__ += ["embedder_of", "fit", "freeze", "interruptible", "is_chief", "is_multiworker", "load_backbone"]
__all__ += ["as_text", "drawn_pairs", "load_checkpoint", "make_strategy", "plain_errors", "plain_message", "read_pairs"]
__all__ += ["rows"]

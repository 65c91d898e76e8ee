"""Fitting a recipe: strategy, data, optimiser, checkpoints, progress."""

# The first home of these; callbacks is where they are looked for.
from keras_margin.callbacks import (
    BatchStatistics,
    PairSet,
    TrainingDiagnostics,
    Verification,
    as_text,
    drawn_pairs,
    make_embed_fn,
    read_pairs,
)
from keras_margin.callbacks._records import Events, rows
from keras_margin.training._batches import batches
from keras_margin.training._batches import check as check_batches
from keras_margin.training._building import OPTIMIZERS, build_model, check_recipe, freeze, load_backbone
from keras_margin.training._checkpoints import Checkpoints, CorruptCheckpointError
from keras_margin.training._errors import friendly_errors, friendly_message
from keras_margin.training._logs import Logs
from keras_margin.training._loop import FitResult, fit
from keras_margin.training._progress import ProgressBar
from keras_margin.training._state import load_checkpoint
from keras_margin.training._stop import interruptible
from keras_margin.training._strategies import KINDS, is_chief, is_multiworker, make_strategy

__all__ = ["KINDS", "OPTIMIZERS", "BatchStatistics", "Checkpoints", "CorruptCheckpointError", "Events"]
__all__ += ["FitResult", "Logs", "PairSet", "ProgressBar", "TrainingDiagnostics", "Verification", "as_text"]
__all__ += ["batches", "build_model", "check_batches", "check_recipe", "drawn_pairs", "fit", "freeze"]
__all__ += ["friendly_errors", "friendly_message", "interruptible", "is_chief", "is_multiworker"]
__all__ += ["load_backbone", "load_checkpoint", "make_embed_fn", "make_strategy", "read_pairs", "rows"]

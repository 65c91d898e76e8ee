"""Fitting a recipe: strategy, data, optimizer, checkpoints, progress; and `run`, from the data to the exported files.

`run` and what it returns are loaded on first use: `fit` needs no exporter.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy
from keras_margin.training._batches import batches
from keras_margin.training._building import build_model, check_recipe, load_backbone
from keras_margin.training._checkpoints import Checkpoints, CorruptCheckpointError
from keras_margin.training._errors import friendly_errors, friendly_message
from keras_margin.training._logs import Logs
from keras_margin.training._loop import FitResult, fit
from keras_margin.training._progress import ProgressBar
from keras_margin.training._stop import interruptible
from keras_margin.training._strategies import make_strategy

if TYPE_CHECKING:
    from keras_margin.training.experiment import EvaluationResult, RunConfig, RunResult, run

__all__ = ["Checkpoints", "CorruptCheckpointError", "FitResult", "Logs", "ProgressBar"]
__all__ += ["batches", "build_model", "check_recipe", "fit", "friendly_errors", "friendly_message", "interruptible"]
__all__ += ["load_backbone", "make_strategy"]
__all__ += ["EvaluationResult", "RunConfig", "RunResult", "run"]

_HOMES = dict.fromkeys(("EvaluationResult", "RunConfig", "RunResult", "run"), "experiment")

if not TYPE_CHECKING:
    __getattr__ = _lazy.loader(__name__, _HOMES)

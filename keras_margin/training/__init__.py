"""Fitting a recipe: strategy, data, optimizer, checkpoints, progress; and `run`, from the data to the exported files.

`run` and `RunConfig` are loaded on first use: `fit` needs no exporter.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy
from keras_margin.training._building import check_recipe, freeze, load_backbone
from keras_margin.training._checkpoints import Checkpoints
from keras_margin.training._loop import fit
from keras_margin.training._strategies import make_strategy

if TYPE_CHECKING:
    from keras_margin.training.experiment import RunConfig, run

__all__ = ["Checkpoints", "RunConfig", "check_recipe", "fit", "freeze", "load_backbone", "make_strategy", "run"]

_HOMES = {"RunConfig": "experiment", "run": "experiment"}

if not TYPE_CHECKING:
    __getattr__ = _lazy.loader(__name__, _HOMES)

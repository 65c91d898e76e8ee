"""The examples in the docstrings of what a decision needs run, and give what they show."""

import doctest
import importlib

import numpy as np
import pytest

from keras_margin import evaluation

MODULES = ("calibration", "clustering", "gallery_thresholds", "groups", "probabilities", "quality")


@pytest.mark.parametrize(
    "name", [f"keras_margin.evaluation.{name}" for name in MODULES] + ["keras_margin._utils.decisions"]
)
def test_examples_run(name):
    """Each example of the module, with the public names of evaluation at hand."""
    names = {"np": np, **{each: getattr(evaluation, each) for each in evaluation.__all__}}
    found = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert found.attempted and not found.failed

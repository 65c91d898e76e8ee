"""Hints that errors share."""

import pathlib
import re

import pytest

from keras_margin._utils import messages

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_an_install_hint_is_a_command_for_a_clone():
    """The package is on no index: the hint installs from the repository."""
    assert messages.install_hint("align", "cpu") == 'pip install -e ".[align,cpu]" in a clone of keras-margin'


def test_hints_name_extras_that_exist():
    """Each extra in an install hint of the library is one of pyproject.toml's."""
    project = (ROOT / "pyproject.toml").read_text()
    section = project[project.index("[project.optional-dependencies]") :]
    extras = set(re.findall(r"^(\w+) = \[", section[: section.index("[tool.")], re.M))
    named = set()
    for file in (ROOT / "keras_margin").rglob("*.py"):
        for arguments in re.findall(r"install_hint\(((?:[\"']\w+[\"'](?:, )?)+)\)", file.read_text()):
            named |= set(re.findall(r"\w+", arguments))
    assert {"litert", "plots", "onnx", "demo", "cpu"} <= named <= extras


def test_no_hint_installs_from_an_index():
    """No message of the library says pip install "keras-margin[...]", which no index has."""
    ours = (ROOT / "keras_margin").rglob("*.py")
    assert [str(file) for file in ours if re.search(r"pip install \S*keras.margin\[", file.read_text())] == []


@pytest.mark.parametrize(
    ("name", "question"),
    [("arcfase", " Did you mean 'arcface'?"), ("zzz", ""), (7, "")],
)
def test_a_near_name_is_asked_for(name, question):
    """The nearest known name, or nothing where none is near."""
    assert messages.did_you_mean(name, ["arcface", "cosface"]) == question

"""The command lines of the documentation are ones that the commands take."""

import argparse
import importlib
import re
import shlex

import pytest
from source_tree import ROOT

from keras_margin import cli

pytestmark = [pytest.mark.once, pytest.mark.tensorflow_only]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def command_lines(text):
    """Returns the `keras-margin COMMAND ...` of a page's shell blocks, as lists of words behind the program's name."""
    blocks = re.findall(r"^```sh[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = [re.search(r"(?:^|\s)keras-margin (.+)", line) for line in lines]
    return [shlex.split(re.split(r"\s[|>]\s", call[1])[0], comments=True) for call in calls if call]


CALLS = [(path.relative_to(ROOT).as_posix(), words) for path in PAGES for words in command_lines(path.read_text())]


def problem(words):
    """Returns what a command says against its arguments; "" where it takes them."""
    name, *rest = words
    if name not in cli.COMMANDS:
        return f"there is no command {name}"
    parser = argparse.ArgumentParser(prog=name, exit_on_error=False)
    parser.error = _raise
    importlib.import_module(f"keras_margin.cli.{name}").add_arguments(parser)
    try:
        parser.parse_args(rest)
    except (argparse.ArgumentError, ValueError) as error:
        return str(error)
    return ""


def _raise(message):
    raise ValueError(message)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, _ in CALLS}))
def test_a_page_s_commands_are_taken(page):
    """Each `keras-margin` line of a page parses: the command exists, and so do its flags."""
    problems = {" ".join(words): problem(words) for where, words in CALLS if where == page}
    assert {line: what for line, what in problems.items() if what} == {}


def test_a_flag_that_does_not_exist_is_found():
    """A line with a flag that a command does not have, or with a command that is not there, is a problem."""
    assert "unrecognized arguments: --nope" in problem(["plan", "--classes=10", "--nope"])
    assert problem(["fly"]) == "there is no command fly"


def test_lines_are_read_from_shell_blocks():
    """Comments, pipes and continued lines are left out or joined; variables of the environment may stand in front."""
    page = "```sh\nA=1 keras-margin plan \\\n  --classes=10  # why\nkeras-margin recipes | head\n```\n"
    assert command_lines(page) == [["plan", "--classes=10"], ["recipes"]]

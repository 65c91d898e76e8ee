"""Tables of the commands: names are never cut, pipes get tab-separated lines, JSON holds what the table does."""

import io
import json

import pytest
from rich.console import Console

from keras_margin import cli
from keras_margin.cli import _tables

NAME = "iam_normsoftmax_casia_irv1_and_more"


def shown(width=None):
    """A table as a terminal of so many columns shows it, or as a pipe gets it."""
    file = io.StringIO()
    table = _tables.Table(["recipe", "head", "rate"], title="Recipes [all]", caption="See [docs]", left=2)
    table.add(NAME, "normsoftmax scale=30 margin=0.123456789 and some more", "0.1")
    table.add("b", "", "2")
    table.show(Console(file=file, force_terminal=width is not None, width=width, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("width", [200, 80, 60, 50, 40, 20])
def test_a_terminal_of_any_width_shows_whole_names(width):
    """However narrow the terminal, names are whole, nothing ends in an ellipsis, and lines fit where names do."""
    text = shown(width)
    assert NAME in text and "…" not in text and "Recipes [all]" in text and "See [docs]" in text
    assert width < len(NAME) or max(map(len, text.splitlines())) <= width


def test_a_pipe_gets_tab_separated_lines():
    """Headings and rows are cells between tabs; title and caption are comments."""
    assert shown().splitlines() == [
        "# Recipes [all]",
        "recipe\thead\trate",
        f"{NAME}\tnormsoftmax scale=30 margin=0.123456789 and some more\t0.1",
        "b\t\t2",
        "# See [docs]",
    ]


def test_tabs_and_lines_inside_a_cell_do_not_break_rows():
    """A cell of several lines or with a tab stays one cell of one line in a pipe."""
    file = io.StringIO()
    table = _tables.Table(["", ""], header=False, left=2)
    table.add("measured", "one\ntwo\tthree")
    table.show(Console(file=file))
    assert file.getvalue() == "measured\tone; two three\n"


def test_a_row_needs_a_cell_for_each_column():
    """A row of another length is an error, not a shifted table."""
    with pytest.raises(ValueError, match="A row needs 2 cells"):
        _tables.Table(["a", "b"]).add("c")


def test_recipes_as_json_have_every_key(capsys):
    """`recipes --json` lists all recipes, `recipes NAME --json` is one of them."""
    assert cli.main(["recipes", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert cli.main(["recipes", "arcface_casia_r50", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one in every and one["data"]["batch_size"] == 512 and one["head"]["name"] == "arcface"


def test_recipes_in_a_pipe_have_a_line_each(capsys):
    """Every recipe's whole name is the first cell of a line."""
    assert cli.main(["recipes"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert cli.main(["recipes", "--json"]) == 0
    names = [recipe["name"] for recipe in json.loads(capsys.readouterr().out)]
    assert [line.split("\t")[0] for line in lines] == ["recipe", *names]
    assert all(len(line.split("\t")) == 7 for line in lines)


def test_backbones_as_json_are_counts(capsys):
    """`backbones --json` has whole numbers where the table has millions."""
    assert cli.main(["backbones", "mobilefacenet", "--embedding_size=64", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["embedding_size"] == 64 and found["image"] == [112, 112, 3]
    assert cli.main(["backbones", "mobilefacenet", "--embedding_size=64"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split("\t")
    assert row[0] == "mobilefacenet" and row[1] == f"{found['parameters'] / 1e6:.2f}"

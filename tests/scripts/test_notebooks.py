"""The notebooks of examples/notebooks run, assert their numbers, and are what their pages say.

What a run prints is compared with what is stored, less the figures that training makes: with another number of
threads, or without oneDNN, the sums of a convolution are added up in another order, and after 15 epochs an EER of
15.2 % is one of 14.5 %. Words and counts are the same everywhere. The cells themselves assert the ranges of the
figures.
"""

import importlib.util
import json
import re

import pytest
from source_tree import ROOT

pytestmark = pytest.mark.once
FOLDER = ROOT / "examples" / "notebooks"
PAGES = sorted(FOLDER.glob("*.md"))
# Numbers with a fraction, shares, angles, sizes of files: what depends on trained weights or the converter's version.
FIGURE = re.compile(r"(?:under |over |-)?(?:\d+\.\d+|\d+(?= ?%| to \d| to under| ->| degrees| KiB))")


@pytest.fixture(scope="module")
def tool():
    """The module tools/notebooks.py."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def saved(page):
    return json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))


def told(notebook):
    """The texts of each cell's outputs, a picture's stand-in among them, with # for each figure."""
    outputs = [cell.get("outputs", ()) for cell in notebook["cells"]]
    texts = [[each["text"] if "text" in each else each["data"]["text/plain"] for each in shows] for shows in outputs]
    return [[FIGURE.sub("#", "".join(lines)) for lines in shows] for shows in texts]


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs(tool, page):
    """Every cell runs in one namespace, asserts its numbers, and shows what the notebook has stored."""
    text = page.read_text(encoding="utf-8")
    shown = tool.run(page)
    assert "assert " in text
    assert any("image/png" in output.get("data", {}) for outputs in shown for output in outputs)
    assert told(tool.notebook(tool.cells_of(text), shown)) == told(saved(page))


def test_a_stale_output_is_seen():
    """Another word, another count or another cell differs; another figure of a training does not."""

    def of(text):
        return told({"cells": [{"outputs": [{"text": [text]}]}]})

    stored = of("450 genuine pairs, EER 13.4%: 71 -> 39 degrees, 8 to 35 % (under 0.1 to 0.5 %), 43 KiB")
    assert of("450 genuine pairs, EER 9%: 73 -> 38 degrees, 20 to 36 % (0.2 to 1 %), 44 KiB") == stored
    assert of("451 genuine pairs, EER 13.4%: 71 -> 39 degrees, 8 to 35 % (under 0.1 to 0.5 %), 43 KiB") != stored
    assert of("450 genuine pairs, FAR 13.4%: 71 -> 39 degrees, 8 to 35 % (under 0.1 to 0.5 %), 43 KiB") != stored


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_its_page(tool, page):
    """The notebook has the cells of its page: who edits one writes the other by tools/notebooks.py."""
    cells = saved(page)["cells"]
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    assert found == [cell[:2] for cell in tool.cells_of(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_small_and_shows_a_picture(page):
    """At most 150 kB, one picture at least, and nothing that changes from run to run."""
    cells = saved(page)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert page.with_suffix(".ipynb").stat().st_size < 150_000
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(cell.get("execution_count") is None for cell in cells)


def test_every_notebook_has_a_page():
    """No notebook is written by hand."""
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == [page.stem for page in PAGES]


def test_a_cell_shows_what_jupyter_would(tool):
    """What it prints comes first, then the value of a last expression; a cell without either shows nothing."""
    names = {}
    assert tool.run_cell("x = 2", names) == []
    printed, value = tool.run_cell("print('a')\nx + 1", names)
    assert printed["text"] == ["a\n"] and value["data"] == {"text/plain": ["3"]}


def test_marked_blocks_keep_no_output(tool):
    """A block that is marked `no-output` is a cell whose outputs are not kept."""
    cells = tool.cells_of("# A\n\n```python\n1\n```\n\n```python no-output\n2\n```\n")
    made = tool.notebook(cells, [[], ["shown"], ["hidden"]])
    assert [cell.get("outputs") for cell in made["cells"]] == [None, ["shown"], []]

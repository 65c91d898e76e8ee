"""The documentation site: its navigation, its reference, and what tools/docs_site.py makes of pages and notebooks."""

import importlib
import importlib.util
import json
import re
import sys
import types

import pytest
from source_tree import ROOT

pytestmark = pytest.mark.once
CONFIG = ROOT / "mkdocs.yml"


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site():
    """The module tools/docs_site.py."""
    return tool("docs_site")


def test_the_reference_has_every_public_name(site):
    """The pages of the reference hold each name that tools/api_page.py finds in the imported packages, and no other."""
    public = set(tool("api_page").public_names())
    assert {f"{space}.{name}" for space, names in site.namespaces().items() for name in names} == public


def test_a_reference_page_has_an_entry_for_each_name(site):
    """A page documents its namespace, and each name once."""
    page = site.reference_page("margins", ["ArcFace", "CosFace"])
    entries = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert entries == ["keras_margin.margins", "keras_margin.margins.ArcFace", "keras_margin.margins.CosFace"]


def test_every_page_is_in_the_navigation():
    """The navigation leads to each page of docs/ once, and to nothing else."""
    listed = re.findall(r"^ +- .+: ([\w/-]+\.md)$", CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_names_are_read_without_importing(site, tmp_path):
    """`__all__` may be a sum and hold the strings of other tables; nothing in the file is run."""
    (tmp_path / "a.py").write_text(
        'raise SystemExit\nTABLE: dict[str, int] = {"c": 1}\n__all__ = ["a", *TABLE]\n__all__ += ("b",)\n'
    )
    assert site.exported(tmp_path / "a.py") == ["a", "c", "b"]


@pytest.mark.parametrize("text", ["x = 1", "__all__ = names()", "__all__ = ['a']\n__all__ += other"])
def test_names_that_cannot_be_read_are_refused(site, tmp_path, text):
    """A file whose names are computed, or that has none, is named."""
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(ValueError, match=r"a\.py needs an __all__"):
        site.exported(tmp_path / "a.py")


def test_a_module_hidden_by_its_function_is_no_namespace(site, tmp_path):
    """A package that imports the function `card` from its module `card` exports the function."""
    (tmp_path / "card.py").write_text("def card(): ...\n")
    (tmp_path / "cards.py").write_text('__all__ = ["shuffle"]\n')
    (tmp_path / "__init__.py").write_text('__all__ = ["inner"]\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("card.py", "cards.py"):
        (tmp_path / name).rename(inner / name)
    (inner / "__init__.py").write_text('from pkg.inner.card import card\n__all__ = ["card", "cards"]\n')
    assert site.namespaces(tmp_path) == {"inner": ["card"], "inner.cards": ["shuffle"]}


def test_marks_of_code_blocks_are_left_out_of_the_site(site):
    """Words behind the language, and comments that prepare a block, are for the tests alone."""
    page = "<!-- python tensorflow\nx = 1\n-->\n\n```python needs-data\nx\n```\n\n```output\n1\n```\n"
    assert site.page_for_site(page, "a.md") == "```python\nx\n```\n\n```text\n1\n```\n"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[data](data.md#splits)", "[data](data.md#splits)"),
        ("[data](../data.md)", "[data](../data.md)"),
        ("[the study](../../benchmarks/study.py)", "the study (`benchmarks/study.py`)"),
        ("[a notebook](../../examples/notebooks/angles.ipynb)", "[a notebook](../notebooks/angles.md)"),
        ("[paper](https://arxiv.org/abs/1801.07698)", "[paper](https://arxiv.org/abs/1801.07698)"),
    ],
)
def test_links_that_leave_docs(site, link, expected):
    """A link out of docs/ becomes the path of the file, or the page of a notebook; others stay."""
    assert site.page_for_site(link, "evaluation/command.md") == expected


def test_a_notebook_becomes_a_page(site):
    """Text and code stay, what a cell printed is a block, its picture is within the page; links lead to pages."""
    figure = {"output_type": "execute_result", "data": {"image/png": "AAAA", "text/plain": ["<Figure>"]}}
    cells = [
        {"cell_type": "markdown", "source": ["# Angles\n", "[Next](b.ipynb), [the study](../../docs/study.md)."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}, figure]},
    ]
    assert site.notebook_page(json.dumps({"cells": cells})) == (
        "# Angles\n[Next](b.md), [the study](../study.md).\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
        "![What the cell shows](data:image/png;base64,AAAA)\n"
    )


@pytest.mark.parametrize(
    ("html", "addresses"),
    [
        ('<script src="https://unpkg.com/x.js"></script>', ["https://unpkg.com/x.js"]),
        ('<link rel="stylesheet" href="//fonts.gstatic.com/f.css">', ["//fonts.gstatic.com/f.css"]),
        ('<a href="https://arxiv.org/">paper</a><script src="assets/x.js"></script>', []),
    ],
)
def test_a_page_that_loads_from_another_host_is_found(site, html, addresses):
    """Scripts, styles and pictures of other hosts are found; links that a reader follows are not."""
    assert site.loads_from_elsewhere(html) == addresses


def test_formulas_of_docstrings_keep_their_lines(monkeypatch):
    """A paragraph of formulas becomes a block of code, and the section of an example gets griffe's name for it."""
    monkeypatch.setitem(sys.modules, "griffe", types.SimpleNamespace(Extension=object, Object=object))
    text = "Computes it.\n\na = b\nc / d = e\n\nWhere a = b\nholds.\n\nExample:\n    >>> f()"
    expected = "Computes it.\n\n    a = b\n    c / d = e\n\nWhere a = b\nholds.\n\nExamples:\n    >>> f()"
    assert tool("docs_docstrings").for_markdown(text) == expected

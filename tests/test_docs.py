"""The documentation runs: each Python block of a page unless it says why not, each example of a public docstring."""

import contextlib
import dataclasses
import doctest
import importlib
import inspect
import io
import math
import pathlib
import pkgutil
import re
import types

import keras
import numpy as np
import pytest

import keras_margin

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PACKAGES = (
    *("_utils.decisions", "callbacks", "metrics"),
    *("margins", "margins.formulas", "ops", "layers", "losses", "models", "models.backbones", "optimizers"),
    *("optimizers.schedules", "recipes"),
)
if keras.backend.backend() == "tensorflow":  # Their examples read sets by TensorFlow, or are the same everywhere.
    PACKAGES += (
        *("alignment", "data", "detection", "evaluation", "evaluation.protocols", "export", "models.convert"),
        *("plots", "runtime", "training"),
    )
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a reader need not see, such as the arrays that the next block uses, is a block within a comment.
_BLOCK = re.compile(r"^(?:```|<!-- (?=python))([^\n]*)\n(.*?)^(?:```|-->)$", re.DOTALL | re.MULTILINE)
_BACKENDS = {"tensorflow", "jax", "torch"}
_BASES = ("keras_margin.runtime._", "keras_margin.models._")
# Words behind `python`, each a reason why a block does not run.
_REASONS = {
    "needs-data": "It reads files of the reader's own.",
    "needs-devices": "It takes several accelerators.",
    "other-library": "It shows code of a library that the tests do not install.",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page: the words behind its fence, its text, the line that it starts on."""

    words: tuple[str, ...]
    text: str
    line: int

    @property
    def is_python(self):
        return self.words[:1] == ("python",)

    @property
    def runs_here(self):
        """Whether it is for the backend in use, any if it names none, and names no reason against."""
        named = _BACKENDS.intersection(self.words)
        reasons = _REASONS.keys() & set(self.words)
        return self.is_python and not reasons and (not named or keras.backend.backend() in named)


def blocks_of(text):
    """The fenced blocks of a Markdown page, and those within comments, in order."""
    return [
        Block(tuple(found[1].split()), found[2], text.count("\n", 0, found.start(2)) + 1)
        for found in _BLOCK.finditer(text)
    ]


def run_page(path):
    """Runs the Python blocks of a page in one namespace; a block marked `output` is what the one before it prints."""
    blocks = blocks_of(path.read_text())
    # Classes are registered and saved by their module.
    module = types.ModuleType("__main__")
    for block, behind in zip(blocks, [*blocks[1:], None], strict=True):
        if not block.runs_here:
            continue
        printed = io.StringIO()
        # Blank lines in front, so that a traceback names the line of the page.
        program = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
        with contextlib.redirect_stdout(printed):
            exec(program, vars(module))
        if behind is not None and behind.words[:1] == ("output",):
            assert printed.getvalue().split() == behind.text.split(), f"{path.name}, line {behind.line}"


def _pages_that_run():
    """The pages with a block for the backend in use."""
    return [path for path in PAGES if any(block.runs_here for block in blocks_of(path.read_text(encoding="utf-8")))]


@pytest.mark.slow
@pytest.mark.parametrize("page", _pages_that_run(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_runs(page, tmp_path, monkeypatch):
    """Each Python block of a page runs, and prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # A page makes a strategy of its own: as TensorFlow's tests do, its collectives get numbers apart from those of
        # the strategy that the other tests share, with which they would meet (docs/devices.md).
        monkeypatch.setattr(tf.distribute.MirroredStrategy, "_collective_key_base", 100_000)
    run_page(page)


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_block_that_does_not_run_says_why(page):
    """A block names its language, and behind `python` stand a backend or a reason of the list, and nothing else."""
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    known = {*_BACKENDS, *_REASONS}
    assert [block.line for block in blocks if not block.words] == []
    assert [block.line for block in blocks if block.is_python and not set(block.words[1:]) <= known] == []


def test_wrong_output_is_found(tmp_path):
    """A page that shows something else than its block prints fails."""
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n")
    with pytest.raises(AssertionError, match=r"page.md, line 6"):
        run_page(page)


def test_a_block_within_a_comment_prepares_the_next(tmp_path):
    """What a comment defines is there for the visible blocks behind it."""
    page = tmp_path / "page.md"
    page.write_text("<!-- python\nx = 2\n-->\n\n```python\nprint(x)\n```\n\n```output\n2\n```\n")
    run_page(page)


def test_a_block_with_a_reason_does_not_run(tmp_path):
    """A block that reads the reader's files, or is another library's, is left out."""
    page = tmp_path / "page.md"
    page.write_text("".join(f"```python {reason}\nraise ValueError\n```\n" for reason in _REASONS))
    run_page(page)


def test_blocks_of_other_backends_are_left_out(tmp_path):
    """A block that names backends runs on those alone."""
    (other,) = sorted(_BACKENDS - {keras.backend.backend()})[:1]
    page = tmp_path / "page.md"
    page.write_text(f"```python {other}\nraise ValueError\n```\n\n```python {keras.backend.backend()}\nx = 1\n```\n")
    run_page(page)


def _anchors(path):
    """The anchors of a Markdown page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(_FENCE, "", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links():
    """(page, target, anchor) of each relative link."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", re.sub(_FENCE, "", page.read_text())):
            if target or anchor:
                yield page, page.parent / target if target else page, anchor


@pytest.mark.once
def test_relative_links_lead_to_a_file_and_a_heading():
    """Each relative link of a page leads to a file, and its anchor to a heading there."""
    links = list(_links())
    assert links
    assert [f"{page.name}: {target}" for page, target, _ in links if not target.exists()] == []
    to_headings = [link for link in links if link[2] and link[1].suffix == ".md"]
    assert [f"{page.name}: {anchor}" for page, target, anchor in to_headings if anchor not in _anchors(target)] == []


def _public():
    """(label, package, object) of each public name: functions, classes, and the classes' own public methods."""
    found = {}
    for name in PACKAGES:
        package = importlib.import_module(f"keras_margin.{name}")
        names = getattr(package, "__all__", None) or [key for key in vars(package) if not key.startswith("_")]
        for key in names:
            value = getattr(package, key)
            if not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            if value.__module__.startswith("keras_margin"):
                found.setdefault(value, (f"{name}.{key}", package, value))
    return list(found.values())


def _internal():
    """(label, package, object) of what is not public in the modules of the packages: functions and classes."""
    public = {value for _, _, value in _public()}
    # Their examples need an exported file, fonts, or a console.
    skipped = ("keras_margin.evaluation.embedders._", "keras_margin.data.glyphs", "keras_margin.training.experiment._")
    found = {}
    for name in sorted(PACKAGES, key=lambda name: -name.count(".")):  # The inner ones first, with their names.
        package = importlib.import_module(f"keras_margin.{name}")
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"keras_margin.{name}."):
            if module.name.startswith(skipped):
                continue
            for key, value in vars(importlib.import_module(module.name)).items():
                if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.name:
                    found.setdefault(value, (f"{module.name.removeprefix('keras_margin.')}.{key}", package, value))
    return [each for value, each in found.items() if value not in public]


def _private_bases(value):
    """The private classes that a public one is made of, whose methods are its own."""
    bases = value.__mro__[1:] if inspect.isclass(value) else ()
    return [base for base in bases if base.__module__.startswith(_BASES)]


def _examples():
    """A DocTest for each docstring with an example: of a function, a class, and of what a class defines."""
    finder = doctest.DocTestFinder()
    backend_free = {"np": np, "keras": keras, "math": math, "dataclasses": dataclasses, "keras_margin": keras_margin}
    for label, package, value in (*_public(), *_internal()):
        public = {name: getattr(package, name) for name in getattr(package, "__all__", ())}  # Some load on first use.
        own = vars(importlib.import_module(value.__module__))
        names = {**vars(package), **public, **own, **backend_free, "__name__": "examples"}
        for part in (value, *(_private_bases(value) if label.startswith("runtime.") else ())):
            name = label if part is value else f"{label}({part.__name__})"
            for test in finder.find(part, name, module=False, globs=names):
                if test.examples:
                    yield test


@pytest.mark.slow
@pytest.mark.parametrize("example", list(_examples()), ids=lambda example: example.name)
def test_a_docstring_s_example_runs(example, tmp_path, monkeypatch):
    """An example of a docstring runs, and gives what it shows."""
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=report.write)
    assert not runner.failures, report.getvalue()


def _is_shown_elsewhere(value):
    """Whether examples of functions show it: a NamedTuple that one returns, an error that one raises."""
    return hasattr(value, "_fields") or (inspect.isclass(value) and issubclass(value, BaseException))


@pytest.mark.parametrize(
    "name", [label for label, _, value in _public() if not _is_shown_elsewhere(value) and not label.startswith("_")]
)
def test_a_public_name_has_an_example(name):
    """Each public function and class has an example in its docstring, unless those of functions show it."""
    value = next(value for label, _, value in _public() if label == name)
    assert ">>>" in (inspect.getdoc(value) or "")

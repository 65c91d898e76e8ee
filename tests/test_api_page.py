"""docs/api.md is complete and current, and each public name is documented, annotated and shown in an example."""

import importlib.util
import inspect
import re
import subprocess
import sys

import pytest
from source_tree import ROOT

# What is still missing, by namespace, for everything that is public there; a namespace leaves these lists for good.
WITHOUT_ANNOTATIONS: set[str] = set()
WITHOUT_EXAMPLES: set[str] = set()
# Public functions whose docstring does not begin with a verb yet.
WITHOUT_A_VERB: set[str] = set()
# What is public and neither a function nor a class: the names that `build` and `get` take.
TABLES = {"models.backbones.BACKBONES", "recipes.RECIPES"}
# Public names at most; one more needs a workflow in docs/ that a user types it in.
MOST_NAMES = 205
# First words of docstrings that end as a verb does and are none.
NOUNS = {"Embeddings", "Images", "Losses", "Numbers", "Pairs", "Parts"}


@pytest.fixture(scope="module")
def api_page():
    """The module tools/api_page.py."""
    spec = importlib.util.spec_from_file_location("api_page", ROOT / "tools" / "api_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def public(api_page):
    """Each public function and class by its dotted name below keras_margin."""
    names = api_page.public_names()
    return {name: value for name, value in names.items() if inspect.isfunction(value) or inspect.isclass(value)}


def is_annotated(value):
    """Returns whether each parameter, and a function's result, has an annotation; exceptions have none to check."""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return True
    signature = inspect.signature(value)
    given = [each.annotation for each in signature.parameters.values()]
    return inspect.Signature.empty not in (given if inspect.isclass(value) else [*given, signature.return_annotation])


def namespace(name):
    return name.rpartition(".")[0]


@pytest.mark.slow
def test_the_page_is_current(api_page):
    """docs/api.md is what tools/api_page.py writes, in a process where no test has registered a network."""
    run = subprocess.run(
        [sys.executable, "tools/api_page.py", "--stdout"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert api_page.PAGE.read_text(encoding="utf-8") == run.stdout, "run python tools/api_page.py"


def test_every_name_of_the_top_level_is_in_a_namespace(api_page):
    """A name of the top level is the same object in its namespace, so that the page lists it once."""
    top = importlib.import_module("keras_margin")
    found = {id(value) for value in api_page.public_names().values()}
    assert [name for name in api_page.top_level() if id(getattr(top, name)) not in found] == []


def test_no_public_name_is_that_of_an_internal_module(api_page):
    """Nothing public is called by an underscore."""
    assert [name for name in api_page.public_names() if "._" in f".{name}"] == []


def test_public_names_are_few(api_page):
    """The namespaces list no more names than were agreed on."""
    assert len(api_page.public_names()) <= MOST_NAMES


def test_constants_are_not_public(api_page, public):
    """Functions, classes and two tables of names are public; other constants stay in their modules."""
    assert api_page.public_names().keys() - public.keys() == TABLES


def test_pages_and_scripts_name_only_what_is_public(api_page):
    """Each km.NAMESPACE.NAME of the pages and the scripts is public, or an attribute of something that is."""
    known = {*api_page.namespaces(), *api_page.public_names(), *api_page.top_level(), "__version__"}
    scripts = [*(ROOT / "examples").glob("*.py"), *(ROOT / "export").glob("*.py")]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *scripts]
    named = {found for page in pages for found in re.findall(r"\bkm((?:\.[A-Za-z_]\w*)+)", page.read_text("utf-8"))}

    def is_known(name):
        parts = name.removeprefix(".").split(".")
        owners = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        longest = max((owner for owner in owners if owner in known), key=len, default="")
        return longest == ".".join(parts) or longest not in {"", *api_page.namespaces()}

    assert sorted(name for name in named if not is_known(name)) == []


def test_every_public_name_has_a_docstring(public):
    """Functions and classes say what they are."""
    assert [name for name, value in public.items() if not value.__doc__] == []


def test_docstrings_of_functions_begin_with_a_verb(public):
    """The first word is a verb in the third person, but for the listed names."""
    functions = {name: value.__doc__.split()[0] for name, value in public.items() if inspect.isfunction(value)}
    wrong = {name for name, word in functions.items() if word in NOUNS or not re.fullmatch(r"[A-Z][a-z]+s", word)}
    assert wrong == WITHOUT_A_VERB


def test_public_names_are_annotated(public):
    """Every parameter and result has an annotation, but in the namespaces that are listed."""
    assert {namespace(name) for name, value in public.items() if not is_annotated(value)} == WITHOUT_ANNOTATIONS


def test_public_names_have_an_example(public):
    """A docstring shows an example, but in the listed namespaces; NamedTuples and errors come from functions."""
    shown = {
        name: ">>>" in value.__doc__
        for name, value in public.items()
        if not hasattr(value, "_fields") and not (inspect.isclass(value) and issubclass(value, BaseException))
    }
    assert {namespace(name) for name, has_one in shown.items() if not has_one} == WITHOUT_EXAMPLES

"""The scripts that users read and copy: what of the library they import."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for folder in ("examples", "export") for path in (ROOT / folder).glob("*.py"))

pytestmark = pytest.mark.once


def imported(path):
    """The names of the library's modules and of what is imported from them, dotted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in getattr(node, "names", ())]
        if isinstance(node, ast.Import):
            yield from (name for name in names if name.split(".")[0] == "keras_margin")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_margin":
            yield from (f"{node.module}.{name}" for name in names)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_the_library_as_users_do(path):
    """A script says `import keras_margin as km` or imports nothing of the library: no module within it."""
    assert set(imported(path)) <= {"keras_margin"}

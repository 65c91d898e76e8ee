"""The Python files of the project and what each of them imports, for the tests that compare these with a rule."""

import ast
import dataclasses
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
PACKAGE = "keras_margin"
FOLDERS = (PACKAGE, "examples", "export", "benchmarks", "tests")


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name, as a dotted path; `deferred`: inside a function or under TYPE_CHECKING."""

    name: str
    line: int
    deferred: bool


def source_files(root=ROOT):
    """Returns the paths of all Python files of the project, relative to the root."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return [path.relative_to(root).as_posix() for path in paths]


def imports_of(source, root=ROOT):
    """Returns every import of a file, at any depth; `from a import b` is `a.b`, relative ones are made absolute."""
    package = source.split("/")[:-1]
    found = []

    def walk(node, deferred):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*above, *filter(None, [node.module])])
            found.extend(Import(f"{prefix}.{alias.name}", node.lineno, deferred) for alias in node.names)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            walk(child, deferred or is_function or is_for_types)

    walk(ast.parse((root / source).read_text(encoding="utf-8"), source), False)
    return found


def module_file(name, files):
    """Returns the file of a module, or of something in it, by its dotted name; None if it is not in `files`."""
    parts = name.split(".")
    while parts:
        path = "/".join(parts)
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if candidate in files:
                return candidate
        parts.pop()
    return None

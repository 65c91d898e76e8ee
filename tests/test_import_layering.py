"""Levels of the packages: a module imports only from lower levels, and from no package on its own, but for a few."""

import subprocess
import sys

import pytest
from source_tree import PACKAGE, ROOT, imports_of, module_file, source_files

# The modules and packages right below keras_margin, from the lowest level to the highest.
LEVELS = (
    {
        *("_arguments", "_keras", "_registration", "_typing"),
        *("arrays", "canvas", "curves", "exif", "files", "messages", "metadata", "optimizers", "pickles", "progress"),
    },
    {"_cosine_source", "detection", "evaluation", "ops", "pair_lists"},
    {"alignment", "backbones", "data", "losses", "margins", "plots"},
    {"audit", "convert", "layers", "pairs", "photographs", "recipes", "runtime"},
    {"models", "protocols"},
    {"export", "training"},
    {"embedders", "experiment"},
    {"cli"},
)
LEVEL_OF = {package: level for level, packages in enumerate(LEVELS) for package in packages}

# Inside a package a file may use these, `base` and the `_private` ones of the same package.
SHARED = {
    "alignment": {"detector", "images", "resample", "transform"},
    "data": {"reader"},
    "detection": {"build", "detector", "graph", "pyramid_scales", "sampling"},
    "evaluation": {"pairs", "thresholds", "k_fold", "templates"},
    "export": {"tflite"},
    "layers": {"margin_head", "sampling"},
    "margins": {"formulas"},
    "ops": {"memory", "negatives", "numerics", "sample", "sharding", "validation"},
}

BACKENDS = {"tensorflow", "jax", "torch"}
PORTABLE = {
    *("_arguments", "_cosine_source", "_keras", "_registration", "_typing"),
    *("backbones", "convert", "curves", "layers", "losses", "margins", "models", "ops", "pickles"),
}
WITHOUT_KERAS = {"alignment", "evaluation", "exif", "messages", "metadata", "photographs", "runtime"}
ON_THE_DEVICE = {"numpy", "ai_edge_litert", PACKAGE, *sys.stdlib_module_names}


def _package(source):
    """Returns the module or package right below keras_margin that a file is in; None for the top __init__."""
    inside = source.removesuffix(".py").split("/")[1]
    return None if inside == "__init__" else inside


def _file(source):
    return source.removesuffix(".py").split("/")[-1]


def _objection(source, home):
    """Returns why the file `source` must not import the file `home`, or None."""
    package, other = _package(source), _package(home)
    if other is not None and other not in LEVEL_OF:
        return None  # Named for itself.
    if other is None:
        return "imports through the top level, which hides the package: import the module, or __version__ by name"
    if package == other:
        name = _file(home)
        if source == home or _file(source) == "__init__":
            return None
        if name == "__init__":
            return f"imports {package}'s __init__, which imports it"
        if name == "base" or name.startswith("_") or name in SHARED.get(package, ()):
            return None
        return f"imports {name}, another public file of {package}"
    if LEVEL_OF[other] < LEVEL_OF[package]:
        return None
    where = "on its own level" if LEVEL_OF[other] == LEVEL_OF[package] else "on a higher level"
    return f"imports {other}, {where}"


def layering_violations(root=ROOT):
    """Returns a line for each import that the levels forbid."""
    files = [source for source in source_files(root) if source.startswith(f"{PACKAGE}/")]
    found = []
    for source in files:
        if _package(source) is None:
            continue
        if _package(source) not in LEVEL_OF:
            found.append(f"{source} has no level: give {_package(source)} one in LEVELS")
            continue
        for imported in imports_of(source, root):
            home = module_file(imported.name, files) if imported.name.split(".")[0] == PACKAGE else None
            if home is None or imported.name == f"{PACKAGE}.__version__":
                continue
            if objection := _objection(source, home):
                found.append(f"{source}:{imported.line} {objection}")
    return list(dict.fromkeys(found))  # One line that imports three names is one violation.


def private_keras_imports(root=ROOT):
    """Returns file:line of each import of keras.src outside _keras.py."""
    return [
        f"{source}:{imported.line}"
        for source in source_files(root)
        if source.startswith(f"{PACKAGE}/") and source != f"{PACKAGE}/_keras.py"
        for imported in imports_of(source, root)
        if f"{imported.name}.".startswith("keras.src.")
    ]


def _third_party(packages, deferred):
    """Yields (file:line, top-level name) of every import from outside the library in these packages."""
    for source in source_files():
        if source.startswith(f"{PACKAGE}/") and _package(source) in packages:
            for imported in imports_of(source):
                if deferred or not imported.deferred:
                    yield f"{source}:{imported.line}", imported.name.split(".")[0]


def test_modules_import_from_lower_levels_alone():
    """No import goes to a higher level, to another package on the same level, or through the top level."""
    found = layering_violations()
    assert not found, "\n".join(["", *found])


def test_no_level_names_a_package_that_is_gone():
    """Each name in LEVELS is a module or package of the library."""
    there = {_package(source) for source in source_files() if source.startswith(f"{PACKAGE}/")}
    assert set(LEVEL_OF) - there == set()


def test_keras_src_is_imported_in_one_file_alone():
    """Private API of Keras moves without notice: _keras.py is the one place that uses its modules."""
    assert private_keras_imports() == []


def test_portable_packages_name_a_backend_only_where_it_runs():
    """What runs on three backends imports one of them inside functions alone."""
    assert [at for at, name in _third_party(PORTABLE, deferred=False) if name in BACKENDS] == []


def test_evaluation_alignment_and_runtime_import_no_keras():
    """What runs on a device imports neither Keras nor a backend, inside functions either."""
    assert [at for at, name in _third_party(WITHOUT_KERAS, deferred=True) if name in {"keras", *BACKENDS}] == []


def test_the_runtime_imports_numpy_and_litert_alone():
    """The runtime, and what it stands on, needs no other package."""
    packages = {"runtime", "canvas", "files", "messages", "metadata"}
    assert [(at, name) for at, name in _third_party(packages, deferred=True) if name not in ON_THE_DEVICE] == []


def test_importing_the_runtime_loads_neither_keras_nor_a_backend():
    """A fresh process that imports the runtime has loaded neither."""
    code = "import sys, keras_margin.runtime; print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "text", "objection"),
    [
        ("losses.py", "def f():\n    from keras_margin import models", "losses.py:2 imports models, on a higher level"),
        ("losses.py", "from .margins import ArcFace", "losses.py:1 imports margins, on its own level"),
        ("models.py", "import keras_margin.export as e", "models.py:1 imports export, on a higher level"),
        ("models.py", "import keras_margin as km", "models.py:1 imports through the top level"),
        ("models.py", "from keras_margin import ArcFaceHead", "models.py:1 imports through the top level"),
        ("data/folder.py", "from . import bin", "data/folder.py:1 imports bin, another public file of data"),
        ("data/folder.py", "from keras_margin.data import open", "data/folder.py:1 imports data's __init__"),
        ("data/folder.py", "from keras_margin.plots import roc", "data/folder.py:1 imports plots, on its own level"),
        ("attic.py", "", "attic.py has no level"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, source, text, objection):
    """Each kind of forbidden import is named with its line."""
    _tree(tmp_path, {source: text})
    (found,) = layering_violations(tmp_path)
    assert found.startswith(f"{PACKAGE}/{objection}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("margins.py", "from keras_margin import ops\nfrom keras_margin.ops import margin_softmax\nimport math"),
        ("export.py", "from keras_margin import __version__"),
        ("plots.py", "from keras_margin import evaluation"),
        ("cli/train.py", "def train():\n    from keras_margin import training"),
        ("data/folder.py", "from keras_margin.data import _images\nfrom keras_margin.data.base import Faces"),
        ("data/__init__.py", "from keras_margin.data.folder import Folder"),
    ],
)
def test_a_right_import_passes(tmp_path, source, text):
    """Imports from lower levels, and of shared files, are no violation."""
    _tree(tmp_path, {source: text})
    assert layering_violations(tmp_path) == []


@pytest.mark.parametrize("text", ["import keras.src", "def f():\n    from keras.src.backend import common"])
def test_private_keras_is_found_outside_its_file(tmp_path, text):
    """An import of keras.src is named in any file but _keras.py."""
    _tree(tmp_path, {"ops.py": text, "_keras.py": text})
    assert private_keras_imports(tmp_path) == [f"{PACKAGE}/ops.py:{len(text.splitlines())}"]


def _tree(root, sources):
    names = ["__init__", "ops", "margins", "losses", "models", "export", "plots", "training", "evaluation/__init__"]
    names += [f"data/{name}" for name in ("__init__", "_images", "base", "bin", "folder")]
    for path, text in ({f"{name}.py": "" for name in names} | sources).items():
        (root / PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (root / PACKAGE / path).write_text(text)

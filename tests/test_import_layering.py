"""Levels of the packages: a module imports only from lower levels, and from no package on its own, but for a few."""

import subprocess
import sys

import pytest
from source_tree import PACKAGE, ROOT, imports_of, module_file, source_files

# The modules and packages of the library, from the lowest level to the highest. A package within another one has a
# level of its own where it is named here; otherwise it is on the level of the one around it.
LEVELS = (
    {"_typing"},
    {"_arguments", "_keras", "_lazy", "_registration", "_utils", "optimizers"},
    {"detection"},
    {"_cosine_source", "alignment", "evaluation", "ops"},
    {"data", "losses", "margins", "metrics", "models.backbones", "plots", "runtime"},
    {"layers", "models.convert", "recipes"},
    {"evaluation.protocols", "models"},
    {"callbacks", "export"},
    {"training"},
    {"evaluation.embedders", "training.experiment"},
    {"cli"},
)
LEVEL_OF = {package: level for level, packages in enumerate(LEVELS) for package in packages}

# Inside a package a file may use these, `base` and the `_private` ones of the same package.
SHARED = {
    "_utils": {"decisions", "messages"},
    "alignment": {"detector", "images", "resample", "transform"},
    "data": {"augmentation", "bin", "pair_lists", "reader"},
    "detection": {"build", "detector", "graph", "pyramid_scales", "sampling"},
    "evaluation": {"pairs", "thresholds", "k_fold", "templates", "probabilities"},
    "export": {"tflite"},
    "layers": {"margin_head", "sampling"},
    "margins": {"formulas"},
    "optimizers": {"schedules"},
    "plots": {"margin_curves"},
    "models": {"presets"},
    "ops": {"memory", "negatives", "numerics", "sample", "sharding", "validation"},
}

BACKENDS = {"tensorflow", "jax", "torch"}
PORTABLE = {
    *("_arguments", "_cosine_source", "_keras", "_lazy", "_registration", "_typing", "_utils"),
    *(
        "callbacks",
        "layers",
        "losses",
        "margins",
        "metrics",
        "models",
        "models.backbones",
        "models.convert",
        "ops",
        "optimizers",
        "plots",
    ),
}
WITHOUT_KERAS = {"_lazy", "_utils", "alignment", "evaluation", "runtime"}
# The files that the runtime stands on.
UNDER_THE_RUNTIME = (
    *("__init__", "_lazy", "_registration", "_typing"),
    *("_utils/arrays", "_utils/canvas", "alignment/resample", "alignment/transform"),
    *("_utils/decisions", "_utils/files", "_utils/messages", "_utils/metadata", "_utils/normalization"),
)
ON_THE_DEVICE = {"numpy", "ai_edge_litert", PACKAGE, *sys.stdlib_module_names}
# Of ONNX files alone, which other packages open by it.
ONNX_RUNTIME = (f"{PACKAGE}/runtime/_onnx.py:", "onnxruntime")


def _package(source):
    """Returns the name in LEVELS of what a file is in, the most precise one; without one, its first part below the top.

    None for the top __init__.
    """
    parts = source.removesuffix(".py").removesuffix("/__init__").split("/")[1:]
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((name for name in names if name in LEVEL_OF), parts[0] if parts else None)


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


def _is_lazy(source, imported, home):
    """Returns whether a package's __init__ loads something of its own on first use, on whatever level that is."""
    return imported.deferred and _file(source) == "__init__" and home.startswith(source.removesuffix("__init__.py"))


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
            if home is None or imported.name == f"{PACKAGE}.__version__" or _is_lazy(source, imported, home):
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


def _files_of(packages):
    """Returns the files of these packages, as LEVELS names them."""
    return [source for source in source_files() if source.startswith(f"{PACKAGE}/") and _package(source) in packages]


def _third_party(sources, deferred):
    """Yields (file:line, top-level name) of every import in these files."""
    for source in sources:
        for imported in imports_of(source):
            if deferred or not imported.deferred:
                yield f"{source}:{imported.line}", imported.name.split(".")[0]


@pytest.mark.slow
def test_modules_import_from_lower_levels_alone():
    """No import goes to a higher level, to another package on the same level, or through the top level."""
    found = layering_violations()
    assert not found, "\n".join(["", *found])


def test_no_level_names_a_package_that_is_gone():
    """Each name in LEVELS is a module or package of the library."""
    there = {_package(source) for source in source_files() if source.startswith(f"{PACKAGE}/")}
    assert set(LEVEL_OF) - there == set()


@pytest.mark.slow
def test_keras_src_is_imported_in_one_file_alone():
    """Private API of Keras moves without notice: _keras.py is the one place that uses its modules."""
    assert private_keras_imports() == []


def test_portable_packages_name_a_backend_only_where_it_runs():
    """What runs on three backends imports one of them inside functions alone."""
    assert [at for at, name in _third_party(_files_of(PORTABLE), deferred=False) if name in BACKENDS] == []


def test_evaluation_alignment_and_runtime_import_no_keras():
    """What runs on a device imports neither Keras nor a backend, inside functions either."""
    assert [
        at for at, name in _third_party(_files_of(WITHOUT_KERAS), deferred=True) if name in {"keras", *BACKENDS}
    ] == []


def test_the_runtime_imports_numpy_and_litert_alone():
    """The runtime, and what it stands on, needs no other package."""
    sources = [*_files_of({"runtime"}), *(f"{PACKAGE}/{name}.py" for name in UNDER_THE_RUNTIME)]
    others = [(at, name) for at, name in _third_party(sources, deferred=True) if name not in ON_THE_DEVICE]
    assert [(at, name) for at, name in others if not (at.startswith(ONNX_RUNTIME[0]) and name == ONNX_RUNTIME[1])] == []


def test_the_files_under_the_runtime_are_listed():
    """Each module of the library that the runtime imports is among those that are checked with it."""
    imported = {
        module_file(each.name, source_files()) for source in _files_of({"runtime"}) for each in imports_of(source)
    }
    below = {home for home in imported if home and "/runtime/" not in home}
    assert below <= {f"{PACKAGE}/{name}.py" for name in UNDER_THE_RUNTIME}


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
        ("data/folder.py", "from . import orl", "data/folder.py:1 imports orl, another public file of data"),
        ("data/folder.py", "from keras_margin.data import open", "data/folder.py:1 imports data's __init__"),
        ("data/folder.py", "from keras_margin.plots import roc", "data/folder.py:1 imports plots, on its own level"),
        (
            "models.py",
            "from keras_margin.evaluation import protocols",
            "models.py:1 imports evaluation.protocols, on its",
        ),
        (
            "evaluation/__init__.py",
            "from keras_margin.evaluation import protocols",
            "evaluation/__init__.py:1 imports eva",
        ),
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
        ("evaluation/__init__.py", "def f():\n    from keras_margin.evaluation import protocols"),
        ("evaluation/protocols.py", "from keras_margin.evaluation import roc"),
    ],
)
def test_a_right_import_passes(tmp_path, source, text):
    """Imports from lower levels, and of shared files, are not violations."""
    _tree(tmp_path, {source: text})
    assert layering_violations(tmp_path) == []


@pytest.mark.parametrize("text", ["import keras.src", "def f():\n    from keras.src.backend import common"])
def test_private_keras_is_found_outside_its_file(tmp_path, text):
    """An import of keras.src is named in any file but _keras.py."""
    _tree(tmp_path, {"ops.py": text, "_keras.py": text})
    assert private_keras_imports(tmp_path) == [f"{PACKAGE}/ops.py:{len(text.splitlines())}"]


def _tree(root, sources):
    names = ["__init__", "ops", "margins", "losses", "models", "export", "plots", "training", "evaluation/__init__"]
    names += ["evaluation/protocols"]
    names += [f"data/{name}" for name in ("__init__", "_images", "base", "folder", "orl")]
    for path, text in ({f"{name}.py": "" for name in names} | sources).items():
        (root / PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (root / PACKAGE / path).write_text(text)

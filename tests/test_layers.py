"""The house of the design, section 2: a module imports from lower floors alone, and no neighbour."""

import subprocess
import sys

import pytest
from test_build_file import PACKAGE, ROOT, imports_of, module_file, source_files

FLOORS = (
    {
        "numerics",
        "checks",
        "files",
        "pickles",
        "replicas",
        "notes",
        "contract",
        "messages",
        "progress",
        "arrays",
        "exif",
    },
    {"margins", "engines", "losses", "pair_lists"},
    {"heads", "backbones", "data", "alignment", "evaluation", "plots"},
    {"model", "curves", "export", "runtime", "recipes", "optimizers", "pairs", "audit", "convert"},
    {"embedders", "photographs", "protocols"},
    {"training", "experiment", "cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# A room may use these neighbours on its own floor.
NEIGHBOURS = {
    "plots": {"evaluation"},  # Draws what evaluation computed.
    "export": {"model"},  # Reads one from a .keras file.
    "experiment": {"training"},  # Training is its first step.
    "cli": {"training", "experiment"},  # Its commands are those calls.
}
# Inside a package a file may use these, `base` and the `_private` ones; otherwise the files are neighbours.
SHARED = {
    "export": {"tflite"},
    "alignment": {"transform", "detector", "images"},
    "data": {"reader"},
    "evaluation": {"pairs", "thresholds", "k_fold", "templates"},
}

BACKENDS = {"tensorflow", "jax", "torch"}
PORTABLE = {
    "numerics",
    "checks",
    "replicas",
    "notes",
    "margins",
    "engines",
    "losses",
    "heads",
    "backbones",
    "model",
    "curves",
    "convert",
    "messages",
    "pickles",
}
KNOWS_NO_KERAS = {"evaluation", "alignment", "runtime", "contract", "messages"}
ON_THE_DEVICE = {"numpy", "ai_edge_litert", PACKAGE, *sys.stdlib_module_names}


def _room(source):
    """The module or package right below keras_margin that a file belongs to; None for the top __init__."""
    inside = source.removesuffix(".py").split("/")[1]
    return None if inside == "__init__" else inside


def _file(source):
    return source.removesuffix(".py").split("/")[-1]


def _objection(source, home):
    """Why the file `source` must not import the file `home`, or None."""
    room, other = _room(source), _room(home)
    if other is not None and other not in FLOOR_OF:
        return None  # Named for itself.
    if other is None:
        return "imports through the top level, which hides the floor: import the module, or __version__ by name"
    if room == other:
        package, name = source.split("/")[1], _file(home)
        if source == home or _file(source) == "__init__":
            return None
        if name == "__init__":
            return f"imports {package}'s __init__, which imports it"
        if name == "base" or name.startswith("_") or name in SHARED.get(package, ()):
            return None
        return f"imports {name}, its neighbour in {package}"
    if FLOOR_OF[other] < FLOOR_OF[room] or other in NEIGHBOURS.get(room, ()):
        return None
    where = "on its own floor" if FLOOR_OF[other] == FLOOR_OF[room] else "on a higher floor"
    return f"imports {other}, {where}"


def floor_violations(root=ROOT):
    files = [source for source in source_files(root) if source.startswith(f"{PACKAGE}/")]
    found = []
    for source in files:
        if _room(source) is None:
            continue
        if _room(source) not in FLOOR_OF:
            found.append(f"{source} has no floor: give {_room(source)} one in the design's section 2 and in FLOORS")
            continue
        for imported in imports_of(source, root):
            home = module_file(imported.name, files) if imported.name.split(".")[0] == PACKAGE else None
            if home is None or imported.name == f"{PACKAGE}.__version__":
                continue
            if objection := _objection(source, home):
                found.append(f"{source}:{imported.line} {objection}")
    return list(dict.fromkeys(found))  # One line that imports three names is one violation.


def _third_party(rooms, deferred):
    """(file:line, top-level name) of every import from outside the package in these rooms."""
    for source in source_files():
        if source.startswith(f"{PACKAGE}/") and _room(source) in rooms:
            for imported in imports_of(source):
                if deferred or not imported.deferred:
                    yield f"{source}:{imported.line}", imported.name.split(".")[0]


def test_modules_import_from_lower_floors_alone():
    found = floor_violations()
    assert not found, "\n".join(["", *found])


def test_the_portable_rooms_name_a_backend_only_where_it_runs():
    assert [at for at, name in _third_party(PORTABLE, deferred=False) if name in BACKENDS] == []


def test_evaluation_alignment_and_runtime_know_no_keras():
    assert [at for at, name in _third_party(KNOWS_NO_KERAS, deferred=True) if name in {"keras", *BACKENDS}] == []


def test_the_runtime_imports_numpy_and_litert_alone():
    assert [
        (at, name)
        for at, name in _third_party({"runtime", "contract", "files", "messages"}, deferred=True)
        if name not in ON_THE_DEVICE
    ] == []


@pytest.mark.skipif(not (ROOT / PACKAGE / "runtime").exists(), reason="the runtime is not there yet")
def test_importing_the_runtime_loads_neither_keras_nor_a_backend():
    code = "import sys, keras_margin.runtime; print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "text", "objection"),
    [
        ("margins.py", "def f():\n    from keras_margin import model", "margins.py:2 imports model, on a higher floor"),
        ("margins.py", "from .losses import IAM", "margins.py:1 imports losses, on its own floor"),
        ("model.py", "import keras_margin.export as e", "model.py:1 imports export, on its own floor"),
        ("model.py", "import keras_margin as km", "model.py:1 imports through the top level"),
        ("model.py", "from keras_margin import ArcFaceHead", "model.py:1 imports through the top level"),
        ("data/folder.py", "from . import bin", "data/folder.py:1 imports bin, its neighbour in data"),
        ("data/folder.py", "from keras_margin.data import open", "data/folder.py:1 imports data's __init__"),
        ("data/folder.py", "from keras_margin.plots import roc", "data/folder.py:1 imports plots, on its own floor"),
        ("attic.py", "", "attic.py has no floor"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, source, text, objection):
    _tree(tmp_path, {source: text})
    (found,) = floor_violations(tmp_path)
    assert found.startswith(f"{PACKAGE}/{objection}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("margins.py", "from keras_margin import numerics\nfrom keras_margin.numerics import safe_arccos\nimport math"),
        ("export.py", "from keras_margin import __version__"),
        ("plots.py", "from keras_margin import evaluation"),
        ("cli/train.py", "def train():\n    from keras_margin import training"),
        ("data/folder.py", "from keras_margin.data import _images\nfrom keras_margin.data.base import Faces"),
        ("data/__init__.py", "from keras_margin.data.folder import Folder"),
    ],
)
def test_a_right_import_passes(tmp_path, source, text):
    _tree(tmp_path, {source: text})
    assert floor_violations(tmp_path) == []


def _tree(root, sources):
    names = ["__init__", "numerics", "losses", "model", "export", "plots", "training", "evaluation/__init__"]
    names += [f"data/{name}" for name in ("__init__", "_images", "base", "bin", "folder")]
    for path, text in ({f"{name}.py": "" for name in names} | sources).items():
        (root / PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (root / PACKAGE / path).write_text(text)

"""The package is typed: mypy passes the README's own code and finds wrong arguments and misspelt names."""

import ast
import pathlib
import re

import pytest
from mypy import api

import keras_margin as km

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What the README's code expects to be there.
README_HAS = """
from typing import Any
num_classes: int = 10
backbone: Any; optimizer: Any; embedding: Any; label: Any; labels: Any; image: Any; images: Any
embeddings: Any; prototypes: Any; sample_weight: Any; one: Any; other: Any
"""
# One wrong line each, and the start of mypy's error.
WRONG = {
    'km.ArcFaceHead("ten")': 'Argument 1 to "ArcFaceHead" has incompatible type "str"; expected "int"',
    'km.CosFaceHead(10, margin="0.4")': 'Argument "margin" to "CosFaceHead" has incompatible type "str"',
    "km.EmbeddingModel(backbone, 10)": 'Argument 2 to "EmbeddingModel" has incompatible type "int"',
    'km.losses.IAM(beta="0.1")': 'Argument "beta" to "IAM" has incompatible type "str"; expected "float"',
    "km.margins.CosFace(m=0.4)": 'Unexpected keyword argument "m" for "CosFace"',
    "km.export.to_tflite(model, 5)": 'Argument 2 to "to_tflite" has incompatible type "int"',
    'km.export.to_tflite(model, "face.tflite", quantise="int8")': 'Unexpected keyword argument "quantise"',
    "km.ops.margin_softmax(embeddings, prototypes)": 'Missing positional arguments "labels", "margin"',
    "embedder.verify(one)": 'Missing positional argument "b" in call to "verify" of "Embedder"',
    'km.data.open("orl", image_size=112)': 'Argument "image_size" to "open" has incompatible type "int"',
    'km.evaluation.tar_at_far([0.9], [True], far="1e-3")': 'Argument "far" to "tar_at_far" has incompatible type "str"',
    'km.evaluation.k_fold_accuracy([0.9], [True], search="best")': 'Argument "search" to "k_fold_accuracy" has',
    'km.alignment.align(image, policy="first")': 'Argument "policy" to "align" has incompatible type',
    'km.training.fit("arcface_casia_r50", km.data.open("orl"))': 'Argument 1 to "fit" has incompatible type "str"',
    "km.ArcfaceHead": 'Module has no attribute "ArcfaceHead"',
    "km.losses.IAN": 'Module has no attribute "IAN"',
    "km.ops.margin_sofmax": 'Module has no attribute "margin_sofmax"',
}


def errors_of(path):
    """Returns {line: error} of mypy on a file, with the project's configuration."""
    output, problems, _ = api.run([f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={path.parent}", str(path)])
    assert not problems, problems
    return {int(line): text for line, text in re.findall(r"^[^:\n]+:(\d+): error: (.*)$", output, re.M)}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Mypy's errors on the README's Python code (below line 0) and on the wrong lines, from one run."""
    readme = "\n".join(re.findall(r"^```python[^\n]*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.S | re.M))
    right = (README_HAS + readme).replace("\n\n", "\n").strip().splitlines()
    path = tmp_path_factory.mktemp("typing") / "snippet.py"
    path.write_text("\n".join([*right, *WRONG]) + "\n")
    return {line - len(right): error for line, error in errors_of(path).items()}


@pytest.mark.slow
def test_the_code_of_the_readme_passes_mypy(errors):
    """A type checker finds nothing wrong in the README's own lines."""
    assert {line: error for line, error in errors.items() if line <= 0} == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(WRONG)), ids=list(WRONG))
def test_mypy_finds_a_wrong_line(number, errors):
    """A wrong argument and a misspelt name are errors, of the kind that names them."""
    assert errors.get(number + 1, "no error").startswith(list(WRONG.values())[number])


def names_for_type_checkers(source):
    """Returns the names that a module imports under `if TYPE_CHECKING:`."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    (block,) = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    return [alias.asname or alias.name for node in block.body for alias in node.names]


@pytest.mark.parametrize("module", [km, km.ops], ids=["keras_margin", "ops"])
def test_type_checkers_see_the_lazy_names(module):
    """The imports under TYPE_CHECKING are the public names, each once."""
    seen = names_for_type_checkers(pathlib.Path(module.__file__).read_text())
    assert sorted(seen) == sorted({*module.__all__} - {"__version__"})


@pytest.mark.parametrize("name", ["layers", "losses", "margins"])
def test_a_table_of_names_is_exported(name):
    """Each class in HEADS, LOSSES and MARGINS is in its package's __all__, which type checkers read."""
    package = getattr(km, name)
    table = getattr(package, {"layers": "HEADS", "losses": "LOSSES", "margins": "MARGINS"}[name])
    assert {entry.__name__ for entry in table.values()} <= set(package.__all__)

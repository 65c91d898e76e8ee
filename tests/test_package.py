import pathlib
import re
import subprocess
import sys

import pytest

import keras_margin as km

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_imports_no_backend():
    """Imports no backend with the package."""
    found = run(
        "import sys, keras_margin, keras_margin.evaluation, keras_margin.runtime\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules), 'a backend was imported'"
    )
    assert found.returncode == 0, found.stderr


def test_without_a_backend_the_error_names_the_extras():
    """Names the extras where there is no backend."""
    found = run("import sys; sys.modules['tensorflow'] = None\nimport keras_margin as km; km.ArcFaceHead")
    assert "ImportError: keras-margin needs Keras and a backend for it; tensorflow cannot be imported" in found.stderr
    assert 'pip install -e ".[cpu]"' in found.stderr and "or with gpu (TensorFlow with CUDA)" in found.stderr


def test_without_keras_the_error_names_the_extras():
    """A device may have NumPy and LiteRT alone: the message says what to install there."""
    found = run("import sys; sys.modules['keras'] = None\nimport keras_margin as km; km.ArcFaceHead")
    assert "ImportError: keras-margin needs Keras and a backend for it; keras cannot be imported" in found.stderr


def test_every_public_name_exists_and_others_are_refused():
    """Exports every public name, and refuses an unknown one."""
    assert all(getattr(km, name) is not None for name in km.__all__)
    assert km.ArcFaceHead is km.layers.ArcFaceHead
    with pytest.raises(AttributeError, match="no attribute 'ArcfaceHead'. It has:.*ArcFaceHead"):
        km.ArcfaceHead  # noqa: B018


def test_the_citation_names_this_version():
    """CITATION.cff and CHANGELOG.md know the version of the package."""
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == km.__version__
    assert f"## [{km.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_py_typed_is_installed():
    """The marker of a typed package lies in it, and pyproject.toml and BUILD take it along."""
    assert (ROOT / "keras_margin" / "py.typed").is_file()
    project = (ROOT / "pyproject.toml").read_text()
    assert '[tool.setuptools.package-data]\nkeras_margin = ["py.typed"]' in project
    assert '"keras_margin/py.typed"' in (ROOT / "BUILD").read_text()


def test_python_versions_agree():
    """pyproject.toml, the Makefile, README.md and CONTRIBUTING.md name the same versions of Python."""
    project = (ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert re.search(r'^requires-python = ">=(.+)"', project, re.M)[1] == versions[0]
    assert f"  {'|'.join(versions)}) ;;" in (ROOT / "Makefile").read_text()
    for page in ("Makefile", "README.md", "CONTRIBUTING.md"):
        assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / page).read_text(), page


def test_pre_commit_runs_the_ruff_of_dev():
    """A commit is formatted by the ruff that `make lint` checks with."""
    (wanted,) = set(re.findall(r'^  "(ruff==.+?)",', (ROOT / "pyproject.toml").read_text(), re.M))
    assert set(re.findall(r'"(ruff.+?)"', (ROOT / ".pre-commit-config.yaml").read_text())) == {wanted}

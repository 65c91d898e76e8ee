import subprocess
import sys

import pytest

import keras_margin as km


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_imports_no_backend():
    found = run(
        "import sys, keras_margin, keras_margin.evaluation, keras_margin.runtime\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules), 'a backend was imported'"
    )
    assert found.returncode == 0, found.stderr


def test_without_a_backend_the_error_names_the_extras():
    found = run("import sys; sys.modules['tensorflow'] = None\nimport keras_margin as km; km.ArcFaceHead")
    assert "ImportError: keras-margin needs Keras and a backend for it; tensorflow cannot be imported" in found.stderr
    assert 'pip install -e ".[cpu]"' in found.stderr and "or with gpu (TensorFlow with CUDA)" in found.stderr


def test_without_keras_the_error_names_the_extras():
    """A device may have NumPy and LiteRT alone: the message says what to install there."""
    found = run("import sys; sys.modules['keras'] = None\nimport keras_margin as km; km.ArcFaceHead")
    assert "ImportError: keras-margin needs Keras and a backend for it; keras cannot be imported" in found.stderr


def test_every_public_name_is_there_and_an_unknown_one_is_refused():
    assert all(getattr(km, name) is not None for name in km.__all__)
    assert km.ArcFaceHead is km.layers.ArcFaceHead
    with pytest.raises(AttributeError, match="no attribute 'ArcfaceHead'. It has:.*ArcFaceHead"):
        km.ArcfaceHead  # noqa: B018

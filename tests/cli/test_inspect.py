"""`keras-margin inspect`: the lines of an exported file's metadata."""

import pytest

from keras_margin.cli import inspect


@pytest.mark.parametrize(("unit_length", "words"), [(True, "unit length"), (False, "not of unit length")])
def test_inspect_says_whether_embeddings_have_unit_length(unit_length, words):
    """A file of integers from input to output does not normalise its embeddings."""
    embedding = {"dtype": "int8", "size": 128, "unit_length": unit_length}
    assert inspect.rows({"embedding": embedding}) == [("embedding", f"int8 x 128, {words}")]

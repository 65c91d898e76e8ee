"""`keras-margin inspect`: the lines of an exported file's metadata."""

import json

import pytest

from keras_margin import cli
from keras_margin.cli import inspect
from keras_margin.evaluation.model_card import preset_card


@pytest.mark.parametrize(("unit_length", "words"), [(True, "unit length"), (False, "not of unit length")])
def test_inspect_says_whether_embeddings_have_unit_length(unit_length, words):
    """A file of integers from input to output does not normalise its embeddings."""
    embedding = {"dtype": "int8", "size": 128, "unit_length": unit_length}
    assert inspect.rows({"embedding": embedding}) == [("embedding", f"int8 x 128, {words}")]


def test_the_card_of_a_preset_is_its_readme(tmp_path, monkeypatch, capsys):
    """Prints the hub's settings and how to load it too, so that the card can take the place of README.md."""
    found = {"about": {"license": "cc-by-4.0", "intended_use": "the door"}, "tasks": ["EmbeddingModel"]}
    folder = tmp_path / "door"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "metadata.json").write_text(json.dumps(found))
    monkeypatch.chdir(folder)
    for path in (str(folder), "."):
        assert cli.main(["inspect", path, "--card"]) == 0
        said = capsys.readouterr().out
        assert said == preset_card(found, "door")
        assert 'license: "cc-by-4.0"' in said.split("---")[1].splitlines()
        assert said.endswith('km.EmbeddingModel.from_preset("door")\nmodel.predict(images)\n```\n')

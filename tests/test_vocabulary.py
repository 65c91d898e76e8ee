"""Identifiers use the words of the field and of Keras; the words that were dropped stay out."""

import ast
import re

import pytest
from source_tree import ROOT, source_files

# Word of an identifier, between underscores or capitals, to the word in its place.
DROPPED_WORDS = {
    "anew": "again",
    "bend": "target_logit or negative_logits",
    "bends": "target_logit or negative_logits",
    "centred": "centered",
    "colour": "color",
    "colours": "colors",
    "contract": "metadata",
    "damaged_error": "CorruptCheckpointError",
    "doctor": "diagnostics",
    "embedder_of": "extract_embedder or make_embed_fn",
    "engine": "implementation",
    "engines": "implementations",
    "enrol": "enroll",
    "from_chief": "broadcast_from_chief",
    "hit": "match or correct",
    "hits": "matches or correct",
    "hushed": "suppress_native_stderr",
    "made_whole": "atomic_directory",
    "meeting": "negative_log_sum_exp",
    "mend": "hint",
    "mended": "repaired",
    "plain_errors": "friendly_errors",
    "plain_message": "friendly_message",
    "put_in_place": "replace_path",
    "recognises": "recognizes",
    "regularizer": "auxiliary_loss",
    "vitals": "statistics",
    "written_whole": "atomic_write",
}
# Identifiers that contain a dropped word and stay: (identifier, why).
ALLOWED = {
    "test_contract": "the contract of Keras layers, not of a file",
    "layer_contract": "likewise",
    "broadcast_from_chief": "the new name",
    "centred_k_fold_accuracy": "a name of 0.1 that stays importable",
    "get_layout_engine": "matplotlib's",
    "layout_engine": "Pillow's",
    "kernel_regularizer": "Keras's",
    "bias_regularizer": "Keras's",
}


def snake_case(identifier):
    """Returns an identifier in lower case with underscores: DamagedError becomes damaged_error."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower()


def identifiers(source):
    """Returns (line, name) of every name that Python source defines or reads, keyword arguments and f-strings too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                found |= {(getattr(node, "lineno", 0), part) for part in name.split(".")}
    return sorted(found)


def dropped(source):
    """Returns a sentence for each identifier that contains a dropped word."""
    sentences = []
    for line, name in identifiers(source):
        padded = f"_{snake_case(name)}_"
        for word, instead in DROPPED_WORDS.items():
            if name not in ALLOWED and f"_{word}_" in padded:
                sentences.append(f"line {line}: {name!r} has {word!r}; use {instead}")
    return sentences


@pytest.mark.slow
def test_no_identifier_has_a_dropped_word():
    """Names in the package, the tests, the examples and the benchmarks, and those of their files."""
    wrong = []
    for source in source_files():
        wrong += [f"{source}: {each}" for each in dropped((ROOT / source).read_text(encoding="utf-8"))]
        stem = source.removesuffix(".py").rpartition("/")[2]
        wrong += [f"{source}: the file's name has a dropped word" for _ in dropped(f"{stem} = 0")]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("class Doctor: pass", "Doctor"),
        ("def f(*, regularizer=None): pass", "regularizer"),
        ("call(engine=1)", "engine"),
        ("f'{self.contract}'", "contract"),
        ("from keras_margin.contract import read", "contract"),
        ("import os as written_whole", "written_whole"),
        ("class DamagedError(ValueError): pass", "DamagedError"),
    ],
)
def test_a_dropped_word_is_found(source, name):
    """Definitions, parameters, keywords, f-strings and imports are all looked at."""
    assert [name in sentence for sentence in dropped(source)] == [True]


@pytest.mark.parametrize("source", ["kernel_regularizer = 1", "recommended = 1", "amend = 1", "# the engine"])
def test_whole_words_alone_are_dropped(source):
    """Keras's own names, longer words that contain one, and comments pass."""
    assert dropped(source) == []

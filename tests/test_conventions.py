"""Tests have names of at most sixty characters, a docstring with the whole sentence, and no twin in their file."""

import ast
import collections

import pytest
from source_tree import ROOT, source_files

LONGEST_NAME = 60
TEST_FILES = [path for path in source_files() if path.startswith("tests/") and "/test_" in path]


def problems(source):
    """Returns a sentence for each test of Python source that breaks one of the three rules."""
    bodies = [ast.parse(source).body]
    bodies += [node.body for node in bodies[0] if isinstance(node, ast.ClassDef)]
    tests = [
        node for body in bodies for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    found = []
    for test in tests:
        if len(test.name) > LONGEST_NAME:
            found.append(f"line {test.lineno}: {test.name} has {len(test.name)} characters, at most {LONGEST_NAME} fit")
        if not ast.get_docstring(test):
            found.append(f"line {test.lineno}: {test.name} needs a docstring: the sentence that it holds")
    counts = collections.Counter(test.name for test in tests)
    return found + [
        f"{name} is defined {count} times: the last one alone runs" for name, count in counts.items() if count > 1
    ]


@pytest.mark.parametrize("path", TEST_FILES)
def test_tests_keep_to_the_conventions(path):
    """Holds every test file to the three rules."""
    assert problems((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f'def test_{"a" * 56}():\n    """Does."""', "has 61 characters, at most 60 fit"),
        ("def test_a():\n    pass", "test_a needs a docstring"),
        ('def test_a():\n    """ """', "test_a needs a docstring"),
        ('def test_a():\n    """Does."""\n\n\ndef test_a():\n    """Does."""', "test_a is defined 2 times"),
    ],
)
def test_a_broken_convention_is_named(source, words):
    """Names a long name, a missing or empty docstring, and a test that another one of its name replaces."""
    (problem,) = problems(source)
    assert words in problem


def test_a_sound_test_has_no_problems():
    """Passes a name of sixty characters with a docstring, and helpers without one, inside of functions too."""
    assert (
        problems(f'def test_{"a" * 55}():\n    """Does."""\n\n\ndef helper_{"a" * 90}():\n    def test_suite(): pass')
        == []
    )

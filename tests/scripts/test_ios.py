"""export/ios: parsed, because no Swift compiler can be had here; the numbers of its own tests are the library's."""

import ast
import json
import re

import numpy as np
import pytest
from scripts import ROOT

from keras_margin._utils import canvas
from keras_margin._utils.decisions import Calibration, SearchThresholds
from keras_margin._utils.metadata import METADATA_NAME

PROJECT = ROOT / "export" / "ios"
SOURCES = sorted(path for path in PROJECT.rglob("*.swift") if ".build" not in path.parts)
TESTS = (PROJECT / "Tests" / "FaceArithmeticTests" / "FaceArithmeticTests.swift").read_text(encoding="utf-8")


def errors(source):
    """The lines, from 1, of what tree-sitter's grammar of Swift does not take."""
    tree_sitter = pytest.importorskip("tree_sitter", reason="the dev extra is not installed")
    swift = pytest.importorskip("tree_sitter_swift", reason="the dev extra is not installed")
    tree = tree_sitter.Parser(tree_sitter.Language(swift.language())).parse(source)
    found, nodes = [], [tree.root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.is_error or node.is_missing:
            found.append(node.start_point[0] + 1)
    return sorted(found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_source_is_swift(path):
    """The grammar takes each file, and not one whose last brace is missing."""
    source = path.read_bytes()
    assert errors(source) == []
    assert errors(source.rstrip()[:-1])


def test_the_expected_probabilities_are_the_librarys():
    """The rows of the package's own test: cosine, at even odds, at one in a hundred."""
    calibration = Calibration.from_metadata(_metadata() | {"calibration": _metadata()["calibration"] | _ENDS})
    rows = ast.literal_eval(re.search(r"probabilities: \[\[Double\]\] = (\[.*?\n  \])", TESTS, re.DOTALL).group(1))
    wanted = [
        [score, *(calibration.probability(score, prior).probability for prior in (None, 0.01))] for score, *_ in rows
    ]
    np.testing.assert_allclose(rows, wanted, rtol=1e-13)


def test_the_expected_verdicts_are_the_librarys():
    """Below, at and above the two thresholds."""
    zone = Calibration.from_metadata({"calibration": _metadata()["calibration"] | _ENDS}).zone
    scores, verdicts = re.search(
        r"XCTAssertEqual\(\[([^\]]*)\]\.map \{ metadata.verdict\(\$0\) \}, \[([^\]]*)", TESTS
    ).groups()
    assert [zone.verdict(float(score)) for score in scores.split(",")] == re.findall(r"\.(\w+)", verdicts)


def test_the_expected_search_thresholds_are_the_librarys():
    """The rows of the package's own test: embeddings, the threshold at a rate of one in a hundred."""
    rows = ast.literal_eval(re.search(r"searches: \[\[Double\]\] = (\[.*?\n  \])", TESTS, re.DOTALL).group(1))
    search = SearchThresholds(**_metadata()["search"])
    np.testing.assert_allclose(rows, [[count, search.threshold(count, 0.01)] for count, _ in rows], rtol=1e-13)


def test_the_expected_pixels_are_the_librarys():
    """The picture that the package's own test shrinks, and the way back to it."""
    red, wanted, x, y = (
        json.loads(re.search(pattern, TESTS).group(1))
        for pattern in (
            r"rgba: \[UInt8\] = (\[[^\]]*\])",
            r"placed\.rgb, (\[[^\]]*\])",
            r"placed\.y\(0\)\], \[([\d.]+),",
            r"placed\.y\(0\)\], \[[\d.]+, ([\d.]+)\]",
        )
    )
    picture = np.stack([np.uint8(red), np.full(8, 10, np.uint8), np.full(8, 20, np.uint8)], 1).reshape(2, 4, 3)
    placed = canvas.place(picture, (2, 2))
    assert placed.pixels.ravel().tolist() == wanted
    assert placed.to_photograph([1, 0]).tolist() == [x, y]


def test_the_metadata_are_looked_for_under_their_name():
    """In the .tflite file itself."""
    source = (PROJECT / "Sources" / "FaceArithmetic" / "Metadata.swift").read_text(encoding="utf-8")
    assert re.search(r'static let key = "([^"]+)"', source).group(1) == METADATA_NAME


_ENDS = {"low": [-7, -1, 6], "high": [-5, 1, 8]}


def _metadata():
    return json.loads(re.search(r'json = """\n(.*?)"""', TESTS, re.DOTALL).group(1))

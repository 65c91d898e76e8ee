"""What a cosine means, and photographs on a canvas, on the page of export/web: the library's numbers in Node.

`python tests/scripts/test_web_numbers.py --write` writes export/web/test/numbers.json again.
"""

import dataclasses
import json
import sys

import numpy as np
import pytest
from web_page import PAGE

from keras_margin._utils import canvas
from keras_margin._utils.decisions import Calibration, SearchThresholds, Zone, percent

NUMBERS = PAGE / "test" / "numbers.json"
COSINES = [-1.0, -0.2, 0.0, 0.05, 0.13, 0.2, 0.25, 0.31, 0.4, 0.5, 0.77, 1.0]
PRIORS = [0.5, 0.01, 0.25, 1e-05, 0.9]
# 0.125 and 0.0025 lie in the middle of two that could be printed.
SHARES = [0.0, 0.0005, 0.001, 0.0025, 0.0075, 0.0035, 0.01, 0.125, 0.375, 0.5, 0.985, 0.9951, 0.999, 1.0]
CALIBRATION = Calibration(
    cosine=[-0.1, 0.12, 0.13, 0.3, 0.6],
    llr=[-6.0, -2.5, -2.5, 1.25, 8.0],
    low=[-7.0, -3.0, -3.0, 1.0, 6.5],
    high=[-5.0, -2.0, -2.0, 1.5, 9.0],
    zone=Zone(0.2, 0.4, 1e-3, 1e-2),
)
THRESHOLDS = SearchThresholds([1.0, 0.5, 1e-2, 1e-3, 1e-4, 1e-6], [-1.0, 0.0, 0.2, 0.31, 0.4, 0.6], 1e-4)
SEARCHES = [(1, 0.5), (1, 0.01), (3, 0.01), (60, 0.01), (1000, 0.01), (4000, 0.1), (10**6, 0.9)]
# Of pictures, and what they are shrunk to.
SIZES = {
    "halved": ((8, 12), (4, 6)),
    "ragged": ((13, 17), (5, 7)),
    "thin": ((40, 3), (9, 3)),
    "by 1.25": ((10, 5), (8, 4)),
    "by many": ((7, 200), (2, 9)),
}


def numbers():
    """What Node's tests compare with."""
    rng = np.random.default_rng(9)
    pictures = {name: (rng.integers(0, 256, (*size, 3), np.uint8), to) for name, (size, to) in SIZES.items()}
    placed = {name: canvas.place(picture, (9, 20)) for name, (picture, _) in pictures.items()}
    return {
        "calibration": CALIBRATION.as_metadata(),
        "probabilities": [
            {"cosine": cosine, "prior": prior, "words": str(found), **_plain(found)}
            for cosine in COSINES
            for prior in PRIORS
            for found in [CALIBRATION.probability(cosine, prior)]
        ],
        "zone": [{"cosine": cosine, "verdict": CALIBRATION.zone.verdict(cosine)} for cosine in COSINES],
        "percents": [{"share": share, "words": percent(share)} for share in SHARES],
        "search": THRESHOLDS.as_metadata(),
        "thresholds": [
            {"faces": faces, "rate": rate, "cosine": THRESHOLDS.threshold(faces, rate)} for faces, rate in SEARCHES
        ],
        "shrunk": [
            {
                "name": name,
                "size": picture.shape[:2],
                "rgb": picture.ravel().tolist(),
                "to": to,
                "means": _area_means(picture, to).ravel().tolist(),
                "shrunk": canvas.shrunk(picture, to).ravel().tolist(),
                "canvas": (9, 20),
                "placed": placed[name].pixels.ravel().tolist(),
                "on": placed[name].size.tolist(),
                "back": placed[name].to_photograph([2.5, 1.0]).tolist(),
            }
            for name, (picture, to) in pictures.items()
        ],
    }


def _area_means(picture, size):
    """float64, by the share of each pixel in each stretch of an axis: rows @ picture @ columns."""

    def shares(side, count):
        edges, pixels = np.linspace(0, side, count + 1), np.arange(side)
        covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
        return covered.clip(0) * count / side

    rows, columns = (shares(*sides) for sides in zip(picture.shape[:2], size, strict=True))
    return np.einsum("ry,yxc,kx->rkc", rows, picture.astype(np.float64), columns)


def _plain(found):
    return {name: value for name, value in dataclasses.asdict(found).items() if name in ("probability", "low", "high")}


def _same(found, wanted):
    """Whether two JSON values are equal, numbers to the last bits in which platforms differ."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    return found == pytest.approx(wanted, rel=1e-12, abs=1e-15) if isinstance(wanted, float) else found == wanted


def test_node_stands_on_the_librarys_decisions():
    """Feeds Node's tests today's probabilities, thresholds and shrunken pictures."""
    assert _same(json.loads(NUMBERS.read_text()), json.loads(json.dumps(numbers())))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("python tests/scripts/test_web_numbers.py --write")
    NUMBERS.write_text(json.dumps(numbers()) + "\n")

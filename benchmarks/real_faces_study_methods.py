"""What `benchmarks.real_faces_study` compares: heads and auxiliary losses, three configurations each.

Scales and margins fit a small problem, 128 numbers, some six hundred people and half a minute of training: margins as
published and half of that, scales of 16 and 8, since of 32 and 16 a trial preferred 16 by far.
"""

from benchmarks.study_methods import METHODS as _SMALL
from benchmarks.study_methods import Method

# MagFace's lengths are those of 512 numbers: times sqrt(128 / 512) here.
_LENGTHS = {"lower_norm": 5.0, "upper_norm": 55.0}


def _margins(published, half):
    return ({"scale": 16, **half}, {"scale": 8, **published}, {"scale": 8, **half})


def _margin(value):
    return _margins({"margin": value}, {"margin": value / 2})


def _with(grid, *terms):
    return tuple({**head, "auxiliary_loss": each} for head, each in zip(grid, terms, strict=True))


_SCALES = tuple({"scale": scale} for scale in (16, 8, 4))
_WEIGHED = _with(({"scale": 16}, {"scale": 8}, {"scale": 8}), {"weight": 1}, {"weight": 1}, {"weight": 5})
_BETAS = ({"beta": 0.1},) * 3

METHODS = {
    "softmax": _SMALL["softmax"],
    "normsoftmax": Method("normsoftmax", _SCALES, family="softmax"),
    "arcface": Method("arcface", _margin(0.5)),
    "cosface": Method("cosface", _margin(0.35)),
    "sphereface": _SMALL["sphereface"],
    "normsoftmax+iam": Method("normsoftmax", _with(_SCALES, *({"beta": 0.9},) * 3), "iam", "auxiliary losses"),
    "arcface+iam": Method("arcface", _with(_margin(0.5), *_BETAS), "iam", "auxiliary losses"),
    "cosface+iam": Method("cosface", _with(_margin(0.35), *_BETAS), "iam", "auxiliary losses"),
    "normsoftmax+intra": Method("normsoftmax", _WEIGHED, "intra", "auxiliary losses"),
    "normsoftmax+inter": Method("normsoftmax", _WEIGHED, "inter", "auxiliary losses"),
    "normsoftmax+triplet": Method("normsoftmax", _WEIGHED, "angular_triplet", "auxiliary losses"),
    "combined_cm1": Method("combined", _margins({"m1": 1.0, "m2": 0.3, "m3": 0.2}, {"m1": 1.0, "m2": 0.15, "m3": 0.1})),
    "qamface": _SMALL["qamface"],
    "adaface": Method("adaface", _margin(0.4)),
    "magface": Method(
        "magface",
        _margins(
            {"lower_margin": 0.45, "upper_margin": 0.8, **_LENGTHS},
            {"lower_margin": 0.225, "upper_margin": 0.4, **_LENGTHS},
        ),
    ),
    "curricularface": Method("curricularface", _margin(0.5)),
}

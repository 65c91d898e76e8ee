"""What the study compares: heads and auxiliary losses, each with as many configurations as any other.

Scales are those of a small problem, 64 numbers and at most 1,000 classes: 16 and 8 where the papers have 30 to 64
(of 32 and 16, first runs chose 16, and 8 where there was no margin). Margins are as published, and half of that. Where
a head has no margin, its own setting or the learning rate is tuned.
"""

import dataclasses

import keras_margin as km

CONFIGURATIONS = 3


@dataclasses.dataclass(frozen=True)
class Method:
    """A loss with the settings to choose from.

    Attributes:
        head: Name in km.layers.HEADS.
        grid: One dict a configuration: arguments of the head, and "rate", a factor of the learning rate.
        auxiliary_loss: Name in km.losses.LOSSES or None; its arguments are the grid's under "auxiliary_loss".
        family: Group in tables and figures.
    """

    head: str
    grid: tuple[dict, ...]
    auxiliary_loss: str | None = None
    family: str = "margins"

    def build(self, configuration, num_classes, steps):
        """The head, of the configuration of that number."""
        arguments = {name: value for name, value in self.grid[configuration].items() if name != "rate"}
        terms = arguments.pop("auxiliary_loss", None)
        if terms is not None:
            arguments["auxiliary_loss"] = km.losses.LOSSES[self.auxiliary_loss](**terms)
        if "gamma" in arguments:
            arguments["gamma"] = arguments["gamma"] / steps
        return km.layers.HEADS[self.head](num_classes, **arguments)

    def rate(self, configuration):
        """Factor of the learning rate."""
        return self.grid[configuration].get("rate", 1.0)


def _margins(published, half):
    return ({"scale": 16, **published}, {"scale": 8, **published}, {"scale": 16, **half})


def _margin(value):
    return _margins({"margin": value}, {"margin": value / 2})


def _annealed():
    # lambda comes down from 1,000 to its published floor of 5 at half of the run: 1000 / (1 + gamma * steps / 2) = 5.
    return tuple({"margin": margin, "gamma": 398.0} for margin in (4, 3, 2))


def _beside(*settings):
    """Of (scale or None, arguments of the head, arguments of the auxiliary loss)."""
    return tuple(
        {**({} if scale is None else {"scale": scale}), **head, "auxiliary_loss": terms}
        for scale, head, terms in settings
    )


def _iam(betas, **head):
    low, high = betas
    return _beside((16, head, {"beta": low}), (16, head, {"beta": high}), (8, head, {"beta": high}))


def _weighted(*weights, scales=(None, None, None)):
    return _beside(*((scale, {}, {"weight": weight}) for scale, weight in zip(scales, weights, strict=True)))


# SphereFace's schedule, which is the default there.
_FLOOR = {"base": 1000.0, "power": 1.0, "lambda_min": 5.0}

# MagFace's lengths are those of 512 numbers: times sqrt(64 / 512) here.
_LENGTHS = {"lower_norm": 3.5, "upper_norm": 39.0}

METHODS = {
    "softmax": Method("softmax", ({"rate": 1.0}, {"rate": 0.5}, {"rate": 2.0}), family="softmax"),
    "normsoftmax": Method("normsoftmax", tuple({"scale": scale} for scale in (16, 8, 4)), family="softmax"),
    "l2softmax": Method("l2softmax", tuple({"alpha": alpha} for alpha in (16, 8, 4)), family="softmax"),
    "lsoftmax": Method("lsoftmax", tuple({**setting, **_FLOOR} for setting in _annealed())),
    "sphereface": Method("sphereface", _annealed()),
    "sphereface_arccos": Method("sphereface_arccos", _margins({"margin": 1.35}, {"margin": 1.175})),
    "cosface": Method("cosface", _margin(0.35)),
    "arcface": Method("arcface", _margin(0.5)),
    "combined_cm1": Method("combined", _margins({"m1": 1.0, "m2": 0.3, "m3": 0.2}, {"m1": 1.0, "m2": 0.15, "m3": 0.1})),
    "combined_cm2": Method(
        "combined", _margins({"m1": 0.9, "m2": 0.4, "m3": 0.15}, {"m1": 0.95, "m2": 0.2, "m3": 0.075})
    ),
    # Its logit falls by 2 (2 pi - theta) a radian, 3 pi at a right angle, where a cosine falls by 1.
    "qamface": Method(
        "qamface", ({"scale": 1.7, "margin": 0.5}, {"scale": 0.85, "margin": 0.5}, {"scale": 1.7, "margin": 0.25})
    ),
    "subcenter_arcface": Method("subcenter_arcface", _margin(0.5)),
    "adaface": Method("adaface", _margin(0.4)),
    "magface": Method(
        "magface",
        _margins(
            {"lower_margin": 0.45, "upper_margin": 0.8, **_LENGTHS},
            {"lower_margin": 0.225, "upper_margin": 0.4, **_LENGTHS},
        ),
    ),
    "curricularface": Method("curricularface", _margin(0.5)),
    "normsoftmax+iam": Method("normsoftmax", _iam((0.8, 0.9)), "iam", "auxiliary losses"),
    "cosface+iam": Method("cosface", _iam((0.05, 0.1), margin=0.35), "iam", "auxiliary losses"),
    "arcface+iam": Method("arcface", _iam((0.05, 0.1), margin=0.5), "iam", "auxiliary losses"),
    "normsoftmax+intra": Method("normsoftmax", _weighted(1, 1, 5, scales=(16, 8, 8)), "intra", "auxiliary losses"),
    "normsoftmax+inter": Method("normsoftmax", _weighted(1, 1, 5, scales=(16, 8, 8)), "inter", "auxiliary losses"),
    "normsoftmax+triplet": Method(
        "normsoftmax", _weighted(1, 1, 5, scales=(16, 8, 8)), "angular_triplet", "auxiliary losses"
    ),
    "softmax+center": Method("softmax", _weighted(0.003, 0.01, 0.03), "center", "auxiliary losses"),
    "softmax+ring": Method("softmax", _weighted(0.01, 0.03, 0.1), "ring", "auxiliary losses"),
    "softmax+contrastive": Method("softmax", _weighted(0.1, 0.3, 1.0), "contrastive", "auxiliary losses"),
}

"""The parts of a recipe: model, head, optimizer, schedule, data and run, each a frozen value."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from keras_margin.data.augmentation import Augmentation

# Batch norm's scale and offset, biases and PReLU's slopes: what MXNet's optimiser leaves alone.
NOT_DECAYED = ("alpha", "beta", "bias", "gamma")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
FLIPS = ("none", "sum", "concatenate")
DECAYS = ("steps", "cosine", "polynomial", "constant")
_NO_LIMIT = float("inf")

# What options are given as, and what they are afterwards, which is what the settings of a command line look at.
if TYPE_CHECKING:
    Options: TypeAlias = Mapping[str, Any] | tuple[tuple[str, Any], ...]
else:
    Options: TypeAlias = tuple


@dataclasses.dataclass(frozen=True)
class Model:
    """The network from images to embeddings.

    Attributes:
        backbone: Name that keras_margin.models.backbones.get takes: one in BACKBONES, or "package.module:name".
        options: The backbone's arguments, a dict or pairs.
        image_size: (height, width), pixels.
        prewhiten: Whether each image is brought to mean 0 and deviation 1 before the backbone, inside the model.
        weights: Path of a .keras file or run folder whose backbone's weights are the first ones; "" for random ones.
        freeze: Names of the backbone's layers that do not train, with * for any letters: ("stem*", "stage1*").
        flip_features: How the embeddings of an image and its mirror image are joined for tests: "none" (the image
            alone), "sum" or "concatenate".

    Raises:
        ValueError: On a flip_features of another name.

    Example:
        >>> Model("ir_small", {"dropout": 0.2}, image_size=(56, 48)).options
        (('dropout', 0.2),)
    """

    backbone: str = "ir_resnet50"
    options: Options = ()
    image_size: tuple = (112, 112)
    prewhiten: bool = False
    weights: str = ""
    freeze: tuple = ()
    flip_features: str = "none"

    def __post_init__(self) -> None:
        _make_pairs(self)
        _check_choice(self, "flip_features", FLIPS)


@dataclasses.dataclass(frozen=True)
class Head:
    """The margin head and what is added to its loss.

    Attributes:
        name: Name of a head or of a margin, as `keras_margin.layers.get` takes it.
        options: The head's arguments beyond num_classes, a dict or pairs.
        auxiliary_losses: Pairs (name, as `keras_margin.losses.get` takes it; pairs of its arguments), added to the
            head's loss.
        iam_beta: Weight of the IAM loss, >= 0; 0 for none.

    Raises:
        ValueError: On a negative iam_beta.

    Example:
        >>> Head("cosface", {"margin": 0.4}).options
        (('margin', 0.4),)
    """

    name: str = "arcface"
    options: Options = ()
    auxiliary_losses: tuple = ()
    iam_beta: float = 0.0

    def __post_init__(self) -> None:
        _make_pairs(self)
        _check_range(self, "iam_beta", 0, _NO_LIMIT)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How the weights move.

    Attributes:
        name: "sgd", weight decay in the gradient; or "adamw", decoupled decay.
        momentum: Of "sgd", [0, 1).
        weight_decay: See `name`, >= 0.
        decay_exclude: Names of the weights that do not decay, of NOT_DECAYED.
        clip_norm: Largest norm of the backbone's gradient, that of the whole batch; 0 for no limit. The prototypes'
            gradient is not clipped, as in insightface's code.
        ema: Momentum of a running mean of the backbone's weights, [0, 1), which is what is measured and kept; 0 for
            none.

    Raises:
        ValueError: On a number out of range, or a weight in decay_exclude that has no such name.

    Example:
        >>> Optimizer("adamw", weight_decay=1e-2).momentum
        0.9
    """

    name: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_exclude: tuple = NOT_DECAYED
    clip_norm: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        _check_range(self, "momentum", 0, 1)
        _check_range(self, "weight_decay", 0, _NO_LIMIT)
        _check_range(self, "clip_norm", 0, _NO_LIMIT)
        _check_range(self, "ema", 0, 1)
        unknown = [name for name in self.decay_exclude if name not in NOT_DECAYED]
        if unknown:
            raise ValueError(
                f"decay_exclude names weights of {', '.join(NOT_DECAYED)}. Received: {', '.join(map(str, unknown))}."
            )


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rate, margin and scale by update.

    Attributes:
        learning_rate: At the start, after the warm-up.
        decay: "steps", "cosine", "polynomial" or "constant"; None is "steps" with `decay_steps` and "cosine" without.
        decay_steps: Updates after which the rate is divided by ten, counted from the run's first and after the
            warm-up; of "steps".
        decay_power: Exponent of "polynomial", > 0: rate (1 - t)^power, t the share of the updates after the warm-up.
        warmup_steps: Updates over which the rate rises linearly from zero.
        margin_warmup_steps: Updates over which the margin rises linearly from none to the head's.
        scale_warmup_steps: Updates over which the scale goes linearly from `scale_start` to the head's.
        scale_start: Scale at the first update, > 0.

    Raises:
        ValueError: On a number out of range, or keys that contradict each other.

    Example:
        >>> Schedule(0.1, decay_steps=(20_000, 28_000)).decay_name
        'steps'
    """

    learning_rate: float = 0.1
    decay: str | None = None
    decay_steps: tuple = ()
    decay_power: float = 2.0
    warmup_steps: int = 0
    margin_warmup_steps: int = 0
    scale_warmup_steps: int = 0
    scale_start: float = 1.0

    def __post_init__(self) -> None:
        if self.decay_name not in DECAYS:
            raise ValueError(f"A recipe's decay is one of {', '.join(DECAYS)}. Received: decay={self.decay!r}.")
        if not self.scale_start > 0:
            raise ValueError(f"A recipe needs scale_start > 0. Received: scale_start={self.scale_start!r}.")
        if self.decay_steps and self.decay_name != "steps":
            raise ValueError(
                f"decay_steps belong to decay='steps'. Received: decay={self.decay!r}, decay_steps={self.decay_steps}. "
                "Leave one of them out."
            )
        if self.decay == "steps" and not self.decay_steps:
            raise ValueError("decay='steps' needs decay_steps. For a rate that stays, pass decay='constant'.")
        turns = tuple(self.decay_steps)
        if any(late <= early for early, late in zip(turns, turns[1:], strict=False)) or any(step < 0 for step in turns):
            raise ValueError(f"decay_steps rise. Received: decay_steps={turns}.")
        # A turn on the warm-up's last step would end the run's highest rate before its first update.
        if turns and self.warmup_steps and turns[0] <= self.warmup_steps:
            raise ValueError(
                "decay_steps are counted from the run's first update and come after the warm-up. Received: "
                f"decay_steps={turns}, warmup_steps={self.warmup_steps}. Shorten the warm-up or turn later."
            )
        if self.decay_name == "polynomial" and not self.decay_power > 0:
            raise ValueError(f"A recipe needs decay_power > 0. Received: decay_power={self.decay_power!r}.")

    @property
    def decay_name(self) -> str:
        """Name of the decay, which may be left for the other keys to say."""
        return self.decay or ("steps" if self.decay_steps else "cosine")


@dataclasses.dataclass(frozen=True)
class Data:
    """What a batch is made of.

    Attributes:
        batch_size: Images per optimiser update, over all replicas, >= 1.
        images_per_identity: K images of each of batch_size / K identities a batch, for losses that compare images; None
            for every image once an epoch.
        augmentation: Augmentation.
        accumulate: Equal parts that a batch is computed in, one after the other, >= 1: the memory of batch_size /
            accumulate images. Gradients add up to those of the whole batch; batch norm, margins that look at a batch
            and losses that compare images see a part.

    Raises:
        ValueError: On a batch_size < 1, or one that images_per_identity or accumulate does not divide.

    Example:
        >>> Data(32, images_per_identity=4).augmentation.flip
        True
    """

    batch_size: int = 512
    images_per_identity: int | None = None
    augmentation: Augmentation = Augmentation()
    accumulate: int = 1

    def __post_init__(self):
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"A recipe needs {name} >= 1. Received: {name}={getattr(self, name)}.")
        images = self.images_per_identity
        if images is not None and (images < 1 or self.batch_size % images):
            raise ValueError(
                f"images_per_identity must divide batch_size. Received: images_per_identity={images}, "
                f"batch_size={self.batch_size}."
            )
        if images is not None and self.accumulate > 1 and self.batch_size % (images * self.accumulate):
            raise ValueError(
                "Each of the accumulate parts of a batch needs whole identities. Received: "
                f"images_per_identity={images}, accumulate={self.accumulate}, batch_size={self.batch_size}."
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size, the images of an update. Received: accumulate={self.accumulate}, "
                f"batch_size={self.batch_size}."
            )


@dataclasses.dataclass(frozen=True)
class Run:
    """How long, and in which precision.

    Attributes:
        steps: Optimiser updates, >= 1.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; the head and the losses compute in float32 always.
        callbacks: Names "package.module:name" of functions that return a Keras callback, or a list of them.

    Raises:
        ValueError: On steps < 1, or a precision of another name.

    Example:
        >>> Run(32_000).precision
        'float32'
    """

    steps: int = 32_000
    precision: str = "float32"
    callbacks: tuple = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"A recipe needs steps >= 1. Received: steps={self.steps}.")
        _check_choice(self, "precision", PRECISIONS)


def _make_pairs(part: Any) -> None:
    """Turns a dict of options into pairs, so that the part can be hashed."""
    if isinstance(part.options, Mapping):
        object.__setattr__(part, "options", tuple(part.options.items()))


def _check_choice(part: Any, name: str, values: tuple) -> None:
    if getattr(part, name) not in values:
        raise ValueError(f"A recipe's {name} is one of {', '.join(values)}. Received: {name}={getattr(part, name)!r}.")


def _check_range(part: Any, name: str, low: float, high: float) -> None:
    if not low <= getattr(part, name) < high:
        raise ValueError(f"A recipe needs {name} in [{low:g}, {high:g}). Received: {name}={getattr(part, name)!r}.")

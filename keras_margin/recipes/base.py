"""Recipe: how to train one embedding, as a frozen value."""

import dataclasses

from keras_margin.data.augmentation import Augmentation
from keras_margin.recipes import _schedules

# Batch norm's scale and offset, biases and PReLU's slopes: what MXNet's optimiser leaves alone.
NOT_DECAYED = ("alpha", "beta", "bias", "gamma")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
FLIPS = ("none", "sum", "concatenate")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train one embedding.

    Attributes:
        name: The recipe's name.
        source: Where its numbers come from, and what it reached.
        head: Name in keras_margin.HEADS.
        head_options: Pairs of the head's arguments, beyond num_classes.
        auxiliary_losses: Pairs (name in keras_margin.losses.LOSSES, pairs of its arguments), added to the head's loss.
        iam_beta: Weight of the IAM regulariser; 0 for none.
        backbone: Name that keras_margin.backbones.get takes: one in BACKBONES, or "package.module:name".
        backbone_options: Pairs of the backbone's arguments.
        prewhiten: Whether each image is brought to mean 0 and deviation 1 before the backbone, inside the model.
        image_size: (height, width), pixels.
        batch_size: Images per optimiser update, over all replicas.
        images_per_identity: K images of each of batch_size / K identities a batch, for losses that compare images; None
            for every image once an epoch.
        steps: Optimiser updates.
        optimizer: "sgd", weight decay in the gradient; or "adamw", decoupled decay.
        momentum: Of "sgd", [0, 1).
        weight_decay: See `optimizer`, >= 0.
        decay_exclude: Names of the weights that do not decay, of NOT_DECAYED.
        learning_rate: At the start, after the warm-up.
        decay: "steps", "cosine", "polynomial" or "constant"; None is "steps" with `decay_steps` and "cosine" without.
        decay_steps: Updates after which the rate is divided by ten, counted from the run's first and after the
            warm-up; of "steps".
        decay_power: Exponent of "polynomial", > 0: rate (1 - t)^power, t the share of the updates after the warm-up.
        warmup_steps: Updates over which the rate rises linearly from zero.
        margin_warmup_steps: Updates over which the margin rises linearly from none to the head's.
        scale_warmup_steps: Updates over which the scale goes linearly from `scale_start` to the head's.
        scale_start: Scale at the first update, > 0.
        clip_norm: Largest norm of the backbone's gradient, that of the whole batch; 0 for no limit. The prototypes'
            gradient is not clipped, as in insightface's code.
        ema: Momentum of a running mean of the backbone's weights, [0, 1), which is what is measured and kept; 0 for
            none.
        freeze: Names of the backbone's layers that do not train, with * for any letters: ("stem*", "stage1*").
        weights: Path of a .keras file or run folder whose backbone's weights are the first ones; "" for random ones.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; the head and the losses compute in float32 always.
        flip_features: How the embeddings of an image and its mirror image are joined for tests: "none" (the image
            alone), "sum" or "concatenate".
        augmentation: Augmentation.
        accumulate: Equal parts that a batch is computed in, one after the other, >= 1: the memory of batch_size /
            accumulate images. Gradients add up to those of the whole batch; batch norm, margins that look at a batch
            and losses that compare images see a part.
        callbacks: Names "package.module:name" of functions that return a Keras callback, or a list of them.

    Raises:
        ValueError: On a number out of range, or keys that contradict each other.
    """

    name: str
    source: str
    head: str = "arcface"
    head_options: tuple = ()
    auxiliary_losses: tuple = ()
    iam_beta: float = 0.0
    backbone: str = "ir_resnet50"
    backbone_options: tuple = ()
    prewhiten: bool = False
    image_size: tuple = (112, 112)
    batch_size: int = 512
    images_per_identity: int | None = None
    steps: int = 32_000
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_exclude: tuple = NOT_DECAYED
    learning_rate: float = 0.1
    decay: str | None = None
    decay_steps: tuple = ()
    decay_power: float = 2.0
    warmup_steps: int = 0
    margin_warmup_steps: int = 0
    scale_warmup_steps: int = 0
    scale_start: float = 1.0
    clip_norm: float = 0.0
    ema: float = 0.0
    freeze: tuple = ()
    weights: str = ""
    precision: str = "float32"
    flip_features: str = "none"
    augmentation: Augmentation = Augmentation()
    accumulate: int = 1
    callbacks: tuple = ()

    def __post_init__(self):
        for name in ("batch_size", "steps", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"A recipe needs {name} >= 1. Received: {name}={getattr(self, name)}.")
        for name in ("warmup_steps", "margin_warmup_steps", "scale_warmup_steps"):
            if not 0 <= getattr(self, name) < self.steps:
                raise ValueError(
                    f"A warm-up is shorter than its run. Received: {name}={getattr(self, name)}, steps={self.steps}."
                )
        for name, values in (("precision", PRECISIONS), ("flip_features", FLIPS)):
            if getattr(self, name) not in values:
                raise ValueError(
                    f"A recipe's {name} is one of {', '.join(values)}. Received: {name}={getattr(self, name)!r}."
                )
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) < high:
                raise ValueError(
                    f"A recipe needs {name} in [{low:g}, {high:g}). Received: {name}={getattr(self, name)!r}."
                )
        if not self.scale_start > 0:
            raise ValueError(f"A recipe needs scale_start > 0. Received: scale_start={self.scale_start!r}.")
        unknown = [name for name in self.decay_exclude if name not in NOT_DECAYED]
        if unknown:
            raise ValueError(
                f"decay_exclude names weights of {', '.join(NOT_DECAYED)}. Received: {', '.join(map(str, unknown))}."
            )
        images = self.images_per_identity
        if images is not None and (images < 1 or self.batch_size % images):
            raise ValueError(
                f"images_per_identity must divide batch_size. Received: images_per_identity={images}, "
                f"batch_size={self.batch_size}."
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size, the images of an update. Received: accumulate={self.accumulate}, "
                f"batch_size={self.batch_size}."
            )
        _schedules.check(self)

    def with_steps(self, steps):
        """The same recipe over `steps` updates, its warm-ups and decays at the same shares of the run.

        Raises:
            ValueError: Where steps < 1.
        """
        if steps < 1:
            raise ValueError(f"A recipe needs steps >= 1. Received: steps={steps}.")
        scaled = {
            name: min(steps - 1, round(getattr(self, name) * steps / self.steps))
            for name in ("warmup_steps", "margin_warmup_steps", "scale_warmup_steps")
        }
        # Of a few steps a turn may fall on the first, where a schedule cannot turn, on another, or into the warm-up.
        first = scaled["warmup_steps"] + 1 if scaled["warmup_steps"] else 0
        turns = sorted({max(first, round(step * steps / self.steps)) for step in self.decay_steps})
        return dataclasses.replace(self, steps=steps, decay_steps=tuple(turns), **scaled)

    def schedule(self):
        """Learning rate by step, a Keras schedule."""
        return _schedules.of(self)


_RANGES = (
    ("momentum", 0, 1),
    ("ema", 0, 1),
    ("clip_norm", 0, float("inf")),
    ("weight_decay", 0, float("inf")),
    ("iam_beta", 0, float("inf")),
)

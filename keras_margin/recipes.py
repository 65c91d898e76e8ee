"""Training schedules as frozen values: the papers' published ones, and the demo's.

recipe = recipes.get("arcface_casia_r50")
recipe = dataclasses.replace(recipe, batch_size=256)
"""

import dataclasses

import keras

from keras_margin.data.augmentation import Augmentation


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train one embedding.

    Attributes:
        name: The recipe's name.
        source: Where its numbers come from.
        head: Name in keras_margin.HEADS.
        head_options: Pairs of the head's arguments, beyond num_classes.
        backbone: Name in keras_margin.BACKBONES.
        backbone_options: Pairs of the backbone's arguments.
        image_size: (height, width), pixels.
        batch_size: Images per optimiser update, over all replicas.
        steps: Optimiser updates.
        optimizer: "sgd", momentum 0.9 and weight decay in the gradient; or "adamw", decoupled decay.
        learning_rate: At the start.
        decay_steps: Updates after which the rate is divided by ten; empty for a cosine down to zero.
        warmup_steps: Updates over which the rate rises linearly from zero, before a cosine.
        weight_decay: See `optimizer`.
        iam_beta: Weight of the IAM regulariser; 0 for none.
        augmentation: Augmentation.

    Raises:
        ValueError: On a number out of range, or a warm-up before `decay_steps`, which there is no schedule for.
    """

    name: str
    source: str
    head: str = "arcface"
    head_options: tuple = ()
    backbone: str = "ir_resnet50"
    backbone_options: tuple = ()
    image_size: tuple = (112, 112)
    batch_size: int = 512
    steps: int = 32_000
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    decay_steps: tuple = ()
    warmup_steps: int = 0
    weight_decay: float = 5e-4
    iam_beta: float = 0.0
    augmentation: Augmentation = Augmentation()

    def __post_init__(self):
        for name in ("batch_size", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"A recipe needs {name} >= 1. Received: {name}={getattr(self, name)}.")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"A warm-up is shorter than its run. Received: warmup_steps={self.warmup_steps}, steps={self.steps}."
            )
        if self.warmup_steps and self.decay_steps:
            raise ValueError(
                "A recipe warms up before a cosine, not before steps down. "
                f"Received: warmup_steps={self.warmup_steps}, decay_steps={self.decay_steps}. Set one of them to none."
            )

    def with_steps(self, steps):
        """The same recipe over `steps` updates, its warm-up and decays at the same shares of the run.

        Raises:
            ValueError: Where steps < 1.
        """
        if steps < 1:
            raise ValueError(f"A recipe needs steps >= 1. Received: steps={steps}.")
        decay_steps = tuple(round(step * steps / self.steps) for step in self.decay_steps)
        warmup_steps = min(steps - 1, round(self.warmup_steps * steps / self.steps))
        return dataclasses.replace(self, steps=steps, decay_steps=decay_steps, warmup_steps=warmup_steps)

    def schedule(self):
        """Learning rate by step, a Keras schedule."""
        if self.decay_steps:
            rates = [self.learning_rate / 10**drop for drop in range(len(self.decay_steps) + 1)]
            # PiecewiseConstantDecay keeps the old rate at the boundary itself; the papers' code drops it there.
            boundaries = [step - 1 for step in self.decay_steps]
            return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
        return keras.optimizers.schedules.CosineDecay(
            0.0 if self.warmup_steps else self.learning_rate,
            decay_steps=max(1, self.steps - self.warmup_steps),
            warmup_target=self.learning_rate if self.warmup_steps else None,
            warmup_steps=self.warmup_steps,
        )


CASIA = {
    "batch_size": 512,
    "steps": 32_000,
    "learning_rate": 0.1,
    "decay_steps": (20_000, 28_000),
    "weight_decay": 5e-4,
}
_ARCFACE_SOURCE = "Deng et al., ArcFace, CVPR 2019, section 3.1. Not yet measured."

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="orl_demo",
            source="Ours: `make demo` on the ORL faces; the README carries what it reached.",
            head_options=(("margin", 0.3), ("scale", 16.0)),
            backbone="ir_small",
            backbone_options=(("dropout", 0.2), ("stem_strides", 1)),
            image_size=(56, 48),
            batch_size=32,
            steps=500,
            optimizer="adamw",
            learning_rate=2e-3,
            warmup_steps=50,
            weight_decay=1e-2,
            augmentation=Augmentation(flip=True, shift=0.06, zoom=0.08, rotate=8.0, contrast=0.2),
        ),
        Recipe(name="arcface_casia_r50", source=_ARCFACE_SOURCE, **CASIA),
        Recipe(name="cosface_casia_r50", source=_ARCFACE_SOURCE, head="cosface", **CASIA),
        Recipe(name="sphereface_casia_r50", source=_ARCFACE_SOURCE, head="sphereface_arccos", **CASIA),
        Recipe(
            name="cm1_casia_r50",
            source=_ARCFACE_SOURCE,
            head="combined",
            head_options=(("m1", 1.0), ("m2", 0.3), ("m3", 0.2)),
            **CASIA,
        ),
        Recipe(
            name="cm2_casia_r50",
            source=_ARCFACE_SOURCE,
            head="combined",
            head_options=(("m1", 0.9), ("m2", 0.4), ("m3", 0.15)),
            **CASIA,
        ),
        Recipe(
            name="arcface_ms1mv2_r100",
            source=_ARCFACE_SOURCE,
            backbone="ir_resnet100",
            **{**CASIA, "steps": 180_000, "decay_steps": (100_000, 160_000)},
        ),
        Recipe(
            name="qamface_ms1m_r50",
            source="Zhao et al., QAMFace, 2020, section 4.1. Not yet measured.",
            head="qamface",
            batch_size=256,
            steps=400_000,
            learning_rate=0.2,
            decay_steps=(80_000, 200_000, 360_000),
        ),
    )
}


def get(name):
    """The recipe called `name`.

    Raises:
        ValueError: On an unknown name; the message lists the names.
    """
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. Known recipes: {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]

"""What the sentences of TrainingDiagnostics advise, in the words of the way that the user trains."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Advice:
    """Phrases that name what to change.

    Attributes:
        rate: A lower learning rate.
        warm_up: A rate that rises at first.
        clip: Shorter gradients.
        decay: Weights that stay small.
        margin: A margin that rises.
        scale: A scale that rises.
        weights: A start that knows something already.
        gamma: SphereFace's lambda falling more slowly.
        floor: SphereFace's lambda staying higher.
        smaller: A smaller margin of SphereFace.
    """

    rate: str
    warm_up: str
    clip: str
    decay: str
    margin: str
    scale: str
    weights: str
    gamma: str
    floor: str
    smaller: str


# `keras-margin train` and training.fit: keys of the recipe.
BY_RECIPE = Advice(
    rate="a lower learning_rate",
    warm_up="a warm-up (warmup_steps)",
    clip="clip_norm=5",
    decay="more weight_decay",
    margin="margin_warmup_steps",
    scale="scale_warmup_steps",
    weights="weights= of a network trained without margin",
    gamma="head.gamma=0.01",
    floor="head.lambda_min=10",
    smaller="head.margin=3",
)
# Model.fit: arguments of Keras and of this library.
BY_FIT = Advice(
    rate="a lower learning rate of the optimizer",
    warm_up="a rate that rises at first (keras_margin.optimizers.schedules.WarmUp)",
    clip="global_clipnorm=5 of the optimizer",
    decay="more weight_decay of the optimizer",
    margin="callbacks.MarginSchedule",
    scale="callbacks.ScaleSchedule",
    weights="a backbone with the weights of one trained without margin",
    gamma="gamma=0.01 of the head",
    floor="lambda_min=10 of the head",
    smaller="margin=3 of the head",
)

"""Recipe: how to train one embedding, as a frozen value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_margin.recipes import _schedules
from keras_margin.recipes._parts import Data, Head, Model, Optimizer, Run, Schedule

PARTS = {"model": Model, "head": Head, "optimizer": Optimizer, "schedule": Schedule, "data": Data, "run": Run}
# Short names of what is inside: of every field whose name occurs once, and of those that occur twice, these.
SHORT_NAMES = {
    "head": ("head", "name"),
    "head_options": ("head", "options"),
    "optimizer": ("optimizer", "name"),
    "backbone_options": ("model", "options"),
} | {
    field.name: (part, field.name)
    for part, kind in PARTS.items()
    for field in dataclasses.fields(kind)
    if field.name not in ("name", "options")
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train one embedding.

    Attributes:
        name: The recipe's name.
        source: Where its numbers come from, and what it reached.
        model: recipes.Model, the network from images to embeddings.
        head: recipes.Head, the margin and what is added to its loss.
        optimizer: recipes.Optimizer.
        schedule: recipes.Schedule, of learning rate, margin and scale.
        data: recipes.Data, what a batch is made of.
        run: recipes.Run, how long and in which precision.

    Raises:
        ValueError: On a number out of range, or keys that contradict each other.

    Example:
        >>> recipe = Recipe("mine", "Ours.", head=Head("cosface", {"margin": 0.4}), run=Run(steps=1_000))
        >>> recipe.head.name, recipe.schedule.learning_rate
        ('cosface', 0.1)
    """

    name: str
    source: str
    model: Model = Model()
    head: Head = Head()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    data: Data = Data()
    run: Run = Run()

    def __post_init__(self) -> None:
        for part, kind in PARTS.items():
            if not isinstance(getattr(self, part), kind):
                raise TypeError(
                    f"A recipe's {part} is a recipes.{kind.__name__}. Received: {part}={getattr(self, part)!r}."
                )
        for name in ("warmup_steps", "margin_warmup_steps", "scale_warmup_steps"):
            steps = getattr(self.schedule, name)
            if not 0 <= steps < self.run.steps:
                raise ValueError(
                    f"A warm-up is shorter than its run. Received: {name}={steps}, steps={self.run.steps}."
                )

    def replace(self, **changes: Any) -> "Recipe":
        """Returns the recipe with some values changed.

        Args:
            **changes: A field of the recipe (`data=Data(...)`), or of one of its parts by its own name
                (`batch_size=256`); `head`, `optimizer`: the name of another one; `head_options`, `backbone_options`:
                their arguments.

        Raises:
            TypeError: On a name that neither the recipe nor a part has.
            ValueError: As in Recipe.

        Example:
            >>> Recipe("mine", "Ours.").replace(batch_size=256, head="cosface").data.batch_size
            256
        """
        whole: dict[str, Any] = {}
        inside: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            if name in ("name", "source") or (name in PARTS and not isinstance(value, str)):
                whole[name] = value
            elif name in SHORT_NAMES:
                part, field = SHORT_NAMES[name]
                inside.setdefault(part, {})[field] = value
            else:
                raise TypeError(f"A recipe has no {name!r}. It has: {', '.join([*PARTS, *SHORT_NAMES])}.")
        for part, values in inside.items():
            whole[part] = dataclasses.replace(whole.get(part, getattr(self, part)), **values)
        return dataclasses.replace(self, **whole)

    def with_steps(self, steps: int) -> "Recipe":
        """Returns the same recipe over `steps` updates, its warm-ups and decays at the same shares of the run.

        Raises:
            ValueError: Where steps < 1.

        Example:
            >>> Recipe("mine", "", schedule=Schedule(warmup_steps=320)).with_steps(1_000).schedule.warmup_steps
            10
        """
        if steps < 1:
            raise ValueError(f"A recipe needs steps >= 1. Received: steps={steps}.")
        scaled = {
            name: min(steps - 1, round(getattr(self.schedule, name) * steps / self.run.steps))
            for name in ("warmup_steps", "margin_warmup_steps", "scale_warmup_steps")
        }
        # Of a few steps a turn may fall on the first, where a schedule cannot turn, on another, or into the warm-up.
        first = scaled["warmup_steps"] + 1 if scaled["warmup_steps"] else 0
        turns = sorted({max(first, round(step * steps / self.run.steps)) for step in self.schedule.decay_steps})
        return self.replace(steps=steps, decay_steps=tuple(turns), **scaled)

    def learning_rate_schedule(self) -> Any:
        """Returns the learning rate by step, a keras.optimizers.schedules.LearningRateSchedule.

        Example:
            >>> round(float(Recipe("mine", "").learning_rate_schedule()(0)), 2)
            0.1
        """
        return _schedules.learning_rate_schedule(self.schedule, self.run.steps)


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe's JSON with dotted keys, to compare or to print: {"schedule.learning_rate": 0.1, ...}.

    Example:
        >>> flat({"name": "mine", "run": {"steps": 5}})
        {'name': 'mine', 'run.steps': 5}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else {None: value}
        found |= {name if key is None else f"{name}.{key}": each for key, each in inner.items()}
    return found

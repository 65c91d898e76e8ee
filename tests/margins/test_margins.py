"""Margins as values: frozen, equal by value, serialised; and one added at run time goes through the whole library."""

import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from head_formulas import loss_implementations
from keras import ops

import keras_margin as km
from keras_margin import callbacks, margins
from keras_margin.ops import margin_softmax
from keras_margin.ops.sample import Sample

BATCH, CLASSES, SIZE = 6, 7, 5


@keras.saving.register_keras_serializable(package="test")
@dataclasses.dataclass(frozen=True)
class Linear(margins.Margin):
    """A line in the angle, 1 - 2 / pi (theta + m)."""

    margin: float = 0.4
    no_margin = 0.0

    def target_logit(self, sample, state):
        return 1.0 - 2.0 / math.pi * (sample.theta + self.margin)

    def target_angle(self, theta):
        return theta + self.margin


class Count(NamedTuple):
    """How many valid samples were seen."""

    seen: int = 0


@keras.saving.register_keras_serializable(package="test")
@dataclasses.dataclass(frozen=True)
class Counting(Linear):
    """A margin that grows by a hundredth with each sample."""

    def initial_state(self):
        return Count()

    def update_state(self, state, sample):
        return Count(state.seen + ops.sum(ops.cast(sample.valid, "int32")))

    def target_logit(self, sample, state):
        return super().target_logit(sample, state) - 0.01 * ops.cast(state.seen, "float32")


@keras.saving.register_keras_serializable(package="test")
@dataclasses.dataclass(frozen=True)
class Squared(Linear):
    """Negative logits that are squares of the cosine, without their slope."""

    def negative_logits(self, cosines, sample, state):
        return cosines * cosines


@keras.saving.register_keras_serializable(package="test")
@dataclasses.dataclass(frozen=True)
class SquaredWithSlope(Linear):
    """The same with the slope, for every implementation."""

    def negative_logits(self, cosines, sample, state):
        return cosines * cosines, 2.0 * cosines


def batch(seed=0):
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(BATCH, SIZE)).astype("float32")
    return embeddings, generator.normal(size=(CLASSES, SIZE)).astype("float32"), generator.integers(0, CLASSES, BATCH)


def formula(labels, target, scale=32.0, others=lambda c: c):
    """The loss of each sample, float64; `target` of theta, `others` of the other classes' cosines."""

    def loss(x, w):
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, w)]
        cosines = unit[0] @ unit[1].T
        rows = np.arange(len(labels))
        logits = scale * others(cosines)
        logits[rows, labels] = scale * target(np.arccos(cosines[rows, labels]))
        top = logits.max(axis=1)
        return top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[rows, labels]

    return loss


def linear(theta, m=0.4):
    return 1 - 2 / np.pi * (theta + m)


OTHERS = {
    "cosines": (Linear, lambda c: c),
    "no slope": (Squared, lambda c: c**2),
    "slope": (SquaredWithSlope, np.square),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("implementation", ["auto", "reference", "fused", "streaming"])
def test_own_margin_has_its_formula_in_margin_softmax(kind, implementation):
    """Loss and gradients of a user's margin by each implementation that it permits."""
    margin, others = OTHERS[kind]
    embeddings, prototypes, labels = batch()
    if kind == "no slope" and implementation in ("fused", "streaming"):
        with pytest.raises(ValueError, match="negative logits without their slope"):
            margin_softmax(embeddings, prototypes, labels, margin(), implementation=implementation)
        return

    def loss(x, w):
        out = margin_softmax(x, w, ops.array(labels, "int32"), margin(), scale=32.0, implementation=implementation)
        return out.loss

    value, gradients = value_and_gradients(loss, embeddings, prototypes)
    exact = embeddings.astype("float64"), prototypes.astype("float64")
    wanted = formula(labels, linear, others=others)
    np.testing.assert_allclose(value, wanted(*exact), rtol=2e-6, atol=4e-6)
    for found, want in zip(gradients, differences(wanted, *exact), strict=True):
        assert relative_error(found, want) < 1e-5


@pytest.mark.parametrize("margin", [Linear(0.3), Counting(0.3), Squared(0.3), SquaredWithSlope(0.3)])
def test_own_margin_works_in_every_way_of_use(margin):
    """The ways agree in value; a head with the margin is built, called and asked for its loss as any other."""
    head = km.MarginHead(CLASSES, margin, scale=16.0)
    head.build((None, SIZE))
    embeddings, prototypes, labels = batch(1)
    head.prototypes.assign(prototypes)
    found = [ops.convert_to_numpy(way(ops.array(embeddings))) for way in loss_implementations(head, labels).values()]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_own_margin_with_state_survives_a_file(tmp_path):
    """The state is a weight under its field's name, updated by training alone, and comes back from a file."""
    head = km.MarginHead(CLASSES, Counting(0.2), scale=16.0)
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(SIZE)])
    model = km.EmbeddingModel(backbone, head)
    model.compile("sgd", jit_compile=keras.backend.backend() == "jax")
    x, y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % CLASSES
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    loss = model.evaluate(x, y, verbose=0)
    assert [weight.name for weight in head.weights] == ["prototypes", "seen"]
    model.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    assert int(ops.convert_to_numpy(again.head.state.seen)) == 24
    assert again.head.margin == Counting(0.2)
    assert again.evaluate(x, y, verbose=0) == pytest.approx(loss)


def test_state_goes_in_and_comes_out_of_margin_softmax():
    """Each training call returns the state that the next one takes; evaluation returns it unchanged."""
    embeddings, prototypes, labels = batch()
    state = ()
    for wanted in (6, 12):
        out = margin_softmax(embeddings, prototypes, labels, Counting(), state=state, training=True)
        state = out.state
        assert int(ops.convert_to_numpy(state.seen)) == wanted
    again = margin_softmax(embeddings, prototypes, labels, Counting(), state=state)
    assert int(ops.convert_to_numpy(again.state.seen)) == 12
    np.testing.assert_allclose(ops.convert_to_numpy(again.loss), ops.convert_to_numpy(out.loss), rtol=1e-6)


def tiny(image_size):
    """A network of one layer on RGB images."""
    inputs = keras.Input((*image_size, 3))
    rows = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1.0)(inputs))
    return keras.Model(inputs, keras.layers.Dense(6)(rows))


@pytest.mark.tensorflow_only
@pytest.mark.slow
def test_margin_added_at_run_time_goes_through_the_library(tmp_path, monkeypatch):
    """One line in the table, and recipe, ramp, diagnostics, plot and export know the margin."""
    from keras_margin import export, plots, recipes, training
    from keras_margin.data import ArrayReader
    from keras_margin.models import backbones
    from keras_margin.plots import margin_curves

    monkeypatch.setitem(margins.MARGINS, "linear", Linear)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype("uint8")
    reader = ArrayReader(images, np.arange(24) % 4, [str(number) for number in range(4)])
    recipe = recipes.get("orl_demo").replace(
        name="own",
        head="linear",
        head_options=(("margin", 0.3), ("scale", 8.0)),
        backbone="tiny",
        backbone_options=(),
        image_size=(8, 8),
        batch_size=8,
        steps=6,
        warmup_steps=0,
        margin_warmup_steps=4,
        scale_warmup_steps=0,
        decay_steps=(),
    )
    diagnostics = callbacks.TrainingDiagnostics(every=2)
    trained = training.fit(recipe, reader, callbacks=[diagnostics])
    assert trained.model.head.margin == Linear(0.3)
    assert diagnostics.statistics and all(0 <= statistics.past_pi <= 1 for statistics in diagnostics.statistics)
    curve = margin_curves.target_curve(trained.model.head)
    np.testing.assert_allclose(curve.logit, 8 * linear(curve.angles, 0.3), rtol=1e-5, atol=1e-5)
    plots.target_logits({"linear": curve}, tmp_path / "logits.png")
    assert (tmp_path / "logits.png").stat().st_size > 1000
    report = export.to_tflite(trained.model, tmp_path / "own.tflite", representative=images)
    assert report.mean_cosine > 0.9999


@pytest.mark.parametrize("name", margins.MARGINS)
def test_margin_is_a_frozen_value(name):
    """Equal by value, hashable, not changed in place, and the same again from its config."""
    margin = margins.get(name)
    assert margin == type(margin)() and hash(margin) == hash(type(margin)())
    again = margins.deserialize(margins.serialize(margin))
    assert again == margin and type(again) is type(margin)
    for field in dataclasses.fields(margin):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(margin, field.name, 0.0)


@pytest.mark.parametrize(
    "name", ["arcface", "cosface", "combined", "sphereface_arccos", "qamface", "adaface", "magface"]
)
def test_scaled_margin_runs_from_none_to_full(name):
    """At fraction 0 the target logit is that without a margin, at 1 the margin's own."""
    margin = margins.get(name)
    theta = ops.array(np.linspace(0.2, 2.5, 8), "float32")
    norm = ops.array(np.linspace(5, 30, 8), "float32")
    sample = Sample(theta, ops.cos(theta), norm, ops.zeros(8, "int32"), ops.ones(8, "bool"))
    state = keras.tree.map_structure(ops.convert_to_tensor, margin.initial_state())
    none, full = (ops.convert_to_numpy(margin.scaled(f).target_logit(sample, state)) for f in (0.0, 1.0))
    angles = np.linspace(0.2, 2.5, 8)
    wanted = (2 * np.pi - angles) ** 2 if name == "qamface" else np.cos(angles)
    np.testing.assert_allclose(none, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(full, ops.convert_to_numpy(margin.target_logit(sample, state)), rtol=1e-6)


def test_linear_combined_margin_is_scaled_by_a_tensor():
    """A schedule's fraction is a tensor; m1 = 1 stays the number that beyond_pi="linear" asks for."""
    margin = margins.Combined(m1=1.0, m2=0.4, m3=0.1, beyond_pi="linear").scaled(ops.array(0.5))
    theta = ops.array([0.3], "float32")
    sample = Sample(theta, ops.cos(theta), None, ops.zeros(1, "int32"), ops.ones(1, "bool"))
    wanted = math.cos(0.3 + 0.2) - 0.05
    assert float(ops.convert_to_numpy(margin.target_logit(sample, ()))[0]) == pytest.approx(wanted, rel=1e-6)


@keras.saving.register_keras_serializable(package="test")
@dataclasses.dataclass(frozen=True)
class Weighed(Linear):
    """Negative logits by a table of factors: a field that is a tuple."""

    factors: tuple = (0.5, 0.5)

    def negative_logits(self, cosines, sample, state):
        return self.factors[0] * cosines, self.factors[0] * ops.ones_like(cosines)


def test_margin_with_a_tuple_survives_its_config():
    """The tuple comes back as one, hashable, and the margin computes the same."""
    margin = Weighed(0.2, (0.25, 1.0))
    again = margins.deserialize(margins.serialize(margin))
    assert again == margin and hash(again) == hash(margin)
    found = [margin_softmax(*batch(), each).loss for each in (margin, again)]
    np.testing.assert_array_equal(ops.convert_to_numpy(found[0]), ops.convert_to_numpy(found[1]))


def test_margin_without_size_cannot_be_scaled():
    """Refuses to scale a margin without a size."""
    with pytest.raises(ValueError, match="SphereFace has no margin that could be scaled"):
        margins.SphereFace().scaled(0.5)


ANGLES = {
    "softmax": lambda t: t,
    "cosface": lambda t: t,
    "arcface": lambda t: t + 0.5,
    "combined": lambda t: t + 0.3,
    "sphereface": lambda t: 4 * t,
    "sphereface_arccos": lambda t: 1.35 * t,
    "magface": lambda t: t + 0.8,
    "curricularface": lambda t: t + 0.5,
}


@pytest.mark.once
@pytest.mark.parametrize("name", ANGLES)
def test_target_angle_is_what_the_cosine_is_taken_of(name):
    """Takes the cosine of the target angle."""
    theta = np.linspace(0, 3, 4)
    np.testing.assert_allclose(margins.get(name).target_angle(theta), ANGLES[name](theta))


MISTAKES = [
    (lambda sample, state: sample.cosine[:, None], ValueError, r"Wrong.target_logit must return .*\(batch,\)"),
    (lambda sample, state: ops.sum(sample.cosine), ValueError, r"shape=\(\)"),
    (lambda sample, state: ops.cast(sample.cosine, "float16"), TypeError, "must return float32.*float16"),
    (lambda sample, state: 1.0, TypeError, "must return a float32 tensor.*1.0"),
]


@pytest.mark.parametrize(("target_logit", "error", "message"), MISTAKES)
def test_target_logit_of_another_shape_or_dtype_is_refused(target_logit, error, message):
    """Refuses a target logit of another shape or dtype."""

    class Wrong(margins.Margin):
        pass

    Wrong.target_logit = lambda self, sample, state: target_logit(sample, state)
    with pytest.raises(error, match=message):
        margin_softmax(*batch(), Wrong())


@pytest.mark.parametrize(
    ("after", "message"), [((1, 2), "structured like"), (Count((1, 2)), "structured like"), (None, "structured like")]
)
def test_state_that_changes_its_structure_is_refused(after, message):
    """Refuses a state that changes its structure."""

    class Wrong(Counting):
        def update_state(self, state, sample):
            return after

    with pytest.raises(ValueError, match=f"Wrong.update_state must return a state {message}"):
        margin_softmax(*batch(), Wrong(), training=True)


def test_state_that_changes_a_shape_is_refused():
    """Refuses a state that changes a shape."""

    class Wrong(Counting):
        def update_state(self, state, sample):
            return Count(state.seen + ops.ones((3,), "int32"))

    with pytest.raises(ValueError, match=r"must keep each shape. Given: \(\). Returned: \(3,\)"):
        margin_softmax(*batch(), Wrong(), training=True)


def test_margin_without_a_target_logit_says_so():
    """Requires a target logit of a margin."""
    with pytest.raises(NotImplementedError, match="Margin must define target_logit"):
        margin_softmax(*batch(), margins.Margin())


@pytest.mark.once
def test_get_takes_a_margin_a_name_or_a_config():
    """Accepts a margin, a name or a config."""
    assert margins.get(margins.ArcFace(0.2)) == margins.ArcFace(0.2)
    assert margins.get("cosface") == margins.CosFace()
    assert margins.get(margins.serialize(margins.MagFace(lambda_g=1.0))) == margins.MagFace(lambda_g=1.0)
    with pytest.raises(
        ValueError, match="Unknown margin 'arcfase'. Did you mean 'arcface'.*Known margins: adaface, arcface"
    ):
        margins.get("arcfase")
    with pytest.raises(TypeError, match=r"pass keras_margin.margins.ArcFace\(0.5\)"):
        km.MarginHead(10, 0.5)

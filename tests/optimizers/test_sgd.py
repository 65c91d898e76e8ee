"""SGDWithL2 against a float64 loop of its formula, alone, in a Keras model and under MirroredStrategy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_margin import optimizers
from keras_margin.optimizers import SGDWithL2

DECAY, MOMENTUM = 0.1, 0.9
RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]


def by_hand(w, gradients, rates, momentum, l2):
    """w after each step: g = gradient + l2 w; v = momentum v - rate g; w = w + v."""
    w, v, steps = np.float64(w), 0.0, []
    for gradient, rate in zip(gradients, rates, strict=True):
        g = np.float64(gradient) + l2 * w
        v = momentum * v - rate * g
        w = w + v
        steps.append(w)
    return steps


def weight(name, value):
    return keras.Variable(np.array(value, "float32"), name=name)


def rate_by_step():
    return keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.01, 0.001])


@pytest.mark.parametrize(("momentum", "l2"), [(0.9, 0.1), (0.9, 0.0), (0.0, 0.1)])
def test_the_weights_follow_the_stated_formula(momentum, l2):
    """Updates the weights by the stated formula."""
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=(3, 2)), generator.normal(size=(6, 3, 2))
    kernel = weight("kernel", start)
    optimizer = SGDWithL2(rate_by_step(), momentum=momentum, l2=l2)
    found = []
    for gradient in gradients:
        optimizer.apply([ops.array(gradient, "float32")], [kernel])
        found.append(ops.convert_to_numpy(kernel.value))
    np.testing.assert_allclose(found, by_hand(start, gradients, RATES, momentum, l2), rtol=2e-6, atol=1e-7)


def torch_sgd(w, gradients, rates, momentum, decay, nesterov):
    """w after each step of torch.optim.SGD with dampening 0, as its documentation writes it; float64."""
    w, buffer, steps = np.float64(w), None, []
    for gradient, rate in zip(gradients, rates, strict=True):
        g = np.float64(gradient) + decay * w
        buffer = g if buffer is None else momentum * buffer + g
        w = w - rate * (g + momentum * buffer if nesterov else buffer)
        steps.append(w)
    return steps


def sgd_steps(start, gradients, rate, **options):
    kernel, found = weight("kernel", start), []
    optimizer = SGDWithL2(rate, **options)
    for gradient in gradients:
        optimizer.apply([ops.array(gradient, "float32")], [kernel])
        found.append(ops.convert_to_numpy(kernel.value))
    return np.float64(found)


@pytest.mark.parametrize("nesterov", [False, True])
def test_at_a_constant_rate_the_steps_are_those_of_pytorch(nesterov):
    """The first step and the ones with momentum and decay; with nesterov too."""
    generator = np.random.default_rng(2)
    start, gradients = generator.normal(size=(3, 2)), generator.normal(size=(6, 3, 2))
    found = sgd_steps(start, gradients, 0.1, momentum=0.9, l2=0.1, nesterov=nesterov)
    np.testing.assert_allclose(found, torch_sgd(start, gradients, [0.1] * 6, 0.9, 0.1, nesterov), rtol=2e-6, atol=1e-6)


def test_after_a_change_of_rate_old_gradients_keep_their_rate():
    """PyTorch's step after a change from a to b is v b; ours keeps momentum v a + b g: (a - b) momentum v further."""
    generator = np.random.default_rng(3)
    start, gradients = generator.normal(size=4), generator.normal(size=(2, 4))
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.01])
    found = sgd_steps(start, gradients, rate, momentum=0.9)
    theirs = torch_sgd(start, gradients, [0.1, 0.01], 0.9, 0.0, False)
    np.testing.assert_allclose(found[1], theirs[1] - (0.1 - 0.01) * 0.9 * gradients[0], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("make", [SGDWithL2, optimizers.AdamW])
def test_a_settable_rate_follows_its_schedule_until_it_is_set(make):
    """Rates 0.1, 0.1 by the schedule, then 0.5 for good; a saved optimiser keeps it."""
    optimizer = make(
        optimizers.schedules.SettableSchedule(keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.01]))
    )
    kernel, rates = weight("kernel", [1.0]), []
    for step in range(4):
        if step == 2:
            optimizer.learning_rate = 0.5
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([ops.zeros(1)], [kernel])
    assert rates == pytest.approx([0.1, 0.1, 0.5, 0.5])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is make and float(again.learning_rate) == 0.5
    optimizer.rate.assign(None)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def test_a_rate_that_was_set_moves_the_weights():
    """Moves the weights at a rate that was set."""
    optimizer = SGDWithL2(optimizers.schedules.SettableSchedule(rate_by_step()), momentum=0.0)
    kernel = weight("kernel", [1.0])
    optimizer.learning_rate = 0.25
    optimizer.apply([ops.ones(1)], [kernel])
    assert float(kernel.value[0]) == pytest.approx(1 - 0.25)


def test_a_plain_schedule_stays_unsettable_as_in_keras():
    """Refuses to set the rate of a plain schedule, as Keras does."""
    with pytest.raises(TypeError, match="not settable"):
        SGDWithL2(rate_by_step()).learning_rate = 0.1


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.9, True), (0.0, False)])
def test_rows_follow_the_formula_however_often_named(momentum, nesterov):
    """Updates the named rows alone, by the formula, however often they are named.

    v = momentum v - rate (g + l2 w); w = w + v, or w + momentum v - rate (g + l2 w): of the named rows, summed.
    """
    import tensorflow as tf

    generator = np.random.default_rng(1)
    start = generator.normal(size=(5, 2))
    table = weight("prototypes", start)
    optimizer = SGDWithL2(rate_by_step(), momentum=momentum, l2=DECAY, nesterov=nesterov)
    w, v = start.copy(), np.zeros_like(start)
    for rate, index in zip(RATES[:4], ([0, 2, 2], [2, 3, 0], [4, 4, 4], [2, 0, 3]), strict=True):
        values = generator.normal(size=(3, 2))
        optimizer.apply([tf.IndexedSlices(ops.array(values, "float32"), tf.constant(index), (5, 2))], [table])
        for row in set(index):
            step = rate * (values[np.array(index) == row].sum(axis=0) + DECAY * w[row])
            v[row] = momentum * v[row] - step
            w[row] += momentum * v[row] - step if nesterov else v[row]
    np.testing.assert_allclose(np.array(table), w, rtol=2e-6)
    np.testing.assert_array_equal(np.array(table)[1], np.float32(start[1]))


def test_decay_goes_through_the_momentum_unlike_keras_s_own():
    """Without a gradient: w1 = w - rate l2 w; then the momentum carries the first decay into the second step."""
    kernel = weight("kernel", [1.0])
    optimizer = SGDWithL2(0.5, momentum=0.9, l2=0.2)
    for _ in range(2):
        optimizer.apply([ops.zeros(1)], [kernel])
    first = 1 - 0.5 * 0.2
    second = first + (0.9 * -0.5 * 0.2 - 0.5 * 0.2 * first)
    assert float(kernel.value[0]) == pytest.approx(second, rel=1e-6)
    assert second != pytest.approx((1 - 0.5 * 0.2) ** 2)


@pytest.mark.parametrize(
    ("exclude", "decaying"),
    [
        (None, {"kernel", "prototypes", "embeddings"}),
        (("kernel",), {"prototypes", "embeddings", "alpha", "beta", "bias", "gamma"}),
        ((), {"kernel", "prototypes", "embeddings", "alpha", "beta", "bias", "gamma"}),
    ],
)
def test_excluded_weights_do_not_decay(exclude, decaying):
    """Excludes weights from the decay."""
    names = ["kernel", "alpha", "prototypes", "beta", "bias", "embeddings", "gamma"]
    weights = [weight(name, [2.0]) for name in names]
    options = {} if exclude is None else {"exclude": exclude}
    optimizer = SGDWithL2(0.5, momentum=0.0, l2=0.1, **options)
    optimizer.apply([ops.zeros(1) for _ in weights], weights)
    wanted = [2.0 - 0.5 * 0.1 * 2.0 if name in decaying else 2.0 for name in names]
    np.testing.assert_allclose([float(each.value[0]) for each in weights], wanted, rtol=1e-6)


def least_squares(x, y, kernel, bias, rates):
    """Kernel and bias of y = x kernel + bias by the mean squared error, the kernel alone decaying; float64."""
    v_kernel = v_bias = 0.0
    for rate in rates:
        residual = x @ kernel + bias - y
        v_kernel = MOMENTUM * v_kernel - rate * (2 * x.T @ residual / len(x) + DECAY * kernel)
        v_bias = MOMENTUM * v_bias - rate * 2 * residual.mean(axis=0)
        kernel, bias = kernel + v_kernel, bias + v_bias
    return kernel, bias


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_model_trains_by_it_on_one_device_and_on_two(replicas):
    """Trains a model on one device and on two."""
    from keras_margin import training

    strategy = training.make_strategy(replicas)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 3)), generator.normal(size=(8, 1))
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(SGDWithL2(rate_by_step(), momentum=MOMENTUM, l2=DECAY), loss="mse", jit_compile=False)
    kernel, bias = (np.float64(each) for each in model.get_weights())
    again = [np.tile(each, (len(RATES), 1)).astype("float32") for each in (x, y)]
    model.fit(*again, batch_size=8, shuffle=False, verbose=0)
    kernel, bias = least_squares(x, y, kernel, bias, RATES)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.05, rate_by_step()])
def test_its_config_builds_it_again(rate):
    """Builds an equal optimizer from its config."""
    optimizer = SGDWithL2(rate, momentum=0.8, l2=3e-4, exclude=("gamma",), nesterov=True)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is SGDWithL2
    assert again.get_config() == optimizer.get_config()
    assert (again.l2, again.exclude, again.momentum, again.nesterov) == (3e-4, ("gamma",), 0.8, True)


def test_other_decay_than_l2_is_refused():
    """Refuses another decay than L2."""
    with pytest.raises(ValueError, match="pass l2=, not weight_decay="):
        SGDWithL2(0.1, weight_decay=5e-4)
    with pytest.raises(ValueError, match="l2 >= 0. Received: l2=-0.1"):
        SGDWithL2(0.1, l2=-0.1)
    with pytest.raises(ValueError, match="l2=nan"):
        SGDWithL2(0.1, l2=float("nan"))

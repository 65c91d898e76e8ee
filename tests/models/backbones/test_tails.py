"""Tails: each against its formula in float64 NumPy, and behind networks that are not ours."""

import keras
import numpy as np
import pytest
from network_formulas import float64_weights, inferred, normed, with_random_weights

from keras_margin.models import backbones
from keras_margin.models.backbones._tails import TAILS


def feature_map(channels=5):
    inputs = keras.Input((4, 6, 3))
    return keras.Model(inputs, keras.layers.Conv2D(channels, 1, strides=2, name="map")(inputs), name="plain")


def by_hand(tail, x, w):
    if tail == "bn-dropout-fc-bn":
        x = normed(x, w, "tail_bn", 1e-5).reshape(len(x), -1)
        return normed(x @ w["tail_fc/kernel"] + w["tail_fc/bias"], w, "embedding", 1e-5)
    if tail == "gdc":
        x = normed((x * w["tail_gdc/kernel"][:, :, :, 0]).sum(axis=(1, 2)), w, "tail_bn", 1e-5)
        return normed(x @ w["tail_fc/kernel"], w, "embedding", 1e-5)
    return normed(x.mean(axis=(1, 2)) @ w["tail_fc/kernel"], w, "embedding", 1e-5)


@pytest.mark.parametrize("tail", TAILS)
def test_a_tail_computes_what_its_formula_says(tail):
    """Computes the formula of each tail."""
    model = with_random_weights(backbones.with_tail(feature_map(), tail, embedding_size=7))
    w = float64_weights(model)
    images = np.random.default_rng(0).normal(size=(3, 4, 6, 3))
    wanted = by_hand(tail, images[:, ::2, ::2] @ w["map/kernel"][0, 0] + w["map/bias"], w)
    found = inferred(model, images.astype("float32"))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert model.name == "plain"
    # ArcFace fixes the last scale at 1; MobileFaceNet as released learns it.
    assert ("embedding/gamma" in w) == (tail == "gdc")


def test_dropout_is_an_option_of_the_tail_that_has_it():
    """Accepts dropout for the tail that has it alone."""
    model = backbones.with_tail(feature_map(), "bn-dropout-fc-bn", 7, dropout=0.1)
    assert model.get_layer("tail_dropout").rate == 0.1


def test_what_a_tail_does_not_fit_is_refused():
    """Refuses a feature map that a tail does not fit."""
    with pytest.raises(ValueError, match="tail must be one of 'bn-dropout-fc-bn', 'gdc', 'gap'. Received: tail='E'"):
        backbones.with_tail(feature_map(), "E")
    with pytest.raises(ValueError, match=r"one feature map .*Received: lenet_plus_plus with output shape \(None, 2\)"):
        backbones.with_tail(backbones.lenet_plus_plus(), "gap")
    inputs = keras.Input((None, None, 3))
    open_size = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs), name="open_size")
    with pytest.raises(
        ValueError, match="tail='gdc' has weights for each place of the map, whose size open_size leaves"
    ):
        backbones.with_tail(open_size, "gdc")
    assert backbones.with_tail(open_size, "gap", 8).output_shape == (None, 8)

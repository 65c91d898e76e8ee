"""Networks under keras.json's image_data_format: channels_first: the same ones, or a clear error."""

import keras
import numpy as np
import pytest

from keras_margin.models import backbones
from keras_margin.models.backbones import _layers
from keras_margin.models.backbones._tails import TAILS

# One of each family, small; squeeze-and-excitation and grouped convolutions among them.
NETWORKS = {
    "ir_resnet": lambda: backbones.ir_resnet((1, 1), widths=(16, 16), image_size=(16, 16), squeeze_excite=True),
    "mobilefacenet": lambda: backbones.mobilefacenet(image_size=(16, 16), blocks=(1, 1, 1, 1)),
    "mobilefacenet_x2": lambda: backbones.mobilefacenet(width=2, image_size=(16, 16), blocks=(1, 1, 1, 1)),
    "spherenet": lambda: backbones.spherenet((0, 1), widths=(4, 8), image_size=(16, 16)),
    "inception_resnet_v1": lambda: backbones.inception_resnet_v1(image_size=(75, 75), units=(1, 1, 1)),
    "mnist_net": backbones.mnist_net,
    "lenet_plus_plus": backbones.lenet_plus_plus,
}


@pytest.fixture
def channels_first():
    """keras.json's image_data_format at channels_first, restored behind the test."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", NETWORKS)
def test_channels_first_builds_the_same_network(name):
    """A network built under channels_first has the configuration and the output of the one built without."""
    before = keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    wanted = NETWORKS[name]()
    images = np.random.default_rng(0).integers(0, 256, (2, *wanted.input_shape[1:])).astype("float32")
    expected = wanted.predict(images, verbose=0)
    keras.config.set_image_data_format("channels_first")
    try:
        keras.utils.set_random_seed(0)
        found = NETWORKS[name]()
        formats = {layer.data_format for layer in found.layers if hasattr(layer, "data_format")}
        assert formats == {_layers.CHANNELS_LAST}
        np.testing.assert_allclose(found.predict(images, verbose=0), expected, rtol=1e-5, atol=1e-6)
    finally:
        keras.config.set_image_data_format(before)
    assert [layer.get_config() for layer in found.layers] == [layer.get_config() for layer in wanted.layers]


@pytest.mark.once
@pytest.mark.parametrize("tail", TAILS)
def test_a_tail_under_channels_first_takes_channels_last(tail, channels_first):
    """A tail put behind a channels-last map under channels_first still reads rows, columns, channels."""
    inputs = keras.Input((4, 6, 3))
    maps = keras.Model(inputs, keras.layers.Conv2D(5, 1, strides=2, data_format="channels_last")(inputs), name="maps")
    model = backbones.with_tail(maps, tail, 7)
    fc = model.get_layer("tail_fc").kernel
    assert fc.shape == ({"bn-dropout-fc-bn": 2 * 3 * 5, "gdc": 5, "gap": 5}[tail], 7)


@pytest.mark.once
def test_a_tail_refuses_maps_with_channels_first(channels_first):
    """A backbone whose layers have data_format='channels_first' is refused, with the layer's name and what to do."""
    inputs = keras.Input((3, 8, 8))
    maps = keras.Model(inputs, keras.layers.MaxPooling2D(2, name="first")(inputs), name="maps")
    with pytest.raises(
        ValueError, match="Received: maps, whose layer 'first' has data_format='channels_first'. Build it"
    ):
        backbones.with_tail(maps, "gap")

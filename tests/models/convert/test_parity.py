"""Converted networks against PyTorch's own, layer by layer: both in one process, Keras on PyTorch."""

import functools
import os

import keras
import numpy as np
import pytest
from keras import ops

from keras_margin.models import convert
from keras_margin.models.convert import insightface

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "torch", reason="compares with PyTorch, which is in no other environment"
)

# ir_resnet200 and the two below differ from these by numbers of units alone, and take long: see docs/networks.md.
NAMES = ("ir_resnet18", "ir_resnet50", "mobilefacenet_x2", "mobilefacenet_large")


def compared(name, folder, images):
    """(worst cosine of embeddings, largest difference of a layer as a share of its largest number, layers compared)."""
    import torch
    import torch_networks

    theirs = torch_networks.build(name)
    torch.save(theirs.state_dict(), folder / f"{name}.pth")
    ours = convert.from_insightface(folder / f"{name}.pth", architecture=name)
    parts = insightface._known(name).parts
    seen = {}

    def keep(part, _module, _inputs, output):
        seen[part] = output.detach().numpy()  # What a hook returns takes the output's place: nothing.

    for part in parts:
        theirs.get_submodule(part.module).register_forward_hook(functools.partial(keep, part))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        theirs((pixels / 255 - 0.5) / 0.5)
        inside = keras.Model(ours.input, [ours.get_layer(part.layer).output for part in parts])
        found = [ops.convert_to_numpy(output) for output in inside(images)]
    worst = 0
    for part, output in zip(parts, found, strict=True):
        wanted = seen[part]
        if wanted.ndim == 4:
            wanted = wanted.transpose(0, 2, 3, 1)
        worst = max(worst, np.abs(output - wanted).max() / np.abs(wanted).max())
    first, second = np.float64(found[-1]), np.float64(seen[parts[-1]])
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return ((first * second).sum(axis=1) / norms).min(), worst, len(parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_computes_what_pytorch_s_does(name, tmp_path):
    """Computes in every layer what PyTorch's does."""
    images = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    cosine, worst, _ = compared(name, tmp_path, images)
    assert cosine > 0.999999
    assert worst < 1e-4


def test_pytorch_loads_what_we_write(tmp_path):
    """Writes what PyTorch loads."""
    import torch
    import torch_networks

    theirs = torch_networks.build("mobilefacenet_x2")
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    convert.to_insightface(convert.from_insightface(tmp_path / "theirs.pth"), tmp_path / "ours.pth")
    ours = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert list(ours) == list(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor), name
    again = torch_networks.MobileFaceNet()
    again.load_state_dict(ours)


def test_half_precision_and_several_devices_are_read(tmp_path):
    """Reads a checkpoint of half precision and of several devices."""
    import torch
    import torch_networks

    theirs = torch_networks.build("mobilefacenet_x2")
    state = {f"module.{name}": tensor.half() for name, tensor in theirs.state_dict().items()}
    torch.save({"epoch": 3, "global_step": 7, "state_dict_backbone": state}, tmp_path / "checkpoint.pt")
    ours = convert.from_insightface(tmp_path / "checkpoint.pt")
    kernel = ops.convert_to_numpy(ours.get_layer("stem_conv").kernel)
    wanted = theirs.layers[0].layers[0].weight.detach().half().float().permute(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, wanted.numpy())

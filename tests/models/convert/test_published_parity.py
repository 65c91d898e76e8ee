"""State dicts of published networks against PyTorch's own modules: both in one process, Keras on PyTorch."""

import os

import numpy as np
import pytest
from keras import ops

from keras_margin.models import convert

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "torch", reason="compares with PyTorch, which is in no other environment"
)

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
HALF = (0.5, 0.5)
# facenet-pytorch's (x - 127.5) / 128, of x / 255.
FACENET = (0.5, 128 / 255)
# Name here, module there and its arguments, (mean, deviation) of x / 255, side, channels of the code.
CASES = {
    "foamliu": ("foamliu_mobilefacenet", "FoamliuMobileFaceNet", {}, IMAGENET, 112, "RGB"),
    "MobileFaceNet, BGR": ("mobilefacenet", "MobileFaceNet", {}, HALF, 112, "BGR"),
    "MobileFaceNet, RGB": ("mobilefacenet", "MobileFaceNet", {}, HALF, 112, "RGB"),
    "IR": ("ir", "IR", {"kind": "evolve"}, HALF, 112, "RGB"),
    "IR-SE": ("ir", "IR", {"kind": "evolve", "squeeze_excite": True}, HALF, 112, "BGR"),
    "AdaFace IR": ("adaface_ir", "IR", {"kind": "adaface"}, HALF, 112, "BGR"),
    "AdaFace IR-SE": ("adaface_ir", "IR", {"kind": "adaface", "squeeze_excite": True}, HALF, 112, "BGR"),
    "AdaFace bottleneck": ("adaface_ir", "IR", {"kind": "adaface bottleneck"}, HALF, 112, "BGR"),
    "facenet-pytorch": ("facenet_inception_resnet_v1", "InceptionResnetV1", {}, FACENET, 160, "RGB"),
}


def wanted(network, images, moments, channels):
    """PyTorch's answer to uint8 RGB images."""
    import torch

    mean, deviation = moments
    x = ((images / 255 - mean) / deviation).astype(np.float32)
    x = x[..., ::-1] if channels == "BGR" else x
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()


@pytest.mark.parametrize("case", CASES)
def test_a_published_network_computes_what_pytorch_s_does(case, tmp_path):
    """Every number drawn; the embeddings are PyTorch's to float32 rounding, from RGB pixels."""
    import torch
    import torch_published

    name, module, arguments, moments, side, channels = CASES[case]
    network = torch_published.draw(getattr(torch_published, module)(**arguments))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    told = {"channels": channels} if name in ("mobilefacenet", "ir") else {}
    ours = convert.from_state_dict(tmp_path / "net.pth", **told)
    assert (ours.name, ours.input_shape) == (name, (None, side, side, 3))
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    rows = wanted(network, images, moments, channels)
    found = ops.convert_to_numpy(ours(images.astype("float32"))).reshape(rows.shape)
    np.testing.assert_allclose(found, rows, rtol=1e-3, atol=1e-4 * np.abs(rows).max())


def test_modules_and_checkpoints_are_read_without_running_them(tmp_path):
    """Reads whole modules and checkpoints without running them.

    A pickled module, one of several devices in the old format, and a training checkpoint hold the same tensors.
    """
    import argparse

    import torch
    import torch_published
    from torch import nn

    network = torch_published.draw(torch_published.MobileFaceNet())
    state = network.state_dict()
    torch.save(network, tmp_path / "module.pt")
    torch.save(nn.DataParallel(network), tmp_path / "devices.pt", _use_new_zipfile_serialization=False)
    checkpoint = {
        "epoch": 3,
        "callbacks": {torch_published.IR: {"best": np.float64(0.5)}},
        "hyper_parameters": argparse.Namespace(lr=0.1),
        "state_dict": {**{f"model.{key}": value for key, value in state.items()}, "head.kernel": torch.zeros(8, 3)},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    for file in ("module.pt", "devices.pt", "last.ckpt"):
        ours = convert.from_state_dict(tmp_path / file, channels="RGB")
        kernel = ops.convert_to_numpy(ours.get_layer("linear").kernel)
        np.testing.assert_array_equal(kernel, state["linear.weight"].numpy().T)

"""insightface's networks in PyTorch, written from their published description, for the tests that compare with them.

Names of modules are those of its state dicts. Imported where PyTorch is.
"""

import torch
from torch import nn

UNITS = {
    "ir_resnet18": (2, 2, 2, 2),
    "ir_resnet34": (3, 4, 6, 3),
    "ir_resnet50": (3, 4, 14, 3),
    "ir_resnet100": (3, 13, 30, 3),
    "ir_resnet200": (6, 26, 60, 6),
}


class Unit(nn.Module):
    """BN - Conv3x3 - BN - PReLU - Conv3x3(stride) - BN, plus the identity or Conv1x1(stride) - BN."""

    def __init__(self, before, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before, eps=1e-5)
        self.conv1 = nn.Conv2d(before, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=1e-5)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, eps=1e-5)
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width, eps=1e-5)
            )

    def forward(self, x):
        inside = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return self.bn3(self.conv2(inside)) + shortcut


class IRResNet(nn.Module):
    def __init__(self, units, embedding_size=512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=1e-5)
        self.prelu = nn.PReLU(64)
        before = 64
        for stage, (count, width) in enumerate(zip(units, (64, 128, 256, 512), strict=True), 1):
            made = [Unit(before if unit == 0 else width, width, 2 if unit == 0 else 1) for unit in range(count)]
            self.add_module(f"layer{stage}", nn.Sequential(*made))
            before = width
        self.bn2 = nn.BatchNorm2d(512, eps=1e-5)
        self.fc = nn.Linear(512 * 7 * 7, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, eps=1e-5)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))


class Chain(nn.Module):
    """Modules one after another, under the name `layers`; plus the identity for a residual one."""

    def __init__(self, *layers, residual=False):
        super().__init__()
        self.layers, self.residual = nn.Sequential(*layers), residual

    def forward(self, x):
        return self.layers(x) + x if self.residual else self.layers(x)


def activated(before, after, kernel=1, stride=1, groups=1):
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return Chain(convolution, nn.BatchNorm2d(after), nn.PReLU(after))


def bottleneck(before, after, inside, stride, residual=False):
    project = Chain(nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after))
    depthwise = activated(inside, inside, 3, stride, inside)
    return Chain(activated(before, inside), depthwise, project, residual=residual)


def residuals(channels, count, inside):
    return Chain(*[bottleneck(channels, channels, inside, 1, True) for _ in range(count)])


class MobileFaceNet(nn.Module):
    def __init__(self, blocks=(1, 4, 6, 2), width=2, embedding_size=512):
        super().__init__()
        narrow, wide = 64 * width, 128 * width
        second = activated(narrow, narrow, 3, groups=64) if blocks[0] == 1 else residuals(narrow, blocks[0], 128)
        self.layers = nn.Sequential(
            activated(3, narrow, 3, 2),
            second,
            bottleneck(narrow, narrow, 128, 2),
            residuals(narrow, blocks[1], 128),
            bottleneck(narrow, wide, 256, 2),
            residuals(wide, blocks[2], 256),
            bottleneck(wide, wide, 512, 2),
            residuals(wide, blocks[3], 256),
        )
        self.conv_sep = activated(wide, 512)
        linear = Chain(nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512))
        self.features = Chain(
            linear, nn.Flatten(), nn.Linear(512, embedding_size, bias=False), nn.BatchNorm1d(embedding_size)
        )

    def forward(self, x):
        return self.features(self.conv_sep(self.layers(x)))


def build(name):
    """The network that we call `name`, every number of it drawn, so that none hides behind a 0 or a 1."""
    torch.manual_seed(3)
    if name in UNITS:
        network = IRResNet(UNITS[name])
    elif name == "mobilefacenet_large":
        network = MobileFaceNet((2, 8, 12, 4), 4)
    else:
        network = MobileFaceNet()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0, 0.5)
        if name in UNITS:
            network.features.weight.fill_(1)  # Fixed in insightface's training.
    return network.eval()

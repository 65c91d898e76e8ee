"""Networks of published PyTorch code, narrower where the code fixes widths, for the tests that compare with them.

Names of modules are those of their state dicts. Imported where PyTorch is.
"""

import torch
from torch import nn


def draw(network, seed=3):
    """The network in evaluation mode, every number of it drawn, so that none hides behind a 0 or a 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.uniform_(0.5, 1.0)
                    module.bias.normal_(0, 0.2)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0, 0.5)
    return network.eval()


# --- foamliu/MobileFaceNet, mobilefacenet.py --------------------------------------------------------------------------


def conv_bn_relu6(before, after, kernel=3, stride=1, groups=1):
    convolution = nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU6())


class DepthwiseSeparable(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(self.bn2(self.pointwise(torch.relu(self.bn1(self.depthwise(x))))))


class GDConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn(self.depthwise(x))


class InvertedResidual(nn.Module):
    def __init__(self, before, after, stride, expanded):
        super().__init__()
        inside = before * expanded
        self.conv = nn.Sequential(
            conv_bn_relu6(before, inside, 1),
            conv_bn_relu6(inside, inside, 3, stride, inside),
            nn.Conv2d(inside, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.residual = stride == 1 and before == after

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class FoamliuMobileFaceNet(nn.Module):
    def __init__(self, width=16, last=32, size=8):
        super().__init__()
        self.conv1 = conv_bn_relu6(3, width, 3, 2)
        self.dw_conv = DepthwiseSeparable(width)
        units, before = [], width
        settings = ((2, width, 5, 2), (4, 2 * width, 1, 2), (2, 2 * width, 6, 1), (4, 2 * width, 1, 2))
        for expanded, after, count, stride in (*settings, (2, 2 * width, 2, 1)):
            for unit in range(count):
                units.append(InvertedResidual(before, after, stride if unit == 0 else 1, expanded))
                before = after
        self.features = nn.Sequential(*units)
        self.conv2 = conv_bn_relu6(before, last, 1)
        self.gdconv = GDConv(last)
        self.conv3, self.bn = nn.Conv2d(last, size, 1), nn.BatchNorm2d(size)

    def forward(self, x):
        return self.bn(self.conv3(self.gdconv(self.conv2(self.features(self.dw_conv(self.conv1(x))))))).flatten(1)


# --- TreB1eN/InsightFace_Pytorch, model.py, and ZhaoJ9014/face.evoLVe, backbone/MobileFaceNets.py ---------------------


class LinearBlock(nn.Module):
    def __init__(self, before, after, kernel=1, stride=1, padding=0, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x):
        return self.bn(self.conv(x))


class ConvBlock(LinearBlock):
    def __init__(self, before, after, *args):
        super().__init__(before, after, *args)
        self.prelu = nn.PReLU(after)

    def forward(self, x):
        return self.prelu(super().forward(x))


class DepthWise(nn.Module):
    def __init__(self, before, after, inside, stride, residual=False):
        super().__init__()
        self.conv = ConvBlock(before, inside)
        self.conv_dw = ConvBlock(inside, inside, 3, stride, 1, inside)
        self.project = LinearBlock(inside, after)
        self.residual = residual

    def forward(self, x):
        inside = self.project(self.conv_dw(self.conv(x)))
        return x + inside if self.residual else inside


class Residual(nn.Module):
    def __init__(self, channels, count, inside):
        super().__init__()
        self.model = nn.Sequential(*[DepthWise(channels, channels, inside, 1, True) for _ in range(count)])

    def forward(self, x):
        return self.model(x)


class MobileFaceNet(nn.Module):
    def __init__(self, width=16, last=32, size=8, kernel=(7, 7)):
        super().__init__()
        self.conv1 = ConvBlock(3, width, 3, 2, 1)
        self.conv2_dw = ConvBlock(width, width, 3, 1, 1, width)
        self.conv_23, self.conv_3 = DepthWise(width, width, 2 * width, 2), Residual(width, 4, 2 * width)
        self.conv_34, self.conv_4 = DepthWise(width, 2 * width, 4 * width, 2), Residual(2 * width, 6, 4 * width)
        self.conv_45, self.conv_5 = DepthWise(2 * width, 2 * width, 8 * width, 2), Residual(2 * width, 2, 4 * width)
        self.conv_6_sep = ConvBlock(2 * width, last)
        self.conv_6_dw = LinearBlock(last, last, kernel, 1, 0, last)
        self.linear, self.bn = nn.Linear(last, size, bias=False), nn.BatchNorm1d(size)

    def forward(self, x):
        for name in ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5"):
            x = getattr(self, name)(x)
        return self.bn(self.linear(self.conv_6_dw(self.conv_6_sep(x)).flatten(1)))


# --- IR and IR-SE: InsightFace_Pytorch's model.py, face.evoLVe's model_irse.py, AdaFace's net.py ----------------------


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction=4):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(nn.functional.adaptive_avg_pool2d(x, 1)))))


class IRUnit(nn.Module):
    """A unit; `kind` is "evolve", "adaface" or "adaface bottleneck"."""

    def __init__(self, before, after, stride, kind, squeeze_excite):
        super().__init__()
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )
        if kind == "adaface bottleneck":
            inside = after // 4
            layers = [nn.BatchNorm2d(before), nn.Conv2d(before, inside, 1, bias=False), nn.BatchNorm2d(inside)]
            layers += [nn.PReLU(inside), nn.Conv2d(inside, inside, 3, 1, 1, bias=False), nn.BatchNorm2d(inside)]
            layers += [nn.PReLU(inside), nn.Conv2d(inside, after, 1, stride, bias=False), nn.BatchNorm2d(after)]
        else:
            layers = [nn.BatchNorm2d(before), nn.Conv2d(before, after, 3, 1, 1, bias=False)]
            layers += [nn.BatchNorm2d(after)] if kind == "adaface" else []
            layers += [nn.PReLU(after), nn.Conv2d(after, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
        self.res_layer = nn.Sequential(*layers)
        if squeeze_excite:
            name = str(len(layers)) if kind == "evolve" else "se_block"
            self.res_layer.add_module(name, SqueezeExcite(after))

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class IR(nn.Module):
    def __init__(self, kind, squeeze_excite=False, counts=(2, 2, 1, 1), size=8, stem=8):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        units, before = [], stem
        for stage, count in enumerate(counts):
            after = stem << (stage + (2 if kind == "adaface bottleneck" else 0))
            for unit in range(count):
                units.append(IRUnit(before, after, 2 if unit == 0 else 1, kind, squeeze_excite))
                before = after
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(before * 49, size),
            nn.BatchNorm1d(size, affine=kind == "evolve"),
        )

    def forward(self, x):
        return self.output_layer(self.body(self.input_layer(x)))


# --- timesler/facenet-pytorch, models/inception_resnet_v1.py ----------------------------------------------------------


class BasicConv2d(nn.Module):
    def __init__(self, before, after, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def chain(before, *settings):
    """BasicConv2d of (channels, kernel, stride) one behind the other; a single one is no sequence."""
    made = []
    for after, kernel, stride in settings:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if stride == 2 else tuple(side // 2 for side in kernel)
        made.append(BasicConv2d(before, after, kernel, stride, padding))
        before = after
    return made[0] if len(made) == 1 else nn.Sequential(*made)


class Block(nn.Module):
    """Block35, Block17 and Block8."""

    def __init__(self, before, scale, *branches, activated=True):
        super().__init__()
        self.scale, self.activated, self.count = scale, activated, len(branches)
        for number, settings in enumerate(branches):
            self.add_module(f"branch{number}", chain(before, *settings))
        self.conv2d = nn.Conv2d(sum(settings[-1][0] for settings in branches), before, 1)

    def forward(self, x):
        joined = torch.cat([getattr(self, f"branch{number}")(x) for number in range(self.count)], 1)
        out = self.conv2d(joined) * self.scale + x
        return torch.relu(out) if self.activated else out


class Mixed(nn.Module):
    """Mixed_6a and Mixed_7a."""

    def __init__(self, before, *branches):
        super().__init__()
        self.count = len(branches)
        for number, settings in enumerate(branches):
            self.add_module(f"branch{number}", chain(before, *settings))
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x):
        return torch.cat([*(getattr(self, f"branch{number}")(x) for number in range(self.count)), self.pool(x)], 1)


class InceptionResnetV1(nn.Module):
    def __init__(self, size=8, classes=3):
        super().__init__()
        self.conv2d_1a, self.conv2d_2a = BasicConv2d(3, 8, 3, 2), BasicConv2d(8, 8, 3)
        self.conv2d_2b, self.maxpool_3a = BasicConv2d(8, 12, 3, 1, 1), nn.MaxPool2d(3, 2)
        self.conv2d_3b, self.conv2d_4a = BasicConv2d(12, 10, 1), BasicConv2d(10, 12, 3)
        self.conv2d_4b = BasicConv2d(12, 16, 3, 2)
        a = ([(4, 1, 1)], [(4, 1, 1), (5, 3, 1)], [(4, 1, 1), (4, 3, 1), (6, 3, 1)])
        b = ([(5, 1, 1)], [(4, 1, 1), (4, (1, 7), 1), (6, (7, 1), 1)])
        c = ([(5, 1, 1)], [(4, 1, 1), (4, (1, 3), 1), (6, (3, 1), 1)])
        self.repeat_1 = nn.Sequential(*[Block(16, 0.17, *a) for _ in range(2)])
        self.mixed_6a = Mixed(16, [(8, 3, 2)], [(6, 1, 1), (6, 3, 1), (8, 3, 2)])
        self.repeat_2 = nn.Sequential(*[Block(32, 0.10, *b) for _ in range(2)])
        self.mixed_7a = Mixed(32, [(6, 1, 1), (8, 3, 2)], [(6, 1, 1), (8, 3, 2)], [(6, 1, 1), (6, 3, 1), (8, 3, 2)])
        self.repeat_3 = nn.Sequential(*[Block(56, 0.20, *c) for _ in range(2)])
        self.block8 = Block(56, 1.0, *c, activated=False)
        self.last_linear, self.last_bn = nn.Linear(56, size, bias=False), nn.BatchNorm1d(size, eps=0.001)
        self.logits = nn.Linear(size, classes)

    def forward(self, x):
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(x))))
        x = self.repeat_2(self.mixed_6a(self.repeat_1(x)))
        x = self.block8(self.repeat_3(self.mixed_7a(x)))
        return self.last_bn(self.last_linear(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)))

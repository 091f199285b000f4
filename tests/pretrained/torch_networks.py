"""Networks in PyTorch, in the names of their state dicts.

torchvision's ResNets, semseg's PSPNet and Wider-ResNet-38 (A2) with its normalisation and ReLU in
one module, as NVIDIA publishes it.
"""

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
BINS = (1, 2, 3, 6)


class Block(nn.Module):
    """Basic block, or bottleneck with its stride in the 3x3 convolution."""

    def __init__(self, channels, width, bottleneck, stride, dilations):
        super().__init__()
        first, second = dilations
        out = 4 * width if bottleneck else width
        if bottleneck:
            shapes = [(channels, width, 1, 1, 1), (width, width, 3, stride, first)]
            shapes += [(width, out, 1, 1, 1)]
        else:
            shapes = [(channels, width, 3, stride, first), (width, width, 3, 1, second)]
        for i, (before, after, size, step, dilation) in enumerate(shapes, start=1):
            padding = dilation * (size // 2)
            conv = nn.Conv2d(before, after, size, step, padding, dilation, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.depth = len(shapes)
        self.downsample = None
        if channels != out or stride != 1:
            conv = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """With a deep stem, semseg's: in its dilated stages all 3x3 convolutions are dilated."""

    def __init__(self, name, output_stride, deep=False):
        super().__init__()
        bottleneck = name == "resnet50"
        if deep:
            self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(64)
            self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(128)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        self.stem = 3 if deep else 1
        channels, reached, dilation = 128 if deep else 64, 4, 1
        for stage, (blocks, width) in enumerate(
            zip(BLOCKS[name], (64, 128, 256, 512), strict=True)
        ):
            stride, previous = 1, dilation
            if stage and reached < output_stride:
                stride, reached = 2, 2 * reached
            elif stage:
                dilation *= 2
            layer = nn.Sequential()
            for i in range(blocks):
                first = previous if i == 0 and not deep else dilation
                steps = stride if i == 0 else 1
                layer.append(Block(channels, width, bottleneck, steps, (first, dilation)))
                channels = 4 * width if bottleneck else width
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        for i in range(1, self.stem + 1):
            x = F.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        x, features = F.max_pool2d(x, 3, 2, 1), []
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            features.append(x)
        return features


class PSPNet(nn.Module):
    """semseg's: logits and auxiliary logits of an image whose sides are multiples of 8 plus 1."""

    def __init__(self, classes, align_corners=True):
        super().__init__()
        resnet = ResNet("resnet50", 8, deep=True)
        stem = [resnet.conv1, resnet.bn1, nn.ReLU(), resnet.conv2, resnet.bn2, nn.ReLU()]
        stem += [resnet.conv3, resnet.bn3, nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.layer0 = nn.Sequential(*stem)
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.ppm = nn.Module()
        self.ppm.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(b),
                nn.Conv2d(2048, 512, 1, bias=False),
                nn.BatchNorm2d(512),
                nn.ReLU(),
            )
            for b in BINS
        )
        self.cls = _head(4096, 512, classes)
        self.aux = _head(1024, 256, classes)
        self.align_corners = align_corners

    def forward(self, images):
        x_3 = self.layer3(self.layer2(self.layer1(self.layer0(images))))
        x = self.layer4(x_3)
        maps = [x]
        for branch in self.ppm.features:
            maps.append(_resize(branch(x), x.shape[2:], self.align_corners))
        size = images.shape[2:]
        logits, aux = self.cls(torch.cat(maps, 1)), self.aux(x_3)
        return _resize(logits, size, True), _resize(aux, size, True)


class WiderResNet(nn.Module):
    """Wider-ResNet-38 A2 of output stride 8, with `1 / narrow` of its channels."""

    MODULES = ((3, (128, 128)), (3, (256, 256)), (6, (512, 512)), (3, (512, 1024)))
    MODULES += ((1, (512, 1024, 2048)), (1, (1024, 2048, 4096)))

    def __init__(self, narrow=1):
        super().__init__()
        self.mod1 = nn.Sequential()
        self.mod1.add_module("conv1", nn.Conv2d(3, 64, 3, padding=1, bias=False))
        channels = 64
        for number, (blocks, filters) in enumerate(self.MODULES, start=2):
            dilation = {5: 2, 6: 4, 7: 4}.get(number, 1)
            widths = [n // narrow for n in filters]
            module = nn.Sequential()
            for i in range(1, blocks + 1):
                stride = 2 if number == 4 and i == 1 else 1
                module.add_module(f"block{i}", WideBlock(channels, widths, stride, dilation))
                channels = widths[-1]
            self.add_module(f"mod{number}", module)
        self.bn_out = _norm_relu(channels)
        self.classifier = nn.Sequential()
        self.classifier.add_module("fc", nn.Linear(channels, 10))

    def forward(self, x):
        x = self.mod2(F.max_pool2d(self.mod1(x), 3, 2, 1))
        features = [self.mod3(F.max_pool2d(x, 3, 2, 1))]
        for module in (self.mod4, self.mod5):
            features.append(module(features[-1]))
        return [*features, self.bn_out(self.mod7(self.mod6(features[-1])))]


class WideBlock(nn.Module):
    def __init__(self, channels, widths, stride, dilation):
        super().__init__()
        self.bn1 = _norm_relu(channels)
        self.convs = nn.Sequential()
        sizes = (3, 3) if len(widths) == 2 else (1, 3, 1)
        for i, (before, after, size) in enumerate(
            zip([channels, *widths], widths, sizes, strict=False), start=1
        ):
            if i > 1:
                self.convs.add_module(f"bn{i}", _norm_relu(before))
            rate = dilation if size == 3 else 1
            steps = stride if i == 1 else 1
            conv = nn.Conv2d(before, after, size, steps, rate * (size // 2), rate, bias=False)
            self.convs.add_module(f"conv{i}", conv)
        self.proj_conv = None
        if stride != 1 or channels != widths[-1]:
            self.proj_conv = nn.Conv2d(channels, widths[-1], 1, stride, bias=False)

    def forward(self, x):
        y = self.bn1(x)
        return self.convs(y) + (x if self.proj_conv is None else self.proj_conv(y))


def _norm_relu(channels):
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


def _head(channels, width, classes):
    conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(width)
    return nn.Sequential(conv, norm, nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))


def _resize(x, size, align_corners):
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def randomise(network, seed=0):
    """Weights and statistics as after training: no scale is 1, no mean 0."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()

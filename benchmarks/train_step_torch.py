"""GFFNet and PSPNet, their loss and their optimiser in PyTorch, as its users write them.

`train_step.py` runs this in a process of its own, with any Python that has torch and NumPy. Modules
have the names of torchvision's ResNet and of our layers, so that weights are copied by name.
"""

import json
import resource
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

STAGES = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
BINS = (1, 2, 3, 6)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ConvBNReLU(nn.Module):
    def __init__(self, channels, filters, size=1, stride=1, dilation=1, relu=True):
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(channels, filters, size, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(filters)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Block(nn.Module):
    """Basic block of ResNet-18, or bottleneck with its stride in the first convolution."""

    def __init__(self, channels, width, bottleneck, stride, dilation, previous):
        super().__init__()
        out = 4 * width if bottleneck else width
        if bottleneck:
            shapes = [(1, stride, 1), (3, 1, dilation), (1, 1, 1)]
        else:  # the convolution that would carry the stride sees the grid of the stage before
            shapes = [(3, stride, previous), (3, 1, dilation)]
        widths = [channels] + [width] * (len(shapes) - 1) + [out]
        self.convs = nn.Sequential(
            *(
                ConvBNReLU(widths[i], widths[i + 1], *shape, relu=i + 1 < len(shapes))
                for i, shape in enumerate(shapes)
            )
        )
        self.downsample = None
        if channels != out or stride != 1:
            self.downsample = ConvBNReLU(channels, out, 1, stride, relu=False)

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.convs(x) + shortcut, inplace=True)


class ResNet(nn.Module):
    """Features of the four stages, strides 4, 8, 8, 8."""

    def __init__(self, name):
        super().__init__()
        bottleneck = name != "resnet18"
        self.stem = ConvBNReLU(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.channels, channels = [], 64
        settings = zip(STAGES[name], (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        previous = 1
        for number, (blocks, width, stride, dilation) in enumerate(settings):
            stage = nn.Sequential()
            for i in range(blocks):
                first = i == 0
                stage.append(
                    Block(
                        channels,
                        width,
                        bottleneck,
                        stride if first else 1,
                        dilation,
                        previous if first else dilation,
                    )
                )
                channels = 4 * width if bottleneck else width
            previous = dilation
            self.add_module(f"stack_{number}", stage)
            self.channels.append(channels)

    def forward(self, x):
        x, features = self.pool(self.stem(x)), []
        for number in range(4):
            x = self.get_submodule(f"stack_{number}")(x)
            features.append(x)
        return features


class PyramidPooling(nn.Module):
    def __init__(self, channels, dropout):
        super().__init__()
        width = channels // 4
        for bins in BINS:
            self.add_module(f"bin_{bins}", ConvBNReLU(channels, width))
        self.fuse = ConvBNReLU(2 * channels, width, 3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        maps = [x]
        for bins in BINS:
            pooled = self.get_submodule(f"bin_{bins}")(F.adaptive_avg_pool2d(x, bins))
            maps.append(F.interpolate(pooled, x.shape[2:], mode="bilinear"))
        return self.dropout(self.fuse(torch.cat(maps, 1)))


class GatedFullyFusion(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)
        self.reduce = nn.ModuleList(ConvBNReLU(c, filters) for c in channels)

    def forward(self, features):
        g = [torch.sigmoid(gate(x)) for gate, x in zip(self.gates, features, strict=True)]
        x = [reduce(x) for reduce, x in zip(self.reduce, features, strict=True)]
        sent = [g_l * x_l for g_l, x_l in zip(g, x, strict=True)]
        fused = []
        for level, (g_l, x_l) in enumerate(zip(g, x, strict=True)):
            others = sent[:level] + sent[level + 1 :]
            received = sum(resample(other, x_l.shape[2:]) for other in others)
            fused.append((1 + g_l) * x_l + (1 - g_l) * received)
        return fused


class Network(nn.Module):
    """GFFNet with the dense feature pyramid, or PSPNet; both with the auxiliary head."""

    def __init__(self, network, backbone, classes, dropout, filters=256):
        super().__init__()
        self.backbone = ResNet(backbone)
        channels = self.backbone.channels
        self.context = PyramidPooling(channels[-1], dropout)
        width = channels[-1] // 4
        self.gff = None
        if network == "GFFNet":
            self.gff = GatedFullyFusion(channels, filters)
            self.refine = nn.ModuleList(
                nn.Sequential(ConvBNReLU(filters, filters, 3), ConvBNReLU(filters, filters, 3))
                for _ in channels
            )
            self.reduce_context = ConvBNReLU(width, filters)
            self.dfp = nn.ModuleList(ConvBNReLU(filters * (i + 2), filters) for i in range(4))
            width = 5 * filters
        self.classifier = nn.Conv2d(width, classes, 1)
        self.aux_conv = ConvBNReLU(channels[-2], 256, 3)
        self.aux_dropout = nn.Dropout(dropout)
        self.aux_classifier = nn.Conv2d(256, classes, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images):
        """(B, 3, H, W) uint8 -> logits and auxiliary logits (B, classes, H, W) float32."""
        size = images.shape[2:]
        features = self.backbone((images - self.mean) / self.std)
        y = self.context(features[-1])
        if self.gff is not None:
            y = self.pyramid(features, y)
        logits = self.classifier(y).float()
        auxiliary = self.aux_classifier(self.aux_dropout(self.aux_conv(features[-2]))).float()
        return resample(logits, size), resample(auxiliary, size)

    def pyramid(self, features, context):
        """The fused levels and the context, concatenated at the finest level."""
        fused = [refine(x) for refine, x in zip(self.refine, self.gff(features), strict=True)]
        seen = [self.reduce_context(context)]
        outputs = seen[:]
        for x, conv in zip(reversed(fused), self.dfp, strict=True):
            seen.append(x)
            outputs.append(conv(concatenate(seen, x.shape[2:])))
        return concatenate(outputs, outputs[-1].shape[2:])


def concatenate(maps, size):
    return torch.cat([resample(x, size) for x in maps], 1)


def resample(x, size):
    """Sample a map on the grid of another level: sample i of stride s lies at pixel s * i."""
    if x.shape[2:] == size:
        return x
    steps = [factor(n, m) for n, m in zip(x.shape[2:], size, strict=True)]
    x = x[:, :, :: steps[0], :: steps[1]]
    covered = [n * factor(m, n) + 1 for n, m in zip(x.shape[2:], size, strict=True)]
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    x = F.interpolate(x, covered, mode="bilinear", align_corners=True)
    return x[:, :, : size[0], : size[1]]


def factor(covered, n):
    """Smallest power of two by which `n` samples cover at least `covered`."""
    return 1 << (-(-covered // n) - 1).bit_length()


def prepare(job):
    """Return the network and a function that takes one training step and returns its loss."""
    network = Network(job["network"], job["backbone"], job["classes"], job["dropout"])
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), **job["optimizer"])
    bfloat16 = job["dtype"] == "mixed_bfloat16"

    def step(images, labels):
        network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits, auxiliary = network(images)
        loss = F.cross_entropy(logits, labels, ignore_index=255)
        loss = loss + 0.4 * F.cross_entropy(auxiliary, labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return network, step


def tensors(images, labels):
    """NumPy arrays (B, H, W, 3) and (B, H, W) -> tensors, the images channels last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long()


def check(job):
    """Compute what `train_step.py` computed, from its weights on its batch."""
    with np.load(job["file"]) as saved:
        arrays = dict(saved)
    images, labels = tensors(arrays.pop("images"), arrays.pop("labels"))
    expected = arrays.pop("logits")
    network, step = prepare(job)
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("batches_tracked")}
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    network.load_state_dict(weights | counters)  # strict: no name missing, none left over
    network.eval()
    with torch.no_grad():
        logits = network(images)[0].permute(0, 2, 3, 1).numpy()
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    losses = [step(images, labels) for _ in range(job["steps"])]
    parameters = sum(p.numel() for p in network.parameters())
    return dict(parameters=parameters, losses=losses, error=error)


def measure(job):
    """Return the seconds of every step and the memory (MiB) of this process, before and at peak."""
    rng = np.random.default_rng(0)
    shape = (job["batch"], *job["crop"])
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    labels = rng.integers(0, job["classes"], shape, np.uint8)
    labels[rng.random(shape) < 0.1] = 255
    images, labels = tensors(images, labels)
    _, step = prepare(job)
    built, seconds = peak_memory(), []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        step(images, labels)
        seconds.append(time.perf_counter() - start)
    result = dict(seconds=seconds[job["warm_up"] :], built=built, memory=peak_memory())
    if job["profile"]:
        with torch.profiler.profile() as profiler:
            step(images, labels)
        ops = profiler.key_averages()
        result["profile"] = {op.key: op.self_cpu_time_total / 1e6 for op in ops}
    return result


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    print(json.dumps(check(job) if job["kind"] == "check" else measure(job)))

"""The same nets in native PyTorch, as its users write them; run.py compares their parameters with ours."""

import torch
from torch import nn


def conv_bn(a, b, stride=1, kernel=3):
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(b))


class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.body = nn.Sequential(conv_bn(a, b, stride), nn.ReLU(inplace=True), conv_bn(b, b))
        self.stride, self.extra = stride, b - a

    def forward(self, x):
        y = self.body(x)
        if self.extra or self.stride > 1:  # option A, as in the paper
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return torch.relu(x + y)


def resnet(depth=20, width=16):
    layers, a = [conv_bn(3, width), nn.ReLU(inplace=True)], width
    for stage in range(3):
        b = width * 2**stage
        for block in range((depth - 2) // 6):
            layers.append(Block(a, b, 2 if stage and not block else 1))
            a = b
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


class Aggregated(nn.Module):
    def __init__(self, a, middle, b, stride):
        super().__init__()
        grouped = nn.Conv2d(middle, middle, 3, stride, 1, groups=8, bias=False)
        self.body = nn.Sequential(
            conv_bn(a, middle, kernel=1), nn.ReLU(inplace=True), grouped, nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True), conv_bn(middle, b, kernel=1))  # fmt: skip
        self.shortcut = conv_bn(a, b, stride, 1) if a != b or stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.body(x))


def resnext29():
    layers, a = [conv_bn(3, 64), nn.ReLU(inplace=True)], 64
    for stage, width in enumerate((64, 128, 256)):
        for block in range(3):
            middle, b = 8 * 16 * width // 64, 4 * width
            layers.append(Aggregated(a, middle, b, 2 if stage and not block else 1))
            a = b
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))


def vgg16():
    layers, a = [], 3
    for n, b in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
        for _ in range(n):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)]
            a = b
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, *head, nn.Dropout(), nn.Linear(4096, 10))


class UNet(nn.Module):
    def __init__(self, widths=(16, 32, 64, 128)):
        super().__init__()

        def level(a, b):
            relu = nn.ReLU(inplace=True)
            return nn.Sequential(conv_bn(a, b), relu, conv_bn(b, b), relu)

        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList([level(3, widths[0]), *(level(a, b) for a, b in pairs)])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs[::-1])
        self.merge = nn.ModuleList(level(2 * a, a) for a, _ in pairs[::-1])
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x):
        maps = [self.down[0](x)]
        for level in self.down[1:]:
            maps.append(level(nn.functional.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([maps.pop(), up(x)], 1))
        return self.head(x)


NETS = {"ResNet": resnet, "VGG-16": vgg16, "ResNeXt-29": resnext29, "U-Net": UNet}

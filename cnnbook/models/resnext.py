"""ResNeXt. Xie, Girshick, Dollár, Tu & He 2017, Aggregated residual transformations, arXiv:1611.05431, Table 1, Fig. 3(c).

New: a block sums `cardinality` narrow paths of equal form; all of them together are one grouped 3x3 convolution.
As in the paper and its authors' code: ResNet's stem, stages and shortcut B, the stride in the 3x3 convolution. 32x4d has
32 paths of 4 channels in stage conv2, of 8 in conv3, and so on.
Keras trains grouped convolutions slowly on a CPU; `training.fit` splits them.
Change first: `cardinality` and `width`; 1 and 64 give ResNet-50 with the stride in its 3x3 convolutions.
"""

from functools import partial

from keras import layers as L

from .network import integer, network, variant
from .resnet import connect, conv_bn, stages, stem


def inner_width(filters, cardinality, width):
    """Channels of the grouped convolution: `cardinality` paths of `width` channels at 64 filters."""
    channels = cardinality * (filters * width // 64)
    if channels < 1:
        raise ValueError(f"{filters} filters of width {width} leave a path no channel (product below 64)")
    return channels


def block(x, filters, strides, option, name, *, cardinality=32, width=4):
    """ResNet's bottleneck, its middle in `cardinality` groups, Fig. 3(c)."""
    channels = inner_width(filters, cardinality, width)
    y = conv_bn(x, channels, 1, name=f"{name}_1")
    y = conv_bn(y, channels, 3, strides, groups=cardinality, name=f"{name}_2")
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = connect(x, y, strides, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


@network(smallest=32)
def ResNeXt(x, repeats, *, cardinality=32, width=4, widths=(64, 128, 256, 512)):
    """The ImageNet nets of Table 1: ResNet's with `cardinality` paths of `width` channels a block.

    The paper has 32x4d (the defaults) and 64x4d (cardinality=64).
    """
    paths = partial(block, cardinality=cardinality, width=width)
    return stages(stem(x, widths[0]), paths, repeats, widths, "B")


# Table 1: blocks in conv2 to conv5
# fmt: off
ResNeXt50  = variant("ResNeXt50",  ResNeXt, (3, 4,  6, 3))
ResNeXt101 = variant("ResNeXt101", ResNeXt, (3, 4, 23, 3))
# fmt: on


@network((32, 32, 3), smallest=3, classes=10, name="resnext{depth}_{cardinality}x{width}d_cifar")
def ResNeXtCIFAR(x, depth=29, *, cardinality=8, width=64, widths=(64, 128, 256)):
    """The CIFAR nets of section 5.3: `depth` = 9n + 2 layers; the paper has 29, of 8x64d (the defaults) and 16x64d."""
    if (integer(depth) or 0) < 11 or (depth - 2) % 9:
        raise ValueError(f"depth is 9n + 2: 11, 20, 29, 38, 47 ...; got {depth!r}")
    x = conv_bn(x, widths[0], 3, name="conv1")
    paths = partial(block, cardinality=cardinality, width=width)
    return stages(x, paths, [(depth - 2) // 9] * 3, widths, "B")

"""ResNeSt. Zhang et al. 2020, ResNeSt: split-attention networks, arXiv:2004.08955, Fig. 2, section 3.

New: the 3x3 convolution of a bottleneck gives `radix` maps, and SKNet's choice, for each channel, mixes them.
As in the authors' code: SENet154's stem, an average pool for the stride, behind the split attention and in front of the
projections (those of ResNet-D), biases in the attention's dense layers; cardinality 1, so the name 2s1x64d.
Change first: `radix`, or fast=True.
"""

from functools import partial

from keras import layers as L

from .network import integer, network, variant
from .resnet import connect, conv_bn, stages
from .senet import deep_stem
from .sknet import attend


def average(x, name):
    """A 3x3 average with zeros around, every second pixel of it."""
    x = L.ZeroPadding2D(1, name=f"{name}_avd_pad")(x)
    return L.AveragePooling2D(3, 2, name=f"{name}_avd_pool")(x)


def split_attention(x, strides, name, *, radix=2, fast=False):
    """A 3x3 convolution to `radix` maps, each from its own part of the channels, then a weighted mean of the maps."""
    channels = x.shape[-1]
    x = average(x, name) if fast and strides > 1 else x
    x = conv_bn(x, radix * channels, 3, groups=radix, name=name)
    x = attend(x, radix, max(channels * radix // 4, 32), name, use_bias=True)
    return average(x, name) if strides > 1 and not fast else x


def split_bottleneck(x, filters, strides, option, name, *, radix, fast):
    """ResNet's bottleneck with split attention in its middle; its projection sees the mean of 2x2 pixels, not one."""
    y = conv_bn(x, filters, 1, name=f"{name}_1")
    y = split_attention(y, strides, f"{name}_2", radix=radix, fast=fast)
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    x = L.AveragePooling2D(2, padding="same", name=f"{name}_0_pool")(x) if strides > 1 else x
    y = connect(x, y, 1, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


@network(smallest=32)
def ResNeSt(x, repeats, *, radix=2, fast=False, stem=32, widths=(64, 128, 256, 512)):
    """`repeats` bottlenecks with split attention in stages conv2 to conv5.

    radix: maps to choose from, at least 2 (each reads an equal part of the channels). fast: the pool for the stride in
    front of the split attention. stem: channels of the first two convolutions, the third has twice as many.
    """
    if (integer(radix) or 0) < 2 or any(w % radix for w in widths):
        raise ValueError(f"radix is at least 2 and divides the widths {tuple(widths)}, got {radix!r}")
    return stages(deep_stem(x, stem), partial(split_bottleneck, radix=radix, fast=fast), repeats, widths, "B")


# blocks in conv2 to conv5; the side at which the paper tests the 101
# fmt: off
ResNeSt50  = variant("ResNeSt50",  ResNeSt, (3, 4,  6, 3))
ResNeSt101 = variant("ResNeSt101", ResNeSt, (3, 4, 23, 3), stem=64, input_shape=(256, 256, 3))
# fmt: on

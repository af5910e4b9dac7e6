"""ResNeSt. Zhang et al. 2020, ResNeSt: split-attention networks, arXiv:2004.08955, Fig. 2, section 3.

New: the 3x3 convolution of a bottleneck gives `radix` maps, and SKNet's choice, for each channel, mixes them.
As in the authors' code: a stem of three 3x3 convolutions, an average pool for the stride, behind the split attention
and in front of the projections (those of ResNet-D), biases in the dense layers of the attention; cardinality 1, so
the name 2s1x64d. The attention is `sknet.attend`, the same in both papers but for those biases.
Change first: `radix`, or fast=True.
"""

from functools import partial

from keras import layers as L

from .network import network, variant
from .resnet import connect, conv_bn, pool, stages
from .sknet import attend


def average(x, strides, name):
    """A 3x3 average with zeros around, where there is a stride to take."""
    if strides == 1:
        return x
    x = L.ZeroPadding2D(1, name=f"{name}_avd_pad")(x)
    return L.AveragePooling2D(3, strides, name=f"{name}_avd_pool")(x)


def split_attention(x, strides, name, *, radix=2, fast=False):
    """A 3x3 convolution to `radix` maps, each from its own part of the channels, then a weighted mean of the maps."""
    channels = x.shape[-1]
    x = average(x, strides, name) if fast else x
    x = conv_bn(x, radix * channels, 3, groups=radix, name=name)
    x = attend(x, radix, max(channels * radix // 4, 32), name, use_bias=True)
    return x if fast else average(x, strides, name)


def shortcut(x, strides, name):
    """The projection behind it sees the mean of 2x2 pixels instead of one of them."""
    return L.AveragePooling2D(strides, padding="same", name=f"{name}_0_pool")(x) if strides > 1 else x


def block(x, filters, strides, option, name, *, radix, fast):
    """ResNet's bottleneck with split attention in its middle."""
    y = conv_bn(x, filters, 1, name=f"{name}_1")
    y = split_attention(y, strides, f"{name}_2", radix=radix, fast=fast)
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = connect(shortcut(x, strides, name), y, 1, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


@network(smallest=32)
def ResNeSt(x, repeats, *, radix=2, fast=False, stem=32, widths=(64, 128, 256, 512)):
    """`repeats` bottlenecks with split attention in stages conv2 to conv5.

    radix: maps to choose from, at least 2 (the parts of the channels that each map reads must be equal). fast: the pool
    for the stride in front of the split attention. stem: channels of the first two convolutions, the third has twice
    as many.
    """
    if not isinstance(radix, int) or radix < 2 or any(w % radix for w in widths):
        raise ValueError(f"radix is at least 2 and divides the widths {tuple(widths)}, got {radix!r}")
    x = conv_bn(x, stem, 3, 2, name="conv1_1")
    x = conv_bn(x, stem, 3, name="conv1_2")
    x = pool(conv_bn(x, 2 * stem, 3, name="conv1_3"))
    return stages(x, partial(block, radix=radix, fast=fast), repeats, widths, "B")


# blocks in conv2 to conv5; the side at which the paper tests the 101
# fmt: off
ResNeSt50  = variant("ResNeSt50",  ResNeSt, (3, 4,  6, 3))
ResNeSt101 = variant("ResNeSt101", ResNeSt, (3, 4, 23, 3), stem=64, input_shape=(256, 256, 3))
# fmt: on

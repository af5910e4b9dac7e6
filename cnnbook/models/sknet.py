"""SKNet. Li, Wang, Hu & Yang 2019, Selective kernel networks, arXiv:1903.06586, Fig. 1, Table 1.

New: two kernels side by side, and the image chooses between them, for each channel by a softmax.
SKNet-50 is ResNeXt-50 (32x4d) with selective kernels in place of its 3x3 convolutions: M = 2 branches, G = 32 groups,
r = 16. As in the paper, the 5x5 kernel is a 3x3 of dilation 2. Where it has stride 2 as well, which Keras refuses, it
only reads every second pixel: there it is a plain 3x3 convolution on every second pixel, the same numbers.
The stem pools with symmetric padding (Caffe's pools past the edge: the same shapes).
Change first: `dilations`: (1, 2, 4) has a third kernel, (1,) leaves none to choose from.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import SoftmaxSplits, SumSplits
from .network import integer, network, variant
from .resnet import connect, conv_bn, stages, stem
from .resnext import inner_width


def dilated(x, strides, dilation, groups, name):
    """A grouped 3x3 convolution that reads every `dilation`-th pixel around each `strides`-th one."""
    if strides > 1 and dilation % strides == 0:
        x = L.MaxPooling2D(1, strides, name=f"{name}_pool")(x)
        strides, dilation = 1, dilation // strides
    return conv_bn(x, x.shape[-1], 3, strides, groups=groups, dilation_rate=dilation, name=name)


def attend(x, splits, units, name, *, use_bias=False):
    """`splits` maps side by side (h, w, splits * C) to one (h, w, C): for each channel a weighted mean of them.

    Fuse: the mean over all places of their sum, `units` hidden units. Select: a softmax over the maps.
    """
    z = SumSplits(splits, name=f"{name}_fuse")(x)
    z = L.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(z)
    z = L.Dense(units, use_bias=use_bias, name=f"{name}_reduce")(z)
    z = blocks.bn_relu(z, name=f"{name}_reduce", epsilon=1.001e-5, momentum=0.9)
    z = L.Dense(x.shape[-1], use_bias=use_bias, name=f"{name}_expand")(z)
    z = SoftmaxSplits(splits, name=f"{name}_softmax")(z)
    x = L.Multiply(name=f"{name}_scale")([x, z])
    return SumSplits(splits, name=f"{name}_select")(x)


def selective(x, strides, name, *, dilations=(1, 2), groups=32, ratio=16, least=32):
    """One convolution for each of `dilations`, and `attend` between them with C / ratio units, at least `least`."""
    maps = [dilated(x, strides, d, groups, f"{name}_kernel{i}") for i, d in enumerate(dilations, 1)]
    maps = L.Concatenate(name=f"{name}_split")(maps) if len(maps) > 1 else maps[0]
    return attend(maps, len(dilations), max(x.shape[-1] // ratio, least), name)


def block(x, filters, strides, option, name, *, dilations, ratio, cardinality, width):
    """ResNeXt's block with a choice of kernels in its middle (Table 1)."""
    y = conv_bn(x, inner_width(filters, cardinality, width), 1, name=f"{name}_1")
    y = selective(y, strides, f"{name}_2", dilations=dilations, groups=cardinality, ratio=ratio)
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = connect(x, y, strides, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


@network(smallest=32)
def SKNet(x, repeats, *, dilations=(1, 2), ratio=16, cardinality=32, width=4, widths=(64, 128, 256, 512)):
    """ResNeXt with selective kernels: `repeats` blocks in stages conv2 to conv5.

    dilations: one 3x3 kernel each; odd ones from 3 on cannot take stride 2. ratio: the choice narrows the channels by
    it, to 32 at least. cardinality, width: as in ResNeXt.
    """
    if not dilations or any((integer(d) or 0) < 1 or (d > 1 and d % 2) for d in dilations):
        raise ValueError(f"dilations holds 1 or even numbers, as (1, 2) or (1, 2, 4); got {dilations!r}")
    choice = dict(dilations=dilations, ratio=ratio, cardinality=cardinality, width=width)
    return stages(stem(x, widths[0]), partial(block, **choice), repeats, widths, "B")


# blocks in conv2 to conv5: section 3.2 has 26, Table 1 has 50
# fmt: off
SKNet26 = variant("SKNet26", SKNet, (2, 2, 2, 2))
SKNet50 = variant("SKNet50", SKNet, (3, 4, 6, 3))
# fmt: on

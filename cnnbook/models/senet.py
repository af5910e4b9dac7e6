"""SENet. Hu, Shen & Sun 2018, Squeeze-and-excitation networks, arXiv:1709.01507, Fig. 3, Table 1.

New: a block weighs its channels by what the whole image holds: mean (squeeze), two dense layers, sigmoid (excitation).
As in the paper and its Caffe models: the weights multiply the residual, before the sum; the dense layers have biases,
the first a sixteenth of the channels; the stride of SE-ResNet is in the first 1x1 convolution. SENet154 (appendix)
differs from an SE-ResNeXt-152 64x4d: first convolutions of half the width, a stem of three 3x3 convolutions, 3x3
projections with stride 2, dropout 0.2. The stem pools with symmetric padding (Caffe's pools past the edge: same shapes).
Change first: `ratio`.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from .network import network, pooled_dropout, variant
from .resnet import connect, conv_bn, pool, stages, stem


def squeeze_excite(x, name, *, ratio=16):
    """The paper's form: the hidden layer has a `ratio`-th of the channels (Fig. 3)."""
    channels = x.shape[-1]
    if not 1 <= ratio <= channels:
        raise ValueError(f"ratio is at least 1 and at most the {channels} channels of {name}, got {ratio!r}")
    parts = ("squeeze", "reduce", "relu", "expand", "sigmoid", "scale")
    return blocks.squeeze_excite(x, channels // ratio, name=f"{name}_se", parts=parts)


def weighed_bottleneck(x, filters, strides, option, name, *, ratio=16):
    """ResNet's bottleneck, the residual weighed before the sum (Fig. 3)."""
    y = conv_bn(x, filters, 1, strides, name=f"{name}_1")
    y = conv_bn(y, filters, 3, name=f"{name}_2")
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = squeeze_excite(y, name, ratio=ratio)
    y = connect(x, y, strides, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


@network(smallest=32)
def SEResNet(x, repeats, *, ratio=16, widths=(64, 128, 256, 512)):
    """ResNet with bottlenecks, squeeze-and-excitation in each. ratio: the dense layers narrow the channels by it."""
    x = stem(x, widths[0])
    return stages(x, partial(weighed_bottleneck, ratio=ratio), repeats, widths, "B")


def senet_block(x, filters, strides, option, name, *, ratio, cardinality):
    """The block of SENet154: half the width in front, groups, and a 3x3 projection where the map is halved."""
    y = conv_bn(x, 2 * filters, 1, name=f"{name}_1")
    y = conv_bn(y, 4 * filters, 3, strides, groups=cardinality, name=f"{name}_2")
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = squeeze_excite(y, name, ratio=ratio)
    if strides > 1:
        x = conv_bn(x, 4 * filters, 3, strides, activation=None, name=f"{name}_0")
    y = connect(x, y, 1, option, name)
    return L.Activation("relu", name=f"{name}_out")(y)


def deep_stem(x, filters):
    """Three 3x3 convolutions in place of the 7x7, the last with twice the channels."""
    x = conv_bn(x, filters, 3, 2, name="conv1_1")
    x = conv_bn(x, filters, 3, name="conv1_2")
    return pool(conv_bn(x, 2 * filters, 3, name="conv1_3"))


@network(smallest=32, head=pooled_dropout)
def SENet(x, repeats, *, ratio=16, cardinality=64, dropout=0.2, widths=(64, 128, 256, 512)):
    """The net of the challenge of 2017: a ResNeXt of `cardinality` groups with the changes that the file's head names.

    ratio: as in SEResNet. dropout: before the classes.
    """
    x = deep_stem(x, widths[0])
    return stages(x, partial(senet_block, ratio=ratio, cardinality=cardinality), repeats, widths, "B")


# blocks in conv2 to conv5
# fmt: off
SEResNet50  = variant("SEResNet50",  SEResNet, (3, 4,  6, 3))
SEResNet101 = variant("SEResNet101", SEResNet, (3, 4, 23, 3))
SEResNet152 = variant("SEResNet152", SEResNet, (3, 8, 36, 3))
SENet154    = variant("SENet154",    SENet,    (3, 8, 36, 3))
# fmt: on

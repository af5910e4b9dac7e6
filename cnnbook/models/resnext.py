"""ResNeXt. Xie, Girshick, Dollár, Tu & He 2017, Aggregated residual transformations, arXiv:1611.05431, Table 1, Fig. 3(c).

New: a block sums `cardinality` narrow paths of equal form; all of them together are one grouped 3x3 convolution.
As in the paper and its authors' code: ResNet's stem, stages and shortcut B, the stride in the 3x3 convolution. 32x4d has
32 paths of 4 channels in stage conv2, of 8 in conv3, and so on.
Keras trains grouped convolutions slowly on a CPU; `training.fit` splits them (cnnbook.fast).
Change first: `cardinality` and `width`; 1 and 64 give ResNet-50 with the stride in its 3x3 convolutions.
"""

from functools import partial

from ..parts import blocks
from . import resnet


def block(x, filters, strides, option, name, *, cardinality=32, width=4, between=None):
    """ResNet's bottleneck, its middle in `cardinality` groups of `width` channels (at 64 filters), Fig. 3(c)."""
    channels = cardinality * (filters * width // 64)
    if channels < 1:
        raise ValueError(
            f"{filters} filters with width {width} leave a path no channel: width * filters must be at least 64"
        )

    def grouped(y, strides, name):
        return resnet.conv_bn(y, channels, 3, strides, groups=cardinality, name=name)

    return resnet.bottleneck(x, filters, strides, option, name, width=channels, between=between or grouped)


def ResNeXt(
    repeats,
    *,
    cardinality=32,
    width=4,
    widths=(64, 128, 256, 512),
    input_shape=(224, 224, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="resnext",
):
    """The ImageNet nets of Table 1: ResNet's with `cardinality` paths of `width` channels a block.

    The paper has 32x4d (the defaults) and 64x4d (cardinality=64). The smallest side is 32.
    """
    x = inputs = blocks.image(input_shape, smallest=32)
    x = resnet.stem(x, widths[0])
    x = resnet.stages(x, partial(block, cardinality=cardinality, width=width), repeats, widths, "B")
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(inputs, x, **top, pooling=pooling, weights=weights, name=name)


# Table 1: blocks in conv2 to conv5
# fmt: off
ResNeXt50  = blocks.variant("ResNeXt50",  ResNeXt, (3, 4,  6, 3))
ResNeXt101 = blocks.variant("ResNeXt101", ResNeXt, (3, 4, 23, 3))
# fmt: on


def ResNeXtCIFAR(
    depth=29,
    *,
    cardinality=8,
    width=64,
    widths=(64, 128, 256),
    input_shape=(32, 32, 3),
    classes=10,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name=None,
):
    """The CIFAR nets of section 5.3: `depth` = 9n + 2 layers, n blocks in each of three stages.

    The paper has depth 29 with 8x64d (the defaults) and 16x64d. The smallest side is 3.
    """
    if not isinstance(depth, int) or depth < 11 or (depth - 2) % 9:
        raise ValueError(f"depth is 9n + 2: 11, 20, 29, 38, 47 ...; got {depth!r}")
    x = inputs = blocks.image(input_shape, smallest=3)
    x = resnet.conv_bn(x, widths[0], 3, name="conv1")
    own = partial(block, cardinality=cardinality, width=width)
    x = resnet.stages(x, own, [(depth - 2) // 9] * 3, widths, "B")
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    name = name or f"resnext{depth}_{cardinality}x{width}d_cifar"
    return blocks.pooled_classifier(inputs, x, **top, pooling=pooling, weights=weights, name=name)

"""SENet. Hu, Shen & Sun 2018, Squeeze-and-excitation networks, arXiv:1709.01507, Fig. 3, Table 1.

New: a block weighs its channels by what the whole image holds: mean (squeeze), two dense layers, sigmoid (excitation).
As in the paper and its Caffe models: the weights multiply the residual, before the sum; the dense layers have biases,
the first a sixteenth of the channels; the stride of SE-ResNet is in the first 1x1 convolution. SENet154 (appendix)
differs from an SE-ResNeXt-152 64x4d: first convolutions of half the width, a stem of three 3x3 convolutions, 3x3
projections with stride 2, dropout 0.2. The stem pools with symmetric padding (Caffe's pools past the edge: same shapes).
Change first: `ratio`.
"""

from functools import partial

from ..parts import blocks
from . import resnet


def squeeze_excite(x, name, *, ratio=16):
    """The paper's form: the hidden layer has a `ratio`-th of the channels (Fig. 3)."""
    channels = x.shape[-1]
    if not 1 <= ratio <= channels:
        raise ValueError(f"ratio is at least 1 and at most the {channels} channels of {name}, got {ratio!r}")
    parts = ("squeeze", "reduce", "relu", "expand", "sigmoid", "scale")
    return blocks.squeeze_excite(x, channels // ratio, name=f"{name}_se", parts=parts)


def SEResNet(
    repeats,
    *,
    ratio=16,
    widths=(64, 128, 256, 512),
    input_shape=(224, 224, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="seresnet",
):
    """ResNet with bottlenecks, squeeze-and-excitation in each. ratio: the dense layers narrow the channels by it.

    The smallest side is 32.
    """
    x = inputs = blocks.image(input_shape, smallest=32)
    x = resnet.stem(x, widths[0])
    block = partial(resnet.bottleneck, gate=partial(squeeze_excite, ratio=ratio))
    x = resnet.stages(x, block, repeats, widths, "B")
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(inputs, x, **top, pooling=pooling, weights=weights, name=name)


def SENet(
    repeats,
    *,
    ratio=16,
    cardinality=64,
    dropout=0.2,
    widths=(64, 128, 256, 512),
    input_shape=(224, 224, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="senet",
):
    """The net of the challenge of 2017: a ResNeXt of `cardinality` groups with the changes that the file's head names.

    ratio: as in SEResNet. dropout: before the classes. The smallest side is 32.
    """

    def between(y, strides, name):  # doubles the channels
        return resnet.conv_bn(y, 2 * y.shape[-1], 3, strides, groups=cardinality, name=name)

    def project(x, channels, strides, name):
        if strides == 1:
            return x
        return resnet.conv_bn(x, channels, 3, strides, activation=None, name=f"{name}_0")

    def block(x, filters, strides, option, name):
        own = dict(between=between, gate=partial(squeeze_excite, ratio=ratio), shortcut=project)
        return resnet.bottleneck(x, filters, strides, option, name, width=2 * filters, **own)

    x = inputs = blocks.image(input_shape, smallest=32)
    x = resnet.stem(x, (widths[0], widths[0], 2 * widths[0]))
    x = resnet.stages(x, block, repeats, widths, "B")
    top = dict(classes=classes, include_top=include_top, classifier_activation=classifier_activation)
    return blocks.pooled_classifier(
        inputs, x, **top, pooling=pooling, weights=weights, name=name, dropout=dropout
    )


# blocks in conv2 to conv5
# fmt: off
SEResNet50  = blocks.variant("SEResNet50",  SEResNet, (3, 4,  6, 3))
SEResNet101 = blocks.variant("SEResNet101", SEResNet, (3, 4, 23, 3))
SEResNet152 = blocks.variant("SEResNet152", SEResNet, (3, 8, 36, 3))
SENet154    = blocks.variant("SENet154",    SENet,    (3, 8, 36, 3))
# fmt: on

"""EfficientNet. Tan & Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks, arXiv:1905.11946,
Table 1.

New: compound scaling. One net (B0, found by search) grows in width, depth and resolution together, by powers of 1.1, 1.2
and 1.15 that together double the cost.
As in the authors' code, for what the paper does not say: swish; squeezed widths are a quarter of the block's input; blocks
with a shortcut are skipped more often the deeper they lie (stochastic depth, Huang et al. 2016, arXiv:1603.09382: Keras'
Dropout with one number per image). As in keras.applications, pixels from 0 to 255 go in: the net divides by 255 and
normalises by a mean and a variance, 0 and 1 in a new net, ImageNet's with the ImageNet weights; the second scaling, which
Keras adds for these, is folded into the variance.
Change first: the width and the depth of a line at the end.
"""

import math

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication
from .network import network, pooled_dropout, variant

# a description and not an initialiser: one object would give layers of one shape the same numbers
fan_out = {
    "class_name": "VarianceScaling",
    "config": dict(scale=2.0, mode="fan_out", distribution="truncated_normal"),
}

# Table 1: repeats, kernel, stride of the first, expansion, channels
# fmt: off
TABLE_1 = [(1, 3, 1, 1,  16),
           (2, 3, 2, 6,  24),
           (2, 5, 2, 6,  40),
           (3, 3, 2, 6,  80),
           (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320)]
# fmt: on


def conv_bn(x, filters, kernel, strides=1, **options):
    names = ("{}_conv" if filters else "{}_dwconv", "{}_bn", "{}_activation")
    return blocks.conv_bn(x, filters, kernel, strides, kernel_initializer=fan_out, parts=names, **options)


def block(x, filters, kernel, strides, expansion, *, squeeze, activation, drop, name):
    """MobileNetV2's block, with squeeze-and-excitation on the widened map, skipped at the rate `drop` while training."""
    into, act = x.shape[-1], dict(activation=activation)
    y = conv_bn(x, expansion * into, 1, **act, name=f"{name}_expand") if expansion > 1 else x
    y = blocks.pad_as_tensorflow(y, kernel, name=f"{name}_dwconv_pad") if strides == 2 else y
    y = conv_bn(y, None, kernel, strides, padding="valid" if strides == 2 else "same", **act, name=name)
    if squeeze:
        hidden = max(1, int(squeeze * into))
        y = blocks.squeeze_excite(y, hidden, **act, kernel_initializer=fan_out, name=f"{name}_se")
    y = conv_bn(y, filters, 1, activation=None, name=f"{name}_project")
    if strides > 1 or into != filters:
        return y
    y = L.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y) if drop else y
    return L.Add(name=f"{name}_add")([x, y])


@network(smallest=32, head=pooled_dropout)
def EfficientNet(x, width, depth, *, squeeze=0.25, activation="swish", normalise=True, dropout=0.2, drop=0.2):
    """B0 with its channels times `width` (rounded to multiples of 8) and its repeats times `depth` (rounded up).

    squeeze: a block's squeezed width as a part of its input's, or 0 for none. normalise: scale the pixels inside. dropout:
    before the classes. drop: the chance that an image skips the last block while training; of the others, less by their
    depth.
    """
    if normalise:
        x = L.Rescaling(1 / 255, name="input_rescaling")(x)
        x = L.Normalization(name="input_normalization")(x)
    x = blocks.pad_as_tensorflow(x, 3, name="stem_conv_pad")
    x = conv_bn(x, blocks.divisible(32 * width), 3, 2, padding="valid", activation=activation, name="stem")
    total, done = sum(math.ceil(depth * row[0]) for row in TABLE_1), 0
    for stage, (repeats, kernel, strides, expansion, channels) in enumerate(TABLE_1, 1):
        for b in range(math.ceil(depth * repeats)):
            filters, name = blocks.divisible(channels * width), f"block{stage}{chr(ord('a') + b)}"
            options = dict(squeeze=squeeze, activation=activation, drop=drop * done / total, name=name)
            x = block(x, filters, kernel, strides if b == 0 else 1, expansion, **options)
            done += 1
    return conv_bn(x, blocks.divisible(1280 * width), 1, activation=activation, name="top")


def twin_names(reference, model):
    """The twin's normalisation has an automatic name."""
    return {"input_normalization": next(x.name for x in reference.layers if isinstance(x, L.Normalization))}


def member(title, width, depth, side, dropout):
    source = KerasApplication("identity", names=twin_names)
    shape = (side, side, 3)
    return variant(title, EfficientNet, width, depth, dropout=dropout, input_shape=shape, imagenet=source)


# Section 3.3 and the authors' code: width, depth, resolution, dropout
# fmt: off
EfficientNetB0 = member("EfficientNetB0", 1.0, 1.0, 224, 0.2)
EfficientNetB1 = member("EfficientNetB1", 1.0, 1.1, 240, 0.2)
EfficientNetB2 = member("EfficientNetB2", 1.1, 1.2, 260, 0.3)
EfficientNetB3 = member("EfficientNetB3", 1.2, 1.4, 300, 0.3)
EfficientNetB4 = member("EfficientNetB4", 1.4, 1.8, 380, 0.4)
EfficientNetB5 = member("EfficientNetB5", 1.6, 2.2, 456, 0.4)
EfficientNetB6 = member("EfficientNetB6", 1.8, 2.6, 528, 0.5)
EfficientNetB7 = member("EfficientNetB7", 2.0, 3.1, 600, 0.5)
# fmt: on

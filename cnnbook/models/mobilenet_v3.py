"""MobileNetV3. Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244, Tables 1 and 2.

New: blocks of MobileNetV2 found by search, with squeeze-and-excitation on the widened map, and hard-swish,
x relu6(x + 3) / 6, where maps are small; a head that pools before its last wide convolution.
As in the paper, with the released nets' details: squeezed widths are a quarter of the widened ones, rounded to multiples of
8; channels follow `alpha` by the same rounding. As in keras.applications, pixels from 0 to 255 go in: the net scales them to
-1 to 1 itself. ImageNet weights exist for alpha 0.75 and 1, and for minimalistic=True at alpha 1, all for 224 pixels.
Change first: minimalistic=True, or the column SE of a table below.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.blocks import inverted_residual

NAMES = ("{}", "{}_bn", "{}_activation")  # convolution, batch normalisation, activation
conv_bn = partial(blocks.conv_bn, momentum=0.999, parts=NAMES)
squeeze_excite = partial(
    blocks.squeeze_excite, gate="hard_sigmoid", parts=("avg_pool", "conv", "relu", "conv_1", "gate", "mul")
)

# kernel, widened channels, channels, squeeze-and-excitation, activation, stride
# fmt: off
LARGE = [(3,  16,  16, 0, "relu",       1),  # Table 1
         (3,  64,  24, 0, "relu",       2),
         (3,  72,  24, 0, "relu",       1),
         (5,  72,  40, 1, "relu",       2),
         (5, 120,  40, 1, "relu",       1),
         (5, 120,  40, 1, "relu",       1),
         (3, 240,  80, 0, "hard_swish", 2),
         (3, 200,  80, 0, "hard_swish", 1),
         (3, 184,  80, 0, "hard_swish", 1),
         (3, 184,  80, 0, "hard_swish", 1),
         (3, 480, 112, 1, "hard_swish", 1),
         (3, 672, 112, 1, "hard_swish", 1),
         (5, 672, 160, 1, "hard_swish", 2),
         (5, 960, 160, 1, "hard_swish", 1),
         (5, 960, 160, 1, "hard_swish", 1)]
SMALL = [(3,  16,  16, 1, "relu",       2),  # Table 2
         (3,  72,  24, 0, "relu",       2),
         (3,  88,  24, 0, "relu",       1),
         (5,  96,  40, 1, "hard_swish", 2),
         (5, 240,  40, 1, "hard_swish", 1),
         (5, 240,  40, 1, "hard_swish", 1),
         (5, 120,  48, 1, "hard_swish", 1),
         (5, 144,  48, 1, "hard_swish", 1),
         (5, 288,  96, 1, "hard_swish", 2),
         (5, 576,  96, 1, "hard_swish", 1),
         (5, 576,  96, 1, "hard_swish", 1)]
# fmt: on


def MobileNetV3(
    table,
    last,
    *,
    alpha=1.0,
    minimalistic=False,
    dropout=0.2,
    input_shape=(224, 224, 3),
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="mobilenetv3",
):
    """The blocks of `table`, then `last` channels behind the pool.

    alpha multiplies the numbers of channels, `last` only if it is above 1. minimalistic: no squeeze-and-excitation,
    no hard-swish, no 5x5 (not in the paper; released with it for hardware that is slow at these). The smallest side is 32.
    """
    blocks.width_multiplier(alpha)
    swish = "relu" if minimalistic else "hard_swish"
    x = inputs = blocks.image(input_shape, smallest=32)
    x = L.Rescaling(1 / 127.5, offset=-1.0, name="input_rescaling")(x)
    x = conv_bn(x, 16, 3, 2, padding="same", activation=swish, name="conv")
    before = 16
    for b, (kernel, widened, channels, squeeze, activation, strides) in enumerate(table):
        if minimalistic:
            kernel, squeeze, activation = 3, 0, "relu"
        widened, before = blocks.divisible(x.shape[-1] * (widened / before)), channels
        x = inverted_residual(
            x,
            blocks.divisible(channels * alpha),
            kernel,
            strides,
            widened,
            name=f"expanded_conv_{b}" if b else "expanded_conv",
            conv=partial(conv_bn, activation=activation),
            squeeze=squeezed if squeeze else None,
            parts=("{}_expand", "{}_depthwise_pad", "{}_depthwise", "{}_project"),
        )
    x = conv_bn(x, blocks.divisible(6 * x.shape[-1]), 1, activation=swish, name="conv_1")
    if include_top:
        x, pooling = head(x, blocks.divisible(last * max(1, alpha)), swish, dropout, classes), None
        x = L.Activation(classifier_activation, name="predictions")(x)
    return blocks.finish(inputs, x, pooling=pooling, weights=weights, name=name)


def squeezed(x, name):
    return squeeze_excite(x, blocks.divisible(x.shape[-1] / 4), name=f"{name}_squeeze_excite")


def head(x, filters, activation, dropout, classes):
    """Section 5.1: the pool first, so that the last wide convolution works on one pixel."""
    x = L.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x)
    x = L.Conv2D(filters, 1, name="conv_2")(x)
    x = L.Activation(activation, name="conv_2_activation")(x)
    x = L.Dropout(dropout, name="dropout")(x)
    x = L.Conv2D(blocks.number_of_classes(classes), 1, name="logits")(x)
    return L.Flatten(name="flatten")(x)


# fmt: off
MobileNetV3Large = blocks.variant("MobileNetV3Large", MobileNetV3, LARGE, 1280)  # Table 1
MobileNetV3Small = blocks.variant("MobileNetV3Small", MobileNetV3, SMALL, 1024)  # Table 2
# fmt: on

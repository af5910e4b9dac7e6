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
from ..weights import KerasApplication
from .network import network, variant

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


def block(x, filters, kernel, strides, widened, squeeze, activation, name):
    """Figure 4: MobileNetV2's block, with squeeze-and-excitation on the widened map."""
    y = conv_bn(x, widened, 1, activation=activation, name=f"{name}_expand") if widened != x.shape[-1] else x
    y = blocks.pad_as_tensorflow(y, kernel, name=f"{name}_depthwise_pad") if strides == 2 else y
    padding = "valid" if strides == 2 else "same"
    y = conv_bn(y, None, kernel, strides, padding=padding, activation=activation, name=f"{name}_depthwise")
    if squeeze:
        y = squeeze_excite(y, blocks.divisible(y.shape[-1] / 4), name=f"{name}_squeeze_excite")
    y = conv_bn(y, filters, 1, activation=None, name=f"{name}_project")
    return y if strides > 1 or x.shape[-1] != filters else L.Add(name=f"{name}_add")([x, y])


def head(x, classes, activation, *, last, alpha, minimalistic, dropout):
    """Section 5.1: the pool first, so that the last wide convolution works on one pixel."""
    x = L.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x)
    x = L.Conv2D(blocks.divisible(last * max(1, alpha)), 1, name="conv_2")(x)
    x = L.Activation("relu" if minimalistic else "hard_swish", name="conv_2_activation")(x)
    x = L.Dropout(dropout, name="dropout")(x)
    x = L.Conv2D(classes, 1, name="logits")(x)
    x = L.Flatten(name="flatten")(x)
    return L.Activation(activation, name="predictions")(x)


@network(smallest=32, head=head)
def MobileNetV3(x, table, last, *, alpha=1.0, minimalistic=False, dropout=0.2):
    """The blocks of `table`, then `last` channels behind the pool.

    alpha multiplies the numbers of channels, `last` only if it is above 1. minimalistic: no squeeze-and-excitation,
    no hard-swish, no 5x5 (not in the paper; released with it for hardware that is slow at these).
    """
    blocks.width_multiplier(alpha)
    swish = "relu" if minimalistic else "hard_swish"
    x = L.Rescaling(1 / 127.5, offset=-1.0, name="input_rescaling")(x)
    x = conv_bn(x, 16, 3, 2, padding="same", activation=swish, name="conv")
    before = 16
    for b, (kernel, widened, channels, squeeze, activation, strides) in enumerate(table):
        if minimalistic:
            kernel, squeeze, activation = 3, 0, "relu"
        widened, before = blocks.divisible(x.shape[-1] * (widened / before)), channels
        filters, name = blocks.divisible(channels * alpha), f"expanded_conv_{b}" if b else "expanded_conv"
        x = block(x, filters, kernel, strides, widened, squeeze, activation, name)
    return conv_bn(x, blocks.divisible(6 * x.shape[-1]), 1, activation=swish, name="conv_1")


KERAS = KerasApplication("identity", options=("alpha", "minimalistic"), sides=(224,))
MobileNetV3Large = variant("MobileNetV3Large", MobileNetV3, LARGE, 1280, imagenet=KERAS)
MobileNetV3Small = variant("MobileNetV3Small", MobileNetV3, SMALL, 1024, imagenet=KERAS)

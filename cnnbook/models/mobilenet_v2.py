"""MobileNetV2. Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, arXiv:1801.04381, Table 2.

New: the residual block turned inside out. Shortcuts join the narrow maps; between them a 1x1 convolution widens the map
six times, a depthwise convolution filters it, and a 1x1 convolution without ReLU (a linear bottleneck) narrows it again.
As in the paper. Numbers of channels are multiples of 8 at every width, as in the released nets. ImageNet weights exist for
alpha 0.35, 0.5, 0.75, 1, 1.3 and 1.4 at 96, 128, 160, 192 and 224 pixels (others take those of 224); they want RGB from
-1 to 1 (`models.preprocess`).
Change first: alpha, or a row of Table 2 below.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication
from .network import network

conv_bn = partial(blocks.conv_bn, activation="relu6", momentum=0.999, parts=("{}", "{}_BN", "{}_relu"))
STEM, HEAD = ("{}", "bn_{}", "{}_relu"), ("{}", "{}_bn", "out_relu")

# Table 2: expansion, channels, repeats, stride of the first
# fmt: off
TABLE_2 = [(1,  16, 1, 1),
           (6,  24, 2, 2),
           (6,  32, 3, 2),
           (6,  64, 4, 2),
           (6,  96, 3, 1),
           (6, 160, 3, 2),
           (6, 320, 1, 1)]
# fmt: on


def inverted_residual(x, filters, strides, expanded, name):
    """Figure 4 (d): 1x1 to `expanded` channels, depthwise, 1x1 without ReLU to `filters`; a shortcut where shapes agree."""
    y = conv_bn(x, expanded, 1, name=f"{name}_expand") if expanded != x.shape[-1] else x
    y = blocks.pad_as_tensorflow(y, 3, name=f"{name}_pad") if strides == 2 else y
    y = conv_bn(y, None, 3, strides, padding="valid" if strides == 2 else "same", name=f"{name}_depthwise")
    y = conv_bn(y, filters, 1, activation=None, name=f"{name}_project")
    return y if strides > 1 or x.shape[-1] != filters else L.Add(name=f"{name}_add")([x, y])


@network(smallest=32, imagenet=KerasApplication("tf", options=("alpha",), sides=(224, 192, 160, 128, 96)))
def MobileNetV2(x, *, alpha=1.0):
    """MobileNetV2; `alpha` multiplies the numbers of channels, of the last convolution only if it is above 1."""
    blocks.width_multiplier(alpha)
    x = conv_bn(x, blocks.divisible(32 * alpha), 3, 2, padding="same", name="Conv1", parts=STEM)
    rows = [(t, c, s if i == 0 else 1) for t, c, n, s in TABLE_2 for i in range(n)]
    for b, (expansion, channels, strides) in enumerate(rows):
        filters, expanded = blocks.divisible(int(channels * alpha)), expansion * x.shape[-1]
        x = inverted_residual(x, filters, strides, expanded, f"block_{b}" if b else "expanded_conv")
    return conv_bn(x, blocks.divisible(1280 * max(1, alpha)), 1, name="Conv_1", parts=HEAD)

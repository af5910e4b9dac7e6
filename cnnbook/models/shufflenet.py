"""ShuffleNet. Zhang et al. 2018, ShuffleNet: an extremely efficient CNN for mobile devices, arXiv:1707.01083, Table 1.

New: the 1x1 convolutions are grouped too, and a channel shuffle between them lets the groups talk.
As in the authors' release: the first 1x1 convolution reads the stem's few channels without groups, no ReLU after the
depthwise convolution; the stem's 24 channels become 12 at scale 0.5, 24 at 1.5 and 48 at 2 (up to a multiple of `groups`).
Only the classes' biases are ours (1,000 numbers more than the release).
Change first: groups, from 1 to 8: more groups, more channels for the same cost.
"""

import math
from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import ShuffleChannels
from .network import network

conv_bn = partial(blocks.conv_bn, epsilon=1e-5, momentum=0.9)  # as in torch

# Table 1: groups, and the channels of stage 2, doubled twice
WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
REPEATS = (4, 8, 4)


def unit(x, filters, strides, groups, name, *, first=1):
    """Figure 2 (b) and (c): 1x1 in groups, shuffle, depthwise 3x3, 1x1 in groups; a pooled shortcut is concatenated."""
    y = conv_bn(x, filters // 4, 1, groups=first, name=f"{name}_1")
    y = ShuffleChannels(groups, name=f"{name}_shuffle")(y) if groups > 1 else y
    y = conv_bn(y, None, 3, strides, activation=None, name=f"{name}_2")
    pooled = x.shape[-1] if strides > 1 else 0
    y = conv_bn(y, filters - pooled, 1, groups=groups, activation=None, name=f"{name}_3")
    if strides == 1:
        return L.Activation("relu", name=f"{name}_out")(L.Add(name=f"{name}_add")([x, y]))
    x = L.ZeroPadding2D(1, name=f"{name}_0_pad")(x)
    x = L.AveragePooling2D(3, 2, name=f"{name}_0_pool")(x)
    y = L.Activation("relu", name=f"{name}_3_relu")(y)
    return L.Concatenate(name=f"{name}_out")([x, y])


@network(smallest=17)
def ShuffleNet(x, *, groups=3, scale=1.0):
    """ShuffleNet; `groups` is 1, 2, 3, 4 or 8 (the columns of Table 1), `scale` multiplies the numbers of channels."""
    if groups not in WIDTHS:
        raise ValueError(f"groups is {', '.join(map(str, WIDTHS))} (Table 1), got {groups!r}")
    width = scale * WIDTHS[groups] if isinstance(scale, (int, float)) else 0
    if width <= 0 or width % (4 * groups):
        raise ValueError(
            f"scale multiplies {WIDTHS[groups]} channels; a quarter of them must make {groups} equal groups: "
            f"0.5, 1, 1.5 and 2 are the paper's, got {scale!r}"
        )
    stem = groups * math.ceil(24 * (scale if scale < 1 else int(scale)) / groups)
    x = conv_bn(x, stem, 3, 2, name="conv1")
    x = L.ZeroPadding2D(1, name="pool1_pad")(x)
    x = L.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, repeats in enumerate(REPEATS, 2):
        for b in range(1, repeats + 1):
            filters, first = int(width) * 2 ** (stage - 2), 1 if (stage, b) == (2, 1) else groups
            x = unit(x, filters, 2 if b == 1 else 1, groups, f"stage{stage}_block{b}", first=first)
    return x

"""ShuffleNetV2. Ma et al. 2018, ShuffleNet V2: practical guidelines for efficient CNN architecture design,
arXiv:1807.11164, Table 5 and Figure 3 (c) and (d).

New: designed by measured speed. No groups and no addition: half of the channels pass a unit untouched, the others are
convolved, and a shuffle mixes the two.
As in the authors' release: a unit that halves the map keeps the input's channels in its shortcut branch and makes all new
ones in the other (torchvision makes half of them in each); dropout before the classes only at scale 2. Only the classes'
biases are ours (1,000 numbers more than the release).
Change first: scale.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import ShuffleChannels, TakeChannels
from .network import network, pooled_dropout

conv_bn = partial(blocks.conv_bn, epsilon=1e-5, momentum=0.9)  # as in torch

# Table 5: channels of stages 2 to 4 and of conv5
# fmt: off
WIDTHS = {0.5: ( 48,  96, 192, 1024),
          1.0: (116, 232, 464, 1024),
          1.5: (176, 352, 704, 1024),
          2.0: (244, 488, 976, 2048)}
# fmt: on
REPEATS = (4, 8, 4)


def unit(x, filters, name):
    """Figure 3 (c): split, convolve one half, join, shuffle."""
    half = filters // 2
    left = TakeChannels(0, half, name=f"{name}_0_take")(x)
    y = TakeChannels(half, filters, name=f"{name}_1_take")(x)
    return join(left, convolve(y, half, half, 1, name), name)


def halving_unit(x, filters, name):
    """Figure 3 (d): no split, both branches convolve with stride 2."""
    y = convolve(x, filters - x.shape[-1], filters // 2, 2, name)
    left = conv_bn(x, None, 3, 2, activation=None, name=f"{name}_0_1")
    left = conv_bn(left, x.shape[-1], 1, name=f"{name}_0_2")
    return join(left, y, name)


def convolve(x, filters, hidden, strides, name):
    x = conv_bn(x, hidden, 1, name=f"{name}_1")
    x = conv_bn(x, None, 3, strides, activation=None, name=f"{name}_2")
    return conv_bn(x, filters, 1, name=f"{name}_3")


def join(left, right, name):
    x = L.Concatenate(name=f"{name}_join")([left, right])
    return ShuffleChannels(2, name=f"{name}_out")(x)


def head(x, classes, activation, *, scale):
    return pooled_dropout(x, classes, activation, dropout=0.2 if scale == 2 else 0)


@network(smallest=17, head=head)
def ShuffleNetV2(x, *, scale=1.0):
    """ShuffleNetV2; `scale` is 0.5, 1, 1.5 or 2 (the columns of Table 5)."""
    if scale not in WIDTHS:
        raise ValueError(f"scale is {', '.join(map(str, WIDTHS))} (Table 5), got {scale!r}")
    *widths, last = WIDTHS[scale]
    x = conv_bn(x, 24, 3, 2, name="conv1")
    x = L.ZeroPadding2D(1, name="pool1_pad")(x)
    x = L.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, (repeats, filters) in enumerate(zip(REPEATS, widths, strict=True), 2):
        x = halving_unit(x, filters, f"stage{stage}_block1")
        for b in range(2, repeats + 1):
            x = unit(x, filters, f"stage{stage}_block{b}")
    return conv_bn(x, last, 1, name="conv5")

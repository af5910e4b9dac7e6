"""ShuffleNetV2. Ma et al. 2018, ShuffleNet V2: practical guidelines for efficient CNN architecture design,
arXiv:1807.11164, Table 5 and Figure 3 (c) and (d).

New: designed by measured speed. No groups and no addition: half of the channels pass a unit untouched, the others are
convolved, and a shuffle mixes the two.
As in the authors' release: a unit that halves the map keeps the input's channels in its shortcut branch and makes all new
ones in the other (torchvision makes half of them in each); dropout before the classes only at scale 2. Only the classes'
biases are ours (1,000 numbers more than the release).
Change first: scale.
"""

from keras import layers as L

from ..parts.layers import ShuffleChannels, TakeChannels
from .network import network, pooled_dropout
from .shufflenet import REPEATS, conv_bn

# Table 5: channels of stages 2 to 4 and of conv5
# fmt: off
WIDTHS = {0.5: ( 48,  96, 192, 1024),
          1.0: (116, 232, 464, 1024),
          1.5: (176, 352, 704, 1024),
          2.0: (244, 488, 976, 2048)}
# fmt: on


def unit(x, filters, strides, name):
    """Figure 3: (c) splits the channels and convolves one half; (d), with stride 2, convolves all in both branches."""
    if strides == 1:
        left = TakeChannels(0, filters // 2, name=f"{name}_0_take")(x)
        right = TakeChannels(filters // 2, filters, name=f"{name}_1_take")(x)
    else:
        left, right = conv_bn(x, None, 3, strides, activation=None, name=f"{name}_0_1"), x
        left = conv_bn(left, x.shape[-1], 1, name=f"{name}_0_2")
    right = conv_bn(right, filters // 2, 1, name=f"{name}_1")
    right = conv_bn(right, None, 3, strides, activation=None, name=f"{name}_2")
    right = conv_bn(right, filters - left.shape[-1], 1, name=f"{name}_3")
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
        for b in range(1, repeats + 1):
            x = unit(x, filters, 2 if b == 1 else 1, f"stage{stage}_block{b}")
    return conv_bn(x, last, 1, name="conv5")

"""Highway networks. Srivastava, Greff & Schmidhuber 2015, Training very deep networks, arXiv:1507.06228, Table 1.

New: a gate T, learned from the input, mixes what a layer makes with what it was given: y = H(x) T(x) + x (1 - T(x)).
The CIFAR-10 net of 19 layers as in the authors' Caffe definition; T starts nearly shut (bias -2), so the net starts as
a carrier of its input. Highway32 (1.25 M) is not here: its widths are published neither in the paper nor in its code.
Change first: `gate`, the bias that the gates start with.
"""

from functools import partial

from keras import initializers
from keras import layers as L

from ..parts import blocks
from .network import network, pooled_dropout


def highway(x, gate, name):
    """One layer of width and size kept: H (3x3, ReLU), the transform gate T, the carry gate 1 - T."""
    h = blocks.conv(x, x.shape[-1], 3, name=f"{name}_h")
    bias = initializers.Constant(gate)
    t = blocks.conv(x, x.shape[-1], 3, activation="sigmoid", bias_initializer=bias, name=f"{name}_t")
    carry = L.Rescaling(-1, 1, name=f"{name}_carry")(t)  # 1 - T
    x = L.Multiply(name=f"{name}_carried")([x, carry])
    h = L.Multiply(name=f"{name}_transformed")([h, t])
    return L.Add(name=f"{name}_out")([x, h])


@network((32, 32, 3), smallest=4, classes=10, head=partial(pooled_dropout, dropout=0.2), norm=False)
def Highway19(x, *, gate=-2.0):
    """Three stages of a plain convolution and 4 or 5 highway layers, one 1x1 convolution, one dense layer.

    gate: the bias of the transform gates at the start; sigmoid(-2) = 0.12 lets an eighth of H through.
    """
    for stage, (layers, filters) in enumerate(((4, 32), (5, 80), (5, 128)), 1):
        x = L.MaxPooling2D(2, name=f"pool{stage - 1}")(x) if stage > 1 else x
        x = L.Dropout(0.2, name=f"conv{stage}_dropout")(x)
        x = blocks.conv(x, filters, 3, name=f"conv{stage}")
        for b in range(1, layers + 1):
            x = highway(x, gate, f"conv{stage}_block{b}")
    return blocks.conv(x, 100, 1, name="conv4")

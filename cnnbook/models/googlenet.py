"""GoogLeNet. Szegedy et al. 2015, Going deeper with convolutions, arXiv:1409.4842, Table 1 and Fig. 2 and 3.

New: a module looks at several scales side by side, and 1x1 convolutions in front of them keep that cheap.
Geometry and normalisation are those of the released Caffe model: symmetric padding of the 7x7, pools that may leave the map
at its end ("same"), local response normalisation with bias 1. The stem's 7x7 is a plain convolution of 9,408 weights,
where Table 1 says 2.7 K (a separable one, as its followers used).
Change first: a row of the table below, or auxiliary=True.
"""

from functools import partial

from keras import layers as L

from ..parts.blocks import conv
from ..parts.layers import LocalResponseNormalization
from .network import network, pooled_dropout, predictions


def naive(x, n1, n3, n5, name):
    """Fig. 2(a): all of the input's maps, at every scale and once more behind the pool."""
    a = conv(x, n1, 1, name=f"{name}_1x1")
    b = conv(x, n3, 3, name=f"{name}_3x3")
    c = conv(x, n5, 5, name=f"{name}_5x5")
    d = L.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    return L.Concatenate(name=f"{name}_out")([a, b, c, d])


def module(x, n1, n3r, n3, n5r, n5, pool, name):
    """Fig. 2(b): 1x1 convolutions first, and after the pool."""
    a = conv(x, n1, 1, name=f"{name}_1x1")
    b = conv(x, n3r, 1, name=f"{name}_3x3_reduce")
    b = conv(b, n3, 3, name=f"{name}_3x3")
    c = conv(x, n5r, 1, name=f"{name}_5x5_reduce")
    c = conv(c, n5, 5, name=f"{name}_5x5")
    d = L.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    d = conv(d, pool, 1, name=f"{name}_pool_proj")
    return L.Concatenate(name=f"{name}_out")([a, b, c, d])


def halve(x, name):
    return L.MaxPooling2D(3, 2, padding="same", name=name)(x)


def normalise(x, name):
    """Local response normalisation with Caffe's constants: alpha 1e-4 is divided by the five neighbours."""
    return LocalResponseNormalization(bias=1.0, alpha=2e-5, name=name)(x)


def auxiliary_head(x, classes, activation, name):
    """A classifier on a hidden map: its loss, times 0.3, helps the layers below to train (section 5)."""
    x = L.AveragePooling2D(5, 3, name=f"{name}_pool")(x)  # 4 x 4
    x = conv(x, 128, 1, name=name)
    x = L.Flatten(name=f"{name}_flatten")(x)
    x = L.Dense(1024, activation="relu", name=f"{name}_fc")(x)
    x = L.Dropout(0.7, name=f"{name}_dropout")(x)
    return predictions(x, classes, activation, name=f"{name}_predictions")


def smallest(auxiliary, include_top):
    return 65 if auxiliary and include_top else 17


def fixed_size(auxiliary, include_top):
    return auxiliary and include_top


HEAD = partial(pooled_dropout, dropout=0.4)


@network(smallest=smallest, fixed_size=fixed_size, head=HEAD, auxiliary_head=auxiliary_head, norm=False)
def GoogLeNet(x, *, auxiliary=False):
    """Nine modules. auxiliary: two more outputs, behind 4a and 4d, which leave with the top.

    The smallest side is 17; with the auxiliary heads, which need a fixed size, 65.
    """
    x = conv(x, 64, 7, 2, name="conv1")  # 112 x 112
    x = normalise(halve(x, "pool1"), "norm1")  # 56 x 56
    x = conv(x, 64, 1, name="conv2_reduce")
    x = conv(x, 192, 3, name="conv2")
    x = halve(normalise(x, "norm2"), "pool2")  # 28 x 28
    # fmt: off
    # Table 1:      1x1 3x3r  3x3 5x5r  5x5 pool
    x = module(x,    64,  96, 128,  16,  32,  32, name="inception3a")
    x = module(x,   128, 128, 192,  32,  96,  64, name="inception3b")
    x = halve(x, "pool3")  # 14 x 14
    x = module(x,   192,  96, 208,  16,  48,  64, name="inception4a")
    hidden = {"aux1": x}
    x = module(x,   160, 112, 224,  24,  64,  64, name="inception4b")
    x = module(x,   128, 128, 256,  24,  64,  64, name="inception4c")
    x = module(x,   112, 144, 288,  32,  64,  64, name="inception4d")
    hidden["aux2"] = x
    x = module(x,   256, 160, 320,  32, 128, 128, name="inception4e")
    x = halve(x, "pool4")  # 7 x 7
    x = module(x,   256, 160, 320,  32, 128, 128, name="inception5a")
    x = module(x,   384, 192, 384,  48, 128, 128, name="inception5b")
    # fmt: on
    return (x, hidden) if auxiliary else x

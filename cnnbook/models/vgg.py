"""VGG. Simonyan & Zisserman 2015, Very deep convolutional networks, arXiv:1409.1556, Table 1.

New: depth from stacks of 3x3 convolutions only; two have the receptive field of a 5x5, three that of a 7x7.
As in the paper, except: `batch_norm=True` (2015, after the paper) normalises before every ReLU; weights start from
Glorot's initialisation, which the paper found to replace its first way (train A, copy its layers into the deeper nets).
Change first: `kernel=5` in VGG13, or one number of a column.
"""

from keras import layers as L

from ..parts import blocks
from ..parts.layers import LocalResponseNormalization
from ..weights import KerasApplication
from .network import network, predictions, variant

# Table 1: the kernels of the convolutions in each of the five stages
# fmt: off
A = ((3,),   (3,),   (3, 3),       (3, 3),       (3, 3))
B = ((3, 3), (3, 3), (3, 3),       (3, 3),       (3, 3))
C = ((3, 3), (3, 3), (3, 3, 1),    (3, 3, 1),    (3, 3, 1))
D = ((3, 3), (3, 3), (3, 3, 3),    (3, 3, 3),    (3, 3, 3))
E = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))
# fmt: on


def conv(x, filters, kernel, name, *, batch_norm=False):
    """A convolution that keeps height and width, then ReLU."""
    if not batch_norm:
        return L.Conv2D(filters, kernel, padding="same", activation="relu", name=name)(x)
    x = L.Conv2D(filters, kernel, padding="same", use_bias=False, name=name)(x)
    x = blocks.batch_norm(momentum=0.9, name=f"{name}_bn")(x)
    return L.Activation("relu", name=f"{name}_relu")(x)


def block(x, kernels, filters, name, *, batch_norm=False, lrn=False, pool_padding="valid"):
    """One stage of Table 1: a convolution for each kernel size, then a pool that halves height and width (rounded down;
    up with pool_padding="same", as Caffe does)."""
    for i, kernel in enumerate(kernels, 1):
        x = conv(x, filters, kernel, f"{name}_conv{i}", batch_norm=batch_norm)
    x = LocalResponseNormalization(name=f"{name}_lrn")(x) if lrn else x
    return L.MaxPooling2D(2, padding=pool_padding, name=f"{name}_pool")(x)


def sliding(x, window, hidden, dropout):
    """The two dense layers as convolutions, with the same weights, slid over a larger map (section 3.2)."""
    for layer, kernel in (("fc1", window), ("fc2", 1)):
        x = L.Conv2D(hidden, kernel, activation="relu", name=layer)(x)
        x = L.Dropout(dropout, name=f"{layer}_dropout")(x)
    return x


def head(x, classes, activation, *, window, hidden, dropout):
    """Two dense layers of 4096 and the classes; with a window as convolutions, the scores of all windows averaged."""
    if window is not None:
        x = sliding(x, window, hidden, dropout)
        x = L.Conv2D(classes, 1, name="predictions")(x)  # the map of class scores
        x = L.GlobalAveragePooling2D(name="avg_pool")(x)
        return L.Activation(activation, name="predictions_activation")(x)
    x = L.Flatten(name="flatten")(x)
    for layer in ("fc1", "fc2"):
        x = L.Dense(hidden, activation="relu", name=layer)(x)
        x = L.Dropout(dropout, name=f"{layer}_dropout")(x)
    return predictions(x, classes, activation)


def fives(column):
    """One 5x5 for each pair of 3x3 (section 4.1)."""
    if any(len(kernels) % 2 or set(kernels) != {3} for kernels in column):
        raise ValueError(f"kernel=5 needs pairs to replace, of 3x3 kernels in every stage; they are {column}")
    return [(5,) * (len(kernels) // 2) for kernels in column]


@network(
    lambda window, include_top: (None, None, 3) if window and include_top else (224, 224, 3),
    smallest=lambda window, include_top: 32 * window if window and include_top else 32,
    fixed_size=lambda window, include_top: include_top and not window,
    head=head,
)
def VGG(
    x,
    column,
    *,
    kernel=3,
    lrn=False,
    batch_norm=False,
    window=None,
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    dropout=0.5,
):
    """A column of Table 1: five stages of convolutions, of `widths` channels.

    kernel: 3, or 5 to replace each pair of 3x3 by one 5x5 (section 4.1). lrn: local response normalisation after the
    first stage's convolutions (A-LRN). window: None, or 7 to run the dense layers as convolutions over images of any
    size (section 3.2): the class scores of (side / 32 - 6)^2 windows are averaged; a net trained at 32 n pixels takes
    window=n. hidden, dropout: the two dense layers before the classes. input_shape defaults to (224, 224, 3), with a
    window to (None, None, 3); the smallest side is 32, with a window 32 times that.
    """
    if kernel not in (3, 5):
        raise ValueError(f"kernel is 3, or 5 where every stage has pairs to replace; got {kernel!r}")
    column = column if kernel == 3 else fives(column)
    if len(widths) != len(column):
        raise ValueError(f"widths needs one number for each of the {len(column)} stages, got {widths!r}")
    for stage, (kernels, filters) in enumerate(zip(column, widths, strict=True), 1):
        x = block(x, kernels, filters, f"block{stage}", batch_norm=batch_norm, lrn=lrn and stage == 1)
    return x


KERAS = KerasApplication("caffe")

# fmt: off
VGG11    = variant("VGG11",    VGG, A)
VGG11LRN = variant("VGG11LRN", VGG, A, lrn=True)
VGG13    = variant("VGG13",    VGG, B)
VGG16C   = variant("VGG16C",   VGG, C)
VGG16    = variant("VGG16",    VGG, D, imagenet=KERAS)
VGG19    = variant("VGG19",    VGG, E, imagenet=KERAS)
# fmt: on

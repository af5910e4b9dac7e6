"""VGG. Simonyan & Zisserman 2015, Very deep convolutional networks, arXiv:1409.1556, Table 1.

New: depth from stacks of 3x3 convolutions only; two have the receptive field of a 5x5, three that of a 7x7.
As in the paper, except: `batch_norm=True` (2015, after the paper) normalises before every ReLU; weights start from
Glorot's initialisation, which the paper found to replace its first way (train A, copy its layers into the deeper nets).
VGG11LRN holds a layer of cnnbook: import cnnbook.layers to load it.
Change first: `kernel=5` in VGG13, or one number of Table 1 below.
"""

from keras import layers as L

from ..parts import blocks
from ..parts.layers import LocalResponseNormalization


def conv(x, filters, kernel, name, *, batch_norm=False):
    """A convolution that keeps height and width, then ReLU."""
    if not batch_norm:
        return L.Conv2D(filters, kernel, padding="same", activation="relu", name=name)(x)
    x = L.Conv2D(filters, kernel, padding="same", use_bias=False, name=name)(x)
    x = L.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return L.Activation("relu", name=f"{name}_relu")(x)


def block(x, kernels, filters, name, *, batch_norm=False, lrn=False, pool_padding="valid"):
    """One stage of Table 1: a convolution for each kernel size, then a pool that halves height and width (rounded down;
    up with pool_padding="same", as Caffe does)."""
    for i, kernel in enumerate(kernels, 1):
        x = conv(x, filters, kernel, f"{name}_conv{i}", batch_norm=batch_norm)
    x = LocalResponseNormalization(name=f"{name}_lrn")(x) if lrn else x
    return L.MaxPooling2D(2, padding=pool_padding, name=f"{name}_pool")(x)


def dense_head(x, hidden, dropout, classes, activation):
    """Two dense layers of 4096 and the classes."""
    x = L.Flatten(name="flatten")(x)
    for layer in ("fc1", "fc2"):
        x = L.Dense(hidden, activation="relu", name=layer)(x)
        x = L.Dropout(dropout, name=f"{layer}_dropout")(x)
    return blocks.classifier(x, classes, activation)


def sliding(x, window, hidden, dropout):
    """The two dense layers as convolutions, with the same weights, slid over a larger map (section 3.2)."""
    for layer, kernel in (("fc1", window), ("fc2", 1)):
        x = L.Conv2D(hidden, kernel, activation="relu", name=layer)(x)
        x = L.Dropout(dropout, name=f"{layer}_dropout")(x)
    return x


def convolutional_head(x, window, hidden, dropout, classes, activation):
    """The head as convolutions; the class scores of all windows are averaged."""
    x = sliding(x, window, hidden, dropout)
    x = L.Conv2D(classes, 1, name="predictions")(x)  # the map of class scores
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    return L.Activation(activation, name="predictions_activation")(x)


def VGG(
    convs,
    *,
    kernel=3,
    last=3,
    lrn=False,
    batch_norm=False,
    window=None,
    widths=(64, 128, 256, 512, 512),
    hidden=4096,
    dropout=0.5,
    input_shape=None,
    classes=1000,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="vgg",
):
    """`convs` convolutions in each of the five stages, of `widths` channels.

    kernel: 3, or 5 to replace each pair of 3x3 by one 5x5 (section 4.1). last: the kernel of a stage's third
    convolution (1 in column C). lrn: local response normalisation after the first stage's convolutions (A-LRN).
    window: None, or 7 to run the dense layers as convolutions over images of any size (section 3.2): the class scores
    of (side / 32 - 6)^2 windows are averaged; a net trained at 32 n pixels takes window=n.
    hidden, dropout: the two dense layers before the classes. input_shape defaults to (224, 224, 3), with a window to
    (None, None, 3); the smallest side is 32, with a window 32 times that.
    """
    if kernel not in (3, 5) or (kernel == 5 and any(n % 2 for n in convs)):
        raise ValueError(
            f"kernel is 3, or 5 where every stage has pairs to replace; got {kernel!r} with convs {convs}"
        )
    if len(widths) != len(convs):
        raise ValueError(f"widths needs one number for each of the {len(convs)} stages, got {widths!r}")
    slides = include_top and window is not None
    shape = input_shape or ((None, None, 3) if slides else (224, 224, 3))
    x = inputs = blocks.image(
        shape, smallest=32 * window if slides else 32, flexible=slides or not include_top
    )
    for stage, (n, filters) in enumerate(zip(convs, widths, strict=True), 1):
        kernels = (3, 3, last, 3)[:n] if kernel == 3 else (5,) * (n // 2)
        x = block(x, kernels, filters, f"block{stage}", batch_norm=batch_norm, lrn=lrn and stage == 1)
    if slides:
        x = convolutional_head(x, window, hidden, dropout, classes, classifier_activation)
    elif include_top:
        x = dense_head(x, hidden, dropout, classes, classifier_activation)
    return blocks.finish(inputs, x, pooling=None if include_top else pooling, weights=weights, name=name)


# Table 1: convolutions in each of the five stages
# fmt: off
VGG11    = blocks.variant("VGG11",    VGG, (1, 1, 2, 2, 2))            # column A
VGG11LRN = blocks.variant("VGG11LRN", VGG, (1, 1, 2, 2, 2), lrn=True)  # column A-LRN
VGG13    = blocks.variant("VGG13",    VGG, (2, 2, 2, 2, 2))            # column B
VGG16C   = blocks.variant("VGG16C",   VGG, (2, 2, 3, 3, 3), last=1)    # column C
VGG16    = blocks.variant("VGG16",    VGG, (2, 2, 3, 3, 3))            # column D
VGG19    = blocks.variant("VGG19",    VGG, (2, 2, 4, 4, 4))            # column E
# fmt: on

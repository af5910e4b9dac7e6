"""ResNet and its plain twins. He, Zhang, Ren & Sun 2016, Deep residual learning, arXiv:1512.03385, Table 1, Fig. 3 and 5.

New: layers learn the residual F(x) = H(x) - x, and a shortcut adds x back.
As in the paper: stride in the first convolution of a block, no convolution biases, He's initialisation, ReLU after the
addition. Keras' ResNets keep biases; a bias before batch norm only shifts its mean, so their weights still load here.
The stem pools with symmetric padding, as Keras and torch do (the Caffe original pools past the edge: the same shapes).
Change first: shortcut="A", or the numbers of blocks in Table 1 below.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import PadChannels
from ..weights import KerasApplication
from .network import integer, network, variant

# epsilon as in keras.applications, so that their weights give the same numbers (Caffe: 1e-5); momentum as in torch
conv_bn = partial(blocks.conv_bn, epsilon=1.001e-5, momentum=0.9, kernel_initializer="he_normal")


def connect(x, y, strides, option, name):
    """Shortcut plus residual. A: zero channels. B: 1x1 projection where the shape changes. C: projection everywhere."""
    filters = y.shape[-1]
    changes = strides > 1 or x.shape[-1] != filters
    if option == "C" or (option == "B" and changes):
        x = conv_bn(x, filters, 1, strides, activation=None, name=f"{name}_0")
    elif changes:
        x = L.MaxPooling2D(1, strides, name=f"{name}_0_pool")(x) if strides > 1 else x
        x = PadChannels(filters, name=f"{name}_0_pad")(x)
    return L.Add(name=f"{name}_add")([x, y])


def basic(x, filters, strides, option, name):  # Fig. 5, left
    y = conv_bn(x, filters, 3, strides, name=f"{name}_1")
    y = conv_bn(y, filters, 3, activation=None, name=f"{name}_2")
    y = connect(x, y, strides, option, name) if option else y
    return L.Activation("relu", name=f"{name}_out")(y)


def bottleneck(x, filters, strides, option, name):
    """Fig. 5, right."""
    y = conv_bn(x, filters, 1, strides, name=f"{name}_1")
    y = conv_bn(y, filters, 3, name=f"{name}_2")
    y = conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
    y = connect(x, y, strides, option, name) if option else y
    return L.Activation("relu", name=f"{name}_out")(y)


def stem(x, filters):
    """conv1 and the pool of conv2_x, stride 2 each."""
    x = conv_bn(x, filters, 7, 2, name="conv1")
    return pool(x)


def pool(x):
    x = L.ZeroPadding2D(1, name="pool1_pad")(x)
    return L.MaxPooling2D(3, 2, name="pool1_pool")(x)


def stages(x, block, repeats, widths, option):
    """Stages conv2, conv3, ...: each but the first halves height and width in its first block."""
    if option not in ("A", "B", "C", None):
        raise ValueError(
            f'shortcut is "A", "B" or "C" (section 3.3), or None for a plain net, got {option!r}'
        )
    for stage, (n, filters) in enumerate(zip(repeats, widths, strict=True), 2):
        for b in range(1, n + 1):
            x = block(x, filters, 2 if b == 1 and stage > 2 else 1, option, name=f"conv{stage}_block{b}")
    return x


@network(smallest=32)
def ResNet(x, block, repeats, *, shortcut="B", widths=(64, 128, 256, 512)):
    """The ImageNet nets of Table 1: a 7x7 stem, `repeats` blocks in conv2_x to conv5_x, one dense layer.

    shortcut: "A" pads with zero channels, "B" projects where the shape changes, "C" projects everywhere, None leaves
    the shortcuts out (the plain nets).
    """
    x = stem(x, widths[0])
    return stages(x, block, repeats, widths, shortcut)


KERAS = KerasApplication("caffe")

# Table 1: blocks in conv2_x to conv5_x
# fmt: off
Plain18   = variant("Plain18",   ResNet, basic,      (2, 2,  2, 2), shortcut=None)
Plain34   = variant("Plain34",   ResNet, basic,      (3, 4,  6, 3), shortcut=None)
ResNet18  = variant("ResNet18",  ResNet, basic,      (2, 2,  2, 2))
ResNet34  = variant("ResNet34",  ResNet, basic,      (3, 4,  6, 3))
ResNet50  = variant("ResNet50",  ResNet, bottleneck, (3, 4,  6, 3), imagenet=KERAS)
ResNet101 = variant("ResNet101", ResNet, bottleneck, (3, 4, 23, 3), imagenet=KERAS)
ResNet152 = variant("ResNet152", ResNet, bottleneck, (3, 8, 36, 3), imagenet=KERAS)
# fmt: on


@network(
    (32, 32, 3),
    smallest=3,
    classes=10,
    name=lambda depth, shortcut: f"{'resnet' if shortcut else 'plain'}{depth}_cifar",
)
def ResNetCIFAR(x, depth, *, shortcut="A", widths=(16, 32, 64)):
    """The CIFAR-10 nets of section 4.2: `depth` = 6n + 2 layers (20, 32, 44, 56, 110, 1202), n basic blocks a stage.

    shortcut as in `ResNet`; the paper uses A in all cases.
    """
    if (integer(depth) or 0) < 8 or (depth - 2) % 6:
        raise ValueError(f"depth is 6n + 2: 8, 14, 20, 26, 32, 44, 56, 110, 1202 ...; got {depth!r}")
    x = conv_bn(x, widths[0], 3, name="conv1")
    return stages(x, basic, [(depth - 2) // 6] * 3, widths, shortcut)


PlainCIFAR = variant("PlainCIFAR", ResNetCIFAR, shortcut=None)  # Fig. 6, left

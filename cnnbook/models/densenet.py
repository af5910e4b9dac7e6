"""DenseNet. Huang, Liu, van der Maaten & Weinberger 2017, Densely connected networks, arXiv:1608.06993, Table 1 and 2.

New: each layer reads the maps of all layers before it in its block, joined along the channels, and adds `growth` own.
As in the paper and its authors' code: batch norm and ReLU before each convolution, no convolution biases, He's
initialisation; the CIFAR nets without bottleneck start with 16 channels (the code has 2 * growth there).
keras.applications has the 121, 169 and 201, layer for layer: their weights port by name.
Change first: `growth`, or bottleneck=False in DenseNetCIFAR(40, 12).
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication
from .network import integer, network, variant

bn_relu = partial(blocks.bn_relu, epsilon=1.001e-5, momentum=0.9)  # epsilon as in keras.applications


def conv(x, filters, kernel, strides=1, *, name, dropout=0):
    """A convolution without activation, which comes before the next one."""
    options = dict(activation=None, use_bias=False, kernel_initializer="he_normal")
    x = blocks.conv(x, filters, kernel, strides, name=name, **options)
    return L.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def dense_layer(x, growth, name, *, bottleneck=True, dropout=0):
    """`growth` new channels from all those before, by a 3x3 convolution; a 1x1 first narrows to 4 * growth."""
    y = bn_relu(x, name=f"{name}_0")
    if bottleneck:
        y = conv(y, 4 * growth, 1, name=f"{name}_1", dropout=dropout)
        y = bn_relu(y, name=f"{name}_1")
    y = conv(y, growth, 3, name=f"{name}_{2 if bottleneck else 1}", dropout=dropout)
    return L.Concatenate(name=f"{name}_concat")([x, y])


def transition(x, compression, name, *, dropout=0):
    """Between two dense blocks: a 1x1 convolution keeps a part of the channels, a pool halves height and width."""
    x = bn_relu(x, name=name)
    x = conv(x, int(x.shape[-1] * compression), 1, name=name, dropout=dropout)
    return L.AveragePooling2D(2, name=f"{name}_pool")(x)


def dense_blocks(x, repeats, growth, *, compression=0.5, bottleneck=True, dropout=0):
    """Dense blocks conv2, conv3, ... of `repeats` layers, transitions between; batch norm and ReLU at the end."""
    for stage, n in enumerate(repeats, 2):
        for b in range(1, n + 1):
            name = f"conv{stage}_block{b}"
            x = dense_layer(x, growth, name, bottleneck=bottleneck, dropout=dropout)
        if stage <= len(repeats):
            x = transition(x, compression, f"pool{stage}", dropout=dropout)
    return bn_relu(x)


@network(smallest=32)
def DenseNet(x, repeats, *, growth=32, compression=0.5):
    """The ImageNet nets of Table 1: `repeats` layers with bottleneck in dense blocks conv2 to conv5.

    growth: channels that a layer adds (k in the paper); the stem has 2k. compression: the part of the channels that a
    transition keeps.
    """
    x = conv(x, 2 * growth, 7, 2, name="conv1")
    x = bn_relu(x, name="conv1")
    x = L.ZeroPadding2D(1, name="pool1_pad")(x)
    x = L.MaxPooling2D(3, 2, name="pool1")(x)
    return dense_blocks(x, repeats, growth, compression=compression)


KERAS = KerasApplication("torch")

# Table 1: layers in the four dense blocks, conv2 to conv5
# fmt: off
DenseNet121 = variant("DenseNet121", DenseNet, (6, 12, 24, 16), imagenet=KERAS)
DenseNet169 = variant("DenseNet169", DenseNet, (6, 12, 32, 32), imagenet=KERAS)
DenseNet201 = variant("DenseNet201", DenseNet, (6, 12, 48, 32), imagenet=KERAS)
DenseNet264 = variant("DenseNet264", DenseNet, (6, 12, 64, 48))
# fmt: on


def cifar_name(depth, growth, bottleneck):
    return f"densenet{'_bc' if bottleneck else ''}{depth}_k{growth}_cifar"


@network((32, 32, 3), smallest=4, classes=10, name=cifar_name)
def DenseNetCIFAR(x, depth, growth, *, bottleneck=True, compression=None, dropout=0):
    """The CIFAR nets of Table 2: three dense blocks of equal length on maps of 32, 16 and 8 pixels.

    depth: 6n + 4 layers with bottleneck (DenseNet-BC: 100, 190, 250), 3n + 4 without (40, 100). growth: 12, 24 or 40.
    compression: None means 0.5 with bottleneck and 1 without, the pairs of Table 2. dropout: behind each convolution
    but the first; 0.2 in the paper where images are not augmented.
    """
    step = 6 if bottleneck else 3
    if (integer(depth) or 0) < step + 4 or (depth - 4) % step:
        raise ValueError(
            "depth is 6n + 4 (10, 16 ... 40, 100, 190, 250), with bottleneck=False 3n + 4 (7, 10 ... 40, 100); "
            f"got {depth!r} with bottleneck={bottleneck!r}"
        )
    if (integer(growth) or 0) < 1:
        raise ValueError(f"growth is the number of channels that a layer adds, at least 1; got {growth!r}")
    compression = (0.5 if bottleneck else 1) if compression is None else compression
    x = conv(x, 2 * growth if bottleneck else 16, 3, name="conv1")
    layers = dict(compression=compression, bottleneck=bottleneck, dropout=dropout)
    return dense_blocks(x, [(depth - 4) // step] * 3, growth, **layers)

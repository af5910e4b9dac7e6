"""ResNet V2. He, Zhang, Ren & Sun 2016, Identity mappings in deep residual networks, arXiv:1603.05027, Fig. 4(e).

New: batch norm and ReLU before each convolution; the sums stand alone, and x_L = x_l + all residuals between.
PreActResNetCIFAR is the paper's net, as its authors' code builds it: where the shape changes, and in the first unit of
all, the shortcut starts behind the first ReLU, and a projection is a bare 1x1 convolution.
ResNet50V2 and its two sisters have the layout of keras.applications (of TF-Slim), so that its weights port: the stride
is in the last block of a stage, and conv1, projections and the last convolution of a block have biases, which no batch
norm behind them could take in (19,008 in ResNet50V2). The paper's ImageNet nets have neither.
Change first: the depth, or PreActResNetCIFAR(20) for ResNetCIFAR(20) and train both.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..parts.layers import PadChannels
from ..weights import KerasApplication
from .network import integer, network, variant
from .resnet import conv_bn, pool

bn_relu = partial(blocks.bn_relu, epsilon=1.001e-5, momentum=0.9)  # as resnet.conv_bn
conv = partial(blocks.conv, activation=None, padding="same", use_bias=False, kernel_initializer="he_normal")


def basic_residual(x, filters, strides, name):
    y = conv_bn(x, filters, 3, strides, name=f"{name}_1")
    return conv(y, filters, 3, name=f"{name}_2")


def bottleneck_residual(x, filters, strides, name, *, slim=False):
    y = conv_bn(x, filters, 1, 1 if slim else strides, name=f"{name}_1")
    y = conv_bn(y, filters, 3, strides if slim else 1, name=f"{name}_2")
    return conv(y, 4 * filters, 1, use_bias=slim, name=f"{name}_3")


def unit(x, residual, filters, strides, name, *, option="B", first=False, slim=False):
    """x + F(x): batch norm and ReLU, then `residual` of what they give; nothing follows the sum.

    option: where channels differ, "A" appends zeros to the shortcut, "B" projects it. first: the first unit of a net.
    """
    start = bn_relu(x, name=f"{name}_preact")
    y = residual(start, filters, strides, name)
    changes = x.shape[-1] != y.shape[-1]
    x = start if changes or first else x
    if changes and option == "B":
        x = conv(x, y.shape[-1], 1, strides, use_bias=slim, name=f"{name}_0")
    else:
        x = L.MaxPooling2D(1, strides, name=f"{name}_0_pool")(x) if strides > 1 else x
        x = PadChannels(y.shape[-1], name=f"{name}_0_pad")(x) if changes else x
    return L.Add(name=f"{name}_out")([x, y])


@network(smallest=32)
def ResNetV2(x, repeats, *, widths=(64, 128, 256, 512)):
    """The ImageNet nets in the layout of keras.applications: `repeats` units in stages conv2 to conv5.

    The last unit of each stage but the last halves height and width.
    """
    x = conv(x, widths[0], 7, 2, padding="symmetric", use_bias=True, name="conv1")
    x = pool(x)
    residual = partial(bottleneck_residual, slim=True)
    for stage, (n, filters) in enumerate(zip(repeats, widths, strict=True), 2):
        for b in range(1, n + 1):
            strides = 2 if b == n and stage <= len(repeats) else 1
            x = unit(x, residual, filters, strides, f"conv{stage}_block{b}", slim=True)
    return bn_relu(x, name="post")


KERAS = KerasApplication("tf")

# units in conv2 to conv5
# fmt: off
ResNet50V2  = variant("ResNet50V2",  ResNetV2, (3, 4,  6, 3), imagenet=KERAS)
ResNet101V2 = variant("ResNet101V2", ResNetV2, (3, 4, 23, 3), imagenet=KERAS)
ResNet152V2 = variant("ResNet152V2", ResNetV2, (3, 8, 36, 3), imagenet=KERAS)
# fmt: on


@network((32, 32, 3), smallest=3, classes=10, name="preact_resnet{depth}_cifar")
def PreActResNetCIFAR(x, depth, *, bottleneck=None, shortcut=None, widths=(16, 32, 64)):
    """The CIFAR nets of Table 3: `depth` = 6n + 2 layers (110), with bottlenecks 9n + 2 (164, 1001), n units a stage.

    bottleneck: units of 1x1, 3x3 and 1x1 convolutions, 4 * `widths` channels out; None means from depth 164 on, as in
    the paper. shortcut: "A" (zero channels) or "B" (1x1 projection) where the shape changes; None means A for units of
    two convolutions, B for bottlenecks, as in the paper.
    """
    if shortcut not in ("A", "B", None):
        raise ValueError(f'shortcut is "A" or "B", or None for the paper\'s choice, got {shortcut!r}')
    is_number = integer(depth) is not None
    bottleneck = is_number and depth >= 164 if bottleneck is None else bottleneck
    step = 9 if bottleneck else 6
    if not is_number or depth < step + 2 or (depth - 2) % step:
        raise ValueError(
            "depth is 6n + 2 (8, 14, 20 ... 110), with bottleneck=True, and always from 164 on unless "
            f"bottleneck=False, 9n + 2 (11, 20, 29 ... 164, 1001); got {depth!r}"
        )
    residual = bottleneck_residual if bottleneck else basic_residual
    option = shortcut or ("B" if bottleneck else "A")
    x = conv(x, widths[0], 3, name="conv1")
    for stage, filters in enumerate(widths, 2):
        for b in range(1, (depth - 2) // step + 1):
            strides, first = (2 if b == 1 and stage > 2 else 1), (stage, b) == (2, 1)
            x = unit(x, residual, filters, strides, f"conv{stage}_block{b}", option=option, first=first)
    return bn_relu(x, name="post")

"""BN-Inception. Ioffe & Szegedy 2015, Batch normalization, arXiv:1502.03167, Fig. 5 (the appendix).

New: batch normalisation after every convolution; modules have two 3x3 convolutions for the 5x5, and mostly average pools.
The released forms differ: TensorFlow's (the default, with the paper's widths and its separable first convolution,
section 4.2) and the Caffe one of other authors (separable=False, projection=128). Padding is TensorFlow's in both.
Change first: take `conv_bn` from blocks.conv (the same net without normalisation), and train both.
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from .network import network

conv_bn = partial(blocks.conv_bn, padding="same")  # of TensorFlow, where the paper's authors trained it
chain = partial(blocks.chain, conv=conv_bn)


def module(x, n1, n3r, n3, ndr, nd, pool, projection, name):
    """1x1, 3x3, two 3x3 and a pool side by side; without 1x1 (None) height and width are halved."""
    strides = 1 if n1 else 2
    paths = [chain(x, (n1, 1), name=f"{name}_1x1")] if n1 else []
    paths.append(chain(x, (n3r, 1), (n3, 3, strides), name=f"{name}_3x3"))
    paths.append(chain(x, (ndr, 1), (nd, 3), (nd, 3, strides), name=f"{name}_3x3dbl"))
    y = pool(3, strides, padding="same", name=f"{name}_pool")(x)
    paths.append(chain(y, (projection, 1), name=f"{name}_pool_proj") if projection else y)
    return L.Concatenate(name=f"{name}_out")(paths)


@network(smallest=17)
def BNInception(x, *, separable=True, projection=96):
    """Ten modules. separable: the 7x7 convolution in a depthwise (8 maps a channel) and a 1x1 part, or in one.

    projection: maps behind the pools of 4c and 4d, 96 (the paper) or 128 (the Caffe form).
    """
    if separable:
        x = L.SeparableConv2D(64, 7, 2, "same", depth_multiplier=8, use_bias=False, name="conv1_conv")(x)
        x = blocks.batch_norm(name="conv1_bn")(x)
        x = L.Activation("relu", name="conv1_relu")(x)
    else:
        x = conv_bn(x, 64, 7, 2, name="conv1")  # 112 x 112
    x = L.MaxPooling2D(3, 2, padding="same", name="pool1")(x)  # 56 x 56
    x = chain(x, (64, 1), (192, 3), name="conv2")
    x = L.MaxPooling2D(3, 2, padding="same", name="pool2")(x)  # 28 x 28
    mean, largest = L.AveragePooling2D, L.MaxPooling2D
    # fmt: off
    #               1x1 3x3r  3x3   dr    d  pool     proj
    x = module(x,    64,  64,  64,  64,  96, mean,      32, name="inception3a")
    x = module(x,    64,  64,  96,  64,  96, mean,      64, name="inception3b")
    x = module(x,  None, 128, 160,  64,  96, largest, None, name="inception3c")  # 14 x 14
    x = module(x,   224,  64,  96,  96, 128, mean,     128, name="inception4a")
    x = module(x,   192,  96, 128,  96, 128, mean,     128, name="inception4b")
    x = module(x,   160, 128, 160, 128, 160, mean,    projection, name="inception4c")
    x = module(x,    96, 128, 192, 160, 192, mean,    projection, name="inception4d")
    x = module(x,  None, 128, 192, 192, 256, largest, None, name="inception4e")  # 7 x 7
    x = module(x,   352, 192, 320, 160, 224, mean,     128, name="inception5a")
    x = module(x,   352, 192, 320, 192, 224, largest,  128, name="inception5b")
    # fmt: on
    return x

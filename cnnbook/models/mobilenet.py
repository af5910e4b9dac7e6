"""MobileNet. Howard et al. 2017, MobileNets: efficient convolutional neural networks, arXiv:1704.04861, Table 1.

New: a 3x3 convolution is split in two, one filter per channel (depthwise) and a 1x1 convolution across channels
(pointwise): 8 to 9 times fewer multiply-adds. Two numbers trade accuracy for speed: the width multiplier `alpha`, and the
resolution, which is `input_shape`.
As in the released TensorFlow nets and keras.applications: ReLU6 (the paper writes ReLU), and stride 2 pads one row and
column of zeros below and to the right whatever the size. The classes come from a dense layer, as in Table 1 (Keras: a 1x1
convolution with the same numbers). ImageNet weights exist for alpha 0.25, 0.5, 0.75 and 1 at 128, 160, 192 and 224 pixels
(others take those of 224); they want RGB from -1 to 1 (`models.preprocess`).
Change first: alpha, or input_shape=(128, 128, 3).
"""

from functools import partial

from keras import layers as L

from ..parts import blocks
from ..weights import KerasApplication
from .network import network, pooled_dropout

conv_bn = partial(blocks.conv_bn, activation="relu6", parts=("{}", "{}_bn", "{}_relu"))

# Table 1: filters and stride of the 13 depthwise separable convolutions
# fmt: off
BLOCKS = [( 64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
          (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)]
# fmt: on


def separable(x, filters, strides, b):
    """Figure 3, right: a depthwise and a pointwise convolution, each with batch normalisation and ReLU."""
    if strides == 2:
        x = L.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{b}")(x)
    padding = "same" if strides == 1 else "valid"
    x = conv_bn(x, None, 3, strides, padding=padding, name=f"conv_dw_{b}")
    return conv_bn(x, filters, 1, name=f"conv_pw_{b}")


def twin_names(reference, model):
    return {"predictions": "conv_preds"}


KERAS = KerasApplication("tf", options=("alpha",), sides=(224, 192, 160, 128), names=twin_names)


@network(smallest=32, head=pooled_dropout, imagenet=KERAS)
def MobileNet(x, *, alpha=1.0, dropout=0.001):
    """MobileNet; `alpha` multiplies every number of channels (section 3.3; the paper has 0.25, 0.5, 0.75 and 1).

    dropout: before the classes, as in keras.applications.
    """
    blocks.width_multiplier(alpha)
    x = conv_bn(x, int(32 * alpha), 3, 2, padding="same", name="conv1")
    for b, (filters, strides) in enumerate(BLOCKS, 1):
        x = separable(x, int(filters * alpha), strides, b)
    return x

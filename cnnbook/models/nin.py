"""Network in network. Lin, Chen & Yan 2014, arXiv:1312.4400, Fig. 2 and section 4.

New: a small perceptron slides over the image (a convolution and two of 1x1); no dense layers: class maps are averaged.
The CIFAR net is the authors' cuda-convnet definition, the ImageNet net their Caffe model. As there, ReLU follows the
class maps too. Caffe's pools may leave an even map at its end ("same" here) and stay inside an odd one ("valid").
Change first: the widths of an mlpconv, or classifier_activation=None to see the averaged maps themselves.
"""

from keras import layers as L

from ..parts import blocks
from .network import network


def mlpconv(x, kernel, widths, name, strides=1, padding="same"):
    """A convolution, then 1x1 convolutions, each with ReLU: a perceptron for every place of the map."""
    for i, filters in enumerate(widths):
        x = blocks.conv(x, filters, kernel, strides, padding=padding, name=f"{name}_mlp{i}" if i else name)
        kernel, strides, padding = 1, 1, "same"
    return x


def pool(x, name, padding="same", dropout=0.5):
    """Halves height and width by the largest of 3x3; dropout is part of the definition."""
    x = L.MaxPooling2D(3, 2, padding=padding, name=f"{name}_pool")(x)
    return L.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def class_maps(x, classes, activation):
    """The last 1x1 convolution has a map for each class; their means are the scores."""
    x = blocks.conv(x, classes, 1, name="classes")
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    return L.Activation(activation, name="predictions")(x)


@network((32, 32, 3), smallest=3, classes=10, head=class_maps, norm=False)
def NiN(x):
    """The CIFAR net. Without the top it ends before the 1x1 convolution of the classes."""
    x = mlpconv(x, 5, (192, 160, 96), "mlpconv1")  # 32 x 32
    x = pool(x, "mlpconv1")
    x = mlpconv(x, 5, (192, 192, 192), "mlpconv2")  # 16 x 16
    x = pool(x, "mlpconv2")
    # 8 x 8, the classes are its third
    return mlpconv(x, 3, (192, 192), "mlpconv3")


@network(smallest=59, head=class_maps, norm=False)
def NiNImageNet(x):
    """The ImageNet net. Without the top it ends before the 1x1 convolution of the classes."""
    x = mlpconv(x, 11, (96, 96, 96), "mlpconv1", strides=4, padding="valid")  # 54 x 54
    x = pool(x, "mlpconv1", dropout=0)
    x = mlpconv(x, 5, (256, 256, 256), "mlpconv2")  # 27 x 27
    x = pool(x, "mlpconv2", padding="valid", dropout=0)
    x = mlpconv(x, 3, (384, 384, 384), "mlpconv3")  # 13 x 13
    x = pool(x, "mlpconv3", padding="valid")
    # 6 x 6, the classes are its third
    return mlpconv(x, 3, (1024, 1024), "mlpconv4")

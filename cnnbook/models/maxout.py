"""Maxout. Goodfellow, Warde-Farley, Mirza, Courville & Bengio 2013, Maxout networks, arXiv:1302.4389, section 5.

New: a unit is the largest of several linear functions; with dropout, so that the piece that wins is trained.
The CIFAR-10 net is the authors' pylearn2 configuration (cifar10.yaml). Pools of 4x4 overlap and may leave the map at its
end, where we see zeros and pylearn2 sees nothing. Dropout as there: 0.2 on the image, 0.5 on what is hidden.
Change first: `pieces`, and count the parameters.
"""

from keras import layers as L

from ..parts import layers
from .network import network, predictions


def maxout(x, filters, kernel, pieces, name, padding=None):
    """`filters` maps, each the largest of `pieces` convolutions; size kept unless `padding` says how many zeros."""
    x = L.ZeroPadding2D(padding, name=f"{name}_pad")(x) if padding is not None else x
    padding = "same" if padding is None else "valid"
    x = L.Conv2D(filters * pieces, kernel, padding=padding, name=f"{name}_conv")(x)
    return layers.Maxout(pieces, name=f"{name}_max")(x)


def dense_maxout(x, units, pieces, name):
    x = L.Dense(units * pieces, name=f"{name}_dense")(x)
    return layers.Maxout(pieces, name=f"{name}_max")(x)


def pool(x, size, name):
    """The largest of size x size, stride 2; the last window may leave the map by one pixel."""
    x = L.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pool_pad")(x)
    x = L.MaxPooling2D(size, 2, name=f"{name}_pool")(x)
    return L.Dropout(0.5, name=f"{name}_dropout")(x)


def fc(x, classes, activation):
    """A dense layer of 500 units of five pieces, and the classes."""
    x = L.Flatten(name="flatten")(x)
    x = dense_maxout(x, 500, 5, "fc")
    x = L.Dropout(0.5, name="fc_dropout")(x)
    return predictions(x, classes, activation)


@network((32, 32, 3), smallest=8, classes=10, head=fc, fixed_size=True, norm=False)
def Maxout(x, *, pieces=2):
    """Three convolutions of `pieces` pieces, a dense layer of 500 units of five."""
    x = L.Dropout(0.2, name="image_dropout")(x)
    x = maxout(x, 96, 8, pieces, "conv1", padding=4)  # 33 x 33
    x = pool(x, 4, "conv1")  # 16 x 16
    x = maxout(x, 192, 8, pieces, "conv2", padding=3)  # 15 x 15
    x = pool(x, 4, "conv2")  # 7 x 7
    x = maxout(x, 192, 5, pieces, "conv3", padding=3)  # 9 x 9
    return pool(x, 2, "conv3")  # 5 x 5

"""Deeply-supervised nets. Lee, Xie, Gallagher, Zhang & Tu 2015, arXiv:1409.5185, section 3.

New: hidden layers are supervised too, each by a small classifier of its own, whose loss is added to the last one's.
The CIFAR net is network in network with a dense classifier on the map of every first convolution, before its ReLU,
as in the authors' Caffe definition. There all losses are squared hinges and the classes' maps have no ReLU.
Change first: auxiliary=False gives network in network, so the two differ in their training only.
"""

from keras import layers as L

from ..parts import blocks
from .network import network, predictions
from .nin import class_maps, pool


def companion(x, classes, activation, name):
    """A dense classifier on a hidden map."""
    x = L.Flatten(name=f"{name}_flatten")(x)
    return predictions(x, classes, activation, name=f"{name}_predictions")


def mlpconv(x, kernel, widths, name):
    """`nin.mlpconv`, and the map of its first convolution before the ReLU."""
    hidden = L.Conv2D(widths[0], kernel, padding="same", name=f"{name}_conv")(x)
    x = L.Activation("relu", name=f"{name}_relu")(hidden)
    for i, filters in enumerate(widths[1:], 1):
        x = blocks.conv(x, filters, 1, padding="same", name=f"{name}_mlp{i}")
    return x, hidden


def _with_companions(auxiliary, include_top):
    return auxiliary and include_top


@network(
    (32, 32, 3),
    smallest=3,
    classes=10,
    head=class_maps,
    auxiliary_head=companion,
    fixed_size=_with_companions,
    norm=False,
)
def DSN(x, *, auxiliary=True):
    """Outputs: the classes, then those of the three companions (`auxiliary`), which leave with the top.

    The paper lets the companions' losses fade during training. Their dense layers need a fixed size.
    """
    x, aux1 = mlpconv(x, 5, (192, 160, 96), "mlpconv1")
    x = pool(x, "mlpconv1")
    x, aux2 = mlpconv(x, 5, (192, 192, 192), "mlpconv2")
    x = pool(x, "mlpconv2")
    x, aux3 = mlpconv(x, 3, (192, 192), "mlpconv3")
    return (x, {"aux1": aux1, "aux2": aux2, "aux3": aux3}) if auxiliary else x

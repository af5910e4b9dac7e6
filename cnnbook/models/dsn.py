"""Deeply-supervised nets. Lee, Xie, Gallagher, Zhang & Tu 2015, arXiv:1409.5185, section 3.

New: hidden layers are supervised too, each by a small classifier of its own, whose loss is added to the last one's.
The CIFAR net is network in network with a dense classifier on the map of every first convolution, before its ReLU,
as in the authors' Caffe definition. There all losses are squared hinges and the classes' maps have no ReLU.
Change first: auxiliary=False gives network in network, so the two differ in their training only.
"""

from keras import layers as L

from ..parts import blocks
from .nin import NiN


def companion(x, classes, activation, name):
    """A dense classifier on a hidden map."""
    x = L.Flatten(name=f"{name}_flatten")(x)
    return blocks.classifier(x, classes, activation, name=f"{name}_predictions")


def DSN(
    *,
    auxiliary=True,
    input_shape=(32, 32, 3),
    classes=10,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="dsn",
):
    """Outputs: the classes, then those of the three companions (`auxiliary`), which leave with the top.

    The paper lets the companions' losses fade during training. Their dense layers need a fixed size; smallest side: 3.
    """
    auxiliary = auxiliary and include_top
    blocks.image(input_shape, smallest=3, flexible=not auxiliary)
    head = dict(include_top=include_top, pooling=pooling, classifier_activation=classifier_activation)
    net = NiN(input_shape=input_shape, classes=classes, **head)
    outputs = [net.output]
    for i in (1, 2, 3) if auxiliary else ():
        hidden = net.get_layer(f"mlpconv{i}_conv").output
        outputs.append(companion(hidden, classes, classifier_activation, f"aux{i}"))
    return blocks.finish(net.input, outputs if auxiliary else net.output, weights=weights, name=name)

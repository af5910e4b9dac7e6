"""AlexNet. Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional networks, Fig. 2.

New: ReLU, dropout and two GPUs took a deep convolutional network to ImageNet.
The two towers of the paper are convolutions in two groups; only conv3 and the dense layers read both. The input is
227 x 227 (the paper's 224 does not give 55 x 55 without padding). Local response normalisation comes before the pool,
as in the paper (CaffeNet swaps them), with its constants.
Change first: towers=1, and count what the groups saved.
"""

from keras import layers as L

from ..parts.layers import LocalResponseNormalization
from .network import network, predictions


def dense_head(x, classes, activation):
    """Two dense layers of 4096 and the classes."""
    x = L.Flatten(name="flatten")(x)
    for layer in ("fc6", "fc7"):
        x = L.Dense(4096, activation="relu", name=layer)(x)
        x = L.Dropout(0.5, name=f"{layer}_dropout")(x)
    return predictions(x, classes, activation)


@network((227, 227, 3), smallest=67, head=dense_head, fixed_size=True, norm=False)
def AlexNet(x, *, towers=2):
    """AlexNet; `towers` is 2 (the paper: conv2, conv4 and conv5 in two groups) or 1 (no groups)."""
    if towers not in (1, 2):
        raise ValueError(f"towers is 2 (the paper) or 1 (one tower, no groups), got {towers!r}")
    x = L.Conv2D(96, 11, strides=4, activation="relu", name="conv1")(x)  # 55 x 55
    x = LocalResponseNormalization(name="norm1")(x)
    x = L.MaxPooling2D(3, 2, name="pool1")(x)  # 27 x 27
    x = L.Conv2D(256, 5, padding="same", groups=towers, activation="relu", name="conv2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = L.MaxPooling2D(3, 2, name="pool2")(x)  # 13 x 13
    x = L.Conv2D(384, 3, padding="same", activation="relu", name="conv3")(x)
    x = L.Conv2D(384, 3, padding="same", groups=towers, activation="relu", name="conv4")(x)
    x = L.Conv2D(256, 3, padding="same", groups=towers, activation="relu", name="conv5")(x)
    return L.MaxPooling2D(3, 2, name="pool5")(x)  # 6 x 6

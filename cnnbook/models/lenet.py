"""LeNet-5. LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition, Fig. 2.

New: convolution and subsampling in turn, trained end to end by gradient descent.
Differs from the paper, as every modern copy does: C3 sees all six maps of S2 (the paper's table connects 60 of the 96
pairs), S2 and S4 average without trained coefficients, the output is a softmax (not 84 radial basis functions).
That makes 61,706 parameters where the paper has 60,000. The paper's 28 x 28 digits are padded to 32 x 32.
Change first: activation="relu", or AveragePooling2D to MaxPooling2D.
"""

from keras import layers as L

from .network import network, predictions


def f6(x, classes, activation_of_classes, *, activation):
    """F6 and the classes."""
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(84, activation=activation, name="f6")(x)
    return predictions(x, classes, activation_of_classes)


@network((32, 32, 1), smallest=32, classes=10, head=f6, fixed_size=True, norm=False)
def LeNet5(x, *, activation="tanh"):
    """LeNet-5 in today's form. Layers are named as in Fig. 2; without the top the net ends with the map of C5."""
    x = L.Conv2D(6, 5, activation=activation, name="c1")(x)  # 28 x 28
    x = L.AveragePooling2D(2, name="s2")(x)  # 14 x 14
    x = L.Conv2D(16, 5, activation=activation, name="c3")(x)  # 10 x 10
    x = L.AveragePooling2D(2, name="s4")(x)  # 5 x 5
    return L.Conv2D(120, 5, activation=activation, name="c5")(x)  # 1 x 1

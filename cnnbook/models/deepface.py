"""DeepFace. Taigman, Yang, Ranzato & Wolf 2014, Closing the gap to human-level performance in face verification, Fig. 2.

New: faces are turned to the front before a net sees them; so every place of the image has its own meaning, and the net
may have its own weights there: L4, L5 and L6 are convolutions that share nothing. The face's features are F7.
As in the paper, except: weights start by He's rule, the paper drew them from N(0, 0.01) with biases of 0.5.
Change first: tied=True, and count what sharing saves.
"""

from keras import layers as L

from ..parts.layers import LocallyConnected2D
from .network import network, predictions


def f7(x, classes, activation, *, hidden, dropout):
    """The features F7, and the people."""
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(hidden, activation="relu", name="f7")(x)
    x = L.Dropout(dropout, name="f7_dropout")(x)
    return predictions(x, classes, activation)


def smallest(kernels, filters):
    """The side that leaves L6 one position."""
    for argument, given in (("kernels", kernels), ("filters", filters)):
        if len(given) != 5:
            raise ValueError(f"{argument} has a number for each of C1, C3, L4, L5 and L6, got {given!r}")
    c1, c3, l4, l5, l6 = kernels
    before_l5 = (l6 - 1) * 2 + l5
    before_m2 = (before_l5 + l4 + c3 - 3) * 2 + 1
    return before_m2 + c1 - 1


def fixed_size(tied, include_top):
    return include_top or not tied


@network((152, 152, 3), smallest=smallest, classes=4030, head=f7, fixed_size=fixed_size, norm=False)
def DeepFace(
    x, *, tied=False, kernels=(11, 9, 9, 7, 5), filters=(32, 16, 16, 16, 16), hidden=4096, dropout=0.5
):
    """Two convolutions, three locally connected layers, the features F7, the people.

    tied: True makes L4 to L6 plain convolutions of the same kernels. kernels, filters: of C1, C3, L4, L5 and L6; hidden,
    dropout: of F7. The smallest side is 71 with the paper's kernels. Sizes may be free only where tied=True and
    include_top=False.
    """
    local = L.Conv2D if tied else LocallyConnected2D
    c1, c3, l4, l5, l6 = (dict(filters=f, kernel_size=k) for f, k in zip(filters, kernels, strict=True))
    x = L.Conv2D(**c1, activation="relu", name="c1")(x)  # 142 x 142
    x = L.MaxPooling2D(3, 2, padding="same", name="m2")(x)  # 71 x 71
    x = L.Conv2D(**c3, activation="relu", name="c3")(x)  # 63 x 63
    x = local(**l4, activation="relu", name="l4")(x)  # 55 x 55
    x = local(**l5, strides=2, activation="relu", name="l5")(x)  # 25 x 25
    return local(**l6, activation="relu", name="l6")(x)  # 21 x 21

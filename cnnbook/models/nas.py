"""The net of neural architecture search. Zoph & Le 2017, Neural architecture search with reinforcement learning,
arXiv:1611.01578, Figure 7.

New: a recurrent network, trained by the accuracy its proposals reach, wrote every filter size, number of filters and skip
connection of this net. Skips concatenate; odd windows (7x3, 7x1, 5x7) are the controller's.
As in the paper: version 1, with neither stride nor pooling; 4.2 M parameters as in Table 1. Versions 2 and 3 have not been
published in detail. The paper does not give batch norm's constants, so Keras' defaults are used.
Change first: leave the skips out (every layer reads the one before): the paper's 5.50 % error becomes 7.97 %.
"""

from keras import layers as L

from ..parts import blocks
from .network import network

# Figure 7: filter (height, width), number of filters, and the layers read; 0 is the image
# fmt: off
LAYERS = [((3, 3), 36, (0,)),
          ((3, 3), 48, (1,)),
          ((3, 3), 36, (1, 2)),
          ((5, 5), 36, (1, 2, 3)),
          ((3, 7), 48, (3, 4)),
          ((7, 7), 48, (2, 3, 4, 5)),
          ((7, 7), 48, (2, 3, 4, 5, 6)),
          ((7, 3), 36, (1, 6, 7)),
          ((7, 1), 36, (1, 5, 6, 8)),
          ((7, 7), 36, (1, 3, 4, 5, 6, 7, 8, 9)),
          ((5, 7), 36, (1, 2, 5, 6, 7, 8, 9, 10)),
          ((7, 7), 48, (1, 2, 3, 4, 6, 11)),
          ((7, 5), 48, (1, 3, 6, 7, 8, 9, 10, 11, 12)),
          ((7, 5), 48, (3, 7, 12, 13)),
          ((7, 5), 48, (6, 7, 11, 12, 13, 14))]
# fmt: on


@network((32, 32, 3), smallest=1, classes=10)
def NASConvNet(x, *, skips=True):
    """The 15 convolutions of Figure 7; skips=False lets each read only the one before it."""
    maps = [x]
    for i, (kernel, filters, sources) in enumerate(LAYERS, 1):
        read = [maps[source] for source in sources] if skips else maps[-1:]
        x = L.Concatenate(name=f"layer{i}_join")(read) if len(read) > 1 else read[0]
        maps.append(blocks.conv_bn(x, filters, kernel, name=f"layer{i}"))
    return maps[-1]

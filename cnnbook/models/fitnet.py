"""FitNet. Romero, Ballas, Kahou, Chassang, Gatta & Bengio 2015, FitNets: hints for thin deep nets, arXiv:1412.6550.

New: a thin and deep student is led by a hidden layer of a wider teacher (the hint), then by the teacher's outputs.
The student of 19 layers for CIFAR-10 as in the authors' configuration (cifar10_fitnet19_all.yaml); the net is here, the
training with hints is not. The paper counts about 2.5 M parameters, a dense layer of five pieces makes it 2.74 M.
Change first: `pieces` of the dense layer.
"""

from keras import layers as L

from .maxout import dense_maxout, maxout
from .network import network, predictions

# maps of the 17 convolutions; after each stage a pool, the last over the whole map
STAGES = ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6)


def fc(x, classes, activation, *, pieces):
    """The largest of each map, a dense maxout layer of 500 units, the classes."""
    x = L.GlobalMaxPooling2D(name="max_pool")(x)
    x = dense_maxout(x, 500, pieces, "fc")
    return predictions(x, classes, activation)


@network((32, 32, 3), smallest=4, classes=10, head=fc, norm=False)
def FitNet19(x, *, pieces=5):
    """17 maxout convolutions of two pieces, a dense maxout layer of 500 units, the classes.

    pieces: of the dense layer; 5 in the authors' configuration, 2 in other copies (2.55 M).
    """
    for stage, widths in enumerate(STAGES, 1):
        x = L.MaxPooling2D(2, name=f"conv{stage - 1}_pool")(x) if stage > 1 else x
        for b, filters in enumerate(widths, 1):
            x = maxout(x, filters, 3, 2, f"conv{stage}_block{b}")
    return x

"""FitNet. Romero, Ballas, Kahou, Chassang, Gatta & Bengio 2015, FitNets: hints for thin deep nets, arXiv:1412.6550.

New: a thin and deep student is led by a hidden layer of a wider teacher (the hint), then by the teacher's outputs.
The student of 19 layers for CIFAR-10 as in the authors' configuration (cifar10_fitnet19_all.yaml); the net is here, the
training with hints is not. The paper counts about 2.5 M parameters, a dense layer of five pieces makes it 2.74 M.
Maxout is a layer of cnnbook: import cnnbook.layers to load the net.
Change first: `pieces` of the dense layer.
"""

from keras import layers as L

from ..parts import blocks
from .maxout import dense_maxout, maxout

# maps of the 17 convolutions; after each stage a pool, the last over the whole map
STAGES = ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6)


def FitNet19(
    *,
    pieces=5,
    input_shape=(32, 32, 3),
    classes=10,
    include_top=True,
    pooling=None,
    weights=None,
    classifier_activation="softmax",
    name="fitnet19",
):
    """17 maxout convolutions of two pieces, a dense maxout layer of 500 units, the classes.

    pieces: of the dense layer; 5 in the authors' configuration, 2 in other copies (2.55 M). The smallest side is 4.
    """
    x = inputs = blocks.image(input_shape, smallest=4)
    for stage, widths in enumerate(STAGES, 1):
        x = L.MaxPooling2D(2, name=f"conv{stage - 1}_pool")(x) if stage > 1 else x
        for b, filters in enumerate(widths, 1):
            x = maxout(x, filters, 3, 2, f"conv{stage}_block{b}")
    if include_top:
        x, pooling = L.GlobalMaxPooling2D(name="max_pool")(x), None
        x = dense_maxout(x, 500, pieces, "fc")
        x = blocks.classifier(x, classes, classifier_activation)
    return blocks.finish(inputs, x, pooling=pooling, weights=weights, name=name)

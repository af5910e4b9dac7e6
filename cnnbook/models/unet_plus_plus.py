"""U-Net++. Zhou, Siddiquee, Tajbakhsh & Liang 2018, UNet++: a nested U-Net architecture for medical image segmentation,
arXiv:1807.10165, Fig. 1.

New: the U-Nets of every depth nested in one net that shares their encoder, each skip a row of convolutions. With deep
supervision every depth has an output, and `prune` keeps as much of the net as a task needs.
As in the authors' code: convolution, ReLU and dropout, twice, in each node; one sigmoid per class. A backbone takes the
place of the first column.
Change first: deep_supervision=True, then `prune(net, level)` for levels 1 to 4.
"""

import keras
from keras import layers as L

from ..parts import decoders
from .network import integer, per_pixel

WIDTHS = (32, 64, 128, 256, 512)


def node(x, filters, dropout, name):
    """X^{i,j}: convolution, ReLU, dropout, twice."""
    for k in (1, 2):
        x = L.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_{k}_conv")(x)
        x = L.Activation("relu", name=f"{name}_{k}_relu")(x)
        x = L.Dropout(dropout, name=f"{name}_{k}_dropout")(x)
    return x


def first_column(x, widths, dropout):
    """The encoder: a node for each depth, a pool between two."""
    maps = []
    for i, filters in enumerate(widths):
        x = L.MaxPooling2D(2, name=f"x{i}_0_pool")(x) if i else x
        x = node(x, filters, dropout, f"x{i}_0")
        maps.append(x)
    return maps


def nest(column, strides, filters, dropout, name):
    """The maps of the top row, {column: map}: node i, j reads its row before it and the enlarged node i + 1, j - 1."""
    x = {(i, 0): tensor for i, tensor in enumerate(column)}
    for j in range(1, len(column)):
        for i in range(len(column) - j):
            times = decoders.factor(strides[i + 1], strides[i], name)
            up = L.Conv2DTranspose(filters[i], times, times, name=f"x{i}_{j}_up")(x[i + 1, j - 1])
            up = decoders.match(up, x[i, 0], name=f"x{i}_{j}_up")
            y = L.Concatenate(name=f"x{i}_{j}_concat")([*(x[i, k] for k in range(j)), up])
            x[i, j] = node(y, filters[i], dropout, f"x{i}_{j}")
    return {j: x[0, j] for j in range(1, len(column))}


def answers(top_row, deep_supervision, classes, activation):
    """The classes that the last column gives, or with deep supervision those of all columns, the last one's first."""
    columns = sorted(top_row, reverse=True)[: None if deep_supervision else 1]
    outputs = [decoders.per_pixel(top_row[j], classes, activation, name=f"output{j}") for j in columns]
    return outputs if deep_supervision else outputs[0]


def on_backbone(maps, *, deep_supervision, widths, dropout, classes, classifier_activation, name):
    """A backbone's maps as the first column; its strides are the rows."""
    strides = list(maps)
    decoders.report(name, maps, [2**i for i in range(max(strides).bit_length())])
    filters = [widths[min(i, len(widths) - 1)] for i in range(len(strides))]
    top_row = nest([maps[stride].tensor for stride in strides], strides, filters, dropout, name)
    if strides[0] > 1:  # a backbone that has no map of the image's size
        for j, y in top_row.items():
            y = L.Conv2DTranspose(filters[0], strides[0], strides[0], name=f"output{j}_up")(y)
            top_row[j] = decoders.match(y, maps.model.input, name=f"output{j}_up")
    return answers(top_row, deep_supervision, classes, classifier_activation)


def smallest(widths):
    return 2 ** (len(widths) - 1)


@per_pixel(
    (96, 96, 1),
    smallest=smallest,
    classes=1,
    activation="sigmoid",
    head=None,
    on_backbone=on_backbone,
    norm=False,
)
def UNetPlusPlus(
    x, *, deep_supervision=False, widths=WIDTHS, dropout=0.5, classes, classifier_activation, name
):
    """The nested U-Net: node i, j reads all nodes of its row i before it and the enlarged node i + 1, j - 1.

    deep_supervision: an output for each column j, layer output{j}, the last column's first; else that one only.
    widths: filters of the rows from the top down. dropout: in every node. backbone: see cnnbook.parts.decoders; its
    strides are the rows. Sides may be None, the smallest is 16, with a backbone the backbone's.
    """
    column, strides = first_column(x, widths, dropout), [2**i for i in range(len(widths))]
    top_row = nest(column, strides, widths, dropout, name)
    return answers(top_row, deep_supervision, classes, classifier_activation)


def prune(model, level):
    """The net of depth `level` inside a deeply supervised U-Net++: what its output does not need is gone, weights shared."""
    names = [tensor.name for tensor in _outputs(model)]
    if not 1 <= (integer(level) or 0) <= len(names):
        raise ValueError(
            f"{model.name}: level is 1 to {len(names)} (outputs: deep_supervision=True), got {level!r}"
        )
    return keras.Model(model.input, model.outputs[-level], name=f"{model.name}_l{level}")


def average(model):
    """The paper's accurate mode: a net whose one output is the mean of all of a deeply supervised net's outputs."""
    return keras.Model(model.input, L.Average(name="average")(_outputs(model)), name=f"{model.name}_average")


def _outputs(model):
    if len(model.outputs) < 2:
        raise ValueError(f"{model.name} has one output; build it with deep_supervision=True")
    return model.outputs

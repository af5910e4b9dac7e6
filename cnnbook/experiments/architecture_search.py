"""Experiments of chapter 14: every cell of a small search space trained once, and four ways to spend a budget.

A cell has three nodes. Each applies one operation to the cell's input, called 0, or to an earlier node, called by its
number; the nodes that no other node reads are added. "conv(0) pool(1) sep(0)" is a convolution, a pool behind it, and a
separable convolution beside the two. All children get the same images of Fashion-MNIST at 14 x 14 pixels; the seed decides
their first weights and the order of the images.

The scaled nets see Fashion-MNIST at a resolution of their own, so that a finer image shows more.
"""

import functools
import itertools
import re
from functools import partial

import keras
from keras import layers as L

from cnnbook import data, graph, training
from cnnbook.experiments import Experiment
from cnnbook.parts import blocks

OPERATIONS = ("conv", "sep", "pool")
SIDE, CHANNELS = 14, 16
RECIPE = dict(batch_size=64, learning_rate=0.1, warmup=0.5, shift=0, mirror=False, verbose=False)

# Batch norm that forgets its start within the few steps of such a run.
conv_bn = partial(blocks.conv_bn, momentum=0.9)


def operation(x, kind, channels, name):
    """conv: a 3x3 convolution; sep: a 5x5 one for each channel and a 1x1 that mixes them; pool: the maximum of 3x3 places.

    The size of the map stays. Batch norm and ReLU follow what has weights.
    """
    if kind == "conv":
        return conv_bn(x, channels, 3, name=f"{name}_conv3")
    if kind == "sep":
        x = L.DepthwiseConv2D(5, padding="same", use_bias=False, name=f"{name}_depthwise5")(x)
        return conv_bn(x, channels, 1, name=f"{name}_mix")
    return L.MaxPooling2D(3, 1, "same", name=f"{name}_pool3")(x)


def nodes_of(string):
    """[(operation, number of what it reads)] of a string such as "conv(0) pool(1) sep(0)"."""
    return [(kind, int(source)) for kind, source in re.findall(r"(\w+)\((\d)\)", string)]


def cell(x, string, name):
    """The cell of a string on a map x; the channels stay. The nodes that no other node reads are added."""
    nodes, maps = nodes_of(string), [x]
    for i, (kind, source) in enumerate(nodes, 1):
        maps.append(operation(maps[source], kind, x.shape[-1], f"{name}_node{i}"))
    read = {source for _, source in nodes}
    ends = [y for i, y in enumerate(maps) if i and i not in read]
    return L.Add(name=f"{name}_sum")(ends) if len(ends) > 1 else ends[0]


def child_of(string, side=SIDE, channels=CHANNELS):
    """A child: a stem of stride 2, the cell of the string, the mean of each map and one dense layer."""
    image = keras.Input((side, side, 1))
    x = cell(conv_bn(image, channels, 3, 2, name="stem"), string, "cell")
    x = L.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, L.Dense(10, activation="softmax", name="classes")(x), name="child")


@functools.cache
def clothes(images, side=SIDE):
    """The images that all children get: `images` to train on, 1,000 for the reward, 2,000 that no choice looks at."""
    sets = data.load("fashion_mnist", train=images, validation=1000, test=2000, size=side, verbose=False)
    return sets.standardised()


def child(*, string, images, epochs, seed):
    """Trains the child of a string. reward: its accuracy on the images for choosing; test: on those held out from all."""
    sets = clothes(images)
    training.seed(seed)
    net = child_of(string)
    training.fit(net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, **RECIPE)
    reward = training.accuracy(net, sets.x_validation, sets.y_validation)
    test = training.accuracy(net, sets.x_test, sets.y_test)
    return {
        "reward": float(reward),
        "test": float(test),
        **{k: int(graph.totals(net)[k]) for k in ("params", "macs")},
    }


def strings():
    """The strings of the space, one for each cell: of those that describe the same cell the first is taken."""
    found = {}
    for kinds in itertools.product(OPERATIONS, repeat=3):
        for sources in itertools.product((0,), (0, 1), (0, 1, 2)):
            string = " ".join(f"{kind}({source})" for kind, source in zip(kinds, sources, strict=True))
            found.setdefault(shape_of(string), string)
    return list(found.values())


def shape_of(string):
    """What a cell is, whatever its nodes are numbered: of each node the operation and, sorted, what reads it."""
    nodes = nodes_of(string)

    def readers(number):
        return tuple(sorted((kind, readers(i)) for i, (kind, read) in enumerate(nodes, 1) if read == number))

    return readers(0)


def several(*, children, images, epochs, seed):
    """Trains a child for each of these strings, with one seed: lists in their order."""
    found = [child(string=string, images=images, epochs=epochs, seed=seed) for string in children]
    return {name: [one[name] for one in found] for name in found[0]}


# In four parts, so that few processes are started, and what has run stays where one is cut short.
SEARCH = Experiment(
    several,
    variants={f"part {i + 1} of 4": dict(children=strings()[i::4]) for i in range(4)},
    live=dict(images=600, epochs=2),
    kept=dict(images=1500, epochs=5),
    kept_seeds=1,
)


def again(*, children, seeds, images, epochs, seed):
    """Trains each of these children with several seeds from `seed` + 1 on: for each a list of its rewards."""
    return {
        string: [
            child(string=string, images=images, epochs=epochs, seed=seed + 1 + i)["reward"]
            for i in range(seeds)
        ]
        for string in children
    }


# Of the table of SEARCH the best four, two from the middle, the last two.
AGAIN = Experiment(
    again,
    variants={
        "eight cells": dict(
            children=[
                "conv(0) conv(1) sep(2)",
                "sep(0) pool(1) sep(2)",
                "conv(0) sep(1) conv(2)",
                "conv(0) pool(1) conv(2)",
                "conv(0) sep(1) sep(1)",
                "conv(0) sep(0) sep(1)",
                "pool(0) pool(1) pool(1)",
                "pool(0) pool(0) pool(0)",
            ]
        )
    },
    live=dict(seeds=1, images=600, epochs=2),
    kept=dict(seeds=4, images=1500, epochs=5),
    kept_seeds=1,
)


def scaled_of(width, depth, side):
    """A net to be scaled: a stem of `width` channels, two stages of `depth` residual blocks, the second on half the side
    with twice the channels, the mean of each map and one dense layer, for images of `side` pixels."""
    image = keras.Input((side, side, 1))
    x = conv_bn(image, width, 3, name="stem")
    for stage in (1, 2):
        for b in range(1, depth + 1):
            x = block(x, stage * width, 2 if stage == 2 and b == 1 else 1, f"stage{stage}_block{b}")
    x = L.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, L.Dense(10, activation="softmax", name="classes")(x), name="scaled")


def block(x, filters, strides, name):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""
    y = conv_bn(x, filters, 3, strides, name=f"{name}_1")
    y = conv_bn(y, filters, 3, activation=None, name=f"{name}_2")
    if strides > 1:
        x = conv_bn(x, filters, 1, strides, activation=None, name=f"{name}_0")
    return L.Activation("relu", name=f"{name}_out")(L.Add(name=f"{name}_add")([x, y]))


def scaling(*, width, depth, side, images, epochs, seeds, seed):
    """Trains a scaled net with several seeds from `seed` on: a list of its errors in per cent on 2,000 images held out."""
    sets = clothes(images, side)
    found = dict(error=[], macs=0, params=0)
    for s in range(seed, seed + seeds):
        training.seed(s)
        net = scaled_of(width, depth, side)
        training.fit(net, sets.x_train, sets.y_train, epochs=epochs, seed=s, **RECIPE)
        found["error"].append(100 - 100 * training.accuracy(net, sets.x_test, sets.y_test))
        found |= {name: int(graph.totals(net)[name]) for name in ("macs", "params")}
    return found


# Width of the stem, blocks a stage, side of the image: four times the multiply-adds of the first, within five per cent.
SCALING = Experiment(
    scaling,
    variants={
        "base": dict(width=8, depth=2, side=8),
        "width": dict(width=16, depth=2, side=8),
        "depth": dict(width=8, depth=8, side=8),
        "resolution": dict(width=8, depth=2, side=16),
        "all three": dict(width=9, depth=3, side=11),
    },
    live=dict(images=600, epochs=1, seeds=1),
    kept=dict(images=1500, epochs=5, seeds=3),
    kept_seeds=1,
)

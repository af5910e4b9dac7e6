"""Experiments of chapter 13: convolutions whole or in two factors, groups shuffled or not, bottlenecks linear or not.

All nets are small, and all are trained on clothes of 14 x 14 pixels by one recipe: batches of 64, a rate of 0.1 with half an
epoch of warm-up that falls as a cosine, weight decay 1e-4. Held out are 1,000 images or pairs that no net trains on.
"""

import keras
import numpy as np
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import network
from cnnbook.parts import blocks
from cnnbook.parts.layers import ShuffleChannels

SIZE = 14
HELD_OUT = 1000
RECIPE = dict(batch_size=64, learning_rate=0.1, warmup=0.5, verbose=False)


def clothes(images, seed):
    """`images` images of Fashion-MNIST to train on and 1,000 held out, standardised, (n, 14, 14, 1)."""
    found = data.load("fashion_mnist", train=images, test=HELD_OUT, size=SIZE, seed=seed, verbose=False)
    return found.standardised()


def trained(net, x, y, held_out, *, epochs, seed, **options):
    """Trains by the recipe; the held-out error in per cent by epoch, and of it the mean of the last three epochs."""
    history = training.fit(net, x, y, epochs=epochs, seed=seed, validation=held_out, **{**RECIPE, **options})
    errors = [100 - 100 * float(a) for a in history.curves["val_accuracy"]]
    return {"error": errors, "last error": float(np.mean(errors[-3:]))}


# --------------------------------------------------------------------------------- a convolution, whole or in two factors

# Channels and stride of four layers behind a stem of 16 channels
LAYERS = ((32, 1), (32, 1), (64, 2), (64, 1))


def stacked(kind, width=1.0):
    """A net of four layers of 3x3 convolutions, each "full", or "separable": a depthwise one and a 1x1; new.

    width multiplies the channels behind the stem.
    """
    image = keras.Input((SIZE, SIZE, 1))
    x = blocks.conv_bn(image, 16, 3, name="stem")
    for i, (filters, strides) in enumerate(LAYERS, 1):
        filters = int(width * filters)
        if kind == "full":
            x = blocks.conv_bn(x, filters, 3, strides, name=f"layer{i}")
        else:
            x = blocks.conv_bn(x, None, 3, strides, name=f"layer{i}_dw")
            x = blocks.conv_bn(x, filters, 1, name=f"layer{i}_pw")
    return keras.Model(image, network.pooled(x, 10, "softmax"), name=kind)


def factorised(*, kind, width, images, epochs, seed):
    """Errors of a net with full or with separable convolutions."""
    sets = clothes(images, seed)
    training.seed(seed)
    return trained(
        stacked(kind, width), sets.x_train, sets.y_train, (sets.x_test, sets.y_test),
        epochs=epochs, seed=seed, shift=1,
    )  # fmt: skip


FACTORISED = Experiment(
    factorised,
    variants={
        "full": dict(kind="full", width=1.0),
        "separable": dict(kind="separable", width=1.0),
        "full, same cost": dict(kind="full", width=0.34),
    },
    live=dict(images=960, epochs=2),
    live_seeds=1,
    kept=dict(images=3000, epochs=6),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------------------ groups that meet, or never do


def pairs(images, seed):
    """Two items in two channels, (n, 14, 14, 2), and whether they are of one class (1) or not (0): half are.

    Returns (x, y) to train on, `images` pairs, and (x, y) held out, 1,000 pairs of other images.
    """
    sets = clothes(images, seed)
    rng = np.random.default_rng([seed, 13])
    found = []
    for x, y in (sets.part("train"), sets.part("test")):
        same = np.arange(len(y)) % 2
        partner = np.empty(len(y), "int64")
        for label in np.unique(y):
            ours, others = np.flatnonzero(y == label), np.flatnonzero(y != label)
            partner[ours] = np.where(
                same[ours] == 1, rng.choice(ours, len(ours)), rng.choice(others, len(ours))
            )
        found.append((np.concatenate([x, x[partner]], -1), (y == y[partner]).astype("int64")))
    return found


def grouped(shuffle, *, groups, stem_groups, channels, classes, width=32, units=3):
    """ShuffleNet's units in a small net, new: grouped 1x1, shuffle or none, depthwise 3x3, grouped 1x1, a sum."""
    image = keras.Input((SIZE, SIZE, channels))
    x = blocks.conv_bn(image, width, 3, 2, groups=stem_groups, name="stem")
    for u in range(1, units + 1):
        y = blocks.conv_bn(x, width, 1, groups=groups, name=f"unit{u}_1")
        y = ShuffleChannels(groups, name=f"unit{u}_shuffle")(y) if shuffle else y
        y = blocks.conv_bn(y, None, 3, activation=None, name=f"unit{u}_2")
        y = blocks.conv_bn(y, width, 1, groups=groups, activation=None, name=f"unit{u}_3")
        x = L.Activation("relu", name=f"unit{u}_out")(L.Add(name=f"unit{u}_add")([x, y]))
    return keras.Model(image, network.pooled(x, classes, "softmax"), name=f"grouped_{shuffle}")


def shuffle(*, task, on, images, epochs, seed):
    """Errors of a grouped net with or without its shuffles.

    task: "same", are the two items of a pair of one class, which arrive in two groups; or "item", what is this item, behind
    a stem that all eight groups read.
    """
    training.seed(seed)
    if task == "same":
        (x, y), held_out = pairs(images, seed)
        net = grouped(on, groups=2, stem_groups=2, channels=2, classes=2)
    else:
        sets = clothes(images, seed)
        x, y, held_out = sets.x_train, sets.y_train, (sets.x_test, sets.y_test)
        net = grouped(on, groups=8, stem_groups=1, channels=1, classes=10)
    return trained(net, x, y, held_out, epochs=epochs, seed=seed, shift=0, mirror=False)


SHUFFLE = Experiment(
    shuffle,
    variants={
        "same class? shuffled": dict(task="same", on=True),
        "same class? not shuffled": dict(task="same", on=False),
        "which item? shuffled": dict(task="item", on=True),
        "which item? not shuffled": dict(task="item", on=False),
    },
    live=dict(images=960, epochs=2),
    live_seeds=1,
    kept=dict(images=3000, epochs=8),
    kept_seeds=3,
)

# ----------------------------------------------------------------------------------- a bottleneck with a ReLU, or linear


def bottlenecks(activation, width, n=3):
    """`n` inverted residual blocks of `width` narrow channels, widened six times within; new.

    activation: of the last 1x1 convolution of each block, None or "relu".
    """
    image = keras.Input((SIZE, SIZE, 1))
    x = blocks.conv_bn(image, width, 3, 2, activation=activation, name="stem")
    for b in range(1, n + 1):
        y = blocks.conv_bn(x, 6 * width, 1, name=f"block{b}_expand")
        y = blocks.conv_bn(y, None, 3, name=f"block{b}_depthwise")
        y = blocks.conv_bn(y, width, 1, activation=activation, name=f"block{b}_project")
        x = L.Add(name=f"block{b}_add")([x, y])
    x = blocks.conv_bn(x, 64, 1, name="last")
    return keras.Model(image, network.pooled(x, 10, "softmax"), name="bottlenecks")


def bottleneck(*, activation, width, images, epochs, seed):
    """Errors of a net of narrow bottlenecks, linear or with a ReLU."""
    sets = clothes(images, seed)
    training.seed(seed)
    return trained(
        bottlenecks(activation, width), sets.x_train, sets.y_train, (sets.x_test, sets.y_test),
        epochs=epochs, seed=seed, shift=1,
    )  # fmt: skip


BOTTLENECK = Experiment(
    bottleneck,
    variants={
        "4 channels, linear": dict(activation=None, width=4),
        "4 channels, ReLU": dict(activation="relu", width=4),
    },
    live=dict(images=960, epochs=2),
    live_seeds=1,
    kept=dict(images=3000, epochs=6),
    kept_seeds=3,
)

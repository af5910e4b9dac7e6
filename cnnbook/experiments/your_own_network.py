"""Experiment of chapter 22: one block changed, counted, trained and reported.

A CIFAR-style ResNet of 8 layers on Fashion-MNIST at 28 x 28 pixels, in four variants that differ in how the two blocks
between the stages halve the map. All train by one recipe, without shifted images.
"""

import keras
import numpy as np
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import network, resnet

SIZE = 28
RECIPE = dict(
    batch_size=64, learning_rate=0.1, warmup=0.5, weight_decay=1e-4, shift=0, mirror=True, verbose=False
)


def strided(x, filters, name):
    """A basic block that halves the map as He et al. 2016 do: every second place is computed, in both paths."""
    return resnet.basic(x, filters, 2, "B", name)


def averaged_first(x, filters, name):
    """The same block behind a mean of 2 x 2 places: as many weights and multiply-adds."""
    x = L.AveragePooling2D(2, name=f"{name}_mean")(x)
    return resnet.basic(x, filters, 1, "B", name)


def averaged_after(x, filters, name, window=2):
    """The same block with the mean behind its first convolution, which so works on the large map.

    window: a side of what is averaged, in places. With 1 it is `strided`, computed the long way.
    """
    y = resnet.conv_bn(x, filters, 3, name=f"{name}_1")
    y = L.AveragePooling2D(window, 2, name=f"{name}_mean")(y)
    y = resnet.conv_bn(y, filters, 3, activation=None, name=f"{name}_2")
    x = L.AveragePooling2D(window, 2, name=f"{name}_0_mean")(x)
    x = resnet.conv_bn(x, filters, 1, activation=None, name=f"{name}_0")
    x = L.Add(name=f"{name}_add")([x, y])
    return L.Activation("relu", name=f"{name}_out")(x)


BLOCKS = {"strided": strided, "averaged first": averaged_first, "averaged after": averaged_after}


def small_net(halve, widths=(8, 16, 32)):
    """Eight layers: a 3x3 stem, a block on each of three maps, of 28, 14 and 7 pixels a side, and one dense layer.

    halve: a function (x, filters, name) -> x, a block that halves the map.
    """
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = resnet.conv_bn(image, widths[0], 3, name="conv1")
    x = resnet.basic(x, widths[0], 1, "B", "conv2_block1")
    x = halve(x, widths[1], "conv3_block1")
    x = halve(x, widths[2], "conv4_block1")
    return keras.Model(image, network.pooled(x, 10, "softmax"), name=f"small_{halve.__name__}")


def moved(images, down, right):
    """Images (n, h, w, c) moved by so many pixels; what comes in at the border is the image's own darkest value."""
    far = max(abs(down), abs(right))
    sides = ((0, 0), (far, far), (far, far), (0, 0))
    padded = np.pad(images, sides, constant_values=images.min())
    height, width = images.shape[1:3]
    return padded[:, far - down : far - down + height, far - right : far - right + width]


def changed_by_a_move(net, images):
    """The share of images, in per cent, that get another class when they are moved by one pixel: mean of four directions."""

    def classes(x):
        return training.outputs(net, x).argmax(-1)

    stays = classes(images)
    moves = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return 100 * float(np.mean([classes(moved(images, *move)) != stays for move in moves]))


def halving(*, kind, widths, images, epochs, seed):
    """A small net with that kind of block between its stages: its error on 2,000 held-out images, and the share of them
    that change class when moved by a pixel, both in per cent."""
    clothes = data.load("fashion_mnist", train=images, test=2000, seed=seed, verbose=False).standardised()
    training.seed(seed)
    net = small_net(BLOCKS[kind], tuple(widths))
    held_out = (clothes.x_test, clothes.y_test)
    history = training.fit(
        net, clothes.x_train, clothes.y_train, epochs=epochs, seed=seed, validation=held_out, **RECIPE
    )
    errors = [100 - 100 * float(accuracy) for accuracy in history.curves["val_accuracy"]]
    return {"errors": errors, "error": errors[-1], "changed": changed_by_a_move(net, clothes.x_test)}


HALVING = Experiment(
    halving,
    variants={
        "strided": dict(kind="strided", widths=(8, 16, 32)),
        "averaged first": dict(kind="averaged first", widths=(8, 16, 32)),
        "averaged after": dict(kind="averaged after", widths=(8, 16, 32)),
        # As many multiply-adds as "averaged after".
        "strided, wider": dict(kind="strided", widths=(10, 20, 40)),
    },
    live=dict(images=1000, epochs=3),
    live_seeds=1,
    kept=dict(images=4000, epochs=8),
    kept_seeds=5,
)

"""Experiment of chapter 07: what factors and residual sums add to slim inception nets of equal cost.

All nets have nine or eighteen modules of 24 channels on Fashion-MNIST at 14 x 14 pixels, three on maps of 14 x 14, the rest
on maps of 7 x 7. A module reads its input through a 1x1 convolution, through a large kernel on few channels, and through a
pool. The large kernel is one 7x7, or 1x7 and 7x1 behind each other, as in the 17 x 17 modules of Inception-v3. `WIDTHS`
sets the channels inside so that nets of one depth cost the same number of multiply-adds, to three per cent.
"""

import keras
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.parts.blocks import conv_bn

SIZE, CHANNELS = 14, 24
# Channels that the 1x1 reduction gives and a 1x7 keeps, by kind of module.
WIDTHS = {"7x7": 3, "factors": 10, "residual": 9}


def branches(x, kind, name):
    """The ways through a module but its pool: a 1x1 of a quarter of the channels, and a large kernel of half of them."""
    few, half, narrow = CHANNELS // 4, CHANNELS // 2, WIDTHS[kind]
    a = conv_bn(x, few, 1, name=f"{name}_1x1")
    b = conv_bn(x, narrow, 1, name=f"{name}_reduce")
    if kind == "7x7":
        return [a, conv_bn(b, half, 7, name=f"{name}_7x7")]
    b = conv_bn(b, narrow, (1, 7), name=f"{name}_1x7")
    return [a, conv_bn(b, half, (7, 1), name=f"{name}_7x1")]


def joined(x, kind, name):
    """A module without a residual sum: both ways and a pooled one, side by side."""
    y = L.AveragePooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    y = conv_bn(y, CHANNELS // 4, 1, name=f"{name}_pool_proj")
    return L.Concatenate(name=f"{name}_out")([*branches(x, kind, name), y])


def added(x, kind, name, scale):
    """A module with one, as in Inception-ResNet: joined, brought to the input's width by a linear 1x1, scaled, added."""
    y = L.Concatenate(name=f"{name}_mixed")(branches(x, kind, name))
    y = L.Conv2D(CHANNELS, 1, name=f"{name}_conv")(y)
    y = L.Rescaling(scale, name=f"{name}_scale")(y)
    x = L.Add(name=f"{name}_add")([x, y])
    return L.Activation("relu", name=f"{name}_out")(x)


def slim(kind, *, modules=9, scale=1.0):
    """A slim inception net, new, with batch norm. kind: of `WIDTHS`. scale: of what the modules of a residual net add."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = conv_bn(image, CHANNELS, 3, name="conv1")
    for m in range(1, modules + 1):
        if m == 4:
            x = L.MaxPooling2D(3, 2, padding="same", name="pool")(x)
        name = f"block{m}"
        x = added(x, kind, name, scale) if kind == "residual" else joined(x, kind, name)
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(image, L.Dense(10, activation="softmax", name="predictions")(x), name=kind)


def clothes(images, seed, test=500):
    """`images` images of Fashion-MNIST to train on and `test` held out, standardised, (n, 14, 14, 1)."""
    sets = data.load("fashion_mnist", train=images, test=test, size=SIZE, seed=seed, verbose=False)
    return sets.standardised()


def steps(*, kind, modules, scale, images, epochs, seed):
    """The history of one slim net of that many modules on the images that it trains on."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = slim(kind, modules=modules, scale=scale)
    return training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, warmup=1, batch_size=32, learning_rate=0.05, shift=1, seed=seed,
        verbose=False,
    )  # fmt: skip


STEPS = Experiment(
    steps,
    variants={
        "7x7": dict(kind="7x7"),
        "factors": dict(kind="factors"),
        "residual": dict(kind="residual"),
    },
    live=dict(images=256, epochs=1, modules=9, scale=1.0),
    live_seeds=1,
    kept=dict(images=400, epochs=8, modules=18, scale=1.0),
    kept_seeds=3,
)

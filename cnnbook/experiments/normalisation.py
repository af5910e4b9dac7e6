"""Experiments of chapter 06: rates that a net survives, where its norm stands, and how large its batches are.

One net in all of them: nine 3x3 convolutions in three stages and a dense layer, on Fashion-MNIST of 28x28 pixels.
"""

from functools import partial

import keras
from keras import layers as L

from .. import data, training
from . import Experiment


class Shift(keras.layers.Layer):
    """In training, another scale and another shift for every channel at every step; at test time their means.

    The scale is drawn from 1 to 1.25, the shift from -0.5 to 0.5: the next layer's inputs never keep their distribution.
    After Santurkar et al. 2018 (arXiv:1805.11604, section 2.1), who draw such noise for each activation.
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.draws = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not training:
            return 1.125 * x
        draw = partial(keras.random.uniform, (1, 1, 1, x.shape[-1]), seed=self.draws)
        return draw(minval=1.0, maxval=1.25) * x + draw(minval=-0.5, maxval=0.5)


def batch_then_shift(*, name):
    """Batch norm, and behind it a `Shift` that undoes what it steadied."""
    return lambda x: Shift(name=f"{name}_shift")(L.BatchNormalization(momentum=0.9, name=name)(x))


# What a net is told by name: a function that makes the layer.
NORMS = {
    "none": None,
    "batch": partial(L.BatchNormalization, momentum=0.9),
    "group": partial(L.GroupNormalization, 4),
    "batch, then shift": batch_then_shift,
}


def block(x, filters, name, *, strides=1, norm=None, after=False, activation="relu", start="he_normal"):
    """A 3x3 convolution and its activation; norm makes the layer before the activation, or after it."""
    x = L.Conv2D(filters, 3, strides, padding="same", use_bias=norm is None,
                 kernel_initializer=start, name=f"{name}_conv")(x)  # fmt: skip
    activate = L.Activation(activation, name=f"{name}_{activation}")
    if norm is None:
        return activate(x)
    normalise = norm(name=f"{name}_norm")
    return normalise(activate(x)) if after else activate(normalise(x))


def net(norm=None, *, side=28, widths=(16, 32, 64), **options):
    """Three stages of three blocks, each stage at half the side of the one before it; then the mean of each map."""
    x = image = keras.Input((side, side, 1))
    for stage, filters in enumerate(widths, 1):
        for i in (1, 2, 3):
            x = block(x, filters, f"stage{stage}_{i}", strides=2 if i == 1 else 1, norm=norm, **options)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, L.Dense(10, activation="softmax", name="predictions")(x))


def train(*, norm, rate, images, test, epochs, seed, after=False, batch_size=64):
    """The history of a net trained with SGD, momentum 0.9 and a cosine schedule from `rate`, without augmentation."""
    clothes = data.load("fashion_mnist", train=images, test=test, seed=seed, verbose=False).standardised()
    how = dict(epochs=epochs, batch_size=batch_size, learning_rate=rate, shift=0, mirror=False, seed=seed)
    training.seed(seed)
    return training.fit(
        net(NORMS[norm], after=after), clothes.x_train, clothes.y_train,
        validation=(clothes.x_test, clothes.y_test), label=f"{norm}, rate {rate}, seed {seed}", verbose=False, **how,
    )  # fmt: skip


RATES = Experiment(
    train,
    variants={
        f"{kind}, {height}": dict(norm=kind, rate=height)
        for kind in ("none", "batch")
        for height in (0.01, 0.03, 0.1, 0.3, 1.0)
    },
    live=dict(images=960, test=500, epochs=2),
    kept=dict(images=3000, test=2000, epochs=4),
    kept_seeds=3,
)

# The plain net at 0.03, since at 0.1 it may fail.
PLACEMENT = Experiment(
    train,
    variants={
        "none": dict(norm="none", rate=0.03),
        "before the ReLU": dict(norm="batch", rate=0.1),
        "after the ReLU": dict(norm="batch", rate=0.1, after=True),
        "before, then shifted": dict(norm="batch, then shift", rate=0.1),
    },
    live=dict(images=960, test=500, epochs=3),
    kept=dict(images=3000, test=2000, epochs=8),
    kept_seeds=3,
)

# The rate in proportion to the batch (Goyal et al. 2017, arXiv:1706.02677).
BATCHES = Experiment(
    train,
    variants={
        f"{kind} norm, batches of {count}": dict(norm=kind, batch_size=count, rate=0.1 * count / 64)
        for count in (32, 2)
        for kind in ("batch", "group")
    },
    live=dict(images=320, test=500, epochs=1),
    kept=dict(images=1000, test=2000, epochs=4),
    kept_seeds=3,
)

"""What test_distributed.py trains, here and in the processes that it starts."""

import keras
import numpy as np
from keras import layers as L

from cnnbook import training


def images(n=48, seed=0):
    """Brighter on the right or not, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 1, (n, 8, 8, 1)).astype("float32")
    x[y == 1, :, 4:] += 1
    return x, y


def net(dropout=0.2, seed=0, **norm):
    training.seed(seed)
    x = inputs = L.Input((8, 8, 1))
    x = L.BatchNormalization(**norm)(L.Conv2D(4, 3, use_bias=False)(x))
    x = L.Dropout(dropout)(L.ReLU()(x)) if dropout else L.ReLU()(x)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def run(model, **settings):
    """[weights and moving statistics, then the curves], after three epochs of three batches."""
    settings = dict(batch_size=16, epochs=3, shift=1, verbose=False) | settings
    history = training.fit(model, *images(), **settings)
    return [*map(np.array, [*model.get_weights(), *history.curves.values()])]


def measured():
    """Everything that fit measures while it trains."""
    return dict(validation=images(12, seed=1), clean_training_accuracy=True)


def distance(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))

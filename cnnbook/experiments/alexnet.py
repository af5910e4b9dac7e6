"""Experiment of chapter 02: tanh or ReLU, dropout, augmentation, from few images to many.

One net in AlexNet's order, for Fashion-MNIST at 28 x 28 pixels, by batches of 32 with a rate of 0.03 that falls as a cosine.
All switches see the same number of steps at each number of images. Held out are 2,000 images that no net trains on.
"""

import keras
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment

HELD_OUT = 2000
BATCH = 32


def pattern(activation="relu", dropout=0.0, *, widths, hidden):
    """AlexNet's order of layers at the size of Fashion-MNIST, new: three convolutions of `widths`, two dense layers."""
    x = image = keras.Input((28, 28, 1))
    for i, (filters, kernel) in enumerate(zip(widths, (5, 3, 3), strict=True), 1):
        x = L.Conv2D(filters, kernel, padding="same", activation=activation, name=f"conv{i}")(x)
        if i != 2:
            x = L.MaxPooling2D(3, 2, name=f"pool{i}")(x)
    x = L.Flatten(name="flatten")(x)
    for i in (4, 5):
        x = L.Dense(hidden, activation=activation, name=f"fc{i}")(x)
        x = L.Dropout(dropout, name=f"fc{i}_dropout")(x)
    x = L.Dense(10, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name="pattern")


def switches(*, activation, dropout, augmentation, images, steps, widths, hidden, seed):
    """Accuracy in per cent on the training images and on those held out, at the end, and the training loss by epoch."""
    sets = data.load("fashion_mnist", train=images, test=HELD_OUT, seed=seed, verbose=False).standardised()
    training.seed(seed)
    net = pattern(activation, dropout, widths=widths, hidden=hidden)
    epochs = round(steps * BATCH / images)
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, batch_size=BATCH, learning_rate=0.03,
        shift=2 if augmentation else 0, mirror=augmentation, seed=seed, verbose=False,
    )  # fmt: skip
    return {
        "training accuracy": 100 * float(training.accuracy(net, sets.x_train, sets.y_train)),
        "accuracy": 100 * float(training.accuracy(net, sets.x_test, sets.y_test)),
        "loss": [float(loss) for loss in history.curves["loss"]],
    }


KINDS = {
    "ReLU": dict(activation="relu", dropout=0.0, augmentation=False),
    "tanh": dict(activation="tanh", dropout=0.0, augmentation=False),
    "ReLU, dropout": dict(activation="relu", dropout=0.5, augmentation=False),
    "ReLU, augmentation": dict(activation="relu", dropout=0.0, augmentation=True),
    "ReLU, both": dict(activation="relu", dropout=0.5, augmentation=True),
}
SWITCHES = Experiment(
    switches,
    variants={
        f"{name}, {images} images": dict(**kind, images=images)
        for images in (500, 2000, 8000)
        for name, kind in KINDS.items()
    },
    live=dict(steps=250, widths=[8, 16, 16], hidden=128),
    live_seeds=1,
    kept=dict(steps=5000, widths=[16, 32, 32], hidden=256),
    kept_seeds=3,
)

"""Experiments of chapter 03: VGG's columns by depth, with batch norm and without, pairs of 3x3 against 5x5, and LRN.

Slim columns of Simonyan & Zisserman 2015, Table 1, on Fashion-MNIST at 32 x 32 pixels, by batches of 64 with a rate that
falls as a cosine after half an epoch of warm-up, images shifted by two pixels at most and mirrored. 2,000 images are
held out.
"""

from cnnbook import data, models, training
from cnnbook.experiments import Experiment

HELD_OUT = 2000
SLIM = dict(input_shape=(32, 32, 1), classes=10, widths=(8, 16, 32, 32, 32), hidden=64, dropout=0)


def clothes(images, seed):
    """`images` images of Fashion-MNIST to train on and 2,000 held out, standardised, (n, 32, 32, 1)."""
    sets = data.load("fashion_mnist", train=images, test=HELD_OUT, size=32, seed=seed, verbose=False)
    return sets.standardised()


def columns(*, builder, arguments, learning_rate, images, epochs, seed):
    """Errors in per cent by epoch of a column, on the training images as they are seen and on those held out."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = models.builder(builder)(**SLIM, **arguments)
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, batch_size=64, learning_rate=learning_rate,
        warmup=0.5, shift=2, seed=seed, validation=(sets.x_test, sets.y_test), verbose=False,
    )  # fmt: skip
    errors = {"training error": "accuracy", "error": "val_accuracy"}
    return {name: [100 - 100 * float(a) for a in history.curves[key]] for name, key in errors.items()}


def _variant(builder, learning_rate, **arguments):
    return dict(builder=builder, arguments=arguments, learning_rate=learning_rate)


# Each kind of net at the best of three rates, found with other seeds.
NORMED = {letter: f"VGG{depth}" for letter, depth in zip("ABDE", (11, 13, 16, 19), strict=True)}
COLUMNS = Experiment(
    columns,
    variants={
        **{f"{letter}, batch norm": _variant(name, 0.1, batch_norm=True) for letter, name in NORMED.items()},
        **{letter: _variant(name, 0.03) for letter, name in NORMED.items()},
        "A-LRN": _variant("VGG11LRN", 0.03),
        "B, 5x5, batch norm": _variant("VGG13", 0.1, batch_norm=True, kernel=5),
        "C, batch norm": _variant("VGG16C", 0.1, batch_norm=True),
    },
    live=dict(images=640, epochs=3),
    live_seeds=1,
    kept=dict(images=6000, epochs=15),
    kept_seeds=3,
)

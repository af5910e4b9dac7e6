"""The experiment of chapter 10 about loss surfaces: what lies around a trained plain, residual and dense net.

All by one recipe on Fashion-MNIST at 14 x 14 pixels: batches of 64, a rate of 0.1 after two epochs of warm-up, divided by 10
at half of the epochs and again at three quarters. The surface is the loss of training images along two random directions
that are scaled filter by filter, as in Li et al. 2018, batch norm with the statistics that it has learned.
"""

from functools import partial

import numpy as np

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import DenseNetCIFAR, PlainCIFAR, ResNetCIFAR
from cnnbook.training import surface

SIZE, WIDTHS = 14, (8, 16, 32)
DEEP = {
    "plain-56": partial(PlainCIFAR, 56, widths=WIDTHS),
    "ResNet-56": partial(ResNetCIFAR, 56, widths=WIDTHS),
    "DenseNet-40": partial(DenseNetCIFAR, 40, 4, bottleneck=False),
}


def surfaces(*, kind, images, epochs, measured_on, points, span, seed):
    """The loss around a trained net of `DEEP`.

    "surface": its losses row by row, of three digits, at points x points places from -span to span filter lengths along both
    directions, on the first `measured_on` training images. "loss": the one in the middle. "training error", "error": of the
    net in per cent, on its training images and on 1,000 held out.
    """
    sets = data.load(
        "fashion_mnist", train=images, test=1000, size=SIZE, seed=seed, verbose=False
    ).standardised()
    training.seed(seed)
    net = DEEP[kind](input_shape=(SIZE, SIZE, 1))
    training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, batch_size=64, learning_rate=0.1, warmup=2,
        schedule="step", shift=2, verbose=False,
    )  # fmt: skip
    x, y = sets.x_train[:measured_on], sets.y_train[:measured_on]
    around, _, _ = surface.loss_around(net, x, y, dimensions=2, points=points, span=span, seed=seed)
    return {
        "surface": [float(f"{loss:.3g}") for loss in np.nan_to_num(around.ravel())],
        "loss": float(around[points // 2, points // 2]),
        "training error": 100 - 100 * float(training.accuracy(net, sets.x_train, sets.y_train)),
        "error": 100 - 100 * float(training.accuracy(net, sets.x_test, sets.y_test)),
    }


SURFACES = Experiment(
    surfaces,
    variants={kind: dict(kind=kind) for kind in DEEP},
    live=dict(images=1000, epochs=2, measured_on=64, points=5, span=0.5),
    live_seeds=1,
    kept=dict(images=2000, epochs=30, measured_on=200, points=41, span=1.0),
    kept_seeds=1,
)

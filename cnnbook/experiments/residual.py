"""Experiments of chapters 08 and 10: deep nets with shortcuts and without, trained until their curves are flat.

CIFAR-style nets of 8, 16 and 32 channels on Fashion-MNIST at 14 x 14 pixels, all by one recipe: batches of 64, a rate of 0.1
after two epochs of warm-up, divided by 10 at half of the epochs and again at three quarters, images shifted by two pixels at
most and mirrored. Held out are 1,000 images that no net trains on.
"""

import keras
import numpy as np
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import PlainCIFAR, ResNetCIFAR, network
from cnnbook.parts import blocks

SIZE, WIDTHS = 14, (8, 16, 32)
HELD_OUT = 1000
RECIPE = dict(batch_size=64, learning_rate=0.1, warmup=2, schedule="step", shift=2, verbose=False)


def clothes(images, seed):
    """`images` images of Fashion-MNIST to train on and 1,000 held out, standardised, (n, 14, 14, 1)."""
    sets = data.load("fashion_mnist", train=images, test=HELD_OUT, size=SIZE, seed=seed, verbose=False)
    return sets.standardised()


def leaky(depth):
    """`PlainCIFAR` with an activation that loses nothing: 0.3 x below zero instead of 0, so that it can be inverted."""
    image = keras.Input((SIZE, SIZE, 1))

    def conv_bn(x, filters, strides, name):
        x = blocks.conv_bn(
            x, filters, 3, strides, activation=None, epsilon=1.001e-5, momentum=0.9,
            kernel_initializer="he_normal", name=name,
        )  # fmt: skip
        return L.LeakyReLU(0.3, name=f"{name}_leaky")(x)

    x = conv_bn(image, WIDTHS[0], 1, "conv1")
    for stage, filters in enumerate(WIDTHS, 2):
        for i in range(1, (depth - 2) // 3 + 1):
            x = conv_bn(x, filters, 2 if i == 1 and stage > 2 else 1, f"conv{stage}_{i}")
    return keras.Model(image, network.pooled(x, 10, "softmax"), name=f"leaky{depth}")


def net_of(kind, depth):
    """A net of `depth` layers, new. kind: "plain", "residual" or "leaky"."""
    if kind == "leaky":
        return leaky(depth)
    builder = ResNetCIFAR if kind == "residual" else PlainCIFAR
    return builder(depth, widths=WIDTHS, input_shape=(SIZE, SIZE, 1))


class Gradients(keras.callbacks.Callback):
    """Keeps the length of the loss' gradient for every kernel, at the start of epochs 0, 5 and `last`."""

    def __init__(self, x, y, last):
        super().__init__()
        self.x, self.y, self.last, self.lengths = x, y, last, {}

    def on_epoch_begin(self, epoch, logs=None):
        when = {0: "start", 5: "early", self.last: "late"}.get(epoch)
        if when:
            lengths = training.gradient_norms(self.model, self.x, self.y)
            self.lengths[f"gradients, {when}"] = [float(length) for length in lengths.values()]


def depth(*, kind, layers, times, images, epochs, seed):
    """Errors in per cent by epoch, and how long the gradient of each kernel is at the start, early and late."""
    sets = clothes(images, seed)
    training.seed(seed)
    net, epochs = net_of(kind, layers), times * epochs
    watched = Gradients(sets.x_train[:256], sets.y_train[:256], epochs - 1)
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, callbacks=[watched],
        validation=(sets.x_test, sets.y_test), **RECIPE,
    )  # fmt: skip
    errors = {"training error": "accuracy", "error": "val_accuracy"}
    return {
        **{name: [100 - 100 * float(a) for a in history.curves[key]] for name, key in errors.items()},
        **watched.lengths,
    }


DEPTH = Experiment(
    depth,
    variants={
        "plain-20": dict(kind="plain", layers=20, times=1),
        "plain-56": dict(kind="plain", layers=56, times=1),
        "ResNet-20": dict(kind="residual", layers=20, times=1),
        "ResNet-56": dict(kind="residual", layers=56, times=1),
        "plain-56, 3 times the epochs": dict(kind="plain", layers=56, times=3),
        "plain-56, invertible activation": dict(kind="leaky", layers=56, times=1),
    },
    live=dict(images=2000, epochs=3),
    live_seeds=1,
    kept=dict(images=2000, epochs=96),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------------------------ a block taken out


def identity(shape):
    """A 3x3 kernel (3, 3, c, c) that passes its input on."""
    kernel = np.zeros(shape)
    kernel[1, 1] = np.eye(shape[-1])
    return kernel


def silenced(net, block):
    """Makes a block of a trained net pass its input on; returns what its layers held, to be put back by `restored`.

    In a residual block the last batch norm gets scale 0 and shift 0; in a plain one every layer becomes an identity.
    """
    parts = [la for la in net.layers if la.name.startswith(f"{block}_") and la.weights]
    before = [(layer, layer.get_weights()) for layer in parts]
    residual = any(la.name == f"{block}_add" for la in net.layers)
    for layer in parts:
        if isinstance(layer, L.Conv2D) and not residual:
            layer.set_weights([identity(layer.kernel.shape)])
        elif isinstance(layer, L.BatchNormalization) and (layer.name.endswith("2_bn") or not residual):
            one = np.ones(layer.gamma.shape)
            gamma = 0 * one if residual else np.sqrt(1 + layer.epsilon) * one
            layer.set_weights([gamma, 0 * one, 0 * one, one])
    return before


def restored(before):
    """Puts back what `silenced` returned."""
    for layer, weights in before:
        layer.set_weights(weights)


def removable(net):
    """The blocks of a net that keep height, width and channels, in order."""
    names = [la.name.removesuffix("_out") for la in net.layers if la.name.endswith("_out")]
    return [name for name in names if name.startswith("conv2") or not name.endswith("block1")]


def removed(*, kind, layers, images, epochs, seed):
    """Held-out accuracy of a trained net in per cent, and the points that it loses without each of its blocks."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = net_of(kind, layers)
    training.fit(net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, **RECIPE)
    net.trainable = False
    whole, lost = 100 * training.accuracy(net, sets.x_test, sets.y_test), []
    for block in removable(net):
        before = silenced(net, block)
        lost.append(float(whole - 100 * training.accuracy(net, sets.x_test, sets.y_test)))
        restored(before)
    return {"accuracy": float(whole), "points lost": lost}


REMOVED = Experiment(
    removed,
    variants={
        "plain-20": dict(kind="plain", layers=20),
        "ResNet-20": dict(kind="residual", layers=20),
        "ResNet-56": dict(kind="residual", layers=56),
    },
    live=dict(images=2000, epochs=3),
    live_seeds=1,
    kept=dict(images=6000, epochs=20),
    kept_seeds=3,
)

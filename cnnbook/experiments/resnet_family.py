"""Experiments of chapter 09: how far depth goes on small grey images, and two kinds of block at equal cost.

Both train CIFAR-style nets of 8, 16 and 32 channels on Fashion-MNIST at 14 x 14 pixels, all by one recipe: batches of 64,
a rate of 0.1 with half an epoch of warm-up that falls as a cosine, weight decay 1e-4, images shifted by one pixel at most
and mirrored. Held out are 2,000 images that no net trains on.
"""

import keras
import numpy as np

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import ResNetCIFAR, network, resnet

SIZE, WIDTHS = 14, (8, 16, 32)
RECIPE = dict(batch_size=64, learning_rate=0.1, warmup=0.5, shift=1, verbose=False)


def clothes(images, seed):
    """`images` images of Fashion-MNIST to train on and 2,000 held out, standardised, (n, 14, 14, 1)."""
    return data.load("fashion_mnist", train=images, test=2000, size=SIZE, seed=seed).standardised()


def net_of(block, n, widths=WIDTHS, shortcut="B"):
    """A CIFAR-style net, new: a 3x3 stem, three stages of `n` blocks, the mean of each map and one dense layer.

    block: `resnet.basic` or `resnet.bottleneck`. widths: channels of the 3x3 layers in the three stages.
    """
    image = keras.Input((SIZE, SIZE, 1))
    x = resnet.conv_bn(image, widths[0], 3, name="conv1")
    x = resnet.stages(x, block, [n] * 3, widths, shortcut)
    return keras.Model(image, network.pooled(x, 10, "softmax"), name=f"{block.__name__}_{n}")


def responses(net, images):
    """How much each 3x3 layer of the blocks answers: the standard deviation of what its batch norm gives, over images,
    places and channels, before ReLU or sum (He et al. 2016, Fig. 7). A list from the input to the output."""
    names = [la.name for la in net.layers if la.name.endswith(("_1_bn", "_2_bn"))]
    maps = keras.Model(net.input, [net.get_layer(name).output for name in names])
    return [float(np.std(keras.ops.convert_to_numpy(m))) for m in maps.predict(images, verbose=0)]


def _errors(history):
    """Errors in per cent: lists over epochs, on the training images as they were seen and on those held out, and of each
    the mean of the last three epochs."""
    found = {}
    for name, key in (("training error", "accuracy"), ("error", "val_accuracy")):
        found[name] = [100 - 100 * float(a) for a in history.curves[key]]
        found[f"last {name}"] = float(np.mean(found[name][-3:]))
    return found


def depth(*, layers, shortcut, images, epochs, seed):
    """A net of `layers` layers, with shortcuts (option A) or plain (None): its errors, and the responses of its layers."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = ResNetCIFAR(layers, shortcut=shortcut, widths=WIDTHS, input_shape=(SIZE, SIZE, 1))
    held_out = (sets.x_test, sets.y_test)
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, validation=held_out, **RECIPE
    )
    return {**_errors(history), "responses": responses(net, sets.x_test[:500])}


DEPTH = Experiment(
    depth,
    variants={
        "ResNet-8": dict(layers=8, shortcut="A"),
        "ResNet-20": dict(layers=20, shortcut="A"),
        "ResNet-32": dict(layers=32, shortcut="A"),
        "plain-8": dict(layers=8, shortcut=None),
        "plain-32": dict(layers=32, shortcut=None),
    },
    live=dict(images=640, epochs=2),
    live_seeds=1,
    kept=dict(images=5000, epochs=15),
    kept_seeds=3,
)


def block(*, kind, images, epochs, seed):
    """Three blocks a stage of one kind, basic (20 layers) or bottleneck (29 layers): its errors."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = net_of(getattr(resnet, kind), 3)
    held_out = (sets.x_test, sets.y_test)
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed, validation=held_out, **RECIPE
    )
    return _errors(history)


BLOCK = Experiment(
    block,
    variants={"basic": dict(kind="basic"), "bottleneck": dict(kind="bottleneck")},
    live=dict(images=640, epochs=2),
    live_seeds=1,
    kept=dict(images=5000, epochs=15),
    kept_seeds=3,
)

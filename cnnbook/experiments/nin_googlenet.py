"""Experiments of chapter 05: two heads on one trunk, five kinds of module at equal cost, auxiliary heads on and off.

`heads`: slim networks in network on few images of Fashion-MNIST; they differ in what follows the last maps. `kernels`: slim
nets of three modules on scenes whose items come in many sizes; a module has one kernel size, or all of them. `auxiliary`:
GoogLeNet's nine modules, slim, trained with and without its two auxiliary heads.
"""

import functools
import math

import keras
import numpy as np
from keras import layers as L

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import googlenet
from cnnbook.parts import blocks

# ------------------------------------------------------------------------------------------- the head: dense, or averaged


def slim_nin(head, *, classes=10, shape=(28, 28, 1)):
    """Seven weight layers: five of the trunk, then two of the head, which is "dense", "dropout" or "average"."""
    x = image = keras.Input(shape, name="image")
    x = blocks.conv_bn(x, 24, 5, name="mlpconv1")
    x = blocks.conv_bn(x, 16, 1, name="mlpconv1_mlp1")
    x = L.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = blocks.conv_bn(x, 32, 3, name="mlpconv2")
    x = blocks.conv_bn(x, 32, 1, name="mlpconv2_mlp1")
    x = L.MaxPooling2D(3, 2, padding="same", name="pool2")(x)
    x = blocks.conv_bn(x, 32, 3, name="mlpconv3")
    if head == "average":
        x = blocks.conv_bn(x, 32, 1, name="mlpconv3_mlp1")
        x = L.Conv2D(classes, 1, name="classes")(x)
        x = L.GlobalAveragePooling2D(name="avg_pool")(x)
        return keras.Model(image, L.Softmax(name="predictions")(x), name="average")
    x = L.Dense(256, activation="relu", name="fc")(L.Flatten(name="flatten")(x))
    x = L.Dropout(0.5, name="dropout")(x) if head == "dropout" else x
    return keras.Model(image, L.Dense(classes, activation="softmax", name="predictions")(x), name=head)


def heads(*, head, images, epochs, seed):
    """The history of a slim NiN with that head, with the accuracy on the clean training images."""
    clothes = data.load("fashion_mnist", train=images, test=1000, seed=seed, verbose=False).standardised()
    training.seed(seed)
    return training.fit(
        slim_nin(head), clothes.x_train, clothes.y_train, validation=(clothes.x_test, clothes.y_test),
        clean_training_accuracy=True, epochs=epochs, warmup=1, batch_size=32, learning_rate=0.05,
        shift=0, mirror=False, seed=seed, label=head, verbose=False,
    )  # fmt: skip


HEADS = Experiment(
    heads,
    variants={
        "dense": dict(head="dense"),
        "dense, dropout": dict(head="dropout"),
        "class maps, averaged": dict(head="average"),
    },
    live=dict(images=500, epochs=2),
    live_seeds=1,
    kept=dict(images=1000, epochs=16),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------- the kernel: one size, or all side by side

# Widths of three modules in a row, so that all kinds cost about the same: 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5, pool.
# fmt: off
WIDTHS = {
    "module": ((8, 12, 16, 4, 8, 8), (16, 16, 24, 6, 12, 12), (24, 16, 32, 8, 16, 24)),
    "naive":  ((6,  0,  8, 0, 3, 0), ( 8,  0, 10, 0,  5,  0), (10,  0, 14, 0,  6,  0)),
    "1x1":    ((64, 0,  0, 0, 0, 0), (96,  0,  0, 0,  0,  0), (256, 0,  0, 0,  0,  0)),
    "3x3":    ((0,  0, 20, 0, 0, 0), ( 0,  0, 28, 0,  0,  0), (0,   0, 88, 0,  0,  0)),
    "5x5":    ((0,  0,  0, 0, 12, 0), (0,  0,  0, 0, 16,  0), (0,   0,  0, 0, 40,  0)),
}
# fmt: on
BRANCHES = ("1x1", "3x3", "5x5", "pool")


def branches(x, n1, n3r, n3, n5r, n5, pool, *, name, passes=False):
    """An inception module with batch norm; a branch of no width is left out, a reduction of none is none. passes: naive."""
    outs = [blocks.conv_bn(x, n1, 1, name=f"{name}_1x1")] if n1 else []
    for side, reduced, width in ((3, n3r, n3), (5, n5r, n5)):
        if width:
            y = blocks.conv_bn(x, reduced, 1, name=f"{name}_{side}x{side}_reduce") if reduced else x
            outs.append(blocks.conv_bn(y, width, side, name=f"{name}_{side}x{side}"))
    if pool or passes:
        y = L.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
        outs.append(blocks.conv_bn(y, pool, 1, name=f"{name}_pool_proj") if pool else y)
    return L.Concatenate(name=f"{name}_out")(outs) if len(outs) > 1 else outs[0]


def slim_inception(kind, *, classes=10, size=48, without=None):
    """A stem, three modules of that kind of `WIDTHS`, and the mean of each map before one dense layer.

    without: a branch, of `BRANCHES`, that the modules do without.
    """
    x = image = keras.Input((size, size, 3), name="image")
    x = blocks.conv_bn(x, 16, 5, 2, name="conv1")
    x = L.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    for k, widths in enumerate(WIDTHS[kind], 1):
        x = L.MaxPooling2D(3, 2, padding="same", name="pool2")(x) if k == 3 else x
        x = branches(x, *less(widths, without), name=f"inception{k}", passes=kind == "naive")
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    x = L.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(image, x, name=f"inception_{kind}")


def less(widths, branch):
    """The widths of a module without one branch."""
    places = {None: (), "1x1": (0,), "3x3": (1, 2), "5x5": (3, 4), "pool": (5,)}
    return [0 if i in places[branch] else width for i, width in enumerate(widths)]


@functools.lru_cache(2)
def items(images, size, seed, test=900):
    """Scenes with one coloured item among grey ones, its kind (10) the label: (x, y), (x, y) of new ones, the longer side of
    each new item's box as a share of the image."""
    scenes = data.load(
        "scenes", task="classify", train=images, test=test, size=size, seed=seed, verbose=False
    )
    x, x_test = (((part - 127.5) / 64).astype("float32") for part in (scenes.x_train, scenes.x_test))
    top, left, bottom, right = scenes.boxes["test"][:, 0].T
    share = np.maximum(bottom - top, right - left) / size
    return (x, scenes.y_train // 5), (x_test, scenes.y_test // 5), share


def thirds(right, share):
    """Share of right answers for small, middle and large items: thirds of the images by the item's size."""
    order = np.argsort(share, kind="stable")
    return [float(np.mean(right[part])) for part in np.array_split(order, 3)]


def silence(net, branch):
    """Sets that branch's last batch norm to zero in every module: behind its ReLU the maps are then 0 everywhere."""
    ending = "_pool_proj_bn" if branch == "pool" else f"_{branch}_bn"
    for layer in net.layers:
        if layer.name.endswith(ending):
            for variable in (layer.gamma, layer.beta):
                variable.assign(np.zeros(variable.shape))


def kernels(*, kind, images, epochs, seed, size=48, without=None):
    """Accuracy on new scenes, over all and by thirds of the item's size; for kind "module" also with a branch silenced."""
    (x, y), (x_test, y_test), share = items(images, size, seed)
    training.seed(seed)
    net = slim_inception(kind, size=size, without=without)
    training.fit(
        net, x, y, epochs=epochs, warmup=1, batch_size=32, learning_rate=0.05, shift=2, seed=seed, verbose=False
    )  # fmt: skip

    def measured():
        right = training.outputs(net, x_test).argmax(-1) == y_test
        return [float(right.mean()), *thirds(right, share)]

    found = {"accuracy": measured()}
    weights = net.get_weights()
    for branch in BRANCHES if kind == "module" and without is None else ():
        silence(net, branch)
        found[f"{branch} silenced"] = measured()
        net.set_weights(weights)
    return found


KERNELS = Experiment(
    kernels,
    variants={kind: dict(kind=kind) for kind in WIDTHS},
    live=dict(images=600, epochs=1),
    live_seeds=1,
    kept=dict(images=2000, epochs=12),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------------------- auxiliary heads, on and off

# GoogLeNet's Table 1, None for a pool.
# fmt: off
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "pool3": None,
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128), "pool4": None,
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}
# fmt: on


def slim_googlenet(auxiliary, *, divisor=8, classes=10, side=28):
    """GoogLeNet's nine modules at an eighth of their widths behind one convolution, without batch norm, as in the paper."""
    x = image = keras.Input((side, side, 1), name="image")
    x, hidden = blocks.conv(x, 192 // divisor, 3, 2, name="conv1"), []
    for name, widths in TABLE.items():
        if widths is None:
            x = googlenet.halve(x, name)
        else:
            x = googlenet.module(x, *(width // divisor for width in widths), name=f"inception{name}")
        hidden += [x] if name in ("4a", "4d") else []
    x = L.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = [L.Dense(classes, activation="softmax", name="predictions")(x)]
    for k, x in enumerate(hidden if auxiliary else (), 1):
        x = L.AveragePooling2D(5, 3, name=f"aux{k}_pool")(x)
        x = L.Flatten(name=f"aux{k}_flatten")(blocks.conv(x, 128 // divisor, 1, name=f"aux{k}"))
        x = L.Dense(1024 // divisor, activation="relu", name=f"aux{k}_fc")(x)
        outputs.append(L.Dense(classes, activation="softmax", name=f"aux{k}_predictions")(x))
    return keras.Model(image, outputs, name="slim_googlenet")


def loss_weights(net):
    """1 for the main output and 0.3 for every auxiliary one, as in section 5 of the paper."""
    return [1.0, *[0.3] * (len(net.outputs) - 1)]


def auxiliary(*, auxiliary, images, epochs, seed):
    """The history of the slim GoogLeNet; accuracy is that of the main output."""
    clothes = data.load("fashion_mnist", train=images, test=1000, seed=seed, verbose=False).standardised()
    training.seed(seed)
    net = slim_googlenet(auxiliary)
    outputs = len(net.outputs)
    steps = epochs * math.ceil(images / 32)
    net.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.02, steps), momentum=0.9),
        loss=["sparse_categorical_crossentropy"] * outputs,
        loss_weights=loss_weights(net),
        metrics=[["accuracy"], *[[]] * (outputs - 1)],
    )
    y, y_test = ([labels] * outputs for labels in (clothes.y_train, clothes.y_test))
    run = net.fit(
        clothes.x_train, y, validation_data=(clothes.x_test, y_test), batch_size=32, epochs=epochs, verbose=0
    )
    curves = {
        key.replace("predictions_", "") if "aux" not in key else key: v for key, v in run.history.items()
    }
    settings = dict(images=images, epochs=epochs, seed=seed, learning_rate=0.02, batch_size=32)
    return training.History("auxiliary heads" if auxiliary else "none", curves=curves, settings=settings)


AUXILIARY = Experiment(
    auxiliary,
    variants={"none": dict(auxiliary=False), "auxiliary heads": dict(auxiliary=True)},
    live=dict(images=320, epochs=1),
    live_seeds=1,
    kept=dict(images=1000, epochs=12),
    kept_seeds=3,
)

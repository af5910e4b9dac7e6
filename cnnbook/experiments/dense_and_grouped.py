"""Experiments of chapter 11: joining against adding on few images, and how many paths a block should have.

`joining`: a DenseNet, a ResNet of as many parameters, and one of as many multiply-adds, on few images of Fashion-MNIST at
14 x 14 pixels, without augmentation. The DenseNet's runs also keep which layers its layers read. `paths`: small ResNeXts
whose blocks cost the same with 1, 2, 4, 8 and 16 paths; what is lost where one group is silenced. `surface`: new plain,
residual and dense nets of about 40 layers, and how much of its gradient's promise a step keeps.
"""

from functools import partial

import keras
import numpy as np

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import DenseNetCIFAR, ResNetCIFAR, network, resnet
from cnnbook.training import gradients

SIZE = 14
SHAPE = (SIZE, SIZE, 1)


def clothes(images, seed):
    """`images` images of Fashion-MNIST to train on and 2,000 held out, standardised, (n, 14, 14, 1)."""
    chosen = data.load("fashion_mnist", train=images, test=2000, size=SIZE, seed=seed, verbose=False)
    return chosen.standardised()


def errors(history):
    """Errors in per cent: lists over epochs, on the training images as they were seen and on those held out, and of each
    the mean of the last three epochs."""
    found = {}
    for name, key in (("training error", "accuracy"), ("error", "val_accuracy")):
        found[name] = [100 - 100 * float(a) for a in history.curves[key]]
        found[f"last {name}"] = float(np.mean(found[name][-3:]))
    return found


# ------------------------------------------------------------------------------------------------- joined, or added

# Depths and widths so that the nets cost what their names say, as the chapter counts
NETS = {
    "DenseNet": partial(DenseNetCIFAR, 22, 8, bottleneck=False),
    "ResNet, same parameters": partial(ResNetCIFAR, 20, widths=(11, 22, 44)),
    "ResNet, same multiply-adds": partial(ResNetCIFAR, 20, widths=(14, 28, 56)),
}


def net_of(kind):
    """The net of that name in `NETS`, new, for images of 14 x 14 pixels and 10 classes."""
    return NETS[kind](input_shape=SHAPE)


def reads(net):
    """How much each layer of a DenseNet reads of each earlier one: {dense block: (readers, sources)}, as Huang et al. 2017,
    Fig. 5: the mean absolute weight that a reader's kernel gives the channels of a source, divided by the reader's largest.

    Source 0 is what enters the block, source s the block's layer s. The last reader is what follows the block: the
    transition, or the dense layer of the classifier. Where there is no source the entry is nan.
    """
    found = {}
    for stage in (2, 3, 4):
        joins = [
            la for la in net.layers if la.name.startswith(f"conv{stage}_") and la.name.endswith("_concat")
        ]
        widths = [joins[0].input[0].shape[-1], *(join.input[1].shape[-1] for join in joins)]
        after = f"pool{stage}_conv" if stage < 4 else "predictions"
        kernels = [net.get_layer(f"conv{stage}_block{b}_1_conv").kernel for b in range(1, len(joins) + 1)]
        table = np.full((len(joins) + 1, len(widths)), np.nan)
        for reader, kernel in enumerate([*kernels, net.get_layer(after).kernel]):
            size = np.abs(keras.ops.convert_to_numpy(kernel))
            size = size.mean(tuple(a for a in range(size.ndim) if a != size.ndim - 2))
            parts = np.split(size, np.cumsum(widths)[:-1])
            means = [part.mean() for part in parts if part.size]
            table[reader, : len(means)] = np.array(means) / max(means)
        found[stage] = table
    return found


def joining(*, kind, images, epochs, seed):
    """A net of `NETS`: its errors; of the DenseNet also `reads`, block by block, each table in one row, -1 for no source."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = net_of(kind)
    history = training.fit(
        net, sets.x_train, sets.y_train, validation=(sets.x_test, sets.y_test), epochs=epochs, seed=seed,
        batch_size=32, learning_rate=0.1, warmup=1, shift=0, mirror=False, verbose=False,
    )  # fmt: skip
    found = errors(history)
    if kind == "DenseNet":
        found["reads"] = np.nan_to_num(np.stack(list(reads(net).values())), nan=-1).ravel()
    return found


JOINING = Experiment(
    joining,
    variants={kind: dict(kind=kind) for kind in NETS},
    live=dict(images=500, epochs=3),
    live_seeds=1,
    kept=dict(images=500, epochs=20),
    kept_seeds=3,
)

# --------------------------------------------------------------------------------------------------- how many paths

# Channels of a path in the two stages, so that a block costs about the same with any number of paths
PATHS = {1: (24, 48), 2: (15, 30), 4: (9, 18), 8: (5, 10), 16: (3, 5)}


def paths_net(cardinality, repeats=2):
    """A small ResNeXt, new: a 3x3 stem, then `repeats` blocks of 96 channels on maps of 7 pixels and as many of 192 on maps of
    4, with the widths of PATHS; the mean of each map and one dense layer."""
    x = image = keras.Input(SHAPE)
    x = resnet.conv_bn(x, 24, 3, name="conv1")
    for stage, (filters, width) in enumerate(zip((24, 48), PATHS[cardinality], strict=True), 2):
        for b in range(1, repeats + 1):
            strides = 2 if b == 1 else 1
            name = f"conv{stage}_block{b}"
            y = resnet.conv_bn(x, cardinality * width, 1, name=f"{name}_1")
            y = resnet.conv_bn(y, cardinality * width, 3, strides, groups=cardinality, name=f"{name}_2")
            y = resnet.conv_bn(y, 4 * filters, 1, activation=None, name=f"{name}_3")
            y = resnet.connect(x, y, strides, "B", name)
            x = keras.layers.Activation("relu", name=f"{name}_out")(y)
    return keras.Model(image, network.pooled(x, 10, "softmax"), name=f"paths{cardinality}")


def silenced(net, x, y, sets):
    """What accuracy each class loses where a set of channels in the middle of the last block is set to 0: (sets, classes),
    in points. sets: lists of channels of that block's 3x3 convolution. x, y: images and labels, all 10 classes."""
    block = "conv3_block2"
    middle, before = net.get_layer(f"{block}_2_relu").output, net.get_layer("conv3_block1_out").output
    head, tail = keras.Model(net.input, [middle, before]), keras.Model([middle, before], net.output)
    maps, shortcut = (keras.ops.convert_to_numpy(m) for m in head.predict(x, batch_size=250, verbose=0))

    def by_class(maps):
        right = tail.predict([maps, shortcut], batch_size=250, verbose=0).argmax(1) == y
        return np.array([100 * right[y == label].mean() for label in range(10)])

    whole, losses = by_class(maps), []
    for channels in sets:
        without = maps.copy()
        without[..., channels] = 0
        losses.append(whole - by_class(without))
    return np.array(losses)


def group_sets(cardinality, seed):
    """The channels of each group in the middle of the last block, and as a control as many sets of as many channels, drawn
    without regard to groups: two lists of lists."""
    channels = np.arange(cardinality * PATHS[cardinality][1])
    drawn = np.random.default_rng(seed).permutation(channels)
    return [np.split(order, cardinality) for order in (channels, drawn)]


def paths(*, cardinality, images, epochs, seed):
    """A net of `paths_net`: its errors; with 8 paths also what `silenced` loses by groups and by drawn sets, in rows."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = paths_net(cardinality)
    history = training.fit(
        net, sets.x_train, sets.y_train, validation=(sets.x_test, sets.y_test), epochs=epochs, seed=seed,
        batch_size=64, learning_rate=0.1, warmup=1, shift=1, verbose=False,
    )  # fmt: skip
    found = errors(history)
    if cardinality == 8:
        for name, chosen in zip(("groups", "drawn sets"), group_sets(cardinality, seed), strict=True):
            found[name] = silenced(net, sets.x_test, sets.y_test, chosen).ravel()
    return found


SWEEP = Experiment(
    paths,
    variants={f"{c} path{'s' * (c > 1)}": dict(cardinality=c) for c in PATHS},
    live=dict(images=640, epochs=2),
    live_seeds=1,
    kept=dict(images=1500, epochs=10),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------------------------- the loss surface

DEEP = {
    "plain-38": partial(ResNetCIFAR, 38, shortcut=None, widths=(8, 16, 32)),
    "ResNet-38": partial(ResNetCIFAR, 38, widths=(8, 16, 32)),
    "DenseNet-40": partial(DenseNetCIFAR, 40, 4, bottleneck=False),
}


def surface(*, kind, images, step, seed):
    """A new net of `DEEP`: the loss of a batch along the step against its gradient, at nine points from 0 to `step`
    ("along"), the slope that the gradient promises ("slope"), and the share of the promise that the whole step keeps."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = DEEP[kind](input_shape=SHAPE)
    value, slopes = gradients.of_weights(net, loss := gradients.loss_on(sets.x_train, sets.y_train))
    slope = float(np.sqrt(sum((g**2).sum() for g in slopes.values())))
    start = {v.path: keras.ops.convert_to_numpy(v) for v in net.trainable_variables}
    along = [float(value)]
    for length in np.linspace(0, step, 9)[1:]:
        for v in net.trainable_variables:
            v.assign(start[v.path] - length / slope * slopes[v.path])
        along.append(float(loss(net(loss.images, training=True))))
    return {"along": along, "slope": slope, "share": (along[0] - along[-1]) / (slope * step)}


SURFACE = Experiment(
    surface,
    variants={kind: dict(kind=kind) for kind in DEEP},
    live=dict(images=128, step=0.1),
    live_seeds=1,
    kept=dict(images=128, step=0.1),
    kept_seeds=6,
)

"""Experiments of chapter 11: joining against adding on few images, and how many paths a block should have.

`joining`: a DenseNet, a ResNet of as many parameters, and one of as many multiply-adds, on few images of Fashion-MNIST at
14 x 14 pixels, without augmentation. The DenseNet's runs also keep what its layers read, by their weights and by what is
lost without a join. `sweep`: small ResNeXts whose blocks cost the same with 1, 2, 4, 8 and 16 paths, and what is lost where
one group is silenced. `surface`: new plain, residual and dense nets of about 40 layers, and how much of its gradient's
promise a step keeps.
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


def errors(net, history, sets):
    """Errors in per cent: on the training images as they were seen, for each epoch and in the last one, and, at the end, on
    those held out."""
    found = {"training error": [100 - 100 * float(a) for a in history.curves["accuracy"]]}
    found["last training error"] = found["training error"][-1]
    found["last error"] = 100 - 100 * float(training.accuracy(net, sets.x_test, sets.y_test))
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


def joins(net):
    """The joins of the DenseNet of `NETS` by dense block: {2: [(kernel of a reader, channels of each source)], 3: ...}.

    Source 0 is what enters the block, source s the block's layer s. The last reader is what follows the block: the
    transition, or the dense layer of the classifier.
    """
    found = {}
    for stage in (2, 3, 4):
        ends = [
            la for la in net.layers if la.name.startswith(f"conv{stage}_") and la.name.endswith("_concat")
        ]
        widths = [ends[0].input[0].shape[-1], *(end.input[1].shape[-1] for end in ends)]
        readers = [f"conv{stage}_block{b}_1_conv" for b in range(1, len(ends) + 1)]
        readers.append(f"pool{stage}_conv" if stage < 4 else "predictions")
        found[stage] = [(net.get_layer(r).kernel, widths[: n + 1]) for n, r in enumerate(readers)]
    return found


def reads(net):
    """How much each layer reads of each source by its weights: {dense block: (readers, sources)}, as Huang et al. 2017,
    Fig. 5: the mean absolute weight of a source's part of the reader's kernel, divided by the reader's largest; nan where
    there is no such source."""
    found = {}
    for stage, readers in joins(net).items():
        found[stage] = np.full((len(readers), len(readers)), np.nan)
        for row, (kernel, widths) in zip(found[stage], readers, strict=True):
            parts = np.split(np.abs(keras.ops.convert_to_numpy(kernel)), np.cumsum(widths)[:-1], axis=-2)
            means = np.array([part.mean() for part in parts])
            row[: len(means)] = means / means.max()
    return found


def cuts(net, x, y):
    """What each join is worth: by how much the loss on images x with labels y rises where one reader is cut from one source,
    the rest left as it is; {dense block: (readers, sources)}, nan where there is no such source."""

    def loss():
        right = net.predict(x, batch_size=len(x), verbose=0)[np.arange(len(y)), y]
        return float(-np.log(np.maximum(right, 1e-7)).mean())

    whole, found = loss(), {}
    for stage, readers in joins(net).items():
        found[stage] = np.full((len(readers), len(readers)), np.nan)
        for row, (kernel, widths) in zip(found[stage], readers, strict=True):
            before = keras.ops.convert_to_numpy(kernel).copy()
            for source, end in enumerate(np.cumsum(widths)):
                without = before.copy()
                without[..., end - widths[source] : end, :] = 0
                kernel.assign(without)
                row[source] = loss() - whole
            kernel.assign(before)
    return found


def joining(*, kind, images, epochs, seed):
    """A net of `NETS`: its errors; of the DenseNet also `reads` of the new and of the trained net and its `cuts`, the tables
    of the three blocks one after the other, row by row, with 0 where there is no source."""
    sets = clothes(images, seed)
    training.seed(seed)
    net = net_of(kind)
    measured = {"reads, new": reads(net)} if kind == "DenseNet" else {}
    history = training.fit(
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed,
        batch_size=50, learning_rate=0.1, warmup=1, shift=0, mirror=False, verbose=False,
    )  # fmt: skip
    if kind == "DenseNet":
        measured |= {"reads": reads(net), "cuts": cuts(net, sets.x_test[:100], sets.y_test[:100])}
    tables = {name: np.stack(list(table.values())) for name, table in measured.items()}
    return errors(net, history, sets) | {name: np.nan_to_num(table).ravel() for name, table in tables.items()}


JOINING = Experiment(
    joining,
    variants={kind: dict(kind=kind) for kind in NETS},
    live=dict(images=500, epochs=3),
    live_seeds=1,
    kept=dict(images=500, epochs=12),
    kept_seeds=3,
)

# --------------------------------------------------------------------------------------------------- how many paths

# Channels of a path in the two stages, so that a block costs about the same with any number of paths
PATHS = {1: (24, 48), 2: (15, 30), 4: (9, 18), 8: (5, 10), 16: (3, 5)}


def paths_net(cardinality, repeats=2):
    """A small ResNeXt, new: a 3x3 stem, then `repeats` blocks of 96 channels on maps of 7 pixels and as many of 192 on maps
    of 4, with the widths of PATHS; the mean of each map and one dense layer."""
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
        net, sets.x_train, sets.y_train, epochs=epochs, seed=seed,
        batch_size=50, learning_rate=0.1, warmup=1, shift=1, verbose=False,
    )  # fmt: skip
    found = errors(net, history, sets)
    if cardinality == 8:
        for name, chosen in zip(("groups", "drawn sets"), group_sets(cardinality, seed), strict=True):
            found[name] = silenced(net, sets.x_test, sets.y_test, chosen).ravel()
    return found


SWEEP = Experiment(
    paths,
    variants={f"{c} path{'s' * (c > 1)}": dict(cardinality=c) for c in PATHS},
    live=dict(images=640, epochs=2),
    live_seeds=1,
    kept=dict(images=800, epochs=5),
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

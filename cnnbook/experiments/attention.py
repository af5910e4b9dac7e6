"""Experiments of chapter 12: gates on channels, off and on, and kernels that each image chooses.

All nets are slim and read the same pictures: one item of Fashion-MNIST, 10 to 36 pixels large, somewhere on a grey textured
canvas of 40 x 40 pixels, so that size and place vary and the kind of item (10) is the label.
"""

import functools
from functools import partial

import keras
import numpy as np

from cnnbook import data, training
from cnnbook.data.drawn.drawing import scaled, smooth_noise
from cnnbook.experiments import Experiment
from cnnbook.models import network, resnet, senet, sknet

SIDE = 40  # pixels of a canvas
LEAST, MOST = 10, 36  # pixels of an item


def paste(canvas, item, side, top, left):
    """Paints an item (28, 28), values 0 to 255, `side` pixels large on the canvas (40, 40); its dark ground is left out."""
    light = scaled(item, side, side)
    alpha = np.clip((light - 8) / 24, 0, 1)
    window = canvas[top : top + side, left : left + side]
    window += alpha * (60 + 0.75 * light - window)


def canvas_of(rng):
    """A canvas (40, 40) of smooth and of fine grey noise, between about 20 and 140."""
    noise = sum(smooth_noise(rng, knots, SIDE) / weight for knots, weight in ((3, 1), (8, 2), (20, 3)))
    return 80 + 30 * noise + rng.normal(0, 6, (SIDE, SIDE))


def finished(canvases):
    """Canvases as a net reads them: float32 (n, 40, 40, 1), most values between -2 and 2."""
    return ((np.stack(canvases)[..., None] - 127.5) / 64).astype("float32")


@functools.lru_cache(4)
def items(images, seed, part="train"):
    """`images` pictures of the training or the test items: x (n, 40, 40, 1), labels (n,), sides of the items (n,)."""
    clothes = data.load("fashion_mnist", train=12000, test=2000, verbose=False)
    grey, labels = getattr(clothes, f"x_{part}")[..., 0].astype("float64"), getattr(clothes, f"y_{part}")
    rng = np.random.default_rng([seed, part == "test"])
    chosen = rng.permutation(len(grey))[:images]
    sides = np.exp(rng.uniform(np.log(LEAST), np.log(MOST + 1), images)).astype(int)
    canvases = []
    for item, side in zip(grey[chosen], sides, strict=True):
        canvases.append(canvas_of(rng))
        paste(canvases[-1], item, side, *rng.integers(0, SIDE - side + 1, 2))
    return finished(canvases), labels[chosen], sides


def doubled(images, seed, side=16):
    """The same test items three times on the same canvases, {name: (n, 40, 40, 1)}, and their labels.

    "one small": `side` pixels large, in the middle. "one large": twice as large. "four small": four copies of the small
    one side by side, which cover what the large one covers.
    """
    clothes = data.load("fashion_mnist", train=12000, test=2000, verbose=False)
    rng = np.random.default_rng([seed, 7])
    chosen = rng.permutation(len(clothes.x_test))[:images]
    first, middle = SIDE // 2 - side, (SIDE - side) // 2
    ways = {
        "one small": (side, [(middle, middle)]),
        "four small": (side, [(first + a, first + b) for a in (0, side) for b in (0, side)]),
        "one large": (2 * side, [(first, first)]),
    }
    found = {name: [] for name in ways}
    for item in clothes.x_test[chosen, ..., 0].astype("float64"):
        ground = canvas_of(rng)
        for name, (large, places) in ways.items():
            found[name].append(ground.copy())
            for place in places:
                paste(found[name][-1], item, large, *place)
    return {name: finished(canvases) for name, canvases in found.items()}, clothes.y_test[chosen]


# -------------------------------------------------------------------------------------------------------------- the nets

# One block for each kind, and the channels of its middle in the three stages. "wider" has no gate either, but as many
# parameters as the net with "SE".
BLOCKS = {
    "no gate": (resnet.bottleneck, (12, 24, 48)),
    "SE": (partial(senet.weighed_bottleneck, ratio=8), (12, 24, 48)),
    "wider": (resnet.bottleneck, (13, 26, 52)),
    "SK": (partial(sknet.block, dilations=(1, 2), ratio=16, cardinality=1, width=64), (12, 24, 48)),
}
STAGES = ("conv2", "conv3", "conv4")


def net_of(kind, classes=10):
    """A new net: a 5x5 convolution of stride 2, three stages of one block of that kind of `BLOCKS`, and one dense layer."""
    block, widths = BLOCKS[kind]
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = resnet.conv_bn(image, 16, 5, 2, name="conv1")
    x = resnet.stages(x, block, (1, 1, 1), widths, "B")
    return keras.Model(image, network.pooled(x, classes, "softmax"), name=kind.replace(" ", "_"))


def trained(kind, images, epochs, seed):
    """A net of that kind, trained on `images` pictures of `items`."""
    x, y, _ = items(images, seed)
    training.seed(seed)
    net = net_of(kind)
    training.fit(
        net, x, y, epochs=epochs, warmup=1, batch_size=32, learning_rate=0.1, shift=0, seed=seed, verbose=False
    )  # fmt: skip
    return net


# -------------------------------------------------------------------------------------------------------------- the gates


def gates(net, images):
    """{stage: what the SE gates answer, (n, channels), each between 0 and 1}."""
    return _answers(net, images, "_sigmoid")


def shares(net, images):
    """{stage: the share of the larger kernel of an SK net in each channel, (n, channels)}."""
    return {stage: a[:, a.shape[1] // 2 :] for stage, a in _answers(net, images, "_softmax").items()}


def _answers(net, images, ending):
    layers = [layer for layer in net.layers if layer.name.endswith(ending)]
    found = keras.Model(net.input, [layer.output for layer in layers]).predict(images, verbose=0)
    return {
        la.name.split("_")[0]: array.reshape(len(images), -1) for la, array in zip(layers, found, strict=True)
    }


def between_classes(answers, labels):
    """Which share of the gates' variance over images lies between the means of the classes, over all channels: 0 to 1."""
    mean = answers.mean(0)
    kinds = np.unique(labels)
    parts = [(labels == kind).mean() * (answers[labels == kind].mean(0) - mean) ** 2 for kind in kinds]
    return float(np.sum(parts) / np.sum(answers.var(0)))


def hold_still(net, stage, means):
    """Sets the gates of one stage to `means` (channels,), whatever the image: no weight, and a bias for each channel."""
    expand = net.get_layer(f"{stage}_block1_se_expand")
    expand.kernel.assign(np.zeros(expand.kernel.shape))
    expand.bias.assign(np.log(means / (1 - means)))


def channels(*, kind, images, epochs, seed, test=2000):
    """Accuracy on new pictures; for "SE" by stage also what the gates do, and the accuracy with one stage's held still.

    "between classes": `between_classes`. "over images": the mean over channels of a gate's standard deviation over images.
    "over channels": the standard deviation of the mean gates. "held still": accuracy with conv2, conv3, conv4 held, and all.
    """
    net = trained(kind, images, epochs, seed)
    x, y, _ = items(test, seed, "test")
    found = {"accuracy": training.accuracy(net, x, y)}
    if kind != "SE":
        return found
    answers, weights = gates(net, x), net.get_weights()
    found["between classes"] = [between_classes(a, y) for a in answers.values()]
    found["over images"] = [float(a.std(0).mean()) for a in answers.values()]
    found["over channels"] = [float(a.mean(0).std()) for a in answers.values()]
    found["held still"] = []
    for held in (*[[stage] for stage in STAGES], STAGES):
        for stage in held:
            hold_still(net, stage, answers[stage].mean(0))
        found["held still"].append(training.accuracy(net, x, y))
        net.set_weights(weights)
    return found


CHANNELS = Experiment(
    channels,
    variants={kind: dict(kind=kind) for kind in ("no gate", "SE", "wider")},
    live=dict(images=600, epochs=2),
    live_seeds=1,
    kept=dict(images=2000, epochs=10),
    kept_seeds=3,
)

# ------------------------------------------------------------------------------------------------------------ the kernels

BOUNDS = (10, 14, 18, 23, 29, 37)  # of the items' sides, in pixels, for "by size"


def shift(net, images, seed):
    """By stage, how the larger kernel's mean share moves from one small item to others, image by image: {way: (3, n)}."""
    ways, _ = doubled(images, seed)
    share = {way: np.stack([a.mean(1) for a in shares(net, x).values()]) for way, x in ways.items()}
    return {way: share[way] - share["one small"] for way in ("one large", "four small")}


def kernels(*, images, epochs, seed, test=2000, pairs=500):
    """An SK net, by stage: the share of the larger kernel, how it moves when the item is doubled, and how by its size.

    "one large", "four small": the mean of `shift`; "... grew": the part of the images in which the share grew. "by size
    conv2" and so on: the mean share over new pictures with items of the sides in `BOUNDS`.
    """
    net = trained("SK", images, epochs, seed)
    x, y, sides = items(test, seed, "test")
    found = {"accuracy": training.accuracy(net, x, y)}
    for way, moved in shift(net, pairs, seed).items():
        found[way] = moved.mean(1)
        found[f"{way} grew"] = (moved > 0).mean(1)
    which = np.digitize(sides, BOUNDS) - 1
    for stage, share in shares(net, x).items():
        found[f"by size {stage}"] = [share[which == i].mean() for i in range(len(BOUNDS) - 1)]
    return found


KERNELS = Experiment(
    kernels,
    variants={"SK": {}},
    live=dict(images=600, epochs=2),
    live_seeds=1,
    kept=dict(images=2000, epochs=10),
    kept_seeds=3,
)

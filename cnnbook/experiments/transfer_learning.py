"""Experiment of chapter 15: two questions about the same scenes; a trained net helps with one and hinders with the other.

The net is `transfer.backbone("scenes7")`: it names the one coloured item of a scene, seven kinds of clothes in any colour.
The target scenes show the other three kinds. Asked is which of the three it is ("new items"), or which of five colours it
has ("colour"). Four plans answer from the same few labelled scenes, each in the same number of steps of 16 images.
"""

import keras
import numpy as np

from cnnbook import data, training, transfer
from cnnbook.experiments import Experiment

PLANS = ("pixels", "from scratch", "head", "fine-tuned")
SIZE, BATCH = 32, 16
COLOURS = 5  # a class of the scenes is an item in a colour: 5 * item + colour
# Factors of the learning rate where all of a trained net learns: the earlier a stage, the slower.
SLOW = {"conv1": 0.1, "conv2": 0.1, "conv3": 0.2, "conv4": 0.3}


def scenes(question, *, train, test, seed):
    """Scenes and the answers to a question: x (n, 32, 32, 3) float32, y (n,), then x and y held out.

    question: "known items", which of the seven that scenes7 names; and of the scenes with the other three "new items", which
    of three, or "colour", which of five. train, test: how many scenes are drawn of all ten; three in ten show new items.
    Those held out are drawn from other photographs of clothes.
    """
    drawn = data.load("scenes", task="classify", size=SIZE, train=train, test=test, seed=seed, verbose=False)
    names = [label.split(" ", 1)[1] for label in drawn.classes[::COLOURS]]
    record = transfer.backbones()["scenes7"]
    of = record["classes" if question == "known items" else "held_out"]
    asked = [names.index(name) for name in of]
    found = []
    for x, y in (drawn.part("train"), drawn.part("test")):
        here = np.isin(y // COLOURS, asked)
        items = np.searchsorted(asked, y[here] // COLOURS)
        found += [x[here].astype("float32"), y[here] % COLOURS if question == "colour" else items]
    return found


def chosen(y, count, seed):
    """Indices of `count` images of each class, drawn with that seed."""
    rng = np.random.default_rng([seed, 15])
    return np.concatenate([rng.choice(np.flatnonzero(y == k), count, replace=False) for k in np.unique(y)])


def reader(channels, classes):
    """A net that is nothing but a new head on vectors (n, channels): what learns where all else is frozen; new."""
    bare = keras.Sequential([keras.Input((channels,)), keras.layers.Identity()])
    return transfer.extend(bare, classes)


def whole(trained, classes):
    """scenes7 with a new head: trained, where all learns but its batch norms, or with new weights, which all learn."""
    net = transfer.extend(transfer.backbone("scenes7", trained=trained), classes)
    transfer.freeze(net, batch_norm=trained)
    net.get_layer("head_bn").trainable = True  # it is new, so it learns in every plan
    return net


def by_plan(plan, x, x_test, classes, steps):
    """(trials, inputs, held-out inputs, options of a run) of a plan: a net that trains again and again."""
    if plan == "pixels":
        x, x_test = (part.reshape(len(part), -1) / 255 for part in (x, x_test))
    if plan == "head":  # what is frozen computes the same each time: once is enough
        body = transfer.backbone("scenes7")
        x, x_test = (transfer.embeddings(body, part, batch_size=200) for part in (x, x_test))
    if plan in ("pixels", "head"):
        return transfer.Trials(reader(x.shape[1], classes), steps=steps, batch_size=BATCH), x, x_test, {}
    rates = SLOW if plan == "fine-tuned" else None
    net = whole(plan == "fine-tuned", classes)
    trials = transfer.Trials(net, steps=steps, batch_size=BATCH, rates=rates)
    return trials, x, x_test, dict(shift=2, mirror=True)


def few_labels(*, question, plans, labels, steps, train, test, seed):
    """Accuracy in per cent of each plan, held out and on the labelled scenes, over how many of these a class has.

    Each seed has scenes, labelled ones, first weights and an order of its own; all plans share the labelled scenes.
    """
    x, y, x_test, y_test = scenes(question, train=train, test=test, seed=seed + 1)
    measured = {}
    for plan in plans:
        training.seed(seed)
        trials, given, held_out, options = by_plan(plan, x, x_test, len(np.unique(y)), steps)
        right, learned = [], []
        for count in labels:
            few = chosen(y, count, seed)
            net = trials.run(given[few], y[few], seed=seed, **options)
            right.append(100 * training.accuracy(net, held_out, y_test))
            learned.append(100 * training.accuracy(net, given[few], y[few]))
        measured |= {plan: right, f"{plan}, labelled scenes": learned}
    return measured


FEW_LABELS = Experiment(
    few_labels,
    variants={"new items": dict(question="new items"), "colour": dict(question="colour")},
    live=dict(plans=["pixels", "head"], labels=[5, 20], steps=60, train=600, test=600),
    live_seeds=1,
    kept=dict(plans=list(PLANS), labels=[5, 20, 50], steps=200, train=1000, test=1500),
    kept_seeds=3,
)

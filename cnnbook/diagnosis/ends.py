"""The net's end against the compiled loss and the labels, what is trained, and the learning rate."""

import math

import keras
import numpy as np

from ..keras_internals import all_layers
from ..training import losses
from .given import NotLooked
from .report import Finding

__all__ = ["highest_rate", "learning_rate", "loss_and_end", "what_is_trained"]

KINDS = {
    "softmax": "probabilities (softmax)",
    "sigmoid": "a probability for each class on its own (sigmoid)",
    "probability": "one probability (sigmoid)",
    "logits": "scores that nothing squashes (logits)",
    "logit": "one score that nothing squashes (a logit)",
}


def loss_and_end(given):
    """What the net gives, what its loss reads, and of what kind the labels are."""
    end, loss = given.end, given.loss
    if end is None:
        raise NotLooked("the net computes by a call() of its own, so its end cannot be read")
    if end.kind is None and given.units == 1 and "softmax" in end.why:
        return "", [_softmax_over_one(given)]
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    gives = KINDS.get(end.kind, f"what cannot be told: {end.why}")
    text = f"{given.units} unit{'s' if given.units != 1 else ''}: {gives}"
    if loss is None:
        found = _unread(given, end)
        return f"{text}; no loss is compiled", found
    name = losses._name(loss)
    found = _unread(given, end) + _from_logits(given, end, loss, name) + _kind_of_loss(given, end, name)
    return f"{text}; loss {name}", found


def _softmax_over_one(given):
    return Finding(
        "softmax over one unit",
        f"the last layer of {given.model.name} is a softmax of one unit, which is 1 for every image",
        "a softmax shares 1 among its units, and there is but one",
        'one unit with activation="sigmoid" and BinaryCrossentropy, or two units with a softmax',
    )


def _unread(given, end):
    """A ReLU where the scores are, whatever the loss."""
    if end.kind == "logits" and end.why:
        return [
            Finding(
                "a ReLU at the end",
                f"the scores of {given.model.name} come out of {end.why}, so none is below 0",
                "an activation was left at the last layer; a class whose score is 0 for all images gets no gradient",
                "give the last layer no activation, and the loss from_logits=True",
            )
        ]
    return []


def _from_logits(given, end, loss, name):
    """What the loss is told against what the net gives."""
    entropy = name in losses.SPARSE | losses.BINARY | losses.ONE_HOT and "hinge" not in name.lower()
    if not entropy or end.kind is None:
        return []
    told = bool(losses._told(loss))  # where Keras calls a function, from_logits is False
    if told == end.from_logits:
        return []
    if told:
        least = (
            math.log(1 + (given.classes - 1) / math.e)
            if end.kind == "softmax"
            else math.log(1 + math.exp(-1))
        )
        return [
            Finding(
                "squashed twice",
                f"the net ends in {KINDS[end.kind]}, and the loss has from_logits=True: it squashes them once more, and "
                f"cannot fall below {least:.2f} however sure the net is",
                "the activation is in the last layer and in the loss",
                "from_logits=False in the loss, or no activation in the last layer",
            )
        ]
    return [
        Finding(
            "logits taken for probabilities",
            f"the net ends in {KINDS[end.kind]}, and the loss {name} reads probabilities",
            "from_logits=False is what a loss means where nothing is said, and a name in quotes says nothing; scores "
            "below 0 are cut off there and have no gradient, so the loss stays or jumps",
            f"keras.losses.{_class_name(name)}(from_logits=True), or end the net in a softmax or sigmoid",
        )
    ]


def _class_name(name):
    return "".join(part.capitalize() for part in name.split("_")) if "_" in name else name


def _kind_of_loss(given, end, name):
    """Whole labels for a loss of one-hot ones, one unit for a loss of several, squares for classes."""
    whole = given.numbers is not None and not given.one_hot
    wrong = None
    if name in losses.ONE_HOT and whole:
        wrong = f"{name} reads one-hot labels, and these are whole numbers", "sparse_categorical_crossentropy"
    elif name in losses.SPARSE and given.one_hot:
        wrong = f"{name} reads whole numbers, and these labels are one-hot", "categorical_crossentropy"
    elif name in losses.SPARSE | losses.ONE_HOT and given.units == 1:
        wrong = f"{name} is for several units, and the net has one", "binary_crossentropy"
    elif name in losses.BINARY and given.units != 1 and whole and end.kind in ("softmax", "logits"):
        wrong = (
            f"{name} is for one unit, or for several answers at once; the net has {given.units} units for one answer",
            ("sparse_categorical_crossentropy"),
        )
    elif "squared" in name.lower() and whole and end.kind in ("softmax", "logits") and given.units > 1:
        wrong = (
            f"{name} takes classes for numbers, so class 9 is nine times as wrong as class 1",
            ("sparse_categorical_crossentropy"),
        )
    if wrong is None:
        return []
    return [
        Finding(
            "loss of another kind",
            wrong[0],
            "the loss was copied from a net whose labels or end are others",
            f"loss={wrong[1]!r}, with from_logits as the net ends; training.loss_of(model) gives the one that fits",
        )
    ]


# --------------------------------------------------------------------------- what is trained


def what_is_trained(given):
    """Variables that learn, and batch norms that are frozen before they measured anything."""
    model = given.model
    learned = sum(math.prod(v.shape) for v in model.trainable_variables)
    frozen = sum(math.prod(v.shape) for v in model.weights) - learned
    found = _not_finite(model)
    if not learned:
        found.append(
            Finding(
                "nothing is trained",
                f"none of the {frozen:,} numbers of {model.name} is trained",
                "trainable = False was set for the whole net, or for every layer that has weights",
                "model.trainable = True, or that of the last layers, then compile again; transfer.freeze(model, until=...) "
                "says in a table what learns",
            )
        )
    layers = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    empty = [layer.name for layer in layers if layer.built and not layer.trainable and _at_the_start(layer)]
    if empty:
        found.append(
            Finding(
                "batch norm frozen at its start",
                f"{len(empty)} of {len(layers)} batch norms are frozen, and their mean is 0 and their variance 1 everywhere",
                "the net was frozen before it had learnt, or its weights were not loaded: what is frozen never measures",
                "load the weights before you freeze, or leave batch norms trainable in a net that starts from nothing",
            )
        )
    return f"{learned:,} numbers learn, {frozen:,} do not", found


def _at_the_start(layer):
    mean, variance = (keras.ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance))
    return not mean.any() and bool((variance == 1).all())


def _not_finite(model):
    """Weights that are no numbers any more."""
    lost = [v.path for v in model.weights if not _finite(v)]
    if not lost:
        return []
    return [
        Finding(
            "weights not finite",
            f"{len(lost)} of {len(model.weights)} variables hold nan or infinity, the first is {lost[0]}",
            "a step was too long, or an image held nan: the weights cannot come back from it",
            "build the net anew, look at what else is said here, and take a tenth of the learning rate",
        )
    ]


def _finite(variable):
    values = keras.ops.convert_to_numpy(variable)
    return values.dtype.kind not in "fV" or bool(np.isfinite(values.astype("float32")).all())


# --------------------------------------------------------------------------- learning rate


def highest_rate(optimizer):
    """The highest learning rate of an optimiser, over a million steps where it has a schedule."""
    kept = optimizer.get_config().get("learning_rate")
    if isinstance(kept, dict):
        schedule = keras.optimizers.schedules.deserialize(kept)
        steps = np.unique(np.geomspace(1, 1e6, 60).astype(int)) - 1
        return max(float(schedule(int(step))) for step in steps)
    return float(optimizer.learning_rate)


def learning_rate(given):
    """The rate by its value; what it does is measured by the check of a few images."""
    if not given.compiled:
        raise NotLooked("the net is not compiled")
    optimizer = given.model.optimizer
    name, rate = type(optimizer).__name__, highest_rate(optimizer)
    if not rate > 0:
        return "", [
            Finding(
                "learning rate of zero",
                f"{name} has a learning rate of {rate:g}",
                "a callback has lowered it to nothing, a schedule has ended, or two whole numbers were divided",
                "keras.optimizers.SGD(0.05, momentum=0.9) or Adam(1e-3) are a beginning",
            )
        ]
    adaptive = name in ("Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Lion")
    most, least = (0.05, 1e-6) if adaptive else (5, 1e-6)
    if least <= rate <= most:
        return f"{name}, {rate:g}", []
    usual = "1e-4 to 1e-2" if adaptive else "0.001 to 0.5"
    size, does = (
        ("large", "throw the weights about") if rate > most else ("small", "hardly change the weights")
    )
    return "", [
        Finding(
            f"{size} learning rate",
            f"{name} has a learning rate of {rate:g}; usual are {usual}",
            f"steps of this length {does}",
            "try a tenth and ten times of 1e-3 for Adam, of 0.05 for SGD, on a few images, and keep the best",
        )
    ]

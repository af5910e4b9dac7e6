"""The loss and the metrics that fit a net's end (`graph.ending`), and the labels and images that fit both."""

import functools
import inspect

import keras
import numpy as np

from .. import graph
from ..arguments import whole_numbers

__all__ = [
    "accuracy_of",
    "check_images",
    "check_labels",
    "end_of",
    "loss_of",
    "loss_on_labels",
    "mean_iou_of",
]

SPARSE = {"sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"}
BINARY = {"binary_crossentropy", "BinaryCrossentropy", "binary_focal_crossentropy", "BinaryFocalCrossentropy"}
# Keras' own functions as classes, which it can save and share
CLASSES = {
    keras.losses.sparse_categorical_crossentropy: keras.losses.SparseCategoricalCrossentropy,
    keras.losses.categorical_crossentropy: keras.losses.CategoricalCrossentropy,
    keras.losses.binary_crossentropy: keras.losses.BinaryCrossentropy,
}
ONE_HOT = {
    *("categorical_crossentropy", "CategoricalCrossentropy", "categorical_hinge", "CategoricalHinge"),
    *("categorical_focal_crossentropy", "CategoricalFocalCrossentropy"),
}

# --------------------------------------------------------------------------- losses


def loss_of(model, loss=None, output=0):
    """The loss of an output of a net: `loss` if there is one, else the cross-entropy that fits how the net ends.

    Sparse categorical, or binary for an output of one unit; from logits where nothing squashes them (`graph.ending`). loss:
    a function of labels and predictions, a keras.losses.Loss, or a name that Keras knows. A function with an argument
    from_logits, such as those of cnnbook.segmentation, is given it for a net of logits; what says from_logits itself must
    agree with the net, and is believed where the net does not show it. ValueError where neither is so, and for a loss of
    one unit on several or the other way round.
    """
    if loss is None:
        kind = keras.losses.BinaryCrossentropy if _units(model, output) == 1 else None
        kind = kind or keras.losses.SparseCategoricalCrossentropy
        return kind(from_logits=_known(graph.ending(model, output)).from_logits)
    function = keras.losses.get(loss) if isinstance(loss, str) else loss
    _check_units(model, function, output)
    told, asks = _told(function), _asks(function)
    if told is None and not asks:
        return _plain(loss)
    end = graph.ending(model, output)
    if told is None:
        say = f"loss=functools.partial({_name(function)}, from_logits=True), or False"
        return _from_logits(function) if end.known(say).from_logits else _plain(loss)
    if end.kind is not None and end.from_logits != told:
        gives, reads = ("logits", "probabilities") if end.from_logits else ("probabilities", "logits")
        raise ValueError(
            f"{model.name} gives {gives} ({end.kind}), and the loss {_name(function)} reads {reads}: "
            f"give it from_logits={end.from_logits}, or leave loss out for the cross-entropy that fits"
        )
    return _plain(loss)


def loss_on_labels(model, y, loss=None):
    """`loss_of` the first output as a function, checked against the labels y, whole numbers or what `loss` reads."""
    loss = loss_of(model, loss)
    function = keras.losses.get(loss) if isinstance(loss, str) else loss
    if _name(function) in ONE_HOT:
        check_loss(model, function, y)
    elif _told(function) is not None or _asks(function):
        check_labels(model, y)
    keras_function = getattr(function, "__module__", "").startswith("keras.") and not isinstance(
        function, keras.losses.Loss
    )
    return _with_the_units_axis(function) if keras_function and _units(model) == 1 else function


def _with_the_units_axis(function):
    """A loss of labels (n, ...) for predictions (n, ..., 1), which Keras' functions compare axis by axis."""

    def loss(labels, predictions):
        lacks = len(labels.shape) < len(predictions.shape)
        return function(keras.ops.expand_dims(labels, -1) if lacks else labels, predictions)

    return loss


def check_loss(model, loss, y):
    """ValueError for a loss of one-hot labels where labels y are whole numbers."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if _name(loss) in ONE_HOT and np.ndim(y) < len(model.outputs[0].shape):
        raise ValueError(
            f"{_name(loss)} reads one-hot labels, and these are whole numbers {np.shape(y)}: take "
            "sparse_categorical_crossentropy, or leave loss out"
        )


def end_of(model, loss=None):
    """The `graph.Ending` of the first output; where the net hides it, as the loss says it by its from_logits."""
    end, told = graph.ending(model), _told(loss)
    if end.kind is None and told is not None:
        kinds = ("probability", "logit") if end.binary else ("softmax", "logits")
        return graph.ending(model, kind=kinds[bool(told)])
    return end


def _known(end):
    loss = "BinaryCrossentropy" if end.binary else "SparseCategoricalCrossentropy"
    return end.known(f"loss=keras.losses.{loss}(from_logits=True), or False")


def _units(model, output=0):
    return model.outputs[output].shape[-1]


def _check_units(model, loss, output):
    name, units = _name(loss), _units(model, output)
    if units == 1 and name in SPARSE | ONE_HOT:
        raise ValueError(
            f"{name} is for at least two units, and {model.name} has 1: take binary_crossentropy, or leave loss out"
        )
    if units != 1 and name in BINARY:
        raise ValueError(
            f"{name} is for one unit, and {model.name} has {units}: take sparse_categorical_crossentropy, or leave loss out"
        )


def _name(loss):
    """What a loss is called: a function's or a class' name, that of what a partial calls."""
    loss = loss.func if isinstance(loss, functools.partial) else loss
    return getattr(loss, "__name__", type(loss).__name__)


def _plain(loss):
    """The same loss as Keras can save it: a partial as a class, or as a function that no other bears the name of, since by
    the name alone a file would be opened with a loss of other arguments."""
    if not isinstance(loss, functools.partial):
        return loss
    if loss.func in CLASSES and not loss.args:
        return CLASSES[loss.func](**loss.keywords)

    def plain(labels, predictions):
        return loss(labels, predictions)

    plain.__name__ = plain.__qualname__ = f"{_name(loss)}_with_arguments"
    return plain


def _from_logits(function):
    """A function that asks for from_logits, told that it is so: Keras' own as its class, which Keras can save and share."""
    if not isinstance(function, functools.partial) and function in CLASSES:
        return CLASSES[function](from_logits=True)
    return _plain(functools.partial(function, from_logits=True))


def _told(loss):
    """What a loss itself says of from_logits; None where it is silent."""
    if isinstance(loss, functools.partial):
        return loss.keywords.get("from_logits")
    return getattr(loss, "from_logits", None) if isinstance(loss, keras.losses.Loss) else None


def _asks(loss):
    """Whether a function can be told from_logits."""
    if isinstance(loss, keras.losses.Loss):
        return False
    try:
        return "from_logits" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return False


# --------------------------------------------------------------------------- metrics


def accuracy_of(end):
    """Keras' metric of the share that is right, for an `Ending`."""
    if end.binary:
        # Keras compares by >, and its next releases refuse a threshold of 0: the least number above it.
        threshold = _known(end).threshold or float(np.finfo("float32").tiny)
        return keras.metrics.BinaryAccuracy("accuracy", threshold=threshold)
    return keras.metrics.SparseCategoricalAccuracy("accuracy")


def mean_iou_of(end):
    """Keras' metric of the mean intersection over union, for an `Ending`."""
    if end.binary:
        return keras.metrics.BinaryIoU(name="mean_iou", threshold=_known(end).threshold)
    return keras.metrics.MeanIoU(end.units, sparse_y_pred=False, name="mean_iou")


# --------------------------------------------------------------------------- what they are measured on


def check_labels(model, y, of=""):
    """ValueError unless y are whole numbers of classes that the net has. of: what they are the labels of, "held-out "."""
    units, shape = _units(model), np.shape(y)
    if units is None:
        graph.ending(model).known("loss=, with its from_logits")
        return
    if len(shape) == len(model.outputs[0].shape) and shape[-1] == units and units > 1:
        raise ValueError(
            f"{of}labels are whole numbers, one for each image or pixel; these of shape {shape} look one-hot: "
            "y.argmax(-1) gives the numbers"
        )
    y, classes = whole_numbers(y, f"{of}labels"), max(units, 2)
    if y.size and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(f"{of}labels are 0 to {classes - 1} for {model.name}, got {y.min()} to {y.max()}")


def check_images(x, of=""):
    """ValueError unless images x (n, h, w, c) are at least one, of finite numbers."""
    x = np.asarray(x)
    if not len(x):
        raise ValueError(f"{of}images are at least one image, got an array of shape {x.shape}")
    if x.dtype.kind in "iub":
        return
    for start in range(0, len(x), 256):
        part = x[start : start + 256]
        if not (finite := np.isfinite(part)).all():
            i, wrong = start + np.argwhere(~finite)[0][0], part[~finite][0]
            raise ValueError(f"{of}images are finite numbers; image {i} holds {wrong}")

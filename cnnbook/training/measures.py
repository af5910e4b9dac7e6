"""What a net does on given images: its outputs, accuracy, best k guesses, classes per pixel, length of its gradients."""

import math

import keras
import numpy as np

from .. import graph, segmentation
from ..arguments import array, integer, whole_number, whole_numbers
from ..keras_internals import all_layers, kernel_attributes
from . import devices, gradients, programs
from .batches import check_size
from .losses import check_labels, end_of, loss_on_labels
from .progress import waiting

__all__ = ["accuracy", "gradient_norms", "outputs", "predicted", "top_k"]


def accuracy(model, x, y, batch_size=500, *, kind=None):
    """The share of images x (n, h, w, c), or of their pixels, whose most probable class is y, (n,) or (n, h, w).

    kind: how a net of one unit ends that does not show it, "probability" or "logit", see `graph.ending`. ValueError for
    labels that are no whole numbers, or of another shape.
    """
    if np.ndim(y) == 3:
        return segmentation.pixel_accuracy(*predicted(model, x, y, kind=kind))
    y = whole_numbers(y, "labels")
    if y.ndim != 1 or len(y) != len(x):
        raise ValueError(f"{model.name} gives labels of shape {(len(x),)} for these images, got {y.shape}")
    return float(np.mean(_classes(model, outputs(model, x, batch_size), kind) == y))


def _classes(model, found, kind):
    """The classes that a net's outputs mean; of several the greatest, whatever the net ends in."""
    return found.argmax(-1) if found.shape[-1] > 1 else graph.ending(model, kind=kind).labels(found)


def top_k(scores, y, k=5):
    """The share of images whose class is among the net's k best guesses: top-1, top-5 accuracy.

    scores: logits or probabilities (n, classes), such as `outputs(model, x)`. y: the true classes (n,). A class that
    stands level with others at the edge of the k counts for its share of the places left, as if ties were drawn by lot: a
    net that says the same of all 1,000 classes has a top-5 of 0.005. A row with a nan is wrong. ValueError for scores and
    labels that do not fit, and for k outside 1 to the number of classes.
    """
    scores, y = np.asarray(scores), whole_numbers(y, "labels")
    if scores.ndim != 2 or y.shape != scores.shape[:1] or not len(y):
        raise ValueError(
            f"scores are (images, classes) and y (images,), at least one; got {scores.shape}, {y.shape}"
        )
    if not 1 <= (integer(k) or 0) <= scores.shape[1]:
        raise ValueError(f"k is from 1 to the {scores.shape[1]} classes, got {k!r}")
    if y.min() < 0 or y.max() >= scores.shape[1]:
        raise ValueError(f"labels are from 0 to {scores.shape[1] - 1}, got {y.min()} to {y.max()}")
    own = scores[np.arange(len(y)), y][:, None]
    ahead, level = (scores > own).sum(1), (scores == own).sum(1)
    shares = np.clip((k - ahead) / np.maximum(level, 1), 0, 1)
    return float(np.where(np.isnan(scores).any(1), 0, shares).mean())


def predicted(model, x, masks, batch_size=50, *, kind=None):
    """(true, predicted) classes of every pixel of images x (n, h, w, c), masks (n, h, w), both of the size of the net's
    output, the first one's where it has several: what the scores of cnnbook.segmentation compare. kind: as in `accuracy`."""
    masks, found = array(masks, "masks"), outputs(model, x, batch_size)
    return segmentation.centre(masks, *found.shape[1:3]), _classes(model, found, kind)


def outputs(model, x, batch_size=500, *, label=None):
    """The net's output for images x (n, h, w, c), the first one where it has several: float32 (n, ...).

    batch_size: how many are computed at once, at most. label: how lines begin where it takes long, by default the model's
    name. On JAX nets that compute alike share what was compiled for one.
    """
    inputs = getattr(model, "inputs", None) or ()
    # Of several inputs each has its own; what has a shape may be read batch by batch.
    if len(inputs) < 2 and not hasattr(x, "shape"):
        x = array(x, "x")
    batch_size = whole_number(batch_size, "batch_size")
    try:
        return _computed(model, x, batch_size, label)
    except Exception:
        if len(inputs) == 1:
            check_size(model, x)  # says it in words, where it is the size
        raise


def _computed(model, x, batch_size, label):
    if devices.shared(model):
        return keras.tree.flatten(devices.predict(model, x, batch_size))[0]
    label = label or model.name
    if programs.can_share(model) and programs.described(
        model
    ):  # others have Keras keep what it compiled for them
        return _outputs_on_jax(model, x, batch_size, label)
    if len(x) <= batch_size:  # one batch needs no pipeline, whose set-up can take longer than a small net
        return keras.tree.flatten(model.predict_on_batch(x))[0]
    count = _Count()
    with waiting(lambda: _say(label, min(count.batches * batch_size, len(x)), len(x))):
        found = model.predict(x, batch_size=batch_size, verbose=0, callbacks=[count])
    return keras.tree.flatten(found)[0]


def _outputs_on_jax(model, x, batch_size, label):
    """Batches of one size, so that one shape is compiled; the next is sent while the device computes."""
    size = math.ceil(len(x) / math.ceil(len(x) / batch_size))
    forward, state = programs.compiled(programs.predict_step, model), programs.state_of(model)
    found = []
    with waiting(lambda: _say(label, max(len(found) - 1, 0) * size, len(x))):
        for start in range(0, len(x), size):
            images = np.asarray(x[start : start + size])
            full = np.concatenate([images, np.repeat(images[:1], size - len(images), 0)])
            found.append(forward(state, full))
            if len(found) > 1:
                found[-2] = np.asarray(found[-2])
        return np.concatenate(found)[: len(x)]


class _Count(keras.callbacks.Callback):
    """How many batches are done."""

    batches = 0

    def on_predict_batch_end(self, batch, logs=None):
        self.batches = batch + 1


def _say(label, done, count):
    print(f"{label}: {done:,} of {count:,} images", flush=True)


def gradient_norms(model, x, y, *, loss=None):
    """The length of the loss' gradient for every kernel: {layer name: norm}, from the input to the output.

    x (n, h, w, c), y (n,) or (n, h, w): one batch, batch norm in training mode, as in a training step; the weights are left
    as they are. Of several outputs the first counts. loss: by default the cross-entropy that fits how the net ends, else
    as `loss_of` takes it. A layer of several kernels has an entry for each, "layer/kernel". ValueError where no kernel is
    trained, and for labels and loss that do not fit.
    """
    x, y = array(x, "x"), array(y, "y")
    kernels = _kernels(model)
    names = [kernels.get(id(variable)) for variable in model.trainable_variables]
    if not any(names):
        raise ValueError(
            f"no kernel of {model.name} is trained: set trainable = True for the model, or for layers"
        )
    if loss is None:
        check_labels(model, y)
        objective = gradients.loss_on(
            x, y, from_logits=end_of(model).known("loss=, with its from_logits").from_logits
        )
    else:
        objective = gradients.loss_on(x, y, loss=loss_on_labels(model, y, loss))
    _, by_variable = gradients.of_weights(model, objective)
    found = zip(gradients.numbered(names), by_variable.values(), strict=True)
    return {name: float(np.linalg.norm(g)) for name, g in found if name is not None}


def _kernels(model):
    """{id of a kernel: the name of its layer, and its own where the layer has several}, of nested nets too."""
    found = {}
    for layer in all_layers(model):
        own = {} if isinstance(layer, keras.Model) else kernel_attributes(layer)
        for attribute, variable in own.items():
            found[id(variable)] = f"{layer.name}/{attribute}" if len(own) > 1 else layer.name
    return found

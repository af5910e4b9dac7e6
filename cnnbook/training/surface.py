"""The loss around a net's weights: along one or two random directions that are scaled filter by filter.

Li, Xu, Taylor, Studer & Goldstein 2018, Visualizing the loss landscape of neural nets, arXiv:1712.09913, section 4. A
ReLU net does the same with one layer's filters doubled and the next one's halved, so a plain random step would look long
in one and short in the other; a direction whose every filter is as long as the net's own can be compared between nets.
"""

import math

import keras
import numpy  # under its own name: an alias would be a part of the key of all kept evidence
from keras import ops

from ..arguments import whole_number
from ..graph import as_functional, kernel_axes
from ..keras_internals import all_layers, own_trainable_variables
from . import gradients, losses

__all__ = ["loss_around", "filter_direction"]

# --------------------------------------------------------------------------- directions


def filter_direction(model, rng):
    """A random direction, one array for each trainable variable: every filter has the length of the net's own filter.

    As in the paper's code, biases and batch norm's gamma and beta do not move. A filter is what makes one output
    channel; of a depthwise kernel, what reads one channel; of a dense layer, the weights of one output.
    """
    axes = _filter_axes(model)
    steps = []
    for variable in model.trainable_variables:
        weights = ops.convert_to_numpy(variable.value).astype("float64")
        if id(variable) not in axes:
            steps.append(numpy.zeros(weights.shape, "float32"))
            continue
        step, along = rng.normal(size=weights.shape), axes[id(variable)]
        step_length, length = (numpy.sqrt((a**2).sum(along, keepdims=True)) for a in (step, weights))
        steps.append((step * length / numpy.maximum(step_length, 1e-10)).astype("float32"))
    return steps


def _filter_axes(model):
    """{id of a kernel: the axes over which one of its filters extends}."""
    extents = {}
    for layer in all_layers(model):
        for variable in own_trainable_variables(layer):
            if len(variable.shape) > 1:
                inputs = ["in"] * (len(variable.shape) - 1)
                axes = kernel_axes(layer).get(variable.name, [*inputs, "out"])
                extents[id(variable)] = tuple(
                    i for i, axis in enumerate(axes) if axis in ("height", "width", "in")
                )
    return extents


# --------------------------------------------------------------------------- the loss there


def loss_around(
    model, x, y, *, dimensions=1, points=None, span=1.0, seed=0, statistics="kept", loss=None, batch=512,
    directions=None,
):  # fmt: skip
    """The loss of a net on images x (n, h, w, c) and labels y, around its weights: (array, steps, directions).

    array: the loss at each step along one direction (points,), or two (points, points), rows along the second. steps: those
    steps, in filter lengths, 0 is the net itself. directions: lists of arrays, one for each trainable variable. For the
    arguments see `viz.landscape`, which draws it.

    The net is computed with other weights, never changed. ValueError for what does not fit, and where the loss of the net
    itself is not finite.
    """
    points = {1: 41, 2: 13}.get(dimensions) if points is None else points
    _check(dimensions, points, span, statistics)
    batch = whole_number(batch, "batch")
    x, y = numpy.asarray(x), numpy.asarray(y)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"as many labels as images, at least one: got {len(x)} images and {len(y)} labels")
    losses.check_images(x)
    loss = losses.loss_on_labels(as_functional(model), y, loss)
    if directions is None:
        rng = numpy.random.default_rng([seed, 9913])  # not the stream that may have made the weights
        directions = [filter_direction(model, rng) for _ in range(dimensions)]
    directions = [_fitting(model, d) for d in directions]
    if len(directions) != dimensions:
        raise ValueError(f"dimensions={dimensions} takes as many directions, got {len(directions)}")
    steps = numpy.linspace(-span, span, points)
    with _at_rest(model, statistics == "batch"):
        measure = _measure(model, x, y, loss, statistics == "batch", batch, directions)
        if not numpy.isfinite(middle := measure(*[0.0] * dimensions)):
            raise ValueError(
                f"the loss of {model.name} itself is {middle}, so nothing is to be seen around it: its weights, or what it "
                "computes of these images, are not finite"
            )
        if dimensions == 1:
            array = numpy.array([measure(a) for a in steps])
        else:
            array = numpy.array([[measure(a, b) for a in steps] for b in steps])
    return array, steps, directions


def _check(dimensions, points, span, statistics):
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions is 1 (a curve) or 2 (contours), got {dimensions!r}")
    if whole_number(points, "points", least=3) % 2 == 0:
        raise ValueError(
            f"points is an odd number of at least 3, so that the net itself is one; got {points!r}"
        )
    if not span > 0:
        raise ValueError(f"span is a positive number of filter lengths, got {span!r}")
    if statistics not in ("kept", "batch"):
        raise ValueError(f'statistics is "kept" or "batch", got {statistics!r}')


def _fitting(model, given):
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    if [numpy.shape(d) for d in given] != shapes:
        raise ValueError(
            f"a direction of {model.name} is a list of {len(shapes)} arrays with the shapes of its trainable_variables; "
            f"got {len(given)} with the shapes {[numpy.shape(d) for d in given][:4]} ..."
        )
    return [numpy.asarray(d, "float32") for d in given]


class _at_rest:
    """Dropout switched off, while batch norm runs in training mode."""

    def __init__(self, model, needed):
        layers = all_layers(model) if needed else []
        self.layers = [layer for layer in layers if getattr(layer, "rate", None)]

    def __enter__(self):
        self.rates = [layer.rate for layer in self.layers]
        for layer in self.layers:
            layer.rate = 0

    def __exit__(self, *_):
        for layer, rate in zip(self.layers, self.rates, strict=True):
            layer.rate = rate


def _measure(model, x, y, loss, training, batch, directions):
    """A function of the steps along the directions: the mean loss there."""
    weights = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    moves = [[ops.convert_to_tensor(d) for d in direction] for direction in directions]

    @gradients.compiled
    def measured(images, labels, weights, state, steps, *moves):
        for i, move in enumerate(moves):
            weights = [w + ops.cast(steps[i] * m, w.dtype) for w, m in zip(weights, move, strict=True)]
        outputs = model.stateless_call(weights, state, images, training=training)[0]
        outputs = keras.tree.flatten(outputs)[0]  # of several outputs the first
        return ops.mean(loss(labels, outputs))

    parts = [tuple(ops.convert_to_tensor(a[i : i + batch]) for a in (x, y)) for i in range(0, len(x), batch)]

    def measure(*steps):
        steps = ops.convert_to_tensor(numpy.array(steps, "float32"))
        losses = [float(measured(*part, weights, state, steps, *moves)) for part in parts]
        return math.fsum(loss * len(part[0]) for loss, part in zip(losses, parts, strict=True)) / len(x)

    return measure

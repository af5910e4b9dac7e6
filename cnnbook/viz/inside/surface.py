"""The loss around a net's weights: along one or two random directions that are scaled filter by filter.

Li, Xu, Taylor, Studer & Goldstein 2018, Visualizing the loss landscape of neural nets, arXiv:1712.09913, section 4. A
ReLU net does the same with one layer's filters doubled and the next one's halved, so a plain random step would look long
in one and short in the other; a direction whose every filter is as long as the net's own can be compared between nets.
"""

import math

import keras
import numpy as np
from keras import ops

from ...arguments import whole_number
from ...graph import as_functional, flatten, kernel_axes
from ...keras_internals import all_layers, own_trainable_variables
from ...training import gradients
from .. import style
from ..picture import Picture, bar

# --------------------------------------------------------------------------- directions


def direction(model, rng):
    """A random direction, one array for each trainable variable: every filter has the length of the net's own filter.

    As in the paper's code, biases and batch norm's gamma and beta do not move. A filter is what makes one output
    channel; of a depthwise kernel, what reads one channel; of a dense layer, the weights of one output.
    """
    axes = _filter_axes(model)
    steps = []
    for variable in model.trainable_variables:
        weights = ops.convert_to_numpy(variable.value).astype("float64")
        if id(variable) not in axes:
            steps.append(np.zeros(weights.shape, "float32"))
            continue
        step, along = rng.normal(size=weights.shape), axes[id(variable)]
        step_length, length = (np.sqrt((a**2).sum(along, keepdims=True)) for a in (step, weights))
        steps.append((step * length / np.maximum(step_length, 1e-10)).astype("float32"))
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


# --------------------------------------------------------------------------- the picture


class Landscape(Picture):
    """`.array`: the loss at each step along one direction (n,), or two (n, n), rows along the second. `.steps`: the steps,
    0 is the net itself. `.loss`: the loss there. `.directions`: lists of arrays, one for each trainable variable."""

    def __init__(self, name, array, steps, directions, images):
        self.title, self.array, self.steps, self.directions = name, array, steps, directions
        self.loss = float(array[(len(steps) // 2,) * array.ndim])
        finite = array[np.isfinite(array)]
        where = "one random direction" if array.ndim == 1 else "two random directions"
        self.alt = (
            f"Loss of {name} on {images} images along {where}, from {steps[0]:g} to {steps[-1]:g} filter lengths: "
            f"{self.loss:.3g} in the middle, at most {finite.max():.3g}"
        )

    size = (4.8, 3.9)

    def draw(self, axes, label=None, **options):
        """Draws on `axes`; curves of several nets may share one, each with its label."""
        if self.array.ndim == 1:
            axes.plot(
                self.steps, np.where(np.isfinite(self.array), self.array, np.nan), label=label, **options
            )
            axes.set(xlabel="step (filter lengths)", ylabel="loss")
            axes.set_title(self.title, fontsize=10)
            return
        drawn = np.where(np.isfinite(self.array), self.array, np.nanmax(self.array[np.isfinite(self.array)]))
        levels = _levels(drawn)
        import matplotlib.pyplot as plt

        norm = (
            plt.matplotlib.colors.LogNorm if levels[0] > 0 and levels[-1] > 10 * levels[0] else plt.Normalize
        )
        norm = norm(levels[0], levels[-1])
        axes.contourf(self.steps, self.steps, drawn, levels, cmap="viridis", norm=norm, extend="both")
        lines = axes.contour(self.steps, self.steps, drawn, levels, colors="white", linewidths=0.5, norm=norm)
        axes.clabel(lines, levels[1::2], fontsize=7, fmt="%.2g")
        axes.plot(0, 0, "o", color="#D55E00", markeredgecolor="white", markersize=6)
        axes.set(xlabel="step along one direction", ylabel="step along the other", aspect="equal")
        axes.set_title(self.title, fontsize=10)
        axes.grid(False)
        self.scale = plt.cm.ScalarMappable(norm, "viridis")

    def _figure(self):
        figure, axes = style.figure(*self.size)
        self.draw(axes)
        if self.array.ndim == 2:
            bar(figure, axes, self.scale, label="loss")
        return figure


def _levels(values, n=13):
    """Heights of contour lines: even on a logarithmic scale where the loss spans more than a factor of ten."""
    low, high = float(values.min()), float(np.quantile(values, 0.98))
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-3
    return np.geomspace(low, high, n) if low > 0 and high > 10 * low else np.linspace(low, high, n)


def landscape(
    model,
    x,
    y,
    *,
    dimensions=1,
    points=None,
    span=1.0,
    seed=0,
    statistics="kept",
    loss=None,
    batch=512,
    directions=None,
):
    """The loss of a net on images x (n, h, w, c) and labels y, around its weights: a curve, or contours.

    dimensions: 1 or 2. points: how many along each, odd so that the net itself is one of them; 41 and 13 by default.
    span: how far it goes, in lengths of each filter. seed: of the random directions; two nets have the same only if
    they are alike. statistics: "kept", the moving mean and variance that batch norm has learned, as in the paper's code;
    or "batch", those of the images under the moved weights. loss: a function of labels and outputs, or the name of one of
    Keras'; by default the cross-entropy that fits how the net ends (`training.loss_of`). batch: images at a time.
    directions: your own in place of random ones, each a list with an array for each trainable variable (such as from one
    net's weights to another's).

    The net is computed with other weights, never changed. ValueError for what does not fit, and where the loss of the net
    itself is not finite.
    """
    from ...training import losses

    points = {1: 41, 2: 13}.get(dimensions) if points is None else points
    _check(dimensions, points, span, statistics)
    batch = whole_number(batch, "batch")
    x, y = np.asarray(x), np.asarray(y)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"as many labels as images, at least one: got {len(x)} images and {len(y)} labels")
    losses.check_images(x)
    loss = losses.loss_on_labels(as_functional(model), y, loss)
    if directions is None:
        rng = np.random.default_rng([seed, 9913])  # not the stream that may have made the weights
        directions = [direction(model, rng) for _ in range(dimensions)]
    directions = [_fitting(model, d) for d in directions]
    if len(directions) != dimensions:
        raise ValueError(f"dimensions={dimensions} takes as many directions, got {len(directions)}")
    steps = np.linspace(-span, span, points)
    with _at_rest(model, statistics == "batch"):
        measure = _measure(model, x, y, loss, statistics == "batch", batch, directions)
        if not np.isfinite(middle := measure(*[0.0] * dimensions)):
            raise ValueError(
                f"the loss of {model.name} itself is {middle}, so nothing is to be seen around it: its weights, or what it "
                "computes of these images, are not finite"
            )
        if dimensions == 1:
            array = np.array([measure(a) for a in steps])
        else:
            array = np.array([[measure(a, b) for a in steps] for b in steps])
    return Landscape(model.name, array, steps, directions, len(x))


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
    if [np.shape(d) for d in given] != shapes:
        raise ValueError(
            f"a direction of {model.name} is a list of {len(shapes)} arrays with the shapes of its trainable_variables; "
            f"got {len(given)} with the shapes {[np.shape(d) for d in given][:4]} ..."
        )
    return [np.asarray(d, "float32") for d in given]


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
        steps = ops.convert_to_tensor(np.array(steps, "float32"))
        losses = [float(measured(*part, weights, state, steps, *moves)) for part in parts]
        return math.fsum(loss * len(part[0]) for loss, part in zip(losses, parts, strict=True)) / len(x)

    return measure


# --------------------------------------------------------------------------- gradients by depth


class GradientFlow(Picture):
    """`.norms`: {net: {layer: length of the loss' gradient for its kernel}}, from the input to the output. `.array`: those
    lengths of the only net, or a list with an array for each."""

    size = (6.4, 3.6)

    def __init__(self, norms):
        self.norms = norms
        arrays = [np.array(list(lengths.values())) for lengths in norms.values()]
        self.array = arrays[0] if len(arrays) == 1 else arrays
        ends = (
            f"{name}, {a[0]:.2g} in the first of {len(a)} layers and {a[-1]:.2g} in the last"
            for name, a in zip(norms, arrays, strict=True)
        )
        self.alt = "Length of the loss' gradient for each kernel, by depth, logarithmic: " + "; ".join(ends)

    def draw(self, axes):
        looks = zip(self.norms.items(), style.colors(len(self.norms)), "osD^vP*X" * 9, strict=False)
        for (name, lengths), color, marker in looks:
            depth = np.arange(1, len(lengths) + 1)
            axes.plot(depth, list(lengths.values()), marker=marker, color=color, label=name, markersize=3.5)
        axes.set(yscale="log", xlabel="kernel, from the input to the output", ylabel="length of its gradient")
        if len(self.norms) > 1:
            axes.legend()


def gradient_flow(model, x, y, *, loss=None):
    """How much gradient reaches each kernel: the length of the loss' gradient, from the input to the output.

    model: a net, or {label: net} to compare several. x (n, h, w, c), y (n,): one batch, batch norm in training mode, as
    in a training step; the weights stay as they are. Nested nets are read through. loss: as in `landscape`.
    """
    from ...training import gradient_norms

    nets = model if isinstance(model, dict) else {model.name: model}
    shape = np.shape(x)[1:]
    return GradientFlow(
        {label: gradient_norms(flatten(net, shape), x, y, loss=loss) for label, net in nets.items()}
    )

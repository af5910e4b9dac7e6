"""The loss around a net's weights: along one or two random directions that are scaled filter by filter.

Li, Xu, Taylor, Studer & Goldstein 2018, Visualizing the loss landscape of neural nets, arXiv:1712.09913, section 4. A
ReLU net does the same with one layer's filters doubled and the next one's halved, so a plain random step would look long
in one and short in the other; a direction whose every filter is as long as the net's own can be compared between nets.
"""

import numpy as np

from ...graph import flatten
from ...training import surface
from .. import style
from ..picture import Picture, bar

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
    array, steps, directions = surface.loss_around(
        model, x, y, dimensions=dimensions, points=points, span=span, seed=seed, statistics=statistics, loss=loss,
        batch=batch, directions=directions,
    )  # fmt: skip
    return Landscape(model.name, array, steps, directions, len(np.asarray(x)))


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

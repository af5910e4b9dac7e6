"""What does a unit look at? The box that it can see, by the walk through the graph, and what it does see, by gradient.

The box is the theoretical receptive field (`graph.trace`); the heat is the effective one (Luo et al. 2016,
arXiv:1701.04128): the gradient of the unit for every pixel of this image, most of it in the middle of the box.
"""

import operator
from functools import partial

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ... import graph
from ...arguments import whole_number
from ...keras_internals import kernel_attributes
from ...training import gradients
from .. import style
from ..entrance import prepare
from ..picture import Picture, bare
from ..reading import before_activation, twin


class Field(Picture):
    """`.array`: the gradient's size for each pixel (height, width). `.box`: (top, left, bottom, right), what the unit can
    see, bottom and right excluded; it may reach beyond the image. `.effective`: a box that holds about 95 % of the
    gradient, None if there is none. `.measured`: with check=True, the box that the gradient fills."""

    def __init__(self, row, unit, channel, shown, heat, box, measured):
        self.row, self.unit, self.channel, self.shown, self.array = row, unit, channel, shown, heat
        self.box, self.measured, self.effective = box, measured, _holds(heat)
        where = f"unit {unit}" + ("" if channel is None else f", channel {channel}")
        self.title = f"{row.name}, {where}"
        sees = "the whole image" if row.global_context else f"{box[2] - box[0]} x {box[3] - box[1]} pixels"
        self.sees = sees
        self.alt = f"Receptive field of {self.title}: a box of {box[2] - box[0]} x {box[3] - box[1]} pixels on the image"
        self.alt += ", and a heat map of the gradient"

    def draw(self, axes):
        height, width = self.array.shape
        top, left, bottom, right = (float(side) for side in self.box)
        grey = self.shown if self.shown.ndim == 2 else self.shown.mean(-1)
        # Where the box reaches into the padding there is room for it, up to half an image on every side.
        room, margin = (0.5 * height, 0.5 * width), 0.03 * max(height, width)
        seen = (
            max(top, -room[0]),
            max(left, -room[1]),
            min(bottom, height + room[0]),
            min(right, width + room[1]),
        )
        axes.set_facecolor("#E8E8E8")
        axes.imshow(0.3 + 0.7 * grey, cmap="gray", vmin=0, vmax=1)
        strength = np.sqrt(self.array / (self.array.max() or 1))
        axes.imshow(strength, cmap="viridis", vmin=0, vmax=1, alpha=0.85 * np.clip(2.5 * strength, 0, 1))
        t, l, b, r = (side - 0.5 for side in seen)
        edges = (((l, r), (t, t)), ((l, l), (t, b)), ((l, r), (b, b)), ((r, r), (t, b)))
        for (x, y), here, true in zip(edges, seen, self.box, strict=True):  # dashed: the box goes on
            axes.plot(x, y, color="white", linewidth=3.4, solid_capstyle="projecting")
            axes.plot(x, y, color="#D55E00", linewidth=2, linestyle="-" if here == true else (0, (3, 3)))
        axes.set(xlim=(min(l, -0.5) - margin, max(r, width - 0.5) + margin))
        axes.set(ylim=(max(b, height - 0.5) + margin, min(t, -0.5) - margin))
        bare(axes, self.title, fontsize=10)

    def _figure(self):
        figure, axes = style.figure(4.6, 4.8)
        self.draw(axes)
        height, width = (abs(a - b) for a, b in (axes.get_ylim(), axes.get_xlim()))
        # room for three lines above, two below
        figure.set_size_inches(4.6, 4.4 * min(max(height / width, 0.4), 2) + 1.25)
        lines = [
            self.title,
            f"can see {self.sees}" + (", beyond its box by a global pool" if self.row.global_context else ""),
        ]
        if self.effective is None:
            lines.append("its gradient is zero: every unit below it is silent")
        else:
            t, l, b, r = self.effective
            lines.append(f"about 95 % of its gradient in {b - t} x {r - l} pixels")
        axes.set_title("\n".join(lines), fontsize=10)
        axes.set_xlabel(
            "orange: theory (dashed: it goes on); grey rim: padding\ncolour: square root of the gradient",
            fontsize=8,
        )
        return figure


def _holds(heat, share=0.95):
    """A box that holds about a share of the gradient: as much is left out on every side. None if there is no gradient."""
    total = heat.sum(dtype="float64")
    if not total > 0:
        return None
    ends = []
    for axis in (0, 1):
        walk = np.cumsum(heat.sum(1 - axis, dtype="float64")) / total
        out = (1 - np.sqrt(share)) / 2
        ends.append((int(np.searchsorted(walk, out)), int(np.searchsorted(walk, 1 - out)) + 1))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def receptive_field(model, image, layer, unit=None, *, channel=None, check=False, preprocess=None):
    """What a unit of a layer can see and does see of this image.

    unit: (row, column) of the layer's map, the middle by default. channel: one channel, or the sum of all,
    before the layer's own activation. check=True also
    measures the box by a gradient through the same net with positive kernels and no non-linearity, as `.measured`.
    """
    net, x, shown = prepare(model, image, preprocess)
    row = net.map(layer)
    if not row.known:
        raise ValueError(
            f"no receptive field of {row.name} is known: {net.hides_fields(row)}; a layer before it will do"
        )
    unit = _unit(row, unit)
    channels = row.output_shape[-1]
    if channel is not None:
        channel = whole_number(channel, f"channel of {row.name}", least=0, most=channels - 1)
    straight = before_activation(row.operation)  # a silent ReLU would look at nothing
    swap = {} if straight is None else {id(row.operation): straight}
    _, slope = gradients.of_input(partial(_one_unit, net, row.name, unit, channel, swap), x)
    net.refuse_what_is_not_finite(slope, x)
    heat = np.abs(slope[0]).sum(-1)
    (tops, bottoms), (lefts, rights) = graph.windows(net.rows, row)
    box = tuple(int(ends[u]) for ends, u in zip((tops, lefts, bottoms, rights), (*unit, *unit), strict=True))
    return Field(row, unit, channel, shown, heat, box, measured(net, row.name, unit) if check else None)


def _unit(row, unit):
    sides = row.output_shape[:2]
    if unit is None:
        return tuple(side // 2 for side in sides)
    try:
        if any(isinstance(u, bool) for u in unit):
            raise TypeError
        r, c = map(operator.index, unit)
    except (TypeError, ValueError):
        raise ValueError(f"unit is (row, column) of the map of {row.name}, got {unit!r}") from None
    if not (0 <= r < sides[0] and 0 <= c < sides[1]):
        raise ValueError(
            f"{row.name} has {sides[0]} x {sides[1]} units, (0, 0) to {sides[0] - 1, sides[1] - 1}; got {unit!r}"
        )
    return r, c


def _one_unit(net, name, unit, channel, swap, x):
    value = net.run({net.input: x}, [name], swap)[name][0, unit[0], unit[1]]
    return ops.cast(ops.sum(value) if channel is None else value[channel], "float32")


# --------------------------------------------------------------------------- the box by measurement


def measured(net, name, unit):
    """The box (top, left, bottom, right) that a unit's gradient fills, when every path adds: kernels one positive number,
    max pools average pools, activations and normalisation left out. Clipped to the image. None if there is no gradient."""
    swap = {id(row.operation): _positive(row.operation) for row in net.rows}
    swap = {key: call for key, call in swap.items() if call is not None}
    x = np.ones((1, *net.shape), "float32")
    _, slope = gradients.of_input(partial(_one_unit, net, name, unit, None, swap), x)
    seen = np.argwhere(slope[0].any(-1))
    if not len(seen):
        return None
    return (*(int(a) for a in seen.min(0)), *(int(a) + 1 for a in seen.max(0)))


_THROUGH = (
    L.Activation,
    L.ReLU,
    L.LeakyReLU,
    L.PReLU,
    L.ELU,
    L.Softmax,
    L.BatchNormalization,
    *graph.PREPROCESSING,
)


def _positive(operation):
    """What to call in place of an operation so that gradients only add, in float32; None for what does already."""
    if isinstance(operation, _THROUGH) or type(operation).__name__ in (
        "Relu",
        "Relu6",
        "Sigmoid",
        "Silu",
        "HardSwish",
        "Gelu",
    ):
        return lambda x, **_: x
    if isinstance(operation, L.MaxPooling2D):
        return L.AveragePooling2D(operation.pool_size, operation.strides, operation.padding, dtype="float32")
    changed = {
        key: ops.full(value.shape, 1.0 / np.prod(value.shape[:-1]))
        for key, value in kernel_attributes(operation).items()
    }
    halves = getattr(operation, "compute_dtype", "float32") != "float32"  # in which small gradients vanish
    if not changed and not halves and not hasattr(operation, "activation"):
        return None
    other = twin(operation, activation=keras.activations.linear, **changed)
    if halves:
        other.dtype_policy = keras.DTypePolicy("float32")
    return other

"""What is inside: the maps of a layer, its kernels, and one convolution taken apart, map by map."""

import difflib

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ...arguments import whole_number
from ...graph import kernel_axes, stage_of
from .. import style
from ..entrance import prepare
from ..picture import Picture, bar, bare, grid, heat_scale, tiles
from ..reading import HAND_ON, Net

# --------------------------------------------------------------------------- maps


class FeatureMaps(Picture):
    """`.array` (height, width, channels): the maps of a layer for an image, all of them or the chosen ones. `.channels`:
    their numbers. `.mean`: the mean over ALL channels. `.total`: how many the layer has."""

    def __init__(self, row, shown, maps, channels, most):
        self.layer, self.shown, self.total = row.name, shown, maps.shape[-1]
        self.array, self.channels, self.mean = maps[..., channels], list(channels), maps.mean(-1)
        strongest = np.argsort(-np.abs(self.array).mean((0, 1)), kind="stable")[:most]
        self.drawn = sorted(int(i) for i in strongest)
        height, width = maps.shape[:2]
        units = f"{height} x {width} units each"
        self.alt = f"{len(self.drawn)} of the {self.total} maps of {self.layer}, {units}, and their mean"

    def _figure(self):
        which = (
            f"{len(self.drawn)} strongest of {self.total} channels"
            if len(self.drawn) < self.total
            else "all channels"
        )
        if len(self.channels) < self.total and len(self.drawn) == len(self.channels):
            which = f"{len(self.drawn)} of {self.total} channels"
        cmap, low, top = heat_scale(self.array[..., self.drawn])
        scale = dict(cmap=cmap, vmin=low, vmax=top)
        panels = [(self.shown, "image", dict(cmap="gray", vmin=0, vmax=1)), (self.mean, "mean of all", scale)]
        for i in self.drawn:
            silent = "" if np.any(self.array[..., i]) else " (zero)"
            panels.append((self.array[..., i], f"{self.channels[i]}{silent}", scale))
        height, width = self.mean.shape
        ratio = self.shown.shape[0] / self.shown.shape[1]
        title = f"{self.layer}: {which}, {height} x {width} units"
        columns = grid(len(panels), 8)[1]
        cell = 1.05 if columns > 5 else 1.45
        return tiles(panels, columns, ratio, cell, title, (cmap, low, top))[0]


def feature_maps(model, image, layer, *, channels=None, most=30, preprocess=None):
    """The maps that a layer (or the last layer of a stage, "conv4") makes of an image.

    channels: numbers of the maps to keep; all if not given. most: how many are drawn, the strongest. One colour scale for
    all, so that a dark map is a weak one. `.array` holds them all, `.mean` their mean.
    """
    most = whole_number(most, "most")
    net, x, shown = prepare(model, image, preprocess)
    row = net.map(layer)
    maps = net.read(x, [row.name])[row.name][0]
    total = maps.shape[-1]
    channels = range(total) if channels is None else channels
    channels = [_channel(row, c, total) for c in ([channels] if np.ndim(channels) == 0 else channels)]
    if not channels:
        raise ValueError(f"at least one channel is drawn; got channels={channels}")
    return FeatureMaps(row, shown, maps, channels, most)


def _channel(row, channel, total):
    try:
        return whole_number(channel, "channel", least=0, most=total - 1)
    except ValueError:
        raise ValueError(f"{row.name} has the channels 0 to {total - 1}, got {channel!r}") from None


# --------------------------------------------------------------------------- kernels

_CONVOLUTIONS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Conv2DTranspose)


def kernels_of(layer):
    """A layer's kernels as (height, width, inputs of a group, outputs), the layout of Conv2D; of a separable convolution
    the depthwise ones."""
    name, axes = next(iter(kernel_axes(layer).items()))
    kernel = ops.convert_to_numpy(getattr(layer, name))
    if "multiplier" in axes:  # one input each
        return kernel.reshape(*kernel.shape[:2], 1, -1)
    return kernel.transpose([axes.index(axis) for axis in ("height", "width", "in", "out")])


def convolution_row(net, layer):
    row = net.row(layer) if getattr(layer, "name", layer) in net.place else _stage_convolution(net, layer)
    if not isinstance(row.operation, _CONVOLUTIONS):
        names = [r.name for r in net.rows if isinstance(r.operation, _CONVOLUTIONS)]
        close = difflib.get_close_matches(row.name, names, 3, 0.3) or names[:3]
        raise ValueError(
            f"{row.name} ({row.kind}) is no convolution; near it are {', '.join(close) or 'none'}"
        )
    return row


def _stage_convolution(net, layer):
    rows = [r for r in net.rows if stage_of(r) == layer and isinstance(r.operation, _CONVOLUTIONS)]
    return rows[0] if rows else net.row(layer)


class Filters(Picture):
    """`.array` (height, width, inputs, outputs): the kernels of a layer. Drawn in colour where the inputs are red, green and
    blue, else one panel per input and output, red and blue around 0; kernels of one pixel as one table."""

    def __init__(self, row, array, outputs, inputs, reads, bgr):
        self.layer, self.array, self.outputs, self.inputs, self.bgr = row.name, array, outputs, inputs, bgr
        self.colour = reads and array.shape[2] == 3
        height, width = array.shape[:2]
        kind = "in colour" if self.colour else "red positive, blue negative"
        self.alt = (
            f"{len(outputs)} of the {array.shape[3]} kernels of {row.name}, {height} x {width} pixels, {kind}"
        )

    def _figure(self):
        height, width, ins, outs = self.array.shape
        drawn = self.array[:, :, self.inputs][..., self.outputs]
        some = "" if len(self.outputs) == outs or height == width == 1 else f"{len(self.outputs)} of "
        title = f"{self.layer}: {some}{outs} kernels of {height} x {width} x {ins}"
        top = np.abs(drawn).max() or 1
        if height == width == 1:
            return self._table(self.array[0, 0], title)
        gap, red_blue = 0.14, dict(cmap="RdBu_r", vmin=-top, vmax=top)
        if self.colour or ins == 1:
            colours = 0.5 + drawn / (2 * top)
            colours = colours[:, :, ::-1] if self.bgr else colours
            images = [colours[..., i] if self.colour else drawn[:, :, 0, i] for i in range(len(self.outputs))]
            panels = [
                (image, str(o), {} if self.colour else red_blue)
                for image, o in zip(images, self.outputs, strict=True)
            ]
            scale = None if self.colour else ("RdBu_r", -top, top)
            return tiles(panels, grid(len(panels), 8)[1], height / width, 0.85, title, scale, gap)[0]
        panels = [
            (drawn[:, :, i, o], f"in {self.inputs[i]}" if o == 0 else "", red_blue)
            for o in range(len(self.outputs))
            for i in range(len(self.inputs))
        ]
        figure, axes = tiles(panels, len(self.inputs), height / width, 0.6, title, ("RdBu_r", -top, top), gap)
        pitch, end = height / width + gap, axes.get_ylim()[0]
        axes.set_yticks([end - pitch * o - height / width / 2 for o in reversed(range(len(self.outputs)))])
        axes.set_yticklabels([f"out {o}" for o in self.outputs], fontsize=8)
        axes.tick_params(length=0)
        return figure

    def _table(self, weights, title):
        ins, outs = weights.shape
        ratio = np.clip(outs / ins, 0.35, 1.0)
        figure, axis = style.figure(5.4, 4.2 * ratio + 0.8)
        top = np.abs(weights).max() or 1
        drawn = axis.imshow(weights.T, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        axis.grid(False)
        axis.set(xlabel="input channel", ylabel="output channel")
        bar(figure, axis, drawn, 0.9)
        axis.set_title(title, fontsize=10)
        return figure


def filters(model, layer, *, outputs=None, inputs=None, bgr=False):
    """The kernels of a convolution: those of the first layer in colour, deeper ones per input channel.

    outputs, inputs: numbers of the channels to draw; by default the first 32 outputs (8 where there is a panel per input)
    and the first 8 inputs of a group. bgr=True: the net reads blue first, as nets with Caffe's weights do (VGG16).
    A transposed convolution's kernels are drawn as it stamps them; of a separable one the depthwise kernels.
    """
    net = Net(model)
    row = convolution_row(net, layer)
    array = kernels_of(row.operation)
    if not np.isfinite(array).all():
        raise ValueError(
            f"the kernels of {row.name} have {np.sum(~np.isfinite(array))} numbers that are not finite"
        )
    ins, outs = array.shape[2:]
    reads = row.inputs and _is_image(net, row.inputs[0]) and ins == 3
    panel_per_input = not reads and ins > 1
    if outputs is None:
        outputs = range(min(outs, 8 if panel_per_input else 32))
    if inputs is None:
        inputs = range(min(ins, 8 if panel_per_input else ins))
    outputs = [_channel(row, c, outs) for c in outputs]
    try:
        inputs = [_channel(row, c, ins) for c in inputs]
    except ValueError:
        raise ValueError(
            f"the kernels of {row.name} have the inputs 0 to {ins - 1}, got {list(inputs)}"
        ) from None
    if not outputs or not inputs:
        raise ValueError("at least one output and one input are drawn")
    return Filters(row, array, outputs, inputs, reads, bgr)


def _is_image(net, name):
    """Whether a layer hands the image on: the input, or padding and scaling of it."""
    while name != net.input:
        if net[name].group not in HAND_ON:
            return False
        name = net[name].inputs[0]
    return True


# --------------------------------------------------------------------------- one convolution, taken apart


class Convolution(Picture):
    """One output channel of a convolution, as the sum it is.

    `.inputs` (h, w, n) the maps that it reads, numbered `.reads`; `.kernels` (kh, kw, n); `.products` (h', w', n) each map
    with its kernel; `.sums` (h', w', n) their running sum; `.bias`; `.array` (h', w') the sum with the bias, before the
    activation; `.output` after it. `.after`: [(name, map)] of the layers that follow it point by point (batch norm, ReLU).
    """

    def __init__(self, layer, channel, rows, **parts):
        vars(self).update(layer=layer, channel=channel, **parts)
        self.sums = np.cumsum(self.products, axis=-1)
        self.array = self.products.sum(-1) + self.bias
        order = np.argsort(-np.abs(self.products).mean((0, 1)), kind="stable")[:rows]
        self.drawn = sorted(int(i) for i in order)
        self.alt = (
            f"{layer}, channel {channel}: {len(self.drawn)} of its {len(self.reads)} input maps, each times its kernel, "
            "the partial sums, the bias and the activation"
        )

    def _figure(self):
        rows = [*self._sum_rows(), self._last_row()]
        figure, axes = style.figure(7.4, 1.72 * len(rows) + 0.5, len(rows), 4, squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            # The last row stands under the sums that it goes on with.
            for axis in line[: 4 - len(row)]:
                axis.remove()
            for axis, (title, values, (cmap, low, high)) in zip(line[4 - len(row) :], row, strict=True):
                axis.imshow(values, cmap=cmap, vmin=low, vmax=high)
                bare(axis, title, fontsize=8.5, pad=3)
        for i, line in zip(self.drawn, axes, strict=False):
            self._write_numbers(self.kernels[..., i], line[1])
        title = f"{self.layer}, channel {self.channel}: red adds, blue takes away, white is 0"
        figure.suptitle(title, fontsize=10)
        return figure

    def _order(self):
        """The numbers of the input maps, those drawn first."""
        return self.drawn + [i for i in range(len(self.reads)) if i not in self.drawn]

    def _scale(self):
        """The colour scale of all that is summed."""
        sums = np.cumsum(self.products[..., self._order()], axis=-1)
        top = max(float(np.quantile(np.abs(a), 0.998)) for a in (self.products, sums, self.array)) or 1
        return "RdBu_r", -top, top

    def _sum_rows(self):
        """For each map drawn, panels (title, values, colour scale): the map, its kernel, their product, the sum so far."""
        weight = np.abs(self.kernels).max() or 1
        (cmap, *ends), scale = heat_scale(self.inputs[..., self.drawn]), self._scale()
        sums = np.cumsum(self.products[..., self.drawn], axis=-1)
        for r, i in enumerate(self.drawn):
            yield [
                (self.names[i], self.inputs[..., i], (_tint(self.names[i], cmap), *ends)),
                ("its kernel", self.kernels[..., i], ("RdBu_r", -weight, weight)),
                ("map * kernel", self.products[..., i], scale),
                ("sum so far", sums[..., r], scale),
            ]

    def _last_row(self):
        """Panels of the maps not drawn, the sum with the bias, and what the layers after it make of it; four at most."""
        row, scale, rest = [], self._scale(), self._order()[len(self.drawn) :]
        if rest:
            row.append((f"the other {len(rest)}, summed", self.products[..., rest].sum(-1), scale))
        total = f"sum of all {len(self.reads)}" if len(self.reads) > 1 else "sum"
        bias = f" + bias {self.bias:.3f}" if self.bias else ", no bias"
        row.append((total + bias, self.array, scale))
        after = [(self.activation, self.output)] if self.activation else []
        for name, values in [*after, *self.after]:
            title = f"after {name}" if len(name) < 16 else f"after\n{name}"
            row.append((title, values, heat_scale(values)))
        return row[:4]

    def _write_numbers(self, kernel, axis):
        """The kernel's numbers, written into it where there is room."""
        weight = np.abs(self.kernels).max() or 1
        if max(kernel.shape) <= 3:
            for (r, c), value in np.ndenumerate(kernel):
                ink = "white" if abs(value) > 0.6 * weight else "black"
                axis.text(
                    c, r, f"{round(float(value), 2) + 0.0:.2f}", ha="center", va="center", size=7, color=ink
                )


def _tint(name, cmap):
    """The colour map of an input: black to its colour for a colour of the image that has no sign, else `cmap`."""
    from matplotlib.colors import LinearSegmentedColormap

    colour, _, of = name.partition(" ")
    if of != "of the image" or cmap == "RdBu_r":
        return cmap
    return LinearSegmentedColormap.from_list(name, ["black", _LIGHT[colour], "white"])


# Light enough to be seen on black; the map ends in white, so that strength is told without the hue.
_LIGHT = {"red": "#F0503C", "green": "#35B54A", "blue": "#4C7DF0"}


def convolve(model, image, layer, channel, *, rows=4, preprocess=None):
    """One output channel of a convolution taken apart: input maps times kernels, partial sums, bias, activation.

    For every stride, dilation and number of groups, 1x1, depthwise, separable and transposed: the sum is the layer's own
    output. rows: how many input maps are drawn, those that add most; the others are summed in one panel.
    """
    net, x, shown = prepare(model, image, preprocess)
    row = convolution_row(net, layer)
    operation = row.operation
    channel = _channel(row, channel, row.output_shape[-1])
    rows = whole_number(rows, "rows")
    following = _following(net, row)
    values = net.read(x, [row.inputs[0], row.name, *(r.name for r in following)])
    before, reads, kernels, one_map = _taken_apart(operation, values[row.inputs[0]], channel)
    products = np.stack(
        [ops.convert_to_numpy(one_map(before[..., i : i + 1], kernels[..., i])) for i in range(len(reads))],
        axis=-1,
    )[0, :, :, 0]
    bias = float(ops.convert_to_numpy(operation.bias)[channel]) if operation.use_bias else 0.0
    total = ops.convert_to_tensor(products.sum(-1)[None, ..., None] + bias)
    linear = operation.activation in (None, keras.activations.linear)
    # softmax over channels needs them all, so the activation is taken from the layer's own output
    output = ops.convert_to_numpy(total)[0, ..., 0] if linear else values[row.name][0, ..., channel]
    activation = "" if linear else getattr(operation.activation, "__name__", "activation")
    after = [(r.name, values[r.name][0, ..., channel]) for r in following]
    names = [f"input map {i}" for i in reads]
    if len(reads) == 3 and _is_image(net, row.inputs[0]):
        names = ["red of the image", "green of the image", "blue of the image"]
    parts = dict(inputs=before[0], reads=reads, names=names, kernels=kernels, products=products, bias=bias)
    return Convolution(row.name, channel, rows, **parts, output=output, activation=activation, after=after)


def _following(net, row, most=2):
    """The layers that read nothing but this one and act point by point: batch norm, activation."""
    following = []
    while len(following) < most:
        readers = [r for r in net.rows if row.name in r.inputs]
        if len(readers) != 1 or len(readers[0].inputs) != 1:
            break
        row = readers[0]
        if not isinstance(row.operation, (L.BatchNormalization, L.Activation, L.ReLU, L.LeakyReLU, L.PReLU)):
            break
        following.append(row)
    return following


def _taken_apart(layer, x, channel):
    """(maps, their numbers, kernels (kh, kw, n), one map and its kernel to a product) for one output channel."""
    strides, padding, dilation = layer.strides, layer.padding, layer.dilation_rate
    if isinstance(layer, L.SeparableConv2D):
        # a 1x1 convolution over the depthwise maps
        depthwise = layer.depthwise_kernel, strides, padding, layer.data_format, dilation
        x = ops.convert_to_numpy(ops.depthwise_conv(x, *depthwise))
        kernel, strides, padding, dilation = ops.convert_to_numpy(layer.pointwise_kernel), 1, "valid", 1
    else:
        kernel = kernels_of(layer)
    kernel = kernel.astype("float32")
    if isinstance(layer, L.DepthwiseConv2D) and not isinstance(layer, L.SeparableConv2D):
        first, n = channel // layer.depth_multiplier, 1
    else:
        n = kernel.shape[2]
        first = channel // (kernel.shape[3] // getattr(layer, "groups", 1)) * n
    kernels = kernel[..., channel]

    def one_map(values, weights):
        weights = weights[:, :, None, None]
        if isinstance(layer, L.Conv2DTranspose):
            return ops.conv_transpose(values, weights, strides, padding, layer.output_padding, None, dilation)
        return ops.conv(values, weights, strides, padding, None, dilation)

    return x[..., first : first + n], list(range(first, first + n)), kernels, one_map

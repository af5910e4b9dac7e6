"""Which image would a unit like best? Gradient ascent on the pixels, kept legible (Erhan et al. 2009; Olah, Mordvintsev &
Schubert 2017, Feature visualization, doi:10.23915/distill.00007).

Plain ascent ends in noise that only this net sees. Three remedies are here: the image is a sum of cosines whose steps
shrink with their frequency, so that large shapes come first; before every step it is moved, turned and scaled a little,
so that what survives must be robust; and a sigmoid keeps every value within the range of images.
"""

import numpy as np
from keras import ops

from ... import graph
from ...arguments import whole_number
from ...training import gradients
from ..entrance import entrance, scaled, show
from ..picture import Picture, bare, panels, ratio_of
from ..reading import Net, before_activation


class Maximised(Picture):
    """`.array` (n, height, width, channels): an image per target, in the input values of the net (as seen, where the net's
    `preprocess` was given). `.values`: each target's response to its image. `.history` (steps, n): before each step."""

    def __init__(self, targets, array, values, history, span):
        self.targets, self.array, self.values, self.history, self.span = targets, array, values, history, span
        self.alt = f"Images that maximise {', '.join(targets)}, found by gradient ascent"

    def _figure(self):
        figure, axes = panels(len(self.targets), 4, 2.3, 2.25 * ratio_of(self.array[0]) + 0.45)
        low, high = self.span
        for axis, target, image, value in zip(axes, self.targets, self.array, self.values, strict=True):
            axis.imshow(show((image - low) / (high - low)), cmap="gray", vmin=0, vmax=1)
            layer, _, channel = target.rpartition(":")
            bare(axis, f"{layer}\nchannel {channel}: {value:.3g}", fontsize=9)
        return figure


def maximise(
    model, target, *, size=None, steps=128, rate=0.05, jitter=None, turn=5.0, zoom=0.05, smooth=1.0, values=None,
    preprocess=None, seed=0,
):  # fmt: skip
    """The image to which a channel of a layer responds most: `maximise(model, "conv4_block1_out:12")`; a list for several.

    The response of a map's channel is its mean, of a vector's its value, both before the layer's own activation (a silent
    ReLU has no gradient); "predictions:3" is the logit of class 3.
    size: side of the image in pixels, by default the net's (128 if that is None). steps, rate: of Adam. jitter: pixels by
    which the image may move, a twelfth of its side by default; turn: degrees; zoom: share. smooth: how fast the steps shrink
    with the frequency, 0 for plain pixels. jitter=0, turn=0, zoom=0, smooth=0 is plain ascent.
    values: (lowest, highest) input value; (0, 255) if the net scales its input or `preprocess` is given, (0, 1) if it
    spreads values from 0 to 1, else (-2, 2), two standard deviations.
    """
    targets = [target] if isinstance(target, str) else list(target)
    net = Net(model, _shape(model, size))
    steps = whole_number(steps, "steps")
    if not targets:
        raise ValueError('at least one target, "layer:channel", is needed')
    rows, channels = zip(*(_parse(net, t) for t in targets), strict=True)
    swap = {id(row.operation): before_activation(row.operation) for row in rows}
    swap = {key: call for key, call in swap.items() if call is not None}
    low, high = values or _values(net, preprocess)
    # PyTorch computes no gradient where an array of NumPy meets its tensor.
    matrix, offset = map(ops.convert_to_tensor, _affine(preprocess, net.shape[-1], high))
    height, width, depth = net.shape
    vertical, horizontal = _cosines(height), _cosines(width)
    reach = ops.convert_to_tensor(_reach(height, width, smooth), "float32")

    def image(coefficients):
        """Coefficients of cosines (n, h, w, c) to images between low and high."""
        y = ops.einsum("fy,nfgc,gx->nyxc", vertical, coefficients * reach, horizontal)
        return low + (high - low) * ops.sigmoid(y)

    def answers(x):
        x = ops.einsum("nyxc,cd->nyxd", x, matrix) + offset
        values = net.run({net.input: x}, sorted({row.name for row in rows}), swap)
        maps = [values[row.name][i, ..., c] for i, (row, c) in enumerate(zip(rows, channels, strict=True))]
        return ops.cast(ops.stack([ops.mean(map_) for map_ in maps]), "float32")

    def total(coefficients, places, weights):
        x = ops.reshape(image(coefficients), (len(targets), height * width, depth))
        moved = sum(ops.take(x, places[k], axis=1) * weights[k][:, None] for k in range(4))
        return ops.sum(answers(ops.reshape(moved, (len(targets), height, width, depth))))

    climb = gradients.repeated(total, model.variables)
    rng = np.random.default_rng(seed)
    jitter = max(1, min(height, width) // 12) if jitter is None else whole_number(jitter, "jitter", least=0)
    x = rng.normal(0, 0.1, (len(targets), height, width, depth)).astype("float32")
    first, second, history = np.zeros_like(x), np.zeros_like(x), []
    for step in range(1, steps + 1):
        value, slope = climb(x, *_moved(rng, height, width, jitter, turn, zoom))
        if not np.isfinite(value):
            net.refuse_what_is_not_finite(value, image(ops.convert_to_tensor(x)))
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2  # Adam
        x = x + rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        history.append(value)
    best = image(ops.convert_to_tensor(x))
    array, reached = ops.convert_to_numpy(best), ops.convert_to_numpy(answers(best))
    return Maximised(targets, array, reached, np.array(history), (low, high))


def _values(net, preprocess):
    """(lowest, highest) value of the images that a net takes."""
    if preprocess:
        return 0, 255
    return {"pixels": (0, 255), "unit": (0, 1)}.get(entrance(net).takes, (-2.0, 2.0))


def _shape(model, size):
    inputs = graph.as_functional(model).inputs
    sides = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    if len(sides) != 3:
        raise ValueError(
            f"{model.name} must take one image (height, width, channels), it takes {[tuple(t.shape[1:]) for t in inputs]}"
        )
    size = None if size is None else whole_number(size, "size, a side in pixels,")
    if size is not None and any(side not in (None, size) for side in sides[:2]):
        raise ValueError(
            f"{model.name} takes images of {sides[0]} x {sides[1]} pixels; size={size} does not fit"
        )
    return (*(side or size or 128 for side in sides[:2]), sides[2])


def _parse(net, target):
    """(row, channel) of "layer:channel"."""
    layer, colon, channel = str(target).rpartition(":")
    if not colon or not channel.isdigit():
        raise ValueError(
            f'a target is "layer:channel", for example "{net.last_map().name}:0"; got {target!r}'
        )
    row = net.row(layer)
    if not 0 <= int(channel) < row.output_shape[-1]:
        raise ValueError(f"{row.name} has the channels 0 to {row.output_shape[-1] - 1}, got {target!r}")
    return row, int(channel)


def _cosines(n):
    """The orthonormal cosines of n points, (frequency, place)."""
    waves = np.cos(np.pi * np.arange(n)[:, None] * (np.arange(n) + 0.5) / n) * np.sqrt(2 / n)
    waves[0] /= np.sqrt(2)
    return waves.astype("float32")


def _reach(height, width, smooth):
    """How far the coefficient of each frequency moves in a step, (height, width, 1); their squares have the mean 1."""
    frequency = np.hypot(np.arange(height)[:, None] / height, np.arange(width) / width)
    reach = (1 / np.maximum(frequency, 1 / max(height, width))) ** smooth
    return (reach / np.sqrt((reach**2).mean()))[..., None].astype("float32")


def _moved(rng, height, width, jitter, turn, zoom):
    """Where each pixel of a moved, turned and scaled copy comes from: four places (4, h * w) and their weights."""
    angle, scale = np.deg2rad(rng.uniform(-turn, turn)), 1 + rng.uniform(-zoom, zoom)
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    shift = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
    from_y = (np.cos(angle) * y - np.sin(angle) * x) / scale + (height - 1) / 2 + shift[0]
    from_x = (np.sin(angle) * y + np.cos(angle) * x) / scale + (width - 1) / 2 + shift[1]
    from_y, from_x = _mirrored(from_y, height), _mirrored(from_x, width)
    top, left = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
    down, right = from_y - top, from_x - left
    bottom, end = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    places = np.stack([top * width + left, top * width + end, bottom * width + left, bottom * width + end])
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return places.astype("int32"), weights.astype("float32")


def _mirrored(place, n):
    """Places outside 0 ... n - 1 are reflected at the edge."""
    place = np.abs(place) % (2 * (n - 1) or 1)
    return np.where(place > n - 1, 2 * (n - 1) - place, place)


def _affine(preprocess, channels, high):
    """An input scaling as (matrix, offset), so that it is pixel @ matrix + offset: read off what it makes of colours."""
    if preprocess is None:
        return np.eye(channels, dtype="float32"), np.zeros(channels, "float32")

    def of(colours):
        return scaled(np.asarray(colours, "float32")[:, None, None], preprocess).reshape(len(colours), -1)

    offset = of(np.zeros((1, channels)))[0]
    matrix = (of(high * np.eye(channels)) - offset) / high
    trial = high * np.random.default_rng(0).random((4, channels))
    if not np.allclose(of(trial), trial @ matrix + offset, rtol=1e-3, atol=1e-3):
        raise ValueError(
            "preprocess must be a scaling of the pixels' colours; this one depends on more than that"
        )
    return matrix.astype("float32"), offset.astype("float32")

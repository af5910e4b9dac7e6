"""A class for every pixel, on the picture: overlays with a legend, where a net errs, and what its skips bring.

Images are (h, w, c): bytes, or floats from 0 to 1 or to 255; other floats, such as a scaled net input, are stretched from
their least to their greatest value. Masks are integers (h, w), indices into `classes`. Every result shows itself in a
notebook; `.figure()` gives the matplotlib figure, `.array` the numbers, `.alt` the picture in words.
"""

import keras
import numpy as np

from ... import graph, segmentation
from ...arguments import whole_number, whole_numbers
from .. import style
from ..picture import Picture, in_unit_range, panels
from ..reading import Net

# Paul Tol's "muted" scheme: nine colours told apart with every form of colour vision; then grey and black
CLASS_COLORS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"),
    *("#DDDDDD", "#000000"),
)
# kind of error -> (colour, what the legend says); Okabe & Ito's colours
ERRORS = {
    1: ("#56B4E9", "missed: background was predicted"),
    2: ("#E69F00", "invented: background is true"),
    3: ("#CC79A7", "confused: another class is true"),
}


def _rgb(image):
    """(h, w, 3) floats from 0 to 1 of an image (h, w), (h, w, 1) or (h, w, 3)."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image is (h, w), (h, w, 1) or (h, w, 3), got shape {image.shape}")
    return np.broadcast_to(in_unit_range(image), (*image.shape[:2], 3))


def _class_rgb(classes):
    """A colour for each class, floats (classes, 3)."""
    from matplotlib.colors import to_rgb

    n = len(classes)
    return np.array([to_rgb(c) for c in (CLASS_COLORS if n <= len(CLASS_COLORS) + 1 else style.colors(n))])


def _check(image, mask, classes):
    mask = whole_numbers(mask, "labels")
    mask = mask.astype("uint8") if mask.dtype == bool else mask
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask {mask.shape} and the image {image.shape[:2]} differ in size")
    if mask.size and not 0 <= mask.min() <= mask.max() < len(classes):
        raise ValueError(f"labels are 0 to {len(classes) - 1}, one for each class, got up to {mask.max()}")
    return mask


def _blend(image, mask, classes, background, opacity):
    """The image in grey, so that colour means class, with every class but the background tinted, its outline opaque."""
    colors, result = _class_rgb(classes), np.repeat(image.mean(-1, keepdims=True), 3, -1)
    for k in np.unique(mask):
        if k != background:
            color = colors[_index(k, background)]
            result[mask == k] = (1 - opacity) * result[mask == k] + opacity * color
            result[segmentation.outline(mask == k)] = color
    return result


def _index(k, background):
    """The place of class k in the palette, which the background does not use up."""
    return (k - (background is not None and k > background)) % len(CLASS_COLORS)


def _legend(figure, entries, columns):
    from matplotlib.patches import Patch

    if entries:
        marks = [Patch(facecolor=color, edgecolor="#333333", linewidth=0.7) for color, _ in entries]
        names = [name for _, name in entries]
        figure.legend(
            marks, names, loc="outside lower center", ncol=min(columns, len(entries)), frameon=False
        )


def _panel(axes, array, title):
    axes.imshow(array, vmin=0, vmax=1)
    axes.set_title(title)
    axes.axis("off")


def _panel_size(shape, n):
    """(width, height) in inches of one of n panels of that shape side by side, without the legend."""
    width = min(3.0, 11 / n)
    return width, width * shape[0] / shape[1]


class Overlay(Picture):
    """See `overlay`. array: the tinted image, floats (h, w, 3). mask: its classes."""

    def __init__(self, image, mask, classes, background, opacity, title):
        image = _rgb(image)
        self.mask = _check(image, mask, classes)
        self.classes, self.background, self.title = tuple(classes), background, title
        self.array = _blend(image, self.mask, classes, background, opacity)

    def entries(self, *masks):
        """(colour, name) of every class in the masks but the background."""
        colors = _class_rgb(self.classes)
        present = np.unique(np.concatenate([np.ravel(mask) for mask in masks or (self.mask,)]))
        present = present[present != self.background] if self.background is not None else present
        return [(colors[_index(k, self.background)], self.classes[k]) for k in present]

    @property
    def alt(self):
        shares = [f"{self.classes[k]} {np.mean(self.mask == k):.0%}" for k in np.unique(self.mask)]
        return "An image with its classes as colours; share of the pixels: " + ", ".join(shares) + "."

    def draw(self, axes):
        _panel(axes, self.array, self.title)

    def _figure(self):
        width, height = _panel_size(self.array.shape, 1)
        figure, axes = style.figure(max(width, 3.2), height + 0.9)
        self.draw(axes)
        _legend(figure, self.entries(), 3)
        return figure


def overlay(image, mask, classes, *, background=0, opacity=0.45, title=""):
    """The image in grey, tinted by class, outlines opaque, with a legend of the classes that are there.

    background: the class that is left clear, None for none.
    """
    return Overlay(image, mask, classes, background, opacity, title)


class Errors(Picture):
    """See `errors`. array: int8 (h, w), 0 right, 1 missed, 2 invented, 3 confused. shares: {kind: share of the pixels}."""

    def __init__(self, truth, predicted, image, background):
        truth, predicted = whole_numbers(truth, "true labels"), whole_numbers(predicted, "predicted labels")
        if truth.shape != predicted.shape or truth.ndim != 2:
            raise ValueError(f"two masks (h, w) of one size, got {truth.shape} and {predicted.shape}")
        wrong, empty = truth != predicted, np.zeros(truth.shape, bool)
        missed = wrong & (predicted == background) if background is not None else empty
        invented = wrong & (truth == background) if background is not None else empty
        self.array = (missed + 2 * invented + 3 * (wrong & ~missed & ~invented)).astype("int8")
        self.image = np.full((*truth.shape, 3), 0.85) if image is None else _rgb(image)
        self.shares = {k: float(np.mean(self.array == k)) for k in (0, *ERRORS)}

    def painted(self):
        """The image in pale grey with the errors in colour, floats (h, w, 3)."""
        from matplotlib.colors import to_rgb

        result = np.repeat(0.55 + 0.4 * self.image.mean(-1, keepdims=True), 3, -1)
        for kind, (color, _) in ERRORS.items():
            result[self.array == kind] = to_rgb(color)
        return result

    def entries(self):
        return [
            (color, f"{text}, {self.shares[k]:.1%}") for k, (color, text) in ERRORS.items() if self.shares[k]
        ]

    @property
    def alt(self):
        return (
            f"Errors of a segmentation: {self.shares[0]:.1%} of the pixels right, {self.shares[1]:.1%} missed, "
            f"{self.shares[2]:.1%} invented, {self.shares[3]:.1%} of another class."
        )

    @property
    def title(self):
        return f"{self.shares[0]:.1%} of the pixels right"

    def draw(self, axes):
        _panel(axes, self.painted(), self.title)

    def _figure(self):
        width, height = _panel_size(self.array.shape, 1)
        figure, axes = style.figure(max(width, 3.4), height + 1.0)
        self.draw(axes)
        _legend(figure, self.entries(), 1)
        return figure


def errors(truth, predicted, image=None, *, background=0):
    """Where two masks (h, w) differ, and how: missed, invented, or taken for another class; `image` lies below in grey."""
    return Errors(truth, predicted, image, background)


class Segmented(Picture):
    """See `segmented`. array: the predicted classes (h, w); probability: of the predicted class (h, w)."""

    def __init__(self, picture, array, probability, classes, truth, background):
        self.picture, self.array, self.probability = picture, array, probability
        self.predicted = overlay(picture, array, classes, background=background)
        self.truth = self.errors = None
        if truth is not None:
            self.truth = overlay(picture, truth, classes, background=background)
            self.errors = errors(truth, array, picture, background=background)

    @property
    def alt(self):
        right = "" if self.errors is None else " " + self.errors.alt
        return f"A net's segmentation. {self.predicted.alt}{right}"

    def _figure(self):
        shown = [(self.picture, "image")]
        shown += [] if self.truth is None else [(self.truth.array, "truth")]
        shown += [(self.predicted.array, "predicted")]
        entries = self.predicted.entries(self.array, *([] if self.truth is None else [self.truth.mask]))
        if self.errors is not None:
            shown += [(self.errors.painted(), f"errors, {1 - self.errors.shares[0]:.1%} of pixels")]
            entries += self.errors.entries()
        size, columns = _panel_size(self.array.shape, len(shown)), 3
        legend = 0.5 + 0.22 * -(-len(entries) // columns)
        figure, axes = panels(len(shown), len(shown), *size, above=legend)
        for axis, (array, title) in zip(axes, shown, strict=True):
            _panel(axis, array, title)
        _legend(figure, entries, columns)
        return figure


def segmented(model, image, classes, *, truth=None, shown=None, background=0, kind=None):
    """A net's answer for one image (h, w, c) beside the truth (h, w), with an error map where the truth is given.

    image: as the net reads it; shown: the picture to draw instead, of the same size. Where the net's output is smaller, the
    middle of image and truth is shown. kind: how the net ends, where it does not show it, see `graph.ending`.
    """
    model = graph.as_functional(model)
    if len(model.outputs) > 1:
        raise ValueError(
            f"{model.name} has {len(model.outputs)} outputs: take one, as unet_plus_plus.prune does"
        )
    end = graph.ending(model, kind=kind).known()
    if len(model.outputs[0].shape) != 4:
        raise ValueError(
            f"{model.name} gives {tuple(model.outputs[0].shape)}: a class for every pixel is (n, h, w, classes)"
        )
    outputs = keras.ops.convert_to_numpy(model(np.asarray(image)[None], training=False))
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"{model.name} answers with numbers that are not finite: look at its weights and the image"
        )
    array, probability = end.labels(outputs)[0], end.probabilities(outputs)[0].max(-1)
    picture = segmentation.centre(_rgb(image if shown is None else shown)[None], *array.shape)[0]
    if truth is not None:
        truth = segmentation.centre(np.asarray(truth)[None], *array.shape)[0]
    return Segmented(picture, array, probability, classes, truth, background)


class Skips(Picture):
    """See `skips`. array: what the merge gives (h, w, c). parts: {name of a layer: its map (h, w, c)}, in order."""

    def __init__(self, name, array, parts, channels):
        self.name, self.array, self.parts, self.channels = name, array, parts, channels

    @property
    def alt(self):
        parts = "; ".join(f"{name}, {' x '.join(map(str, a.shape))}" for name, a in self.parts.items())
        return f"The maps that {self.name} joins, a row for each, its strongest channels: {parts}."

    def strongest(self, name):
        """Indices of the channels of a part that vary most over the picture."""
        spread = self.parts[name].std((0, 1))
        return np.argsort(spread)[::-1][: self.channels]

    def _figure(self):
        rows, columns = len(self.parts), min(self.channels, max(a.shape[-1] for a in self.parts.values()))
        height, width = self.array.shape[:2]
        side = min(2.0, 10 / columns)
        labels = [f"{name}, {' x '.join(map(str, array.shape))}" for name, array in self.parts.items()]
        broad = max(side, 0.1 * max(map(len, labels)) / columns)
        figure, axes = panels(rows * columns, columns, broad, side * height / width + 0.5)
        for i, (text, (name, array)) in enumerate(zip(labels, self.parts.items(), strict=True)):
            row = axes[i * columns : (i + 1) * columns]
            for axis in row:
                axis.axis("off")
            for axis, k in zip(row, self.strongest(name), strict=False):
                axis.imshow(array[..., k], cmap="viridis")
                axis.set_title(f"channel {k}", size=9, pad=3)
            label = row[0].annotate(
                text, (0, 1), (0, 19), xycoords="axes fraction", textcoords="offset points",
                size=10, weight="bold",
            )  # fmt: skip
            label.set_in_layout(False)  # it may reach over the next channels
        # the layout keeps 0.21 inches free above each row; the labels, which it does not see, reach a little higher
        figure.get_layout_engine().set(h_pad=0.21, rect=(0, 0, 1, 1 - 0.15 / figure.get_figheight()))
        return figure


def skips(model, image, layer=None, *, channels=5):
    """What a layer that joins maps reads, side by side: the encoder's skip above, the enlarged map of the decoder below.

    layer: the name of a concatenation or an addition, the last one by default; layers and bare operations, of nested and
    Sequential models too. channels: how many of each map are shown, those that vary most over the image (h, w, c).
    """
    channels, image = whole_number(channels, "channels"), np.asarray(image)[None]
    net = Net(model, image.shape[1:])
    merges = {
        row.name: row
        for row in net.rows
        if row.kind in ("Concatenate", "Add") and len(row.inputs) > 1 and len(row.output_shape) == 3
    }
    if not merges:
        raise ValueError(f"{model.name} has no layer that joins maps (Concatenate or Add)")
    name = list(merges)[-1] if layer is None else layer
    if name not in merges:
        raise ValueError(f"{model.name} has no joining layer {layer!r}; it has {', '.join(merges)}")
    read = net.read(image, [*merges[name].inputs, name])
    return Skips(name, read[name][0], {part: read[part][0] for part in merges[name].inputs}, channels)

"""Training as a film: what layers make of one image, their kernels and the loss, after every epoch.

    film = viz.Film(image, ["conv1", "conv3"], filters="conv1")
    training.fit(model, x, y, callbacks=[film])
    film

And the same mechanism without time: `browse`, the maps of a net layer by layer.
"""

import keras
import numpy as np

from ... import tables
from ...arguments import whole_number
from ...graph import stage_of
from .. import style
from ..entrance import prepare
from ..picture import bare, heat_scale, picture
from ..reading import HAND_ON
from .maps import convolution_row, kernels_of
from .replay import Replay

# a map's side in a film: larger ones are averaged down
MOST_PIXELS = 48

# --------------------------------------------------------------------------- while it trains


class Recorder(keras.callbacks.Callback):
    """Keeps the maps of layers for one image, the kernels of one layer, and the loss. See `Film`."""

    def __init__(self, image, layers, *, filters=None, channels=8, frames=20, per_epoch=1, preprocess=None):
        super().__init__()
        layers = [layers] if isinstance(layers, str) else list(layers)
        if not layers and filters is None:
            raise ValueError("a film needs at least one layer to watch, or filters=, a convolution")
        self.channels, self.most = whole_number(channels, "channels"), whole_number(frames, "frames", least=2)
        self.image, self.layers, self.watched, self.preprocess = image, layers, filters, preprocess
        self.per_epoch = whole_number(per_epoch, "per_epoch")
        self._clear()

    def _clear(self):
        self.epochs, self.maps, self.losses, self.kernels = [], {}, {}, None

    def on_train_begin(self, logs=None):
        self._clear()
        net, _, self.pixels = prepare(self.model, self.image, self.preprocess)
        # a wrong name fails here, before training
        self.rows = [net.map(layer) for layer in self.layers]
        self.row = None if self.watched is None else convolution_row(net, self.watched)
        last = self.params["epochs"] * self.per_epoch
        self.wanted = set(np.unique(np.linspace(0, last, min(self.most, last + 1)).round().astype(int)))
        self.epoch = 0
        self._keep(0)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        for key in ("loss", "val_loss"):
            if key in (logs or {}):
                self.losses.setdefault(key, []).append(float(logs[key]))
        if (epoch + 1) * self.per_epoch in self.wanted:
            self._keep(epoch + 1)

    def _keep(self, epoch):
        net, x, _ = prepare(self.model, self.image, self.preprocess)
        # training that diverges is filmed to its end
        for name, maps in net.read(x, [row.name for row in self.rows], finite=False).items():
            self.maps[name] = _appended(self.maps.get(name), reduced(maps[0][..., : self.channels]))
        if self.row is not None:
            kernel = kernels_of(self.row.operation)[..., : self.channels]
            self.kernels = _appended(self.kernels, kernel)
        self.epochs.append(epoch)


def _appended(frames, frame):
    return frame[None] if frames is None else np.concatenate([frames, frame[None]])


def reduced(maps):
    """Maps (h, w, c) averaged down to at most MOST_PIXELS a side."""
    step = -(-max(maps.shape[:2]) // MOST_PIXELS)
    height, width = (max(side // step, 1) for side in maps.shape[:2])
    cut = maps[: height * step, : width * step]
    if step == 1 or cut.shape[0] < step or cut.shape[1] < step:
        return maps
    return cut.reshape(height, step, width, step, -1).mean((1, 3))


# --------------------------------------------------------------------------- what it shows


class Film(Recorder, Replay):
    """A callback that keeps, before training and after its epochs, the maps of layers for one image, the kernels of one
    layer, and the loss.

    image: as the net takes it, or with preprocess. layers: names of layers or stages. filters: a convolution whose kernels
    are kept, or None. channels: how many maps and kernels of a layer, the first ones, the same in all frames; a map that is
    0 everywhere in the last frame is not drawn. frames: how many are kept at most, spread evenly over the training, the
    first and the last among them. per_epoch: how many frames there may be of one epoch; with more than one the film acts
    on single batches, and training on a card goes batch by batch.

    `.array`: maps of the first layer (frames, height, width, channels); `.maps`: {layer: those}; `.kernels` (frames,
    height, width, inputs, outputs) or None; `.epochs`: the epoch of each frame, 0 before training; `.losses`: {"loss": one
    number per epoch, "val_loss": ...}.
    """

    def __new__(cls, *arguments, per_epoch=1, **options):
        # Whether a callback acts on single batches is read off its class (`training.on_card`).
        return super().__new__(FilmOfBatches if cls is Film and per_epoch != 1 else cls)

    @property
    def array(self):
        return next(iter(self.maps.values()), self.kernels)

    @property
    def labels(self):
        return ["before training" if e == 0 else f"epoch {round(e, 2):g}" for e in self.epochs]

    @property
    def sentence(self):
        loss = self.losses.get("loss")
        watched = [*self.maps, *([f"the kernels of {self.row.name}"] if self.row else [])]
        words = f"Training as a film, {self.labels[0]} to epoch {self.epochs[-1]}: {', '.join(watched)}"
        return words + (f"; the training loss goes from {loss[0]:.3g} to {loss[-1]:.3g}." if loss else ".")

    @property
    def alt(self):
        return self.sentence.rstrip(".") if self.epochs else "a film with no frames yet"

    def __repr__(self):
        return f"Film: {tables.printable(self.alt)}"

    def _repr_html_(self):
        return super()._repr_html_() if self.epochs else None

    def _repr_png_(self):
        return super()._repr_png_() if self.epochs else None

    def strips(self):
        """{title: (frames, height, width, 3) pictures}: a row of maps for each layer, then a row of kernels."""
        strips = {}
        for name, maps in self.maps.items():
            alive = [k for k in range(maps.shape[-1]) if np.any(maps[-1, ..., k])]
            which = f"maps 0 to {maps.shape[-1] - 1}"
            if 0 < len(alive) < maps.shape[-1]:
                maps, which = maps[..., alive], f"{which} without {maps.shape[-1] - len(alive)} that end at 0"
            strips[f"{name}, {which}"] = map_strips(maps)
        if self.kernels is not None:
            inputs, outputs = self.kernels.shape[-2:]
            which = "" if inputs in (1, 3) else ", of input 0"
            strips[f"{self.row.name}, kernels 0 to {outputs - 1}{which}"] = kernel_strips(self.kernels)
        return strips

    def _figure(self):
        if not self.epochs:
            raise ValueError("this film has no frames: give it to training.fit(..., callbacks=[film]) first")
        strips, width = self.strips(), 7.0
        ratios = [max(0.55, min(1.6, (width - 0.2) * s.shape[1] / s.shape[2])) for s in strips.values()]
        heights = [1.7, *(ratio + 0.3 for ratio in ratios)]
        figure, axes = style.figure(
            width,
            sum(heights),
            1 + len(strips),
            2,
            squeeze=False,
            height_ratios=heights,
            width_ratios=(1, 3.4),
        )
        (seen, curve), *pairs = axes
        picture(seen, self.pixels, "the image", fontsize=9)
        rows = [_across(pair) for pair in pairs]
        self._draw_losses(curve)
        drawn = [curve.axvline(self.epochs[-1], color="#555555", linewidth=1.2), curve]
        for (title, strip), row in zip(strips.items(), rows, strict=True):
            drawn.append(row.imshow(strip[-1]))
            bare(row, title, fontsize=9, loc="left")
        figure.drawn = drawn, list(strips.values())
        self._turn(figure, self.shown)
        stand_still(figure)
        return figure

    def _draw_losses(self, axes):
        names = {"loss": "training", "val_loss": "held out"}
        for (key, values), color in zip(self.losses.items(), style.PALETTE, strict=False):
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, color=color, label=names[key], linewidth=1.4)
        axes.set(xlabel="epoch", ylabel="loss", xlim=(-0.3, max(self.epochs[-1], 1) + 0.3))
        if self.losses:
            axes.legend(loc="upper right", fontsize=8, framealpha=1, edgecolor="none")

    def _turn(self, figure, k):
        (line, curve, *images), strips = figure.drawn
        line.set_xdata([self.epochs[k]] * 2)
        curve.set_title(self.labels[k], fontsize=10)
        for image, strip in zip(images, strips, strict=True):
            image.set_data(strip[k])


class FilmOfBatches(Film):
    """A `Film` that also keeps frames between two epochs, when an equal share of an epoch's batches has gone by."""

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]
        done, before = ((b * self.per_epoch) // steps for b in (batch + 1, batch))
        if before < done < self.per_epoch and self.epoch * self.per_epoch + done in self.wanted:
            if keras.backend.backend() == "jax":
                # Between batches Keras keeps the weights outside of the model there.
                self.model.jax_state_sync()
            self._keep(self.epoch + done / self.per_epoch)


def _across(axes):
    """One pair of axes in place of a row of them."""
    figure, place = axes[0].figure, axes[0].get_subplotspec()
    for axis in axes:
        axis.remove()
    return figure.add_subplot(place.get_gridspec()[place.rowspan.start, :])


def stand_still(figure):
    """Lays a figure out once, so that its frames do not move."""
    figure.fall_back()
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")


# --------------------------------------------------------------------------- strips of tiles


def map_strips(maps):
    """Maps (frames, h, w, n) as pictures (frames, height, width, 3), one colour scale for all frames: that of the middle one
    in strength. In a new net, whose batch norm has seen no image, the maps may be many times as strong."""
    signed = bool(maps.min() < 0)
    cmap = heat_scale(maps, signed)[0]
    top = float(np.median([heat_scale(frame, signed)[2] for frame in maps]))
    painted = coloured(maps.transpose(0, 3, 1, 2), cmap, -top if signed else 0, top)
    return np.array([strip(frame) for frame in painted])


def kernel_strips(kernels):
    """Kernels (frames, h, w, inputs, n) as pictures (frames, height, width, 3), in colour where they read three inputs, else
    those of the first input in red and blue."""
    top = np.abs(kernels).max() or 1
    tiles = kernels.transpose(0, 4, 1, 2, 3)
    in_colour = tiles.shape[-1] == 3
    painted = 0.5 + tiles / (2 * top) if in_colour else coloured(tiles[..., 0], "RdBu_r", -top, top)
    return np.array([strip(frame) for frame in painted])


def coloured(values, cmap, low, high):
    """Values (...) as colours (..., 3)."""
    import matplotlib.pyplot as plt

    return plt.get_cmap(cmap)(plt.Normalize(low, high)(values))[..., :3]


def strip(tiles):
    """Tiles (n, h, w, 3) side by side, a white gap between."""
    n, height, width = tiles.shape[:3]
    gap = max(1, width // 10)
    joined = np.ones((height, n * (width + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        joined[:, i * (width + gap) : i * (width + gap) + width] = tile
    return joined


# --------------------------------------------------------------------------- layer by layer


class Browser(Replay):
    """`.array`: {layer: its maps (height, width, channels)}. A slider goes through the layers."""

    plays, shown = False, 0

    def __init__(self, name, rows, maps, shown, most):
        self.array, self.pixels, self.most = maps, shown, most
        self.labels = [row.name for row in rows]
        self.rows = rows
        self.sentence = (
            f"The maps of {name} for one image, layer by layer from {self.labels[0]} to {self.labels[-1]}: at most {most} "
            "of each, those with the strongest mean."
        )
        self.alt = f"Maps of {name} for one image"

    def _strongest(self, maps):
        """The numbers of the maps that are drawn, in their order; a map that is 0 everywhere only where all are."""
        order = np.argsort(-np.abs(maps).mean((0, 1)), kind="stable")[: self.most]
        return np.sort([i for i in order if np.any(maps[..., i])] or order[:1])

    def _figure(self):
        counts = [len(self._strongest(maps)) for maps in self.array.values()]
        rows = max(-(-n // _columns(n)) / _columns(n) for n in counts)
        figure, axes = style.figure(7.2, 0.5 + 5.3 * max(rows, 0.25), 1, 2, width_ratios=(1, 3.2))
        left, right = axes
        left.imshow(self.pixels, cmap="gray", vmin=0, vmax=1)
        bare(left, "image", fontsize=10)
        figure.drawn = right
        self._turn(figure, self.shown)
        stand_still(figure)
        return figure

    def _turn(self, figure, k):
        row, maps = self.rows[k], self.array[self.labels[k]]
        strongest = self._strongest(maps)
        painted = coloured(maps[..., strongest].transpose(2, 0, 1), *heat_scale(maps[..., strongest]))
        columns = _columns(len(strongest))
        blank = np.ones_like(painted[:1])
        lines = [painted[i : i + columns] for i in range(0, len(painted), columns)]
        lines = [strip(np.concatenate([line, *[blank] * (columns - len(line))])) for line in lines]
        gap = np.ones((max(1, painted.shape[1] // 10), lines[0].shape[1], 3))
        stacked = [part for line in lines for part in (line, gap)][:-1]
        right = figure.drawn
        right.clear()
        right.imshow(np.concatenate(stacked))
        height, width, total = row.output_shape
        field = row.receptive_field
        sees = f"each unit sees {field[0]} x {field[1]} pixels" if field else "what a unit sees is not known"
        title = f"{row.name}: {len(strongest)} of {total} maps, {height} x {width}, {sees}"
        bare(right, title, fontsize=9)


def _columns(n):
    """How many of n maps stand side by side."""
    return int(np.ceil(np.sqrt(n * 1.3)))


def stage_ends(net, most=16):
    """The last map of each stage, by name; of more than `most` stages as many, evenly chosen."""
    maps = [r for r in net.rows if len(r.output_shape) == 3 and r.local and r.group not in HAND_ON]
    stages = list({stage_of(row): row.name for row in maps}.values())
    kept = np.unique(np.linspace(0, len(stages) - 1, min(most, len(stages))).round().astype(int))
    return [stages[i] for i in kept]


def browse(model, image, layers=None, *, most=20, preprocess=None):
    """The maps of a net for one image, layer by layer with a slider, in the static page, too.

    layers: names of layers or stages; by default the last layer of each stage, at most 16 of them. most: maps per layer,
    the strongest.
    """
    most = whole_number(most, "most")
    net, x, shown = prepare(model, image, preprocess)
    if layers is None:
        layers = stage_ends(net)
    rows = [net.map(layer) for layer in ([layers] if isinstance(layers, str) else layers)]
    if not rows:
        raise ValueError(f"at least one map of one layer is drawn; got layers={layers!r}")
    read = net.read(x, [row.name for row in rows])
    return Browser(model.name, rows, {name: maps[0] for name, maps in read.items()}, shown, most)

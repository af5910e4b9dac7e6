"""Training as a film: what layers make of one image, their kernels and the loss, after every epoch.

    film = viz.Film(image, ["conv1", "conv3"], filters="conv1")
    training.fit(model, x, y, callbacks=[film])
    film

And the same mechanism without time: `browse`, the maps of a net layer by layer.
"""

import keras
import numpy as np
from keras import layers as L

from ...graph import PREPROCESSING, stage_of
from .. import style
from ..picture import bare, heat_scale
from ..reading import prepare
from .maps import convolution_row, kernels_of
from .replay import Replay

MOST_PIXELS = 48  # a map's side in a film: larger ones are averaged down


class Film(keras.callbacks.Callback, Replay):
    """A callback that keeps, before training and after its epochs, the maps of layers for one image, the kernels of one
    layer, and the loss.

    image: as the net takes it, or with preprocess. layers: names of layers or stages. filters: a convolution whose kernels
    are kept, or None. channels: how many maps and kernels of a layer, the first ones, the same in all frames. frames: how
    many are kept at most, spread evenly over the epochs, the first and the last among them.

    `.array`: maps of the first layer (frames, height, width, channels); `.maps`: {layer: those}; `.kernels` (frames,
    height, width, inputs, outputs) or None; `.epochs`: the epoch of each frame, 0 before training; `.losses`: {"loss": one
    number per epoch, "val_loss": ...}.
    """

    def __init__(self, image, layers, *, filters=None, channels=8, frames=20, preprocess=None):
        super().__init__()
        layers = [layers] if isinstance(layers, str) else list(layers)
        if not layers and filters is None:
            raise ValueError("a film needs at least one layer to watch, or filters=, a convolution")
        for name, number, least in (("channels", channels, 1), ("frames", frames, 2)):
            if not isinstance(number, int) or number < least:
                raise ValueError(f"{name} is a whole number of at least {least}, got {number!r}")
        self.image, self.layers, self.watched, self.channels = image, layers, filters, channels
        self.most, self.preprocess = frames, preprocess
        self._empty()

    def _empty(self):
        self.epochs, self.maps, self.losses, self._kept = [], {}, {}, []
        self.kernels = None

    # ----------------------------------------------------------------------- while it trains

    def on_train_begin(self, logs=None):
        self._empty()
        net, _, self.pixels = prepare(self.model, self.image, self.preprocess)
        self.rows = [net.map(layer) for layer in self.layers]  # a name that is wrong is told before training
        self.row = None if self.watched is None else convolution_row(net, self.watched)
        epochs = self.params["epochs"]
        self.wanted = set(np.unique(np.linspace(0, epochs, min(self.most, epochs + 1)).round().astype(int)))
        self._keep(0)

    def on_epoch_end(self, epoch, logs=None):
        for key in ("loss", "val_loss"):
            if key in (logs or {}):
                self.losses.setdefault(key, []).append(float(logs[key]))
        if epoch + 1 in self.wanted:
            self._keep(epoch + 1)

    def _keep(self, epoch):
        net, x, _ = prepare(self.model, self.image, self.preprocess)
        read = net.read(x, [row.name for row in self.rows])
        kept = {name: _reduced(maps[0][..., : self.channels]) for name, maps in read.items()}
        for name, maps in kept.items():
            old = self.maps.get(name)
            self.maps[name] = maps[None] if old is None else np.concatenate([old, maps[None]])
        if self.row is not None:
            kernel = kernels_of(self.row.operation)[None, ..., : self.channels]
            self.kernels = kernel if self.kernels is None else np.concatenate([self.kernels, kernel])
        self.epochs.append(epoch)

    # ----------------------------------------------------------------------- what it shows

    @property
    def array(self):
        return next(iter(self.maps.values()), self.kernels)

    @property
    def labels(self):
        return ["before training" if e == 0 else f"epoch {e}" for e in self.epochs]

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
        return f"Film: {self.alt}"

    def _repr_html_(self):
        return super()._repr_html_() if self.epochs else None

    def _repr_png_(self):
        return super()._repr_png_() if self.epochs else None

    def _strips(self):
        """{title: (frames, height, width, 3) pictures}, one colour scale for all frames: that of the middle one in strength,
        for in a new net, whose batch norm has seen no image, the maps may be many times as strong."""
        import matplotlib.pyplot as plt

        strips = {}
        for name, maps in self.maps.items():
            signed = bool(maps.min() < 0)
            cmap = heat_scale(maps, signed)[0]
            top = float(np.median([heat_scale(frame, signed)[2] for frame in maps]))
            low = -top if signed else 0
            painted = plt.get_cmap(cmap)(plt.Normalize(low, top)(maps.transpose(0, 3, 1, 2)))[..., :3]
            strips[f"{name}, maps 0 to {maps.shape[-1] - 1}"] = np.array([_strip(frame) for frame in painted])
        if self.kernels is not None:
            top = np.abs(self.kernels).max() or 1
            first = self.kernels.transpose(0, 4, 1, 2, 3)
            if first.shape[-1] == 3:
                painted = 0.5 + first / (2 * top)
            else:
                painted = plt.get_cmap("RdBu_r")(plt.Normalize(-top, top)(first[..., 0]))[..., :3]
            inputs = "" if first.shape[-1] in (1, 3) else ", of input 0"
            title = f"{self.row.name}, kernels 0 to {first.shape[1] - 1}{inputs}"
            strips[title] = np.array([_strip(frame) for frame in painted])
        return strips

    def _figure(self):
        if not self.epochs:
            raise ValueError("this film has no frames: give it to training.fit(..., callbacks=[film]) first")
        strips, wide = self._strips(), 7.0
        ratios = [max(0.55, min(1.6, (wide - 0.2) * s.shape[1] / s.shape[2])) for s in strips.values()]
        heights = [1.7, *(r + 0.3 for r in ratios)]
        figure, axes = style.figure(
            wide, sum(heights), 1 + len(strips), 1, squeeze=False, height_ratios=heights
        )
        curve, *rows = axes[:, 0]
        for (key, values), color in zip(self.losses.items(), style.PALETTE, strict=False):
            name = {"loss": "training", "val_loss": "held out"}[key]
            curve.plot(range(1, len(values) + 1), values, color=color, label=name, linewidth=1.4)
        curve.set(xlabel="epoch", ylabel="loss", xlim=(-0.3, max(self.epochs[-1], 1) + 0.3))
        if self.losses:
            curve.legend(loc="upper right", fontsize=8, framealpha=1, edgecolor="none")
        drawn = [curve.axvline(self.epochs[-1], color="#555555", linewidth=1.2), curve]
        for (title, strip), row in zip(strips.items(), rows, strict=True):
            drawn.append(row.imshow(strip[-1]))
            bare(row, title, fontsize=9, loc="left")
        figure.drawn = drawn, list(strips.values())
        self._turn(figure, self.shown)
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")  # the frames stand still
        return figure

    def _turn(self, figure, k):
        (line, curve, *images), strips = figure.drawn
        line.set_xdata([self.epochs[k]] * 2)
        curve.set_title(self.labels[k], fontsize=10)
        for image, strip in zip(images, strips, strict=True):
            image.set_data(strip[k])


def _reduced(maps):
    """Maps (h, w, c) averaged down to at most MOST_PIXELS a side."""
    step = -(-max(maps.shape[:2]) // MOST_PIXELS)
    high, wide = (max(side // step, 1) for side in maps.shape[:2])
    cut = maps[: high * step, : wide * step]
    if step == 1 or cut.shape[0] < step or cut.shape[1] < step:
        return maps
    return cut.reshape(high, step, wide, step, -1).mean((1, 3))


def _strip(tiles):
    """Tiles (n, h, w, 3) side by side, a white gap between."""
    n, high, wide = tiles.shape[:3]
    gap = max(1, wide // 10)
    strip = np.ones((high, n * (wide + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        strip[:, i * (wide + gap) : i * (wide + gap) + wide] = tile
    return strip


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

    def _figure(self):
        figure, axes = style.figure(7.2, 4.2, 1, 2, width_ratios=(1, 3.2))
        left, right = axes
        left.imshow(self.pixels, cmap="gray", vmin=0, vmax=1)
        bare(left, "image", fontsize=10)
        figure.drawn = right
        self._turn(figure, self.shown)
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        return figure

    def _turn(self, figure, k):
        import matplotlib.pyplot as plt

        row, maps = self.rows[k], self.array[self.labels[k]]
        strongest = np.sort(np.argsort(-np.abs(maps).mean((0, 1)), kind="stable")[: self.most])
        cmap, low, top = heat_scale(maps[..., strongest])
        painted = plt.get_cmap(cmap)(plt.Normalize(low, top)(maps[..., strongest].transpose(2, 0, 1)))[
            ..., :3
        ]
        columns = int(np.ceil(np.sqrt(len(strongest) * 1.3)))
        blank = np.ones_like(painted[:1])
        lines = [painted[i : i + columns] for i in range(0, len(painted), columns)]
        lines = [np.concatenate([line, *[blank] * (columns - len(line))]) for line in lines]
        gap = np.ones((max(1, painted.shape[1] // 10), _strip(lines[0]).shape[1], 3))
        stacked = [part for line in lines for part in (_strip(line), gap)][:-1]
        right = figure.drawn
        right.clear()
        right.imshow(np.concatenate(stacked))
        high, wide, total = row.output_shape
        field = row.receptive_field
        sees = f", each unit sees {field[0]} x {field[1]} pixels" if field else ""
        bare(right, f"{row.name}: {len(strongest)} of {total} maps, {high} x {wide}{sees}", fontsize=9)


def stage_ends(net, most=16):
    """The last map of each stage, by name; of more than `most` stages as many, evenly chosen."""
    quiet = (L.InputLayer, L.ZeroPadding2D, L.Cropping2D, *PREPROCESSING)
    maps = [
        r for r in net.rows if len(r.output_shape) == 3 and r.local and not isinstance(r.operation, quiet)
    ]
    stages = list({stage_of(row): row.name for row in maps}.values())
    kept = np.unique(np.linspace(0, len(stages) - 1, min(most, len(stages))).round().astype(int))
    return [stages[i] for i in kept]


def browse(model, image, layers=None, *, most=20, preprocess=None):
    """The maps of a net for one image, layer by layer with a slider, in the static page, too.

    layers: names of layers or stages; by default the last layer of each stage, at most 16 of them. most: maps per layer,
    the strongest.
    """
    net, x, shown = prepare(model, image, preprocess)
    if layers is None:
        layers = stage_ends(net)
    rows = [net.map(layer) for layer in ([layers] if isinstance(layers, str) else layers)]
    if not rows or not isinstance(most, int) or most < 1:
        raise ValueError(f"at least one map of one layer is drawn; got layers={layers!r}, most={most!r}")
    read = net.read(x, [row.name for row in rows])
    return Browser(model.name, rows, {name: maps[0] for name, maps in read.items()}, shown, most)

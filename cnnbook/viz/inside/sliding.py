"""A kernel slides over a grid of numbers: at every place the window, the products and their sum, on a page without a kernel
of Jupyter.

    viz.slide(numbers, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], stride=2, padding=1)
"""

import numpy as np

from ...arguments import array, whole_number
from .. import style
from ..picture import bare
from .film import stand_still
from .replay import Replay

# Cells a side, and frames: beyond, nobody reads the numbers or steps through to the end.
MOST_CELLS, MOST_FRAMES = 12, 64
WINDOW = "#D55E00"


class Slide(Replay):
    """`.array` (rows, columns): what comes out, a sum for each place of the kernel. `.products` (rows, columns, kernel
    height, kernel width): what is added at each place. One frame for each place, row by row."""

    milliseconds = 900

    def __init__(self, image, kernel, stride, padding, dilation):
        self.image, self.kernel = image, kernel
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.padded = np.pad(image, padding)
        self.reach = [(side - 1) * dilation + 1 for side in kernel.shape]
        windows = np.lib.stride_tricks.sliding_window_view(self.padded, self.reach)
        self.products = windows[::stride, ::stride, ::dilation, ::dilation] * kernel
        self.array = self.products.sum((2, 3))
        self.places = list(np.ndindex(self.array.shape))
        self.labels = [f"output ({i}, {j}) = {_short(self.array[i, j])}" for i, j in self.places]
        self.shown = len(self.places) // 2
        self.alt = self._words()
        self.sentence = (
            "In each frame the orange window lies at one place. Its numbers are multiplied with the kernel's, and the "
            "products add to one number of the output, the one in the orange frame."
        )

    def _words(self):
        sides = [" x ".join(map(str, a.shape)) for a in (self.image, self.kernel, self.array)]
        words = f"A kernel of {sides[1]} slides over a grid of {sides[0]} numbers and gives {sides[2]} sums"
        options = {"stride": (self.stride, 1), "padding": (self.padding, 0), "dilation": (self.dilation, 1)}
        named = [f"{name} {value}" for name, (value, usual) in options.items() if value != usual]
        return words + (f", with {' and '.join(named)}" if named else "")

    def _figure(self):
        grids = self.padded, self.kernel, self.products[0, 0], self.array
        widths = [max(grid.shape[1], 2.6) for grid in grids]
        cell = min(0.42, 8.2 / sum(widths))
        height = cell * max(grid.shape[0] for grid in grids) + 0.6
        figure, axes = style.figure(cell * sum(widths) + 0.8, height, 1, 4, width_ratios=widths)
        titles = "image" + (" and padding" if self.padding else ""), "kernel", "products", "output"
        drawn = [
            _Grid(axis, grid.shape, scale, min(9, 21 * cell))
            for axis, grid, scale in zip(axes, grids, self._scales(), strict=True)
        ]
        for axis, title in zip(axes, titles, strict=True):
            bare(axis, title, fontsize=10)
        drawn[0].fill(self.padded, outside=self._outside())
        drawn[1].fill(self.kernel)
        figure.drawn = drawn
        self._turn(figure, self.shown)
        stand_still(figure)
        return figure

    def _scales(self):
        """(colour map, low, high) of image, kernel, products and output: the image in grey, all that has a sign around 0."""
        low, high = float(self.padded.min()), float(self.padded.max())
        tops = [float(np.abs(a).max()) or 1.0 for a in (self.kernel, self.products, self.array)]
        return [("gray", low, high if high > low else low + 1), *(("RdBu_r", -top, top) for top in tops)]

    def _outside(self):
        """Which cells are padding."""
        inside = np.pad(np.ones(self.image.shape, bool), self.padding)
        return ~inside

    def _turn(self, figure, k):
        image, _, products, output = figure.drawn
        i, j = self.places[k]
        image.mark((i * self.stride, j * self.stride), self.reach, self.dilation)
        products.fill(self.products[i, j])
        done = np.array([n <= k for n in range(len(self.places))]).reshape(self.array.shape)
        output.fill(np.where(done, self.array, np.nan))
        output.mark((i, j), (1, 1), 1)
        products.axes.set_xlabel(f"their sum: {_short(self.array[i, j])}", fontsize=10)


class _Grid:
    """Numbers in coloured cells, and an orange frame around some of them."""

    def __init__(self, axes, shape, scale, size):
        import matplotlib.pyplot as plt

        self.axes, (cmap, low, high) = axes, scale
        self.color, self.size, self.marked = plt.cm.ScalarMappable(plt.Normalize(low, high), cmap), size, []
        axes.set(xlim=(-0.08, shape[1] + 0.08), ylim=(shape[0] + 0.08, -0.08), aspect="equal", anchor="N")
        self.cells = {
            (r, c): (
                axes.add_patch(plt.Rectangle((c, r), 1, 1, edgecolor="#8A8A8A", linewidth=0.6)),
                axes.text(c + 0.5, r + 0.52, "", ha="center", va="center", fontsize=size),
            )
            for r, c in np.ndindex(*shape)
        }

    def fill(self, values, outside=None):
        """Writes the numbers into the cells; NaN is an empty cell. outside: which cells are padding."""
        for place, (cell, text) in self.cells.items():
            value = values[place]
            if np.isnan(value):
                cell.set_facecolor("white")
                text.set_text("")
                continue
            color = self.color.to_rgba(value)
            if outside is not None and outside[place]:
                color = (0.93, 0.93, 0.93, 1)
                cell.set(linestyle=":")
            cell.set_facecolor(color)
            words = _short(value)
            text.set(text=words, color="black" if np.dot(color[:3], (0.3, 0.59, 0.11)) > 0.5 else "white")
            text.set_fontsize(self.size * min(1, 4 / max(len(words), 1)))

    def mark(self, corner, sides, step):
        """An orange frame of `sides` cells from a corner on; where step is above 1, one for each cell that is read."""
        import matplotlib.pyplot as plt

        for patch in self.marked:
            patch.remove()
        frames = [(corner, sides, 3.0)]
        if step > 1:
            taps = np.ndindex(*((side - 1) // step + 1 for side in sides))
            frames += [((corner[0] + step * r, corner[1] + step * c), (1, 1), 1.8) for r, c in taps]
        self.marked = [
            self.axes.add_patch(
                plt.Rectangle(at[::-1], size[1], size[0], fill=False, edgecolor=WINDOW, linewidth=width, clip_on=False)
            )
            for at, size, width in frames
        ]  # fmt: skip


def _short(number):
    """A number in few characters, without a sign at 0."""
    return f"{round(float(number), 2) + 0.0:.4g}".replace("-", "\N{MINUS SIGN}")


def slide(image, kernel, *, stride=1, padding=0, dilation=1):
    """A kernel sliding over a small grid of numbers, a frame for each place: step by step, or playing.

    image (height, width) and kernel (height, width): small grids of numbers. stride: cells by which the window moves on.
    padding: rings of zeros around the image. dilation: the distance between the cells that the kernel's numbers meet.
    ValueError where the window does not fit, or where the grid is too large to be read.
    """
    stride, dilation = whole_number(stride, "stride"), whole_number(dilation, "dilation")
    padding = whole_number(padding, "padding", least=0)
    image, kernel = (_grid(a, name) for a, name in ((image, "image"), (kernel, "kernel")))
    sides = [side + 2 * padding for side in image.shape]
    reach = [(side - 1) * dilation + 1 for side in kernel.shape]
    if max(sides) > MOST_CELLS:
        raise ValueError(
            f"a grid of {sides[0]} x {sides[1]} cells cannot be read; {MOST_CELLS} a side at most"
        )
    if any(r > s for r, s in zip(reach, sides, strict=True)):
        raise ValueError(
            f"a window of {reach[0]} x {reach[1]} does not fit into {sides[0]} x {sides[1]} cells"
        )
    frames = np.prod([(s - r) // stride + 1 for s, r in zip(sides, reach, strict=True)])
    if frames > MOST_FRAMES:
        raise ValueError(f"{frames} frames are too many to step through; {MOST_FRAMES} at most")
    return Slide(image, kernel, stride, padding, dilation)


def _grid(values, name):
    values = np.asarray(array(values, name), "float64")
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name} is a grid (height, width) of numbers, got the shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return values

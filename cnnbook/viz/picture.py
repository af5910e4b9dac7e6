"""How a result of `viz` shows itself: numbers, a figure, and the figure in words. The parts that figures share."""

import io

import numpy as np

from .. import lettering, tables
from . import style


class Picture:
    """What the functions of `viz` return: `.array` holds the numbers (NumPy; drawings have `.svg()` instead), `.figure()`
    draws them with matplotlib, `.alt` says in words what is drawn. As the last line of a notebook's cell it shows itself.
    """

    alt = ""
    # inches, of a picture that is one pair of axes
    size = (4.4, 3.4)

    def _figure(self):
        """The figure; a picture that is one pair of axes needs no more than `draw(axes)`."""
        figure, axes = style.figure(*self.size)
        self.draw(axes)
        return figure

    def _drawn(self):
        """The figure, in which names of classes, layers and files stand as they are."""
        with lettering.as_names():
            return self._figure()

    def figure(self):
        """A matplotlib figure; it shows once where a cell ends with it."""
        import matplotlib.pyplot as plt

        figure = self._drawn()
        plt.close(figure)
        return figure

    def _repr_png_(self):
        return png(self.figure())

    def __repr__(self):
        return f"{type(self).__name__}: {tables.printable(self.alt)}"


# --------------------------------------------------------------------------- files and pixels


def png(figure, colors=None):
    """A matplotlib figure as the bytes of a PNG file, on white; with so many colours where a page must stay small."""
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    if colors is None:
        return file.getvalue()
    from PIL import Image

    # This method covers the range of colours; the others drop rare ones, such as the top of a colour scale.
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    return _png_of(Image.open(file).convert("RGB").quantize(colors, method, dither=dither))


def pixels_png(pixels):
    """An image (h, w) or (h, w, 3), 0 to 1, as the bytes of a PNG file of its own size."""
    from PIL import Image

    return _png_of(Image.fromarray((255 * np.clip(pixels, 0, 1)).round().astype("uint8")))


def _png_of(image):
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def in_unit_range(pixels):
    """Pixels as float64 from 0 to 1. Bytes, and numbers from 0 to 255, are divided by 255; a scaled net input, which goes
    below 0 or beyond 255, is stretched from its least to its greatest value."""
    pixels = np.asarray(pixels)
    is_bytes, pixels = pixels.dtype == np.uint8, pixels.astype("float64")
    low, high = pixels.min(), pixels.max()
    if is_bytes or (low >= 0 and 1 < high <= 255):
        return pixels / 255
    if low < 0 or high > 1:
        return (pixels - low) / (high - low or 1.0)
    return pixels


# --------------------------------------------------------------------------- axes


def bare(axes, title="", **options):
    """Axes for an image: no ticks, no grid, a title."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, **options)


def picture(axes, shown, title="", **options):
    """Draws an image, (h, w, 3) or (h, w) in 0 to 1."""
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
    bare(axes, title, **options)


def heat_scale(values, signed=None):
    """(colour map, lowest, highest) for values: viridis from 0 for magnitudes, red and blue around 0 for signed ones.

    The 0.2 % of greatest values do not stretch the scale.
    """
    values = np.asarray(values)
    signed = bool(values.min() < 0) if signed is None else signed
    top = float(np.quantile(np.abs(values), 0.998)) or float(np.abs(values).max()) or 1.0
    return ("RdBu_r", -top, top) if signed else ("viridis", 0, top)


def ratio_of(shown):
    """Height / width of an image, limited so that a figure stays readable; 0.8 for a curve."""
    if np.ndim(shown) < 2:
        return 0.8
    return float(np.clip(shown.shape[0] / shown.shape[1], 0.4, 2))


def grid(n, most):
    """(rows, columns) for n panels, at most `most` in a row, the rows as even as possible."""
    rows = -(-n // most)
    return rows, -(-n // rows)


def panels(n, most, width, height, above=0.0):
    """(figure, n axes): at most `most` panels in a row, each of that size in inches, and room above them all."""
    rows, columns = grid(n, most)
    figure, axes = style.figure(width * columns, height * rows + above, rows, columns, squeeze=False)
    for axis in axes.flat[n:]:
        axis.remove()
    return figure, list(axes.flat[:n])


def tiles(images, columns, ratio, cell, title, scale=None, gap=0.06):
    """A figure of many small images on one pair of axes (an axes for each would take seconds).

    images: [(image, caption, imshow's options)], row by row; ratio: height / width; cell: an image's width in inches;
    scale: (colour map, low, high) of a colour bar; gap: between images, in widths.
    """
    import matplotlib.pyplot as plt

    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    above = [0.15 / cell if any(caption for _, caption, _ in row) else 0.0 for row in rows]
    width, height = columns * (1 + gap) - gap, len(rows) * (ratio + gap) - gap + sum(above)
    figure, axes = style.figure(cell * width + (0.85 if scale else 0.15), cell * height + 0.45)
    for r, row in enumerate(rows):
        top = r * (ratio + gap) + sum(above[: r + 1])
        for c, (image, caption, options) in enumerate(row):
            left = c * (1 + gap)
            axes.imshow(image, extent=(left, left + 1, top + ratio, top), **options)
            axes.text(left + 0.5, top - 0.02 / cell, caption, ha="center", va="bottom", size=8)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_aspect("equal")
    bare(axes)
    figure.suptitle(title, fontsize=10)
    if scale is not None:
        cmap, low, top = scale
        bar(figure, axes, plt.cm.ScalarMappable(plt.Normalize(low, top), cmap), min(1, 1.8 / (cell * height)))
    return figure, axes


def bar(figure, axes, drawn, shrink=0.8, label=""):
    """A slim colour bar."""
    scale = figure.colorbar(drawn, ax=axes, shrink=shrink, aspect=18, pad=0.02)
    scale.formatter.set_powerlimits((-2, 4))
    scale.ax.tick_params(labelsize=8)
    scale.ax.yaxis.get_offset_text().set_size(8)
    scale.ax.grid(False)
    scale.outline.set_visible(False)
    scale.set_label(label, fontsize=8)


# --------------------------------------------------------------------------- side by side


class Beside(Picture):
    """Pictures of one pair of axes each, side by side."""

    def __init__(self, pictures, titles, image):
        self.pictures, self.titles, self.image = pictures, titles, image
        self.array = [p.array for p in pictures]
        self.alt = "Side by side: " + "; ".join(p.alt for p in pictures)

    def _figure(self):
        first = int(self.image is not None)
        height = 2.35 * ratio_of(self.pictures[0].array) + 0.35
        figure, axes = panels(first + len(self.pictures), 4, 2.4, height)
        if self.image is not None:
            picture(axes[0], self.image, "image", fontsize=10)
        for axis, drawn, title in zip(axes[first:], self.pictures, self.titles, strict=True):
            drawn.draw(axis)
            axis.set_title(title, fontsize=10)
        return figure


def beside(*pictures, titles=None):
    """Several pictures of one image in one figure: `beside(grad_cam(m, x), occlusion(m, x), saliency(m, x))`.

    `titles`: one each; by default what each picture calls itself.
    """
    if not pictures or not all(hasattr(p, "draw") for p in pictures):
        raise ValueError(
            "beside(...) takes pictures that are one image each, such as those of grad_cam and saliency"
        )
    titles = [getattr(p, "title", "") for p in pictures] if titles is None else list(titles)
    if len(titles) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures and {len(titles)} titles")
    return Beside(pictures, titles, getattr(pictures[0], "shown", None))

"""How a result of `viz` shows itself: numbers, a figure, and the figure in words."""

import numpy as np

from . import style


class Picture:
    """What the functions of `viz` give: `.array` (NumPy) holds the numbers, `.figure()` draws them with matplotlib, `.alt`
    says in words what is drawn. As the last line of a notebook's cell it shows itself."""

    array, alt = None, ""

    def _figure(self):
        """The figure; where the picture is one pair of axes, `draw(axes)` and `wide` are enough."""
        figure, axes = style.figure(self.wide, 3.4)
        self.draw(axes)
        return figure

    wide = 4.0  # inches of a single pair of axes

    def figure(self):
        """A matplotlib figure; it shows once where a cell ends with it."""
        import matplotlib.pyplot as plt

        figure = self._figure()
        plt.close(figure)
        return figure

    def _repr_png_(self):
        return style.png(self.figure())

    def __repr__(self):
        return f"{type(self).__name__}: {self.alt}"


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


class Beside(Picture):
    """Pictures of one pair of axes each, side by side."""

    def __init__(self, pictures, titles, image):
        self.pictures, self.titles, self.image = pictures, titles, image
        self.array = [p.array for p in pictures]
        self.alt = "Side by side: " + "; ".join(p.alt for p in pictures)

    def _figure(self):
        n = len(self.pictures) + (self.image is not None)
        columns = min(n, 4)
        rows = -(-n // columns)
        figure, axes = style.figure(2.4 * columns, 2.7 * rows, rows, columns, squeeze=False)
        axes = list(axes.flat)
        if self.image is not None:
            picture(axes[0], self.image, "image", fontsize=10)
        start = int(self.image is not None)
        for axis, one, title in zip(axes[start:], self.pictures, self.titles, strict=False):
            one.draw(axis)
            axis.set_title(title, fontsize=10)
        for axis in axes[n:]:
            axis.remove()
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

"""Heat maps that the reader's own code made of one image, side by side."""

import numpy as np

from ..picture import Picture, bare, heat_scale, in_unit_range, panels, picture, ratio_of


class HeatMaps(Picture):
    """`.array`: the maps as they were given, a list of float64 (h, w). The image stands first."""

    def __init__(self, shown, maps, box, title):
        self.shown, self.maps, self.box, self.title = shown, maps, box, title
        self.array = list(maps.values())
        names = ", ".join(name.replace("\n", " ") for name in maps)
        boxed = "" if box is None else "; a box is drawn around what is asked for"
        self.alt = f"An image and {len(maps)} heat maps of it: {names}{boxed}"

    def _figure(self):
        figure, axes = panels(1 + len(self.maps), 3, 2.4, 2.4 * ratio_of(self.shown) + 0.4)
        picture(axes[0], self.shown, self.title, fontsize=10)
        for axis, (name, values) in zip(axes[1:], self.maps.items(), strict=True):
            self._draw(axis, values)
            bare(axis, name, fontsize=10)
            if not np.any(values):
                axis.set_xlabel("0 everywhere", fontsize=9)
        for axis in axes:
            self._frame(axis)
        return figure

    def _draw(self, axis, values):
        """One map; a coarse one over the greyed image, the weaker the more transparent."""
        cmap, low, high = heat_scale(values)
        size, alpha = self.shown.shape[:2], None
        if values.shape != size:
            grey = self.shown if self.shown.ndim == 2 else self.shown.mean(-1)
            axis.imshow(0.25 + 0.75 * grey, cmap="gray", vmin=0, vmax=1)
            values = stretched(values, size)
            alpha = 0.85 * np.clip(np.abs(values) / high, 0, 1) ** 0.6
        axis.imshow(values, cmap=cmap, vmin=low, vmax=high, alpha=alpha)

    def _frame(self, axis):
        from matplotlib.patches import Rectangle

        if self.box is not None:
            top, left, bottom, right = self.box
            for colour, width in (("white", 2.6), ("#D55E00", 1.3)):
                axis.add_patch(
                    Rectangle(
                        (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, ec=colour, lw=width
                    )
                )


def stretched(values, size):
    """A map (h, w) brought to size (height, width): its units stand at equal distances, values between are linear."""
    matrices = []
    for n, pixels in zip(values.shape, size, strict=True):
        centres = (np.arange(n) + 0.5) * pixels / n - 0.5
        matrices.append(np.stack([np.interp(np.arange(pixels), centres, unit) for unit in np.eye(n)], axis=1))
    return matrices[0] @ values @ matrices[1].T


def heat_maps(image, maps, *, box=None, title="image"):
    """Maps of one image side by side, the image first: `heat_maps(x[0], {"saliency": mine, "Grad-CAM": coarse})`.

    image: (height, width, channels), pixels or a net's scaled input. maps: {title: numbers (h, w)}; one with negative
    numbers is red for positive and blue for negative ones, any other goes from dark, 0, to bright, each on its own scale. A
    map that is coarser than the image lies over it. box: (top, left, bottom, right) in pixels, bottom and right excluded,
    drawn on all. title: of the image. ValueError for what is no map or not finite, and a box that is not in the image.
    """
    shown = np.squeeze(in_unit_range(image))
    if shown.ndim not in (2, 3):
        raise ValueError(f"one image (height, width, channels) is needed, got shape {np.shape(image)}")
    maps = {name: np.asarray(values, "float64") for name, values in dict(maps).items()}
    if not maps:
        raise ValueError("at least one map is drawn")
    for name, values in maps.items():
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"{name!r} is no map of finite numbers (h, w): its shape is {values.shape}")
    if box is not None:
        top, left, bottom, right = map(int, box)
        height, width = shown.shape[:2]
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(f"the box {(top, left, bottom, right)} is not in an image of {height} x {width}")
        box = top, left, bottom, right
    return HeatMaps(shown, maps, box, title)

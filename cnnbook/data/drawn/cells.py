"""Cells that touch: drawn membranes under a microscope, every answer known, for the border weights of U-Net.

Ronneberger et al. 2015 weigh the thin background between touching cells (eq. 2), so that a net learns to keep them apart;
Fig. 3 of the paper shows the real thing. The drawing is ours and resembles no particular microscope.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from ..images import Images
from . import drawing

CLASSES = ("background", "cell")
SOURCE = "drawn by cnnbook"
# Section 3.1 of the paper; its cells are some 50 pixels wide.
W0, SIGMA = 10.0, 5.0
# Sigma for images of 64 pixels, whose cells are about 18 wide.
SIGMA_AT_64 = 3.0


class Cells(NamedTuple):
    """`images` uint8 (n, size, size, 1); `instances` uint8 (n, size, size), 0 = background, 1, 2, ... one number a cell;
    `masks` uint8 (n, size, size), 1 = cell: `instances` > 0; `weights` float32 (n, size, size), see `border_weights`.
    Touching cells are always one pixel of background apart."""

    images: np.ndarray
    instances: np.ndarray
    masks: np.ndarray
    weights: np.ndarray


def cells(n, *, size=64, seed=0, part="train", start=0):
    """Images start ... start + n - 1 of a part, "train" or "test", as `Cells`.

    About ten cells, some 18 pixels wide on 64 and of the same share at other sizes, crowd in one or two clumps.
    Raises ValueError for another part, a size below 32, or a negative n or start.
    """
    n, size, seed, start = drawing.checked(n, size, seed, part, start)
    images, instances = np.empty((n, size, size, 1), "uint8"), np.empty((n, size, size), "uint8")
    weights = np.empty((n, size, size), "float32")
    for i in range(n):
        images[i], instances[i] = _draw(drawing.generator(seed, part, start + i, 5), size)
        weights[i] = border_weights(instances[i], sigma=SIGMA_AT_64 * size / 64)
    return Cells(images, instances, (instances > 0).astype("uint8"), weights)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CellImages(Images):
    """`Images` of cells, and by part name: `masks` and `instances` uint8 (n, height, width), the latter a number for each
    cell, and `weights` float32 (n, height, width), see `border_weights`."""

    masks: dict | None = None
    instances: dict | None = None
    weights: dict | None = None


def load(**choice):
    """`data.load("cells")` as `CellImages`: 200 training and 50 test images of 64 pixels by default."""
    drawn = drawing.parts("cells", cells, counts=(200, 50), **choice)
    names = dict(x="images", y="masks", masks="masks", instances="instances", weights="weights")
    return CellImages(name="cells", classes=CLASSES, source=SOURCE, **drawing.fields(drawn, **names))


def border_weights(instances, *, w0=W0, sigma=SIGMA, balance=True):
    """The weight of every pixel: w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), float32 (h, w). Eq. 2 of the U-Net paper.

    instances: (h, w), 0 = background, another number for each cell. d1, d2: distance in pixels to the nearest and the
    second nearest cell. The second term is of the background only, as in the released code, and zero with fewer than two
    cells. w_c balances the classes: background and cells weigh the same in sum and 1 on average; balance=False: w_c = 1.
    """
    instances = np.asarray(instances)
    if instances.ndim != 2:
        raise ValueError(f"instances is one image, (height, width), got shape {instances.shape}")
    inside, weights = instances > 0, np.ones(instances.shape)
    share = inside.mean()
    if balance and 0 < share < 1:
        weights = np.where(inside, 0.5 / share, 0.5 / (1 - share))
    numbers = np.unique(instances[inside])
    if len(numbers) > 1:
        near = np.partition(distance(instances == numbers[:, None, None], most=8 * sigma), 1, axis=0)
        border = w0 * np.exp(-((near[0] + near[1]) ** 2) / (2 * sigma**2))
        weights = weights + np.where(inside, 0, border)
    return weights.astype("float32")


def distance(masks, most=np.inf):
    """The Euclidean distance of every pixel to the nearest one in its mask, 0 inside: bool (..., h, w) -> float64.

    At most `most`, the distance to an empty mask too. Along columns first, then the least sum of squares along rows.
    """
    masks = np.asarray(masks, bool)
    row = np.arange(masks.shape[-2])[:, None]
    above = row - np.maximum.accumulate(np.where(masks, row, -np.inf), axis=-2)
    below = np.minimum.accumulate(np.where(masks, row, np.inf)[..., ::-1, :], axis=-2)[..., ::-1, :] - row
    squared = np.minimum(np.minimum(above, below), most) ** 2
    nearest = squared.copy()
    for away in range(1, masks.shape[-1]):
        if away**2 >= nearest.max():  # no other column can be nearer
            break
        np.minimum(nearest[..., away:], squared[..., :-away] + away**2, out=nearest[..., away:])
        np.minimum(nearest[..., :-away], squared[..., away:] + away**2, out=nearest[..., :-away])
    return np.sqrt(nearest)


def _draw(rng, size):
    """One image (size, size, 1) and its instances."""
    unit = size / 64
    nearness, owner = np.full((size, size), np.inf), np.zeros((size, size), int)
    for k, (top, left, radius) in enumerate(_places(rng, size, unit), 1):
        window = tuple(slice(max(0, int(c - 2 * radius)), int(c + 2 * radius) + 1) for c in (top, left))
        ys, xs = (np.arange(size)[s] + 0.5 - c for s, c in zip(window, (top, left), strict=True))
        angle, away = np.arctan2(ys[:, None], xs), np.hypot(ys[:, None], xs)
        outline = np.ones_like(angle)
        for wave in (2, 3, 4):
            outline += rng.uniform(0, 0.22 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        # 1 on the outline; where two cells overlap the nearer centre wins.
        ratio = away / (radius * outline)
        closer = ratio < nearness[window]
        nearness[window][closer], owner[window][closer] = ratio[closer], k
    owner = np.where(nearness < 1, owner, 0)
    padded = np.pad(owner, 1)
    # The later of two touching cells gives its rim.
    touching = np.zeros(owner.shape, bool)
    for r in range(3):
        for c in range(3):
            other = padded[r : r + size, c : c + size]
            touching |= (other > 0) & (owner > other)
    instances = np.where(touching, 0, owner)
    kept = [k for k in np.unique(owner)[1:] if (instances == k).sum() >= 12 * unit**2]
    numbers = np.zeros(owner.max() + 1, "uint8")
    numbers[kept] = np.arange(1, len(kept) + 1)
    image = _image(rng, size, np.where(np.isin(owner, kept), owner, 0), touching, nearness)
    return image, numbers[instances]


def _places(rng, size, unit):
    """(top, left, radius) of cells that crowd around one or two centres."""
    clumps = rng.uniform(0.25, 0.75, (rng.integers(1, 3), 2)) * size
    places = []
    for _ in range(rng.integers(30, 80)):
        centre = clumps[rng.integers(len(clumps))] + rng.normal(0, 0.24 * size, 2)
        radius = rng.uniform(6.5, 10.5) * unit
        apart = [np.hypot(*(centre - other[:2])) >= 0.78 * (radius + other[2]) for other in places]
        if all(apart) and (centre > 0).all() and (centre < size).all():
            places.append((*centre, radius))
    return np.array(places)


def _image(rng, size, owner, touching, nearness):
    """Grey cells on grey ground of almost the same brightness, bright outlines, faint dark seams where two touch."""
    image = 120 + sum(drawing.smooth_noise(rng, knots, size) * height for knots, height in ((3, 14), (9, 6)))
    inside = owner > 0
    texture = drawing.smooth_noise(rng, size // 3, size)
    level = rng.normal(6, 9, owner.max() + 1)[owner]
    image = np.where(inside, image + level + 12 * texture, image)
    rim = np.exp(-(((nearness - 1) / 0.09) ** 2))  # the outline, inside and outside of it
    image += np.where(touching, 0, rng.uniform(38, 55) * rim)
    image -= np.where(touching & inside, rng.uniform(14, 30), 0)
    nuclei = np.clip(1 - nearness / rng.uniform(0.3, 0.45), 0, 1)
    image -= np.where(inside, 45 * nuclei, 0)
    image += rng.normal(0, 6, (size, size))
    return drawing.grey_levels(image)[..., None]

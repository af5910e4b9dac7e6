"""Scenes: shipped Fashion-MNIST items pasted on textured colour canvases, with boxes and a class for every pixel.

Centred grey items of one size cannot show localisation, several scales, or top-5 errors; these can, and every answer is
known exactly.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from .. import fashion
from ..images import Images
from . import drawing
from .drawing import generator, grey_levels, scaled, smooth_noise

# Told apart with any colour vision: they differ in lightness too (after Okabe & Ito).
COLOURS = {
    "red": (225, 60, 30),
    "yellow": (245, 225, 60),
    "green": (0, 165, 110),
    "blue": (60, 130, 235),
    "pink": (235, 135, 195),
}
CLASSES = {
    "segment": ("background", *fashion.CLASSES),
    "classify": tuple(f"{colour} {item}" for item in fashion.CLASSES for colour in COLOURS),
}
SOURCE = "drawn from the Fashion-MNIST items shipped with cnnbook (Zalando, MIT licence)"
MOST = 4  # objects in a scene


class Scenes(NamedTuple):
    """`images` uint8 (n, size, size, 3). Task "segment": `masks` uint8 (n, size, size), 0 = background, 1 to 10 = the item
    seen there; `labels` int64 (n, 4), the mask values of the objects, 0 = no more; `boxes` int64 (n, 4, 4), top, left,
    bottom, right in pixels (bottom and right excluded) around what is seen of each. Task "classify": `labels` int64 (n,),
    `boxes` (n, 1, 4) and `masks` (1 = target) of the target."""

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray


def scenes(n, *, task="segment", size=64, seed=0, part="train", start=0):
    """Scenes start ... start + n - 1 of a part, as `Scenes`.

    task "segment": 1 to 4 items, any colour, that may overlap; the class of every pixel is the answer. task "classify": the
    target is the ONE coloured item, whole and in front; 2 to 4 grey items distract. Its class is item x colour: index
    5 * item + colour, each of the 50 once in every 50 scenes. Items are 0.5 to 2 times 28 pixels on a canvas of 64 and
    keep that share at other sizes. part "train" draws from the training items, "test" from the test items.
    Raises ValueError for another task or part, a size below 32, or a negative n or start.
    """
    if task not in CLASSES:
        raise ValueError(f"task={task!r}: choose one of {', '.join(CLASSES)}")
    n, size, seed, start = drawing.checked(n, size, seed, part, start)
    k = MOST if task == "segment" else 1
    drawn = Scenes(
        np.empty((n, size, size, 3), "uint8"),
        np.zeros((n, MOST) if task == "segment" else n, "int64"),
        np.zeros((n, k, 4), "int64"),
        np.zeros((n, size, size), "uint8"),
    )
    compose = _segment if task == "segment" else _classify
    for i in range(n):
        example = compose(seed, part, start + i, size)
        drawn.images[i], drawn.labels[i], drawn.boxes[i], drawn.masks[i] = example
    return drawn


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SceneImages(Images):
    """`Images` of scenes, and by part name: `masks` uint8 (n, height, width), `boxes` int64 (n, k, 4) as top, left, bottom,
    right in pixels; task "segment" also has `box_labels` int64 (n, k), the mask value of each box, 0 = no box."""

    masks: dict | None = None
    boxes: dict | None = None
    box_labels: dict | None = None


def load(*, task="segment", **choice):
    """`data.load("scenes")` as `SceneImages`: 2,000 training and 500 test scenes of 64 pixels by default."""
    drawn = drawing.parts("scenes", functools.partial(scenes, task=task), counts=(2000, 500), **choice)
    names = dict(x="images", masks="masks", boxes="boxes")
    names |= dict(y="masks", box_labels="labels") if task == "segment" else dict(y="labels")
    known = drawing.fields(drawn, **names)
    return SceneImages(name=f"scenes/{task}", classes=CLASSES[task], source=SOURCE, **known)


def _segment(seed, part, i, size):
    rng = generator(seed, part, i, 0)
    image, objects = _canvas(rng, size), np.zeros((size, size), "uint8")
    labels, boxes = np.zeros(MOST, "int64"), np.zeros((MOST, 4), "int64")
    placed = 0
    for _ in range(rng.integers(1, MOST + 1)):
        item, grey = _item(rng, part)
        colour = _hsv(rng.random(), rng.uniform(0.45, 0.9), rng.uniform(0.8, 1.0))
        if _paste(rng, image, objects, placed + 1, grey, colour, rng.uniform(-1, 1), size):
            labels[placed] = item + 1
            placed += 1
    for k in range(placed):
        boxes[k] = _box(objects == k + 1)
    mask = np.concatenate([[0], labels])[objects].astype("uint8")
    return _finish(image, seed, part, i), labels, boxes, mask


def _classify(seed, part, i, size):
    rng = generator(seed, part, i, 1)
    label = int(generator(seed, part, i // 50, 2).permutation(50)[i % 50])
    image, objects = _canvas(rng, size), np.zeros((size, size), "uint8")
    for k in range(rng.integers(2, MOST + 1)):
        _, grey = _item(rng, part)
        _paste(
            rng, image, objects, 2 + k, grey, np.full(3, rng.uniform(150, 250)), rng.uniform(-1, 0.6), size
        )
    _, grey = _item(rng, part, label // 5)
    colour = np.array(list(COLOURS.values())[label % 5], "float64")
    _paste(rng, image, objects, 1, grey, colour, rng.uniform(-1, 1), size, hide=1.0)
    return _finish(image, seed, part, i), label, _box(objects == 1), objects == 1


def _item(rng, part, item=None):
    """(item, grey): one shipped item, cropped to what is lit; float64 0 to 255."""
    kind = int(rng.integers(10)) if item is None else item
    rows = _rows(part)[kind]
    grey = fashion.shipped()[f"x_{part}"][rows[rng.integers(len(rows))], ..., 0]
    top, left, bottom, right = _box(grey >= 16)
    return kind, grey[top:bottom, left:right].astype("float64")


@functools.cache
def _rows(part):
    return [np.flatnonzero(fashion.shipped()[f"y_{part}"] == item) for item in range(10)]


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _hsv(hue, saturation, value):
    """RGB, float64 (3,), 0 to 255."""
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation * (1 - wheel))


def _canvas(rng, size):
    """Float64 (size, size, 3): two muted colours mixed by smooth noise and, in half of the scenes, by warped stripes."""
    noise = sum(smooth_noise(rng, knots, size) / weight for knots, weight in ((3, 1), (7, 2), (17, 4)))
    angle, period, stripes = rng.uniform(0, 2, 2), rng.uniform(8, 20), rng.random() < 0.5
    across = np.arange(size)[:, None] * angle[0] + np.arange(size) * (angle[1] - 1)
    wave = np.abs((across * 64 / size / period + 0.6 * noise) % 1 - 0.5) * 4 - 1
    mix = np.clip(0.5 + 0.5 * (0.4 * noise + 0.5 * wave if stripes else noise), 0, 1)[..., None]
    hue, value = rng.random(), rng.uniform(0.25, 0.5)
    one = _hsv(hue, rng.uniform(0.1, 0.4), value)
    other = _hsv(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.4), value + rng.uniform(0.12, 0.3))
    return one + (other - one) * mix


def _paste(rng, image, objects, k, grey, colour, scale, size, hide=0.4):
    """Paints an item, 2**scale times its size on a canvas of 64, as object k. False when six places were tried and each
    would have hidden more than the share `hide` of an object painted before."""
    height, width = (max(1, min(size, round(side * 2**scale * size / 64))) for side in grey.shape)
    light = scaled(grey, height, width)
    alpha = np.clip((light - 4) / 24, 0, 1)
    solid = light >= min(16, light.max())  # never empty, however small and dark
    before = np.bincount(objects.ravel(), minlength=MOST + 2)
    for across, down in rng.random((6, 2)):
        top, left = int(down * (size - height + 1)), int(across * (size - width + 1))
        window = np.s_[top : top + height, left : left + width]
        hidden = np.bincount(objects[window][solid], minlength=MOST + 2)
        if (hidden[1:] <= hide * before[1:]).all():
            break
    else:
        return False
    paint = colour * (0.3 + 0.7 * light / 255)[..., None]
    image[window] += alpha[..., None] * (paint - image[window])
    objects[window][solid] = k
    return True


def _finish(image, seed, part, i):
    # A stream of its own: how many numbers it takes depends on the size.
    grain = generator(seed, part, i, 3).normal(0, 3, (*image.shape[:2], 1))
    return grey_levels(image + grain)

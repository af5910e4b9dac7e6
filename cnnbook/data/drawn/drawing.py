"""What scenes, cells and faces share: arguments, random numbers, smooth noise, whole grey levels, the three parts.

Example i of a set is a function of (seed, part, i) alone, so a longer set starts with the shorter one, and the same example
at another size is the same composition (up to rounding) with more pixels.
"""

import functools

import numpy as np

from ...arguments import whole_number
from ..images import axis_weights, height_width


def checked(n, size, seed, part, start):
    """(n, size, seed, start) as ints. ValueError for another part than "train" or "test", a size below 32, or a negative
    n, seed or start."""
    if part not in ("train", "test"):
        raise ValueError(f"part={part!r}: choose train or test")
    n, start, seed = whole_number(n, "n", 0), whole_number(start, "start", 0), whole_number(seed, "seed", 0)
    return n, whole_number(size, "size", 32), seed, start


def generator(seed, part, i, stream):
    """Random numbers for example i of a part; each use has a stream of its own, so that one does not shift another."""
    return np.random.default_rng([seed, part == "test", i, stream])


@functools.cache
def _axis(before, after):
    weights, total = axis_weights(before, after)
    return weights / total


def scaled(grey, height, width):
    """A map (h, w) at another size, float64: area average down, bilinear up."""
    return _axis(grey.shape[0], height) @ grey @ _axis(grey.shape[1], width).T


def smooth_noise(rng, knots, size):
    """Noise between -1 and 1, float64 (size, size): knots x knots random numbers and what lies between them."""
    return scaled(rng.uniform(-1, 1, (knots, knots)), size, size)


def grey_levels(image):
    """Float pixels as uint8, cut off at 0 and 255."""
    return np.clip(image, 0, 255).round().astype("uint8")


def parts(name, draw, *, counts, train=None, test=None, validation=0, size=None, seed=0):
    """The three parts of a drawn set, {part: draw(n, size=, seed=, part=, start=)}; `counts` are the defaults of train and
    test. Validation follows the training examples, of the training part."""
    train = counts[0] if train is None else whole_number(train, "train", 0)
    test = counts[1] if test is None else whole_number(test, "test", 0)
    validation = whole_number(validation, "validation", 0)
    height, width = height_width(64 if size is None else size)
    if height != width:
        raise ValueError(f"size={size!r}: {name} are square, give one side in pixels")
    draw = functools.partial(draw, size=height, seed=seed)
    return {
        "train": draw(train),
        "validation": draw(validation, start=train),
        "test": draw(test, part="test"),
    }


def fields(drawn, **names):
    """Fields of `Images`: {prefix_part: array} for x and y, {field: {part: array}} for the others.

    drawn: what `parts` returns. names: field of `Images` = field of the set, for example x="images", masks="masks".
    """
    arrays = {field: {p: getattr(d, name) for p, d in drawn.items()} for field, name in names.items()}
    split = {f"{field}_{p}": array for field in "xy" for p, array in arrays.pop(field).items()}
    return split | arrays

"""What `load` returns for sets that fit in memory, and the seeded choices and exact resizing behind it."""

import dataclasses

import numpy as np

from .. import lettering
from ..arguments import whole_number
from ..tables import printable

PARTS = ("train", "validation", "test")
# Values that are resized at a time, 8 MB in float64.
STRIP = 2**20


class DataError(RuntimeError):
    """A data set is not here and cannot be fetched, or what is here is damaged. The message says what to do."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images and what to predict, in three parts.

    `x_*`: uint8 (n, height, width, channels), values 0 to 255, channels last. `y_*`: int64 (n,), class indices into
    `classes`; for segmentation uint8 (n, height, width), a class per pixel. After `standardised()` the `x_*` are float32
    and `mean` and `std`, float32 (channels,), say how. The drawn sets know more, see `SceneImages`, `CellImages` and
    `FaceImages`; your own images also have their files, see `Folder`.
    """

    name: str
    classes: tuple
    source: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def part(self, name):
        """(x, y) of "train", "validation" or "test"."""
        if name not in PARTS:
            raise ValueError(f"part={name!r}: choose one of {', '.join(PARTS)}")
        return getattr(self, f"x_{name}"), getattr(self, f"y_{name}")

    @property
    def sizes(self):
        """How many images each part has, empty parts left out."""
        return {name: len(self.part(name)[1]) for name in PARTS if len(self.part(name)[1])}

    def __repr__(self):
        shape, kind = "x".join(map(str, self.x_train.shape[1:])), self.x_train.dtype
        names = ", ".join(map(printable, self.classes[:10])) + (", ..." if len(self.classes) > 10 else "")
        return (
            f"Images {self.name!r}: {counted(self.sizes)}\n  each {shape} {kind}, "
            f"{len(self.classes)} classes: {names}\n  source: {self.source}"
        )

    def standardised(self):
        """The same images as float32 (x - mean) / std, both per channel over the training part, in all three parts."""
        if self.mean is not None:
            return self
        if not len(self.x_train):
            raise ValueError(
                f"{self.name}: standardised() takes mean and std from the training part, which is empty"
            )
        channels = range(self.x_train.shape[-1])
        # Sums of integers are exact, so the constants are the same on every machine.
        values = np.stack([np.bincount(self.x_train[..., c].ravel(), minlength=256) for c in channels])
        level, count = np.arange(256), values.sum(axis=1)
        mean = values @ level / count
        std = np.maximum(np.sqrt(values @ level**2 / count - mean**2), 1e-6)
        mean, std = mean.astype("float32"), std.astype("float32")
        scaled = {f"x_{p}": (self.part(p)[0].astype("float32") - mean) / std for p in PARTS}
        return dataclasses.replace(self, mean=mean, std=std, **scaled)

    def show(self, rows=2, columns=6, part="train"):
        """A matplotlib figure of the first rows x columns images of a part, each under its class. Scenes to segment show
        the outlines of their masks."""
        import matplotlib.pyplot as plt

        x, y = self.part(part)
        if not len(y):
            raise ValueError(f"{self.name}: the {part} part is empty")
        if self.mean is not None:
            x = np.clip(x[: rows * columns] * self.std + self.mean, 0, 255).round().astype("uint8")
        with lettering.as_names():
            figure, axes = plt.subplots(rows, columns, squeeze=False, FigureClass=lettering.figure_class())
        figure.set_size_inches(1.5 * columns, (1.75 if y.ndim == 1 else 2.1) * rows)
        for i, axis in enumerate(axes.flat):
            axis.axis("off")
            if i >= len(y):
                continue
            axis.imshow(x[i].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if y.ndim == 1:
                axis.set_title(printable(self.classes[y[i]]), fontsize=10, pad=3, parse_math=False)
                continue
            for k in np.unique(y[i][y[i] > 0]):
                axis.contour(y[i] == k, [0.5], colors="white", linewidths=1.4)
            names = [printable(self.classes[k]) for k in np.unique(y[i][y[i] > 0])]
            text = "\n".join(names[:3]) + (", ..." if len(names) > 3 else "")
            axis.set_title(text, fontsize=8, pad=3, parse_math=False)
        figure.tight_layout(pad=0.6)
        # The caller shows it: one figure in a notebook, not two.
        plt.close(figure)
        return figure


def counted(sizes):
    """'12,000 training and 2,000 test images'."""
    words = {"train": "training", "validation": "validation", "test": "test"}
    *first, last = [f"{n:,} {words[p]}" for p, n in sizes.items()] or ["no"]
    return f"{', '.join(first)} and {last} images" if first else f"{last} images"


def height_width(size):
    """(height, width) from 14 or (14, 20)."""
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size={size!r}: give one side in pixels, or (height, width)")
    return whole_number(sides[0], "size"), whole_number(sides[1], "size")


def balanced_order(labels, seed):
    """A seeded order of all examples whose every start is as class-balanced as it can be: int64 (n,)."""
    shuffled, turn = turns(labels, seed)
    return shuffled[np.argsort(turn[shuffled], kind="stable")]


def turns(labels, seed):
    """(a seeded order of all examples, how many of its class come before each example there): int64 (n,) both."""
    rng = np.random.default_rng([whole_number(seed, "seed", 0), 0])
    shuffled = rng.permutation(len(labels))
    seen, turn = {}, np.empty(len(labels), "int64")
    for i, label in zip(shuffled, np.asarray(labels)[shuffled].tolist(), strict=True):
        turn[i] = seen[label] = seen.get(label, -1) + 1
    return shuffled, turn


def choose(name, labels_train, labels_test, train=None, test=None, validation=0, seed=0):
    """Indices of the three parts: {"train": ..., "validation": ..., "test": ...}; validation comes out of training."""
    validation = whole_number(validation, "validation", 0)
    order = balanced_order(labels_train, seed)
    train = len(order) - validation if train is None else whole_number(train, "train", 0)
    test = len(labels_test) if test is None else whole_number(test, "test", 0)
    if train < 0 or train + validation > len(order):
        raise ValueError(
            f"{name}: {max(train, 0)} training and {validation} validation images were asked for, the training part has "
            f"{len(order)} in all"
        )
    if test > len(labels_test):
        raise ValueError(f"{name}: test={test}, the test part has {len(labels_test)} images")
    chosen = {
        "validation": order[:validation],
        "train": order[validation : validation + train],
        "test": balanced_order(labels_test, seed)[:test],
    }
    # Balanced, but not one of each class in turn: batches of a real set are uneven too.
    rng = np.random.default_rng([seed, 1])
    return {part: rng.permutation(chosen[part]) for part in PARTS}


def from_arrays(name, arrays, classes, source, size=None, **choice):
    """Images from x_train, y_train, x_test, y_test by `choose(**choice)`, resized when `size` is given."""
    chosen = choose(name, arrays["y_train"], arrays["y_test"], **choice)
    fields = {}
    for part, index in chosen.items():
        stored = "test" if part == "test" else "train"
        x = arrays[f"x_{stored}"][index]
        fields[f"x_{part}"] = x if size is None else resize(x, size)
        fields[f"y_{part}"] = np.asarray(arrays[f"y_{stored}"])[index].astype("int64")
    return Images(name=name, classes=tuple(classes), source=source, **fields)


def resize(images, size):
    """uint8 (..., height, width, channels) at another size: area average down, bilinear (half-pixel centres) up, per
    axis. Sums of integers, rounded half up: the same bytes on every machine."""
    height, width = height_width(size)
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim < 3:
        raise ValueError(
            f"resize: uint8 (..., height, width, channels) expected, got {images.dtype} {images.shape}"
        )
    if images.shape[-3:-1] == (height, width):
        return images
    rows, row_sum = axis_weights(images.shape[-3], height)
    columns, column_sum = axis_weights(images.shape[-2], width)
    flat = images.reshape(-1, *images.shape[-3:])
    out = np.empty((len(flat), height, width, images.shape[-1]), "uint8")
    total = row_sum * column_sum
    # In float64 the integers stay exact, and a few images, or some rows of a large one, at a time fit the cache.
    values = max(1, images.shape[-2] * images.shape[-1])
    strip = max(1, min(images.shape[-3], STRIP // values))
    step = max(1, min(512, STRIP // (strip * values)))
    for start in range(0, len(flat), step):
        batch = flat[start : start + step]
        sums = np.zeros((len(batch), images.shape[-1], height, images.shape[-2]))
        for top in range(0, images.shape[-3], strip):
            some = np.moveaxis(batch[:, top : top + strip], -1, 1).astype("float64")
            weights = rows[:, top : top + strip]
            reached = np.flatnonzero(weights.any(axis=1))
            sums[:, :, reached] += weights[reached] @ some
        batch = np.floor((2 * (sums @ columns.T) + total) / (2 * total))
        out[start : start + step] = np.moveaxis(batch, 1, -1)
    return out.reshape(*images.shape[:-3], *out.shape[1:])


def resize_masks(masks, size):
    """Class masks (..., height, width) of whole numbers at another size, by nearest neighbour: no label is invented."""
    height, width = height_width(size)
    masks = np.asarray(masks)
    if not np.issubdtype(masks.dtype, np.integer) or masks.ndim < 2:
        raise ValueError(
            f"resize_masks: whole numbers (..., height, width) expected, got {masks.dtype} {masks.shape}"
        )
    rows, columns = (
        ((2 * np.arange(new) + 1) * old) // (2 * new)
        for new, old in zip((height, width), masks.shape[-2:], strict=True)
    )
    return masks[..., rows[:, None], columns]


def axis_weights(before, after):
    """Integer weights (after, before) of one axis, and the sum of each row."""
    new, old = np.arange(after)[:, None], np.arange(before)[None, :]
    if after <= before:
        # Overlap of the new pixel's span with the old one's, both times before * after.
        overlap = np.minimum((new + 1) * before, (old + 1) * after) - np.maximum(new * before, old * after)
        return np.maximum(overlap, 0).astype("float64"), before
    centre = np.clip((2 * new + 1) * before - after, 0, 2 * after * (before - 1))
    return np.maximum(2 * after - np.abs(centre - 2 * after * old), 0).astype("float64"), 2 * after

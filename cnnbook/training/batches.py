"""Batches of images, augmented image by image; order and draws are functions of a seed."""

import math

import keras
import numpy as np

from .. import graph, segmentation
from ..arguments import array, whole_number

__all__ = ["Batches", "augment", "augment_together", "seed", "targets_of"]


def seed(number):
    """Seeds Python, NumPy and the backend: the same numbers again on the same machine with the same threads."""
    keras.utils.set_random_seed(whole_number(number, "seed", least=0, most=2**32 - 1))


class Batches(keras.utils.PyDataset):
    """Shuffled batches of images (n, h, w, c) and labels, augmented image by image.

    shift: each image is padded by that many pixels of zeros and cropped back at a random place; mirror: half of the
    images are mirrored. Order and draws are functions of `seed` and the epoch. Labels are integers (n,), or masks (n, h, w),
    which move with their images, as do pixel_weights (n, h, w); the padding is then the image mirrored at its edge, since
    zeros have no class. targets: a function that makes of the labels, and weights, of a batch what the net is trained
    on. part: a function that gives, for a batch of n images, the slice that this process feeds, where several share it;
    order and draws are the same for all. epoch: the one to start with.
    """

    def __init__(
        self,
        x,
        y,
        *,
        batch_size=128,
        shift=4,
        mirror=True,
        seed=0,
        pixel_weights=None,
        targets=lambda *maps: maps,
        part=slice,  # slice(n): all of n
        epoch=0,
    ):
        super().__init__()
        self.x, self.y, self.batch_size = array(x, "x"), array(y, "y"), batch_size
        self.shift, self.mirror, self.seed, self.epoch = shift, mirror, seed, epoch
        self.pixel_weights = None if pixel_weights is None else array(pixel_weights, "pixel_weights")
        self.targets, self.part = targets, part
        self.on_epoch_begin()

    def on_epoch_begin(self):
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def on_epoch_end(self):
        self.epoch += 1
        self.on_epoch_begin()

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def draws(self, index):
        """What decides batch `index` of this epoch: the numbers of its images (b,), and their shifts and mirrorings as
        `drawn` gives them. Both ways of training go by it: batches that are made here, and images that lie on the card.
        """
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return chosen, *drawn(rng, len(chosen), shift=self.shift, mirror=self.mirror)

    def __getitem__(self, index):
        draws = self.draws(index)
        chosen, *moves = (d if d is None else d[..., self.part(len(draws[0]))] for d in draws)
        x, *maps = (a[chosen] for a in (self.x, self.y, self.pixel_weights) if a is not None)
        if np.ndim(self.y) == 1:
            return moved([x], *moves, border="constant")[0], *self.targets(*maps)
        x, *maps = moved([x, *maps], *moves, border="reflect")
        return x, *self.targets(*maps)


def arrays_of(model, x, y, validation=None, pixel_weights=None):
    """What `fit` is given to train on and to measure, as arrays: x, y, (x, y) held out or None, pixel_weights or None.

    ValueError for what makes no array of numbers, by its name, for weights that are not one for each of y's pixels, and
    for images of a size that a net with a class for every pixel does not take; and for a net without a graph.
    """
    graph.as_functional(model)
    x, y = array(x, "x"), array(y, "y")
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            size = (
                getattr(validation, "shape", None) or getattr(validation, "__len__", lambda: "unknown size")()
            )
            raise ValueError(f"validation is (images, labels), got a {type(validation).__name__} of {size}")
        validation = array(validation[0], "validation's x"), array(validation[1], "validation's y")
    if pixel_weights is not None:
        pixel_weights = array(pixel_weights, "pixel_weights")
        if y.ndim != 3 or pixel_weights.shape != y.shape:
            raise ValueError(
                "pixel_weights are for a net with a class for every pixel, one for each pixel of the masks: y has the shape "
                f"{y.shape}, got {pixel_weights.shape}"
            )
    for images in (x, *(validation or ())[:1]):
        check_size(model, images)
    return x, y, validation, pixel_weights


def check_size(model, images):
    """ValueError where a net of any size, with a class for every pixel, does not take images (n, h, w, c) of this one."""
    if len(model.outputs[0].shape) != 4 or len(model.input_shape) != 4 or images.ndim != 4:
        return
    if None in model.input_shape[1:3] and _readable(model):
        segmentation.output_size(model, *images.shape[1:3])


def _readable(model):
    try:
        return bool(graph.flatten(model))
    except ValueError:
        return False


def augment(images, rng, *, shift=4, mirror=True):
    """The standard augmentation of (n, h, w, c) images: every image gets its own shift and its own mirroring."""
    return augment_together([images], rng, shift=shift, mirror=mirror, border="constant")[0]


def augment_together(maps, rng, *, shift=4, mirror=True, border="reflect"):
    """Images (n, h, w, c) and what belongs to their pixels, masks or weights (n, h, w): one draw for all maps of an image.

    border: what a shift brings in, as in numpy.pad: "reflect", or "constant" for zeros. Labels are moved, never mixed.
    """
    maps = [array(m, "each of the maps") for m in maps]
    return moved(maps, *drawn(rng, len(maps[0]), shift=shift, mirror=mirror), border=border)


def drawn(rng, n, *, shift, mirror):
    """The draws for n images: shifts (2, n), by how many pixels, -shift to shift, each looks further down and to the
    right, and flips (n,), True where it is mirrored afterwards; None for what is not asked for."""
    shifts = rng.integers(0, 2 * shift + 1, (2, n)) - shift if shift else None
    flips = rng.random(n) < 0.5 if mirror else None
    return shifts, flips


def moved(maps, shifts, flips, *, border):
    """Maps (n, h, w, ...), all moved by the shifts (2, n) and mirrored by the flips (n,) of `drawn`."""
    count, height, width = maps[0].shape[:3]
    if shifts is not None and count:
        most = int(np.abs(shifts).max())
        top, left = shifts + most
        rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
        view = np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
        sides = (0, 0), (most, most), (most, most)
        maps = [np.pad(m, (*sides, *[(0, 0)] * (m.ndim - 3)), mode=border)[view] for m in maps]
    if flips is not None:
        maps = [np.where(flips.reshape(count, *[1] * (m.ndim - 1)), m[:, :, ::-1], m) for m in maps]
    return maps


def targets_of(model):
    """A function of labels (b,), or of masks (b, h, w) and weights: what the net's outputs are compared with, masks cut to
    the size of the output, labels of one unit with an axis for it, everything once for every output."""

    def targets(*maps):
        if maps[0].ndim == 3:
            height, width = model.outputs[0].shape[1:3]
            maps = [segmentation.centre(m, height or m.shape[1], width or m.shape[2]) for m in maps]
        maps = [maps[0][..., None] if model.outputs[0].shape[-1] == 1 else maps[0], *maps[1:]]
        return [(m,) * len(model.outputs) if len(model.outputs) > 1 else m for m in maps]

    return targets

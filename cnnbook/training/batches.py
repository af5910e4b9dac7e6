"""Batches of images, augmented image by image; order and draws are functions of a seed."""

import math

import keras
import numpy as np

__all__ = ["Batches", "augment", "augment_together", "seed"]


def seed(number):
    """Seeds Python, NumPy and the backend: the same numbers again on the same machine with the same threads."""
    keras.utils.set_random_seed(number)


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
        self.x, self.y, self.batch_size = x, y, batch_size
        self.shift, self.mirror, self.seed, self.epoch = shift, mirror, seed, epoch
        self.pixel_weights, self.targets, self.part = pixel_weights, targets, part
        self.on_epoch_begin()

    def on_epoch_begin(self):
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def on_epoch_end(self):
        self.epoch += 1
        self.on_epoch_begin()

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        options = dict(shift=self.shift, mirror=self.mirror, part=self.part(len(chosen)))
        if np.ndim(self.y) == 1:
            return augment(self.x[chosen], rng, **options), *self.targets(self.y[chosen][options["part"]])
        maps = [a[chosen] for a in (self.x, self.y, self.pixel_weights) if a is not None]
        x, *maps = augment_together(maps, rng, **options)
        return x, *self.targets(*maps)


def augment(images, rng, *, shift=4, mirror=True, part=slice(None)):
    """The standard augmentation of (n, h, w, c) images: every image gets its own shift and its own mirroring."""
    return augment_together([images], rng, shift=shift, mirror=mirror, border="constant", part=part)[0]


def augment_together(maps, rng, *, shift=4, mirror=True, border="reflect", part=slice(None)):
    """Images (n, h, w, c) and what belongs to their pixels, masks or weights (n, h, w): one draw for all maps of an image.

    border: what a shift brings in, as in numpy.pad: "reflect", or "constant" for zeros. Labels are moved, never mixed.
    part: the slice of the images that is returned; what is drawn for them does not depend on it.
    """
    n, height, width = maps[0].shape[:3]
    maps = [m[part] for m in maps]
    count = len(maps[0])
    if shift:
        top, left = rng.integers(0, 2 * shift + 1, (2, n))[:, part]
        rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
        view = np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
        sides = (0, 0), (shift, shift), (shift, shift)
        maps = [np.pad(m, (*sides, *[(0, 0)] * (m.ndim - 3)), mode=border)[view] for m in maps]
    if mirror:
        flip = (rng.random(n) < 0.5)[part]
        maps = [np.where(flip.reshape(count, *[1] * (m.ndim - 1)), m[:, :, ::-1], m) for m in maps]
    return maps

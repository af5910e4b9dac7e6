"""Masks: their values, their size, and how much of them is foreground."""

import numpy as np

from .. import segmentation
from .given import NotLooked, percent
from .report import Finding

__all__ = ["masks"]


def masks(given):
    """Values, size against the net's output, shares of the classes."""
    y = given.y
    if not given.dense:
        raise NotLooked("")  # `labels` looks at them
    if len(given.x) != len(y):
        raise NotLooked(
            f"{len(given.x):,} images and {len(y):,} masks: apply every choice to both by the same index"
        )
    if y.ndim not in (3, 4):
        wanted = (
            f"one for each pixel, (n, {given.x.shape[1]}, {given.x.shape[2]})"
            if given.x.ndim == 4
            else "(n, h, w)"
        )
        return "", [
            Finding(
                "shape of masks",
                f"masks of shape {y.shape}, and the net gives a class for every pixel",
                "labels of whole images were given",
                f"give masks: {wanted}",
            )
        ]
    found = [*_values(given), *_sizes(given)]
    numbers = given.numbers
    if any(f.kind.startswith("mask values") for f in found) or numbers is None or numbers.ndim != 3:
        return "", found
    values, counts = np.unique(numbers, return_counts=True)
    shares = counts / counts.sum()
    most = int(values[shares.argmax()])
    found += _foreground(numbers, most, float(shares.max()))
    text = ", ".join(f"{v}: {percent(s)}" for v, s in list(zip(values, shares, strict=True))[:8])
    return f"{numbers.shape[1]} x {numbers.shape[2]}, shares of the classes {text}", found


def _values(given):
    """Values that are no class of the net."""
    y, classes = given.y, given.classes
    if y.ndim == 4 and y.shape[-1] > 1:
        return [] if given.one_hot or y.shape[-1] == given.units else [_colours(given)]
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        return [
            Finding(
                "mask values: not finite", "masks hold nan", "a division by zero", "look at np.isnan(masks)"
            )
        ]
    values = np.unique(y)
    low, high = float(values[0]), float(values[-1])
    whole = bool((values == np.floor(values)).all())
    if classes is None or (whole and low >= 0 and high < classes):
        return []
    span, top = high - low, 255 if high > 1 else 1
    between = float(((y > low + 0.01 * span) & (y < high - 0.01 * span)).mean()) if span else 0.0
    seen = f"masks hold {len(values)} values from {low:g} to {high:g}, and the net's classes are 0 to {classes - 1}"
    if classes == 2 and high in (1, 255) and low == 0 and len(values) > 2:
        return [
            Finding(
                "mask values between classes",
                f"{seen}; {percent(between)} of the pixels lie between the two ends",
                "the masks were resized as images are, by means of neighbours, or saved as JPEG, so edges have values that "
                "no class has",
                f"(masks > {top / 2:g}).astype('uint8') now; resize by data.resize_masks, the nearest neighbour; save PNG",
            )
        ]
    if len(values) <= 2 and high > 1 and classes == 2:
        return [
            Finding(
                "mask values not 0 and 1",
                seen,
                "files keep masks as black and white, 0 and 255, or count classes from 1; such a label makes the "
                "cross-entropy huge or negative, so the loss falls without end, or the mask is all one class",
                f"(masks > {(low + high) / 2:g}).astype('uint8')",
            )
        ]
    return [
        Finding(
            "mask values outside the classes",
            seen,
            "a border of 255 that is to be left out, classes counted from 1, or masks resized by means of neighbours",
            "np.unique(masks, return_inverse=True) numbers them from 0; give a border a weight of 0 (pixel_weights of "
            "training.fit); resize masks by data.resize_masks",
        )
    ]


def _colours(given):
    return Finding(
        "mask values: colours",
        f"masks have {given.y.shape[-1]} channels, the net {given.units} units",
        "the masks were read as colour images",
        "read one channel, masks[..., 0], and make a whole number of every colour",
    )


def _sizes(given):
    """The masks' sides against those of images and output."""
    if given.x.ndim != 4 or not given.fits:
        return []
    sides, image = given.y.shape[1:3], given.x.shape[1:3]
    try:
        output = segmentation.output_size(given.model, *image)
    except ValueError as error:
        return [
            Finding(
                "size of images",
                str(error).partition("\n")[0],
                "maps of the net do not fit together",
                "crop or resize",
            )
        ]
    if sides in (output, image):
        return []  # of an output without padding the middle of the mask counts: segmentation.centre
    return [
        Finding(
            "size of masks",
            _size_text(sides, image, output),
            "images and masks were resized differently",
            f"data.resize_masks(masks, {image})",
        )
    ]


def _size_text(sides, image, output):
    masks_, images_, outputs = (f"{h} x {w}" for h, w in (sides, image, output))
    return f"masks are {masks_}, images {images_}, the net's output {outputs}"


def _foreground(numbers, most, share):
    found = []
    empty = float((numbers == most).all(axis=(1, 2)).mean())
    if share == 1:
        return [
            Finding(
                "masks all one class",
                f"all pixels of all {len(numbers):,} masks are class {most}",
                "a threshold above all values, whole numbers divided without a rest (128 // 255), or the wrong files",
                "look at np.unique of one file as it was read",
            )
        ]
    if share > 0.95:
        found.append(
            Finding(
                "little foreground",
                f"{percent(1 - share)} of the pixels are not class {most}: a mask that is all {most} is right in "
                f"{percent(share)} of them",
                "the foreground is small, so a net that ignores it has a low loss, a high accuracy and a black mask",
                "measure segmentation.iou instead of the accuracy; train with segmentation.dice_loss, or with pixel_weights "
                "that give the foreground its due; cut the images around it",
            )
        )
    if empty > 0.5:
        found.append(
            Finding(
                "empty masks",
                f"{percent(empty)} of the masks show class {most} alone",
                "images without an object, or masks whose files were not found",
                "count them by masks.any(axis=(1, 2)); leave out most of the images without an object",
            )
        )
    return found

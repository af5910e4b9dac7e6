"""Images and labels: values, shapes, shares, and images that contradict each other."""

import hashlib

import numpy as np

from .. import graph
from .given import NotLooked, percent
from .report import Finding

__all__ = ["images", "labels"]

# Kinds of rows that bring pixels to a scale of their own, whatever they were before.
SCALES = (
    "Rescaling",
    "Normalization",
    "Preprocess",
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
)
# Pixels of which the largest is beyond this are taken for unscaled.
LARGE = 20


def images(given):
    """Their shape, and their values."""
    x, shape = given.x, getattr(given.model, "input_shape", None)
    if isinstance(shape, list | dict):
        raise NotLooked("the net reads several inputs")
    found = [] if shape is None or given.fits else [_shape(x, shape)]
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        number = int((~np.isfinite(x).reshape(len(x), -1).all(1)).sum())
        found.append(
            Finding(
                "images not finite",
                f"{number:,} of {len(x):,} images hold nan or infinity",
                "a division by a deviation of zero, a logarithm of zero, or damaged files; one is enough for a loss of nan",
                "find them by np.isnan(images).any(axis=(1, 2, 3)); divide by (deviation + 1e-6)",
            )
        )
        return "", found
    low, high = float(x.min()), float(x.max())
    found += [*_values(given, low, high), *_constant(x)]
    return f"{len(x):,} of {x.shape[1:]}, values from {low:.3g} to {high:.3g}", found


def _shape(x, shape):
    cause, cure = (
        "they are made for another net",
        f"give images of {shape[1:]}, or build the net with input_shape={x.shape[1:]}",
    )
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[-1] not in (1, 3):
        cause, cure = "their channels come first, as in PyTorch", "np.moveaxis(images, 1, -1)"
    elif x.ndim == 3 and len(shape) == 4:
        cause, cure = "grey images without an axis of channels", "images[..., None]"
    elif x.ndim == len(shape) and (shape[-1], x.shape[-1]) == (3, 1):
        cause, cure = "grey images for a net of colours", "np.repeat(images, 3, axis=-1)"
    elif x.ndim == len(shape) == 4 and x.shape[-1] == 4:
        cause, cure = "a fourth channel, opacity, as many PNG files have", "images[..., :3]"
    elif x.ndim == len(shape) == 4 and x.shape[-1] == shape[-1]:
        sides = shape[1:3]
        cause, cure = (
            "they have another size",
            f"cnnbook.data.resize(images, {sides}), masks by data.resize_masks",
        )
    return Finding("shape of images", f"images are {x.shape[1:]}, the net reads {shape[1:]}", cause, cure)


def _values(given, low, high):
    """Pixels that nothing scales, and pixels that are scaled twice."""
    rows = _before_the_first_kernel(given.model)
    if rows is None:
        return []
    scaled = [row for row in rows if row.kind in SCALES]
    if not scaled and low >= 0 and high > LARGE:
        return [
            Finding(
                "pixels not scaled",
                f"images hold values from {low:.3g} to {high:.3g}, and nothing before the net's first kernel scales them",
                "pixels are given as they lie in the file; what the first layer gives is then some hundred times too large, "
                "the loss begins far above a guess, and the first steps throw the weights far off",
                "(images - mean) / deviation, both of the training images: data.load(...).standardised(); or begin the net "
                "with keras.layers.Rescaling(1 / 255); a net with trained weights wants models.preprocess(net)",
            )
        ]
    most = max((np.max(row.operation.scale) * high for row in scaled if row.kind == "Rescaling"), default=1.0)
    if low >= 0 and most < 0.05:
        return [
            Finding(
                "pixels scaled twice",
                f"images hold values from {low:.3g} to {high:.3g}, and the net has a Rescaling of its own: what reaches "
                f"the first kernel is at most {most:.2g}",
                "the images were divided by 255 before, and are divided again",
                "give the pixels as they are, 0 to 255, or take the layer out",
            )
        ]
    return []


def _before_the_first_kernel(model):
    """The rows in front of the first convolution or dense layer; None where the net has no graph."""
    try:
        rows = graph.trace(model)
    except ValueError:
        return None
    first = next((i for i, row in enumerate(rows) if row.group in ("conv", "dense")), len(rows))
    return rows[:first]


def _constant(x):
    flat = x.reshape(len(x), -1)
    constant = (flat == flat[:, :1]).all(1)
    if len(x) > 1 and (flat == flat[:1]).all():
        return [
            Finding(
                "images all equal",
                f"all {len(x):,} images are the same",
                "the same file was read again and again, or an index was left out in the loop that reads them",
                "look at three of them: plt.imshow(images[0]), images[1], images[2]",
            )
        ]
    if constant.mean() > 0.02:
        return [
            Finding(
                "constant images",
                f"{int(constant.sum()):,} of {len(x):,} images have one value in all their pixels",
                "files that could not be read, arrays of zeros that were never filled, or a division of whole numbers",
                "look at images[np.ptp(images, axis=(1, 2, 3)) == 0] and leave these out",
            )
        ]
    return []


# --------------------------------------------------------------------------- labels


def labels(given):
    """Labels of whole images: how many, which, how often, and whether equal images have different ones."""
    x, y, numbers = given.x, given.y, given.numbers
    if given.dense or (numbers is not None and numbers.ndim > 1 and y.ndim >= 3):
        raise NotLooked("")  # `masks` looks at them
    if len(x) != len(y):
        return "", [
            Finding(
                "another number of labels",
                f"{len(x):,} images and {len(y):,} labels",
                "a filter was applied to one of the two",
                "apply it to both by the same index",
            )
        ]
    if numbers is None or numbers.ndim != 1:
        return _no_whole_numbers(y)
    found, classes = [], given.classes
    seen = np.unique(numbers)
    if classes is not None and not 0 <= seen[0] <= seen[-1] < classes:
        found.append(_outside(numbers, classes))
    shares = np.sort(np.unique(numbers, return_counts=True)[1])[::-1] / len(numbers)
    found += _shares(numbers, shares, classes) + _contradictions(x, numbers)
    text = f"{len(seen)} classes, the most frequent {percent(shares[0])}: what a constant guess is right in"
    return text, found


def _no_whole_numbers(y):
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        found = Finding(
            "labels not finite",
            f"{int((~np.isfinite(y)).sum()):,} labels are nan or infinity",
            "a missing value in the table that they were read from",
            "leave these images out: keep = np.isfinite(labels); images[keep], labels[keep]",
        )
        return "", [found]
    raise NotLooked(f"they are no whole numbers and not one-hot: an array of {y.dtype}, {y.shape}")


def _outside(numbers, classes):
    low, high = int(numbers.min()), int(numbers.max())
    cause, cure = "the net was built for fewer classes", f"build it with classes={high + 1}"
    if low == 1 and high == classes:
        cause, cure = "the classes are counted from 1, and Keras counts from 0", "labels - 1"
    elif low < 0:
        cause, cure = (
            "labels such as -1 and 1, or -1 for what has no label",
            "np.unique(labels, return_inverse=True)[1]",
        )
    share = ((numbers < 0) | (numbers >= classes)).mean()
    return Finding(
        "labels outside the classes",
        f"labels go from {low} to {high}, the net tells 0 to {classes - 1} apart: {percent(share)} of them are no class "
        "of it; on a CPU TensorFlow then stops, on a GPU the loss is nan or wrong",
        cause,
        cure,
    )


def _shares(numbers, shares, classes):
    if len(shares) == 1 and len(numbers) > 1:
        return [
            Finding(
                "one class only",
                f"all {len(numbers):,} labels are {numbers[0]}",
                "the images are sorted by class and the first were taken, or the file names were split wrongly",
                "shuffle before you split: order = np.random.default_rng(0).permutation(len(images))",
            )
        ]
    found = []
    if shares[0] > 0.8:
        found.append(
            Finding(
                "one class dominates",
                f"{percent(shares[0])} of the labels are one class: whoever always says it is right in as many",
                "the classes are not balanced, so the accuracy says little",
                "compare with that number, look at the recall of every class, and weigh the classes: fit(class_weight=...)",
            )
        )
    if classes is not None and len(numbers) < 5 * min(classes, max(len(shares), 2)):
        found.append(
            Finding(
                "few images",
                f"{len(numbers):,} images for {classes} classes",
                "with fewer than five a class hardly any net learns from nothing, and no share measured on them is sure",
                "give more of them, or take trained features: cnnbook.transfer.classifier(folder)",
            )
        )
    return found


def _contradictions(x, numbers):
    """Equal images with different labels."""
    seen, wrong, pairs = {}, 0, set()
    for image, label in zip(x, numbers.tolist(), strict=True):
        if np.ptp(image) == 0:
            continue  # a blank image is another finding
        first = seen.setdefault(
            hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), label
        )
        if first != label:
            wrong += 1
            pairs.add((first, label))
    if wrong <= 0.005 * len(x):
        return []
    first = ", ".join(f"{a} and {b}" for a, b in sorted(pairs)[:3])
    return [
        Finding(
            "equal images, different labels",
            f"{wrong:,} of {len(x):,} images are equal to one with another label ({first})",
            "images and labels were shuffled apart, files were copied into two folders, or an image has several classes",
            "leave copies out, and shuffle both by one index; with several classes an image end in a sigmoid",
        )
    ]

"""A class for every pixel: scores, losses, and prediction of images larger than the net.

Labels are integers (n, h, w) or (h, w), 0 the first class; predictions have a last axis of classes, or of one unit. They
are probabilities unless from_logits=True; `training.fit` and `viz.segmented` see by the net which they are. Scores are
NumPy; losses are tensors, for `training.fit(loss=...)` and for `gradients.of_weights`.
"""

import keras
import numpy as np
from keras import ops

from . import graph
from .arguments import whole_number, whole_numbers
from .keras_internals import calls_in, filled_in

__all__ = [
    "boundary_f",
    "centre",
    "confusion",
    "dice",
    "dice_loss",
    "focal_loss",
    "iou",
    "labels",
    "mean_iou",
    "outline",
    "output_size",
    "pixel_accuracy",
    "predict_tiled",
    "weighted_cross_entropy",
]

# --------------------------------------------------------------------------- labels


def labels(predictions, *, from_logits=False):
    """The most probable class of every pixel, int64 (..., h, w); with one channel: 1 where it is at least 1/2.

    from_logits: whether one channel is a logit, which stands for 1/2 at 0. ValueError for one that is no probability.
    """
    predictions = np.asarray(predictions)
    if predictions.shape[-1] > 1:
        return predictions.argmax(-1)
    _check_range(predictions, from_logits)
    return (predictions[..., 0] >= (0 if from_logits else 0.5)).astype("int64")


def _check_range(predictions, from_logits):
    """ValueError for predictions that cannot be what they are taken for, where their values can be looked at."""
    try:
        p = np.asarray(predictions)
    except Exception:  # a tensor inside of a compiled function has none; each backend has an error of its own
        return
    if not from_logits and p.size and (p.min() < -1e-3 or p.max() > 1 + 1e-3):
        raise ValueError(
            f"probabilities are from 0 to 1, and these predictions go from {float(p.min()):.4g} to {float(p.max()):.4g}: "
            "of logits, from_logits=True"
        )


def centre(masks, height, width):
    """The centre of masks (n, h, w): (n, height, width), as the output of a net with valid convolutions has it.

    ValueError where the masks are smaller.
    """
    excess = masks.shape[1] - height, masks.shape[2] - width
    if min(excess) < 0:
        raise ValueError(f"masks of {masks.shape[1:3]} have no part of {height} x {width}")
    top, left = excess[0] // 2, excess[1] // 2
    return masks[:, top : top + height, left : left + width]


# --------------------------------------------------------------------------- scores


def _pair(truth, predicted):
    """True and predicted labels of one shape, whole numbers; ValueError for probabilities and other shapes."""
    truth, predicted = whole_numbers(truth, "true labels"), whole_numbers(predicted, "predicted labels")
    if truth.shape != predicted.shape:
        raise ValueError(
            f"as many true as predicted labels: true ones {truth.shape} and predicted ones {predicted.shape} differ in shape"
        )
    return truth, predicted


def confusion(truth, predicted, classes):
    """Pixel counts, int64 (classes, classes): the true class by row, the predicted one by column.

    truth, predicted: labels of one shape. ValueError where shapes differ, or a label is not 0 to classes - 1.
    """
    truth, predicted = (array.ravel() for array in _pair(truth, predicted))
    for name, values in (("true", truth), ("predicted", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} labels are 0 to {classes - 1}, got {values.min()} to {values.max()}")
    pairs = truth.astype("int64") * classes + predicted.astype("int64")
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(truth, predicted, classes):
    """Intersection over union of each class over all pixels, float64 (classes,); nan for a class in neither."""
    table = confusion(truth, predicted, classes)
    both = np.diag(table)
    return _ratio(both, table.sum(0) + table.sum(1) - both)


def mean_iou(truth, predicted, classes):
    """The mean of `iou` over the classes that occur in truth or prediction."""
    return float(np.nanmean(iou(truth, predicted, classes)))


def dice(truth, predicted, classes):
    """2 |A and B| / (|A| + |B|) of each class, float64 (classes,), nan for a class in neither: 2 iou / (1 + iou)."""
    table = confusion(truth, predicted, classes)
    return _ratio(2 * np.diag(table), table.sum(0) + table.sum(1))


def pixel_accuracy(truth, predicted):
    """The share of pixels whose class is right; truth and predicted are labels of one shape."""
    truth, predicted = _pair(truth, predicted)
    return float(np.mean(truth == predicted))


def boundary_f(truth, predicted, classes, *, tolerance=2):
    """The F-score of each class' outline, float64 (classes,), nan for a class that no image has (Csurka et al. 2013).

    For the `outline` of a class precision is the share of the predicted one at most `tolerance` pixels from the true one,
    recall the other way round; the score is their harmonic mean, averaged over the images (n, h, w) that have the class in
    truth or prediction. Needs SciPy. ValueError for labels of different shapes.
    """
    truth, predicted = (a if a.ndim == 3 else a[None] for a in _pair(truth, predicted))
    scores = np.full((len(truth), classes), np.nan)
    for i, pair in enumerate(zip(truth, predicted, strict=True)):
        for k in range(classes):
            outlines = [outline(image == k) for image in pair]
            if not any(lines.any() for lines in outlines):
                continue
            near = [_within(lines, tolerance) for lines in outlines]
            shares = [(outlines[a] & near[1 - a]).sum() / max(outlines[a].sum(), 1) for a in (0, 1)]
            scores[i, k] = 2 * shares[0] * shares[1] / (shares[0] + shares[1]) if sum(shares) else 0.0
    scored = ~np.isnan(scores)
    return _ratio(np.where(scored, scores, 0).sum(0), scored.sum(0))


def _ratio(above, below):
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)


def outline(mask):
    """The pixels of a mask, bool (h, w), with a neighbour above, below, left or right that is not in it: bool (h, w).

    The edge of the image is no outline. Needs SciPy.
    """
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _within(mask, distance):
    """All pixels at most `distance` pixels away from one in `mask`."""
    from scipy import ndimage

    rows, columns = np.mgrid[-distance : distance + 1, -distance : distance + 1]
    return ndimage.binary_dilation(mask, rows**2 + columns**2 <= distance**2)


# --------------------------------------------------------------------------- losses


def weighted_cross_entropy(labels, predictions, weights=None, *, from_logits=False):
    """The mean over pixels of weight x cross-entropy, a scalar: eq. 1 of the U-Net paper (arXiv:1505.04597) per pixel.

    labels (n, h, w) or (n, h, w, 1), predictions (n, h, w, classes), weights (n, h, w): Keras' cross-entropy, binary for one
    channel, with `weights` as its sample_weight.
    """
    _check_range(predictions, from_logits)
    if predictions.shape[-1] == 1:
        loss, labels = (
            keras.losses.BinaryCrossentropy(from_logits=from_logits),
            _without_channel(labels)[..., None],
        )
    else:
        loss, labels = (
            keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
            _without_channel(labels),
        )
    return loss(labels, predictions, sample_weight=weights)


def dice_loss(labels, predictions, *, from_logits=False, smooth=1.0):
    """1 - the mean over classes of (2 sum p t + smooth) / (sum p + sum t + smooth), for each image: (n,).

    labels (n, h, w), predictions (n, h, w, classes). Milletari et al. 2016 for each class, with plain sums. Every class
    counts alike, however few its pixels; `smooth` (in pixels) keeps a class that an image lacks from counting, which
    Keras' own Dice does not: there such a class is a loss of 1, whatever the net says.
    """
    _check_range(predictions, from_logits)
    p = _probabilities(predictions, from_logits)
    t = ops.one_hot(ops.cast(_without_channel(labels), "int32"), p.shape[-1], dtype=p.dtype)
    both, sizes = ops.sum(p * t, (1, 2)), ops.sum(p, (1, 2)) + ops.sum(t, (1, 2))
    return 1 - ops.mean((2 * both + smooth) / (sizes + smooth), -1)


def focal_loss(labels, predictions, *, gamma=2.0, from_logits=False):
    """-(1 - p)^gamma log p of every pixel's true class, (n, h, w): what is right already counts little (Lin et al. 2017).

    labels (n, h, w), predictions (n, h, w, classes): Keras' focal cross-entropy, binary for one channel, without the weights
    alpha of the classes.
    """
    _check_range(predictions, from_logits)
    labels, classes = _without_channel(labels), predictions.shape[-1]
    if classes == 1:
        return keras.losses.binary_focal_crossentropy(
            labels if len(labels.shape) == len(predictions.shape) else labels[..., None],
            predictions,
            gamma=gamma,
            from_logits=from_logits,
        )
    one_hot = ops.one_hot(ops.cast(labels, "int32"), classes)
    return keras.losses.categorical_focal_crossentropy(
        one_hot, predictions, alpha=1.0, gamma=gamma, from_logits=from_logits
    )


def _without_channel(labels):
    """Labels (n, h, w), also of (n, h, w, 1)."""
    labels = ops.convert_to_tensor(labels)
    return labels[..., 0] if len(labels.shape) == 4 else labels


def _probabilities(predictions, from_logits):
    """Probabilities of at least two classes."""
    p = ops.convert_to_tensor(predictions)
    binary = p.shape[-1] == 1
    if from_logits:
        p = ops.sigmoid(p) if binary else ops.softmax(p, -1)
    return ops.concatenate([1 - p, p], -1) if binary else p


# --------------------------------------------------------------------------- images larger than the net


def predict_tiled(model, image, *, tile=None, overlap=None, batch_size=4):
    """The net's output for an image (h, w, channels) of any size, (h, w, classes), by overlapping tiles: U-Net, Fig. 2.

    tile: the side or (height, width) of a tile in pixels, the net's input size by default. overlap: pixels on each side of a
    tile's output that are discarded because they depend on the tile's border; 0 for nets with valid convolutions, an eighth
    of the tile for others. Beyond its edge the image is mirrored. Tiles start at multiples of the net's stride, so that
    pools fall on the same pixels in all: a net with valid convolutions gives what it would for the whole image at once.
    ValueError for another shape, a net with several outputs, and tiles that are too small or that the net does not take.
    """
    image = np.asarray(image)
    if image.ndim != 3 or min(image.shape[:2]) < 2:
        raise ValueError(f"one image (height, width, channels), at least 2 x 2, got shape {image.shape}")
    if len(model.outputs) > 1:
        raise ValueError(
            f"{model.name} has {len(model.outputs)} outputs: take one, as unet_plus_plus.prune does"
        )
    if tile is None and None in model.input_shape[1:3]:
        raise ValueError(f"{model.name} reads images of any size: give tile=, the side of a tile in pixels")
    tile = _tile(model.input_shape[1:3] if tile is None else tile)
    batch_size = whole_number(batch_size, "batch_size")
    overlap = None if overlap is None else whole_number(overlap, "overlap", least=0)
    out = output_size(model, *tile)
    stride = int(max(max(row.stride) for row in graph.trace(model) if row.stride))
    down, across = (_Axis(*sides, overlap, stride) for sides in zip(image.shape[:2], tile, out, strict=True))
    padded = np.pad(image, (down.padding, across.padding, (0, 0)), mode="reflect")
    places, result = [(r, c) for r in down.starts for c in across.starts], None
    for i in range(0, len(places), batch_size):
        batch = places[i : i + batch_size]
        tiles = np.stack([padded[r : r + tile[0], c : c + tile[1]] for r, c in batch])
        outputs = ops.convert_to_numpy(model(tiles, training=False))[:, down.kept, across.kept]
        if result is None:
            result = np.empty((down.total, across.total, outputs.shape[-1]), outputs.dtype)
        for (r, c), output in zip(batch, outputs, strict=True):
            result[r : r + output.shape[0], c : c + output.shape[1]] = output
    return result[down.image, across.image]


def _tile(tile):
    """(height, width) of a tile."""
    pair = tuple(tile) if np.ndim(tile) == 1 and len(tile) == 2 else (tile, tile)
    return tuple(whole_number(side, "tile") for side in pair)


def output_size(model, height, width):
    """(height, width) of a net's output, the first one's where it has several, for images of that size.

    ValueError where the net does not take such images, with the nearest sides that it takes: valid convolutions between
    pools leave maps that fit together at some sizes only, which a net of any size (None) finds out when it computes.
    """
    flat = graph.flatten(model)
    try:
        return _output_size(flat, height, width)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
    sides = [side for side in dict.fromkeys((height, width)) if not _takes(flat, side)]
    near = sorted({side for wrong in sides for side in _nearest(flat, wrong)})
    if near:
        *others, last = map(str, near)
        listed = (
            f"sides that it takes are {', '.join(others)} and {last}"
            if others
            else f"side that it takes is {last}"
        )
        reason += f"; the nearest {listed}"
    raise ValueError(f"{model.name} takes no images of {height} x {width} pixels: {reason}")


def _output_size(flat, height, width):
    """What every operation gives for such images, without computing; ValueError where maps do not fit together."""
    values = {id(tensor): keras.KerasTensor((1, height, width, tensor.shape[-1])) for tensor in flat.inputs}
    for call in calls_in(flat):
        if call.is_input:
            continue
        args, kwargs = filled_in(call, values)
        found = keras.tree.flatten(call.operation.compute_output_spec(*args, **kwargs))
        if isinstance(call.operation, keras.layers.Concatenate):
            # Keras leaves it to the backend to find out.
            sizes = [f"{v.shape[1]} x {v.shape[2]}" for v in keras.tree.flatten(args) if len(v.shape) == 4]
            if len(set(sizes)) > 1:
                raise ValueError(f"{call.operation.name} would join maps of {' and '.join(sizes)}")
        values |= {id(tensor): value for tensor, value in zip(call.outputs, found, strict=True)}
    return tuple(values[id(flat.outputs[0])].shape[1:3])


def _takes(flat, side):
    try:
        return min(_output_size(flat, side, side)) > 0
    except ValueError:
        return False


def _nearest(flat, side, reach=64):
    """The nearest sides below and above that a net takes, as far as there are any within reach."""
    ways = range(side - 1, max(side - reach, 0), -1), range(side + 1, side + reach)
    found = (next((other for other in way if _takes(flat, other)), None) for way in ways)
    return [side for side in found if side is not None]


class _Axis:
    """How tiles lie along one axis.

    Positions of tiles count from the padded image's first pixel, those of output from the first pixel that is kept.
    starts: of the tiles. kept: the part of a tile's output that is used. padding: (before, after) the image. total: length
    of all kept output; image: the part of it that is the image.
    """

    def __init__(self, side, tile, out, overlap, stride):
        overlap = (0 if tile > out else tile // 8) if overlap is None else overlap
        margin, keep = (tile - out) // 2 + overlap, out - 2 * overlap
        step = keep // stride * stride
        if step < 1 or overlap < 0:
            raise ValueError(
                f"tiles of {tile} pixels give {out}, less an overlap of {overlap} on both sides {keep}: at least the net's "
                f"stride, {stride}, must be left; give larger tiles or a smaller overlap"
            )
        before = -(-margin // stride) * stride
        early = before - margin  # kept output before the image begins
        self.starts = [k * step for k in range(max(0, -(-(side + early - keep) // step)) + 1)]
        self.kept = slice(overlap, overlap + keep)
        self.padding = before, max(0, self.starts[-1] + tile - before - side)
        self.total = self.starts[-1] + keep
        self.image = slice(early, early + side)

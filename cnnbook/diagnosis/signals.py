"""What a batch does in the net: how far images differ from layer to layer, gradients, units that are dead, the loss before
training, the predictions, and batch norm's moving statistics against those of the batch."""

import contextlib
import math
from dataclasses import dataclass

import keras
import numpy as np

from .. import graph
from ..training import gradients, statistics
from ..training.measures import gradient_norms
from .given import NotLooked, percent
from .report import Finding

__all__ = ["Pass", "look", "loss_and_predictions", "moving_statistics", "signal_and_gradient"]

# Images that are sent through the net, and images of which a gradient is taken.
MOST, FEW = 64, 16
# Numbers of a batch at the net's input, so that large images come in smaller batches.
NUMBERS = 64 * 64 * 64 * 3


@dataclass
class Pass:
    """images, numbers: the batch and its labels, cut to the output of a net with a class for each pixel. outputs: {whether
    in training mode: (n, ..., units)}. names, spread: of every layer with a kernel its name and how far images differ
    there, the root of the mean variance over the images; dead: {layer with a ReLU: share of its channels that are 0 for all
    images}; both in training mode."""

    images: np.ndarray
    numbers: np.ndarray
    outputs: dict
    names: list
    spread: np.ndarray
    dead: dict


def look(given):
    """The `Pass` of a batch, computed once and kept."""
    if not hasattr(given, "pass_"):
        given.computable()
        given.pass_ = _computed(given)
    if given.pass_ is None:
        raise NotLooked("the net could not compute these images")
    return given.pass_


def _computed(given):
    flat = _graph(given.model)
    rows = [] if flat is None else [r for r in graph.trace(given.model) if _told(r) and r.tensor is not None]
    tensors = [row.tensor for row in rows] + ([] if flat is None else [flat.outputs[0]])
    probe = given.model if flat is None else keras.Model(flat.inputs, tensors)
    images, numbers = given.few(_batch(given))

    def forward(x):
        plain = _first(given.model(x, training=False)) if flat is None else probe(x, training=False)
        *maps, out = keras.tree.flatten(probe(x, training=True))
        spread = [keras.ops.sqrt(keras.ops.mean(keras.ops.var(m, axis=0))) for m in maps]
        silent = [keras.ops.all(m == 0, axis=tuple(range(len(m.shape) - 1))) for m in maps]
        return keras.tree.flatten(plain)[-1], out, spread, silent

    try:
        plain, out, spread, silent = gradients.compiled(forward)(keras.ops.convert_to_tensor(images))
    except NotImplementedError as error:
        raise NotLooked(str(error)) from None
    except Exception as error:
        given.pass_ = None
        raise NotLooked(
            f"the net fails on these images: {str(error).strip().partition(chr(10))[0][:200]}"
        ) from error
    outputs = {False: _read(plain), True: _read(out)}
    if numbers.ndim == 3:
        numbers = _centre(numbers, outputs[False].shape[1:3])
    dead = {
        r.name: float(_read(s).mean()) for r, s in zip(rows, silent, strict=True) if _is_relu(r.operation)
    }
    kernels = [(r.name, float(s)) for r, s in zip(rows, spread, strict=True) if r.group in ("conv", "dense")]
    return Pass(images, numbers, outputs, [n for n, _ in kernels], np.array([s for _, s in kernels]), dead)


def _graph(model):
    try:
        return graph.flatten(model)
    except ValueError:
        return None


def _batch(given):
    sides = math.prod(given.x.shape[1:])
    return int(np.clip(NUMBERS // sides, FEW // 2, MOST))


def _first(outputs):
    return keras.tree.flatten(outputs)[:1]


def _read(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _centre(numbers, sides):
    from .. import segmentation

    with contextlib.suppress(ValueError):
        return segmentation.centre(numbers, *sides)
    raise NotLooked("the masks are smaller than the net's output")


def _told(row):
    return len(row.output_shape) in (1, 3) and (row.group in ("conv", "dense") or _is_relu(row.operation))


def _is_relu(operation):
    if isinstance(operation, keras.layers.ReLU):
        return True
    return getattr(getattr(operation, "activation", None), "__name__", "") in ("relu", "relu6")


# --------------------------------------------------------------------------- signal and gradient


def signal_and_gradient(given):
    """Whether images still differ at the end of the net, and whether its beginning has a gradient."""
    seen = look(given)
    if not len(seen.names):
        raise NotLooked("the net has no graph, or no kernel, to follow the images through")
    norms = _gradient_norms(given)
    found = _fading(given, seen, norms) + _dead(seen) + _lost_gradient(norms)
    last = max(len(seen.names) - 2, 0)  # behind the layer before the classes
    ends = {seen.names[place]: seen.spread[place] for place in (0, last)}
    text = "images differ by " + " and by ".join(
        f"{spread:.2g} behind {name}" for name, spread in ends.items()
    )
    if norms:
        first, last = list(norms)[0], list(norms)[-1]
        text += f"; the gradient is {norms[first]:.2g} long at {first}, {norms[last]:.2g} at {last}"
    return text, found


def _gradient_norms(given):
    """{layer: length of the loss' gradient}; empty where none can be taken."""
    with contextlib.suppress(ValueError, NotImplementedError):
        images, numbers = given.few(min(FEW, _batch(given)))
        if numbers.ndim == 3:
            numbers = _centre(numbers, look(given).outputs[False].shape[1:3])
        if given.known_end().kind != "sigmoid":
            return gradient_norms(given.model, images, numbers)
    return {}


# The images' spread at the last kernel, and that over the spread at the first one, below which the signal has faded.
FADED = 0.02


def _fading(given, seen, norms):
    """The spread from the first kernel to the last, in a net that still is to be trained."""
    spread, norms_ = seen.spread, [row for row in graph.trace(given.model) if row.group == "norm"]
    if len(spread) < 5 or not spread[0] > 0 or given.trained and _better_than_a_guess(given, seen):
        return []
    # The last layer squashes, or begins with zeros.
    last, where = spread[-2], seen.names[-2]
    if last < FADED * min(spread[0], 1.0):
        length = ""
        if norms:
            first, end = list(norms)[0], list(norms)[-1]
            length = f"; the gradient is {norms[first]:.1g} long at {first}, {norms[end]:.1g} at {end}"
        return [
            Finding(
                "signal fades",
                f"images differ by {spread[0]:.2g} behind {seen.names[0]} and by {last:.1g} behind {where}, "
                f"{len(spread) - 2} kernels deeper{length}",
                "each layer hands on less than it gets, so at the end all images look alike and no gradient comes back: "
                "a deep net without normalisation whose weights begin too small, or sigmoids in a row"
                + ("" if not norms_ else "; its normalisations come too late"),
                "batch norm behind each convolution (models.VGG16(batch_norm=True)), kernel_initializer='he_normal' before "
                "ReLUs, ReLU in place of sigmoid, or shortcuts",
            )
        ]
    if last > 1000 * max(spread[0], 1.0):
        return [
            Finding(
                "signal grows",
                f"images differ by {spread[0]:.2g} behind {seen.names[0]} and by {last:.2g} behind {where}, "
                f"{len(spread) - 2} kernels deeper",
                "each layer hands on more than it gets: weights that begin too large, or sums of shortcuts without "
                "normalisation",
                "batch norm, or kernel_initializer='he_normal'; a smaller learning rate only delays it",
            )
        ]
    return []


def _better_than_a_guess(given, seen):
    """Whether a trained net tells the images apart after all."""
    with contextlib.suppress(NotLooked):
        return _loss(given, seen, True) < 0.7 * math.log(given.classes)
    return True


def _dead(seen):
    dead = {name: share for name, share in seen.dead.items() if share > 0.9}
    if not dead:
        return []
    name = next(iter(dead))
    return [
        Finding(
            "dead units",
            f"{percent(dead[name])} of the channels of {name} are 0 for all {len(seen.images)} images"
            + (f", and so in {len(dead) - 1} more layers" if len(dead) > 1 else ""),
            "a step that was too long, or pixels that were not scaled, has pushed their sums below zero for every image, "
            "where a ReLU has no gradient: they stay dead",
            "build the net anew and take a tenth of the learning rate, or batch norm before the ReLU",
        )
    ]


def _lost_gradient(norms):
    lost = [name for name, length in norms.items() if not math.isfinite(length)]
    none = [name for name, length in norms.items() if length == 0]
    if lost:
        return [
            Finding(
                "gradient not finite",
                f"the gradient of {lost[0]} and of {len(lost) - 1} more layers is nan or infinite",
                "a number in the net has become too large, or the logarithm or root of zero is taken",
                "look at the findings above first; then keras.config.disable_traceback_filtering() and a smaller rate",
            )
        ]
    if norms and len(none) > len(norms) / 2:
        return [
            Finding(
                "no gradient",
                f"the gradient of {len(none)} of {len(norms)} kernels is exactly 0, that of {none[0]} among them",
                "nothing that these layers do reaches the loss: dead ReLUs, a rounding or an argmax in the net, or a branch "
                "that no output reads",
                "follow the net from its end with cnnbook.summary(model)",
            )
        ]
    return []


# --------------------------------------------------------------------------- loss and predictions


def _loss(given, seen, training):
    """The mean cross-entropy of the batch."""
    p = given.known_end().probabilities(seen.outputs[training])
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-7)
    own = np.take_along_axis(p, seen.numbers[..., None], -1)
    return float(-np.log(np.clip(own, 1e-7, 1)).mean())


def _accuracy(given, seen, training):
    return float((given.known_end().labels(seen.outputs[training]) == seen.numbers).mean())


def loss_and_predictions(given):
    """The loss against that of a guess, and whether a trained net gives all the same class."""
    seen, end = look(given), given.known_end()
    if not np.isfinite(seen.outputs[False]).all():
        return "", [
            Finding(
                "outputs not finite",
                f"the net gives nan or infinity for {len(seen.images)} images whose pixels are numbers",
                "its weights hold nan, or a number in it has become too large",
                "build the net anew, scale the pixels, and take a tenth of the learning rate",
            )
        ]
    guess, loss = math.log(given.classes), min(_loss(given, seen, mode) for mode in (False, True))
    text = f"loss {loss:.3g}, that of a guess among {given.classes} classes {guess:.3g}"
    found = []
    if loss > 2 * guess + 1:
        large = float(np.abs(seen.outputs[False]).max())
        found.append(
            Finding(
                "loss above a guess",
                f"the loss is {loss:.3g}, and whoever gives every class the same share has {guess:.3g}"
                + (f"; the largest score is {large:.3g}" if "logit" in end.kind else ""),
                "the net is sure and wrong: pixels of another scale than those it was trained on, classes in another order, "
                "or weights that begin too large",
                "scale as in training (models.preprocess(net) for ImageNet's weights); compare the order of the classes",
            )
        )
    labels = end.labels(seen.outputs[False])
    found += (_mask if given.dense else _one_class)(given, seen, labels)
    return text, found


def _after(given):
    return f"after {given.steps:,} steps " if given.steps else ""


def _one_class(given, seen, labels):
    classes, counts = np.unique(labels, return_counts=True)
    share, own = (
        counts.max() / counts.sum(),
        np.unique(seen.numbers, return_counts=True)[1].max() / len(labels),
    )
    if not given.trained or share < 0.98 or own > 0.8:
        return []
    return [
        Finding(
            "one class predicted",
            f"{_after(given)}{percent(share)} of {len(labels)} images are said to be class "
            f"{classes[counts.argmax()]}, which {percent(own)} are at most",
            "the net has learnt how frequent the classes are and nothing of the images: its signal fades, its rate is "
            "wrong, labels and images do not belong together, or its moving statistics are not those of the images",
            "see the other findings; where there are none, check by eye that ten images have their own labels",
        )
    ]


def _mask(given, seen, labels):
    """A mask that is all background though there is foreground."""
    truth = seen.numbers
    values, counts = np.unique(truth, return_counts=True)
    ground = values[counts.argmax()]
    there, said = float((truth != ground).mean()), float((labels != ground).mean())
    if not given.trained or there == 0 or said > 0.02 * there:
        return []
    p = given.known_end().probabilities(seen.outputs[False])
    other = 1 - p[..., ground]
    inside, outside = float(other[truth != ground].mean()), float(other[truth == ground].mean())
    seen_ = (
        f"{_after(given)}{percent(said)} of the pixels are said to be foreground, and {percent(there)} are; "
        f"its probability is {inside:.2g} inside and {outside:.2g} outside, {float(other.max()):.2g} at most"
    )
    if inside > 1.5 * outside:
        cause = "the net tells the two apart, and no pixel reaches the threshold: foreground is rare, so it says little"
        cure = (
            "train on; with segmentation.dice_loss or pixel_weights it goes quicker; or choose the threshold on validation "
            "images"
        )
    else:
        cause = "the net has learnt that most pixels are background, and nothing of the images yet"
        cure = "see the findings on masks and loss; where there are none, a larger rate and more steps"
    return [Finding("mask all background", seen_, cause, cure)]


# --------------------------------------------------------------------------- batch norm


def moving_statistics(given):
    """The same images with the batch's own statistics and with the moving averages."""
    layers = statistics._normalisations(given.model)
    if not layers:
        raise NotLooked("no batch norm is trained")
    seen, guess = look(given), math.log(given.classes)
    own, moving = (_loss(given, seen, mode) for mode in (True, False))
    text = f"loss {own:.3g} with the batch's statistics, {moving:.3g} with the moving ones"
    if own > 0.7 * guess or moving < 1.5 * own + 0.1:
        return text, []
    accuracies = [_accuracy(given, seen, mode) for mode in (True, False)]
    left = statistics.left_of_the_start(given.model, given.steps) if given.steps else None
    start = (
        ""
        if left is None
        else f"; after {given.steps} steps {percent(left)} of them are their starting values"
    )
    few = left is not None and left > statistics.SHARE
    return text, [
        Finding(
            "moving statistics",
            f"{text}; accuracy {accuracies[0]:.2f} and {accuracies[1]:.2f}{start}",
            "the run was too short for the averages to forget 0 and 1, with which they begin"
            if few
            else "the averages are of other images: of other data, of a net that has changed since, or moved by a fit on a "
            "nested net that was called with training=False, which fit overrides",
            "training.statistics.remeasure(model, batches of training images); train longer, or with momentum=0.9; freeze "
            "batch norms by trainable = False (transfer.freeze does)",
        )
    ]

"""Which pixels speak for a class? Nine answers, one signature: `method(model, image, ...)`, an `Attribution` each.

The arguments they share:

image        one image as the net takes it, (h, w, c); or as it is seen, with `preprocess`, the net's input scaling
target       a class index (or one of `names`); the class the net predicts if not given. One unit tells two classes, 0 and 1
mask         for a net whose output is a map: True in the region, (h, w) like the output; the pixels predicted
             as `target` if not given. The score is then the mean logit of `target` over the region (Vinogradova, Dibrov &
             Myers 2020, Seg-Grad-CAM, arXiv:2002.11434, take the sum)
layer        of the class activation maps: a layer or a stage; the last map before the global pool if not given
names        the classes' names, for the titles and as targets; those that the net carries if not given
output       which of several outputs, its place or its name; or what `graph.ending(model, output, kind=...)` gives, for a
             net that does not show how its output is to be read

The score is the logit, before softmax or sigmoid, of one unit for class 0 the negative one; where no logit can be had, the
probability or the output itself (`.question.measure`). Grad-CAM's maps stand where the units of the layer look, which their
receptive fields say; stretched over the image, as is often done, they lie up to half a stride away.
See `cnnbook.viz.why.sanity` for what to check before believing any of them.
"""

import textwrap

import keras
import numpy as np
from keras import layers as L
from keras import ops

from ...arguments import whole_number
from ...parts.layers import Labels
from .. import style
from ..entrance import numbers, scaled
from ..picture import Picture, bar, bare, heat_scale, picture, ratio_of
from ..reading import spread, twin
from .question import Question

METHODS = (
    *("cam", "grad_cam", "grad_cam_plus_plus", "score_cam", "saliency", "smooth_grad"),
    *("integrated_gradients", "guided_backprop", "deconvnet", "occlusion"),
)


class Attribution(Picture):
    """A number for each pixel: `.array` (height, width) of the image.

    values: before reduction to one number per pixel: the layer's map (h, w), or (height, width, channels). question: what
    was asked of the net (its `.score`, `.probability`, `.target`). signed: whether negative numbers speak against the class.
    note: what there is to say of the numbers; of a map that is 0 everywhere, why.
    """

    def __init__(
        self, question, array, values, title, unit, *, over=False, signed=False, layer=None, note=""
    ):
        self.question, self.array, self.values, self.title = question, array, values, title
        self.over, self.signed, self.layer, self.note, self.unit = over, signed, layer, note, unit
        self.shown = question.shown
        if not (np.isfinite(array).all() and np.isfinite(values).all()):
            raise ValueError(
                f"{title} of {question.net.model.name} for {question.label} is not finite: the {question.measure} is "
                f"{question.score:.4g}, but a number behind it overflows or has no value"
            )
        where = f" at {layer}" if layer else ""
        self.alt = f"{title}{where} for {question.label}: a heat map over the image, {array.shape[0]} x {array.shape[1]}"
        self.empty = not np.any(array)
        if self.empty:
            self.note = self.note or _no_slope(question)
            self.alt += f", which is 0 everywhere: {self.note}"
        if question.ending.kind is None:
            self.alt += f"; of the net's output as it is, since {question.ending.why}"
        elif question.target is None:
            self.alt += "; if it is a logit, names= of two classes, or target=, says so"

    def draw(self, axes):
        """The heat map on matplotlib axes, over the greyed image where it is a coarse one."""
        cmap, low, high = heat_scale(self.array, self.signed)
        if self.over:
            grey = self.shown if self.shown.ndim == 2 else self.shown.mean(-1)
            axes.imshow(0.25 + 0.75 * grey, cmap="gray", vmin=0, vmax=1)
        strength = np.clip(np.abs(self.array) / high, 0, 1)
        alpha = 0.85 * strength**0.6 if self.over else None
        drawn = axes.imshow(self.array, cmap=cmap, vmin=low, vmax=high, alpha=alpha)
        _frame(axes, self.question.mask, self.shown)
        axes.set_title(self.title, fontsize=10)
        if self.empty:
            axes.set_xlabel("0 everywhere", fontsize=8)
        return drawn

    def _figure(self):
        import matplotlib.pyplot as plt

        q = self.question
        figure, (left, right) = style.figure(6.4, 2.75 * ratio_of(self.array) + 0.55, columns=2)
        picture(left, self.shown, f"{q.label}\n{q.caption}", fontsize=10)
        _frame(left, q.mask, self.shown)
        self.draw(right)
        where = f"{self.layer}" if self.layer else ""
        note = textwrap.fill(self.note, 44)
        right.set_title("\n".join(filter(None, (self.title, where, note))), fontsize=10)
        cmap, low, high = heat_scale(self.array, self.signed)
        if not self.empty:  # there is no scale to read
            bar(figure, right, plt.cm.ScalarMappable(plt.Normalize(low, high), cmap), label=self.unit)
        return figure


def _no_slope(question):
    """Why no pixel counts where the answer lies on a plateau."""
    plateau = f"the {question.measure} does not change with any pixel"
    if question.measure == "logit":
        return f"{plateau}: units that the image would have to pass are shut"
    return f"{plateau}: it is squashed, or units on the way are shut"


def _frame(axes, mask, shown):
    """Plain axes; the outline of a region, brought to the image's size."""
    bare(axes, axes.get_title(), fontsize=10)
    if mask is not None and not mask.all():
        height, width = shown.shape[:2]
        rows, columns = np.arange(height) * mask.shape[0] // height, np.arange(width) * mask.shape[1] // width
        axes.contour(mask[rows][:, columns], [0.5], colors="white", linewidths=2.2)
        axes.contour(mask[rows][:, columns], [0.5], colors="#D55E00", linewidths=1.2)


# --------------------------------------------------------------------------- class activation maps


def _activation_map(q, layer, title, weights):
    """The weighted sum of a layer's maps, negative evidence cut off. weights: (row, values) -> (channels,)."""
    row = q.net.map(layer) if layer is not None else q.net.last_map()
    q.net.check_it_leads(row)
    values = q.values(row)
    weight = weights(row, values)
    coarse, note = np.maximum(values @ weight, 0), ""
    if not np.any(values):
        note = f"every unit of {row.name} is 0 for this image"
    elif not np.any(weight):
        note = f"no map of {row.name} raises or lowers the {q.measure}"
    elif not np.any(coarse):
        note = f"all that {row.name} shows speaks against {q.name(q.target)}, which is left out"
    look = dict(over=True, layer=row.name, note=note or _stretched(q, row))
    return Attribution(q, spread(coarse, row, q.size), coarse, title, "evidence", **look)


def _stretched(q, row):
    """What there is to say of a map whose place on the image is not known."""
    return "" if row.known else f"stretched over the image: {q.net.hides_fields(row)}"


def cam(model, image, *, target=None, preprocess=None, names=None, output=0):
    """The class activation map: the maps in front of a global average pool, each times the weight that the one dense layer
    behind it gives their mean (Zhou et al. 2016, arXiv:1512.04150, eq. 2). Its mean and the dense layer's bias add to the
    logit; where the net averages a map for each class, as network in network does, it is that map. No gradient.

    Negative numbers speak against the class. ValueError for a net that does not end so: Grad-CAM takes any."""
    q = Question(model, image, target, None, preprocess, names, output)
    row, dense = _averaged(q)
    values = q.values(row)
    coarse = q.of_class(values) if dense is None else values @ q.of_class(ops.convert_to_numpy(dense.kernel))
    look = dict(over=True, signed=True, layer=row.name, note=_stretched(q, row))
    return Attribution(q, spread(coarse, row, q.size), coarse, "CAM", "evidence", **look)


def _averaged(q):
    """(row, dense): the map that a net averages, and the one dense layer behind the mean, None where there is none."""
    net, ending = q.net, q.ending
    row, dense = net[net.output], None
    squashes = [ending.squashing] if ending.scores is not None else []
    handed_on = {id(operation) for operation in [*ending.after, *squashes]}
    while not isinstance(row.operation, L.GlobalAveragePooling2D):
        if dense is None and _weighs(row.operation, ending):
            dense = row.operation
        elif id(row.operation) not in handed_on and not _hands_on(row.operation):
            raise ValueError(
                f"a class activation map needs a net that ends with a global average pool and at most one dense layer; "
                f"{net.model.name} has {row.name} ({row.kind}) behind its maps: viz.grad_cam takes any net"
            )
        row = net[row.inputs[0]]
    return net.map(row.inputs[0]), dense


def _weighs(operation, ending):
    """Whether an operation is a dense layer whose scores are weighted sums: nothing, or the squashing, lies behind them."""
    linear = getattr(operation, "activation", None) is keras.activations.linear
    return isinstance(operation, L.Dense) and (linear or operation is ending.squashing)


def _hands_on(operation):
    """Whether an operation leaves every number as it is."""
    linear = getattr(operation, "activation", None) is keras.activations.linear
    return isinstance(operation, (L.Dropout, L.Identity, Labels)) or (
        isinstance(operation, L.Activation) and linear
    )


def grad_cam(model, image, layer=None, *, target=None, mask=None, preprocess=None, names=None, output=0):
    """Grad-CAM: a layer's maps, each weighted by the mean of the score's gradient over it (Selvaraju et al. 2017,
    arXiv:1610.02391, eq. 1 and 2). After a global average pool and one dense layer it is CAM, divided by the map's area."""
    q = Question(model, image, target, mask, preprocess, names, output)
    return _activation_map(q, layer, "Grad-CAM", lambda row, values: q.slope(row, values).mean((0, 1)))


def grad_cam_plus_plus(
    model, image, layer=None, *, target=None, mask=None, preprocess=None, names=None, output=0
):
    """Grad-CAM++: only rising pixels count, weighted so that a small object counts as much as a large one
    (Chattopadhyay et al. 2018, arXiv:1710.11063, eq. 19 with the exponential of the logit as score)."""

    q = Question(model, image, target, mask, preprocess, names, output)

    def weights(row, values):
        slope = q.slope(row, values)
        share = 2 * slope**2 + values.sum((0, 1)) * slope**3
        share = np.where(slope != 0, slope**2 / np.where(share == 0, 1, share), 0)
        return (share * np.maximum(slope, 0)).sum((0, 1))

    return _activation_map(q, layer, "Grad-CAM++", weights)


def score_cam(
    model, image, layer=None, *, most=128, target=None, mask=None, preprocess=None, names=None, output=0
):
    """Score-CAM: no gradient; each map, as a mask of the image, is weighted by what the net says to the masked image
    (Wang et al. 2020, arXiv:1910.01279, algorithm 1: softmax over the maps' scores, against an image of zeros).

    most: how many maps are tried, those that vary most; None tries all, as the paper does."""
    most = None if most is None else whole_number(most, "most")
    q = Question(model, image, target, mask, preprocess, names, output)

    def weights(row, values):
        spans = values.max((0, 1)) - values.min((0, 1))
        chosen = np.argsort(-values.var((0, 1)), kind="stable")[: most or len(spans)]
        chosen = chosen[spans[chosen] > 0]
        if not len(chosen):
            return np.zeros(len(spans), "float32")
        fine = spread((values[..., chosen] - values.min((0, 1))[chosen]) / spans[chosen], row, q.size)
        masked = q.x * np.moveaxis(fine, -1, 0)[..., None].astype("float32")
        gain = q.scores(masked) - q.scores(np.zeros_like(q.x))
        result = np.zeros(len(spans), "float32")
        result[chosen] = np.exp(gain - gain.max()) / np.exp(gain - gain.max()).sum()
        return result

    return _activation_map(q, layer, "Score-CAM", weights)


# --------------------------------------------------------------------------- gradients for the pixels


def saliency(model, image, *, target=None, mask=None, preprocess=None, names=None, output=0):
    """The gradient of the score for each pixel, its greatest channel's size (Simonyan et al. 2014, arXiv:1312.6034)."""
    q = Question(model, image, target, mask, preprocess, names, output)
    slope = q.gradient()[0]
    return Attribution(q, np.abs(slope).max(-1), slope, "Saliency", "gradient, greatest channel")


def smooth_grad(
    model,
    image,
    *,
    samples=24,
    noise=0.15,
    seed=0,
    target=None,
    mask=None,
    preprocess=None,
    names=None,
    output=0,
):
    """SmoothGrad: the gradient, averaged over `samples` noisy copies of the image (Smilkov et al. 2017,
    arXiv:1706.03825). noise: its standard deviation, as a share of the image's range."""
    samples = whole_number(samples, "samples")
    q = Question(model, image, target, mask, preprocess, names, output)
    draws = np.random.default_rng(seed).normal(0, noise * np.ptp(q.x), (samples, *q.x.shape[1:]))
    slope = q.gradient(q.x + draws.astype("float32")).mean(0)
    return Attribution(q, np.abs(slope).max(-1), slope, "SmoothGrad", "mean gradient, greatest channel")


def integrated_gradients(
    model, image, *, baseline=None, steps=64, target=None, mask=None, preprocess=None, names=None, output=0
):
    """Integrated gradients: (image - baseline) times the gradient averaged along the straight line between them
    (Sundararajan et al. 2017, arXiv:1703.01365).

    baseline: an image like the image; by default a black one if `preprocess` is given, else zeros. All the numbers sum
    to score(image) - score(baseline): `.completeness` is how far they miss it, as a share; more `steps` miss less."""
    steps = whole_number(steps, "steps")
    q = Question(model, image, target, mask, preprocess, names, output)
    zero = np.zeros(np.shape(image)[-3:]) if baseline is None else numbers(baseline)
    zero = scaled(zero, preprocess)
    if zero.size != q.x.size:
        raise ValueError(f"baseline is an image like the image, {q.x.shape[1:]}, got {np.shape(baseline)}")
    zero = zero.reshape(q.x.shape)
    line = (np.arange(steps, dtype="float32") + 0.5) / steps
    slope = sum(
        q.gradient(zero + t[:, None, None, None] * (q.x - zero)).sum(0)
        for t in np.split(line, range(16, steps, 16))
    )
    values = (q.x[0] - zero[0]) * slope / steps
    difference = q.score - float(q.scores(zero)[0])
    missed = abs(float(values.sum(dtype="float64")) - difference) / max(abs(difference), 1e-12)
    note = f"sum misses the score by {100 * missed:.1f} %"
    attribution = Attribution(
        q, values.sum(-1), values, "Integrated gradients", f"share of the {q.measure}", signed=True, note=note
    )
    attribution.completeness, attribution.difference = missed, difference
    return attribution


# --------------------------------------------------------------------------- other ways back through a ReLU


def _relu(limit, rule):
    """A ReLU, cut off at `limit`, whose backward pass is `rule(gradient from above, where the ReLU passes)`."""

    @ops.custom_gradient
    def forward(x):
        inside = x > 0 if limit is None else ops.logical_and(x > 0, x < limit)
        open_ = ops.cast(inside, x.dtype)

        def backward(*args, upstream=None):
            return rule(args[0] if upstream is None else upstream, open_)

        return ops.relu(x) if limit is None else ops.clip(x, 0, limit), backward

    return lambda x, **_: forward(x)


def _swap_relus(net, rule):
    """{operation: what to call in its place}: every ReLU of a net with another backward pass, on twins of its layers."""
    swap, others = {}, set()
    for row in net.rows:
        layer, kind = row.operation, row.kind
        activation = getattr(layer, "activation", None)
        if isinstance(layer, L.ReLU) and not layer.negative_slope and not layer.threshold:
            swap[id(layer)] = _relu(layer.max_value, rule)
        elif kind in ("Relu", "Relu6"):
            swap[id(layer)] = _relu(6.0 if kind == "Relu6" else None, rule)
        elif activation in (keras.activations.relu, keras.activations.relu6):
            swap[id(layer)] = twin(
                layer, activation=_relu(6.0 if activation is keras.activations.relu6 else None, rule)
            )
        elif activation not in (None, keras.activations.linear, keras.activations.softmax):
            others.add(getattr(activation, "__name__", type(activation).__name__))
    if not swap:
        raise ValueError(
            f"{net.model.name} has no ReLU to go back through in another way"
            + (f"; its activations are {', '.join(sorted(others))}" if others else "")
        )
    return swap


def guided_backprop(model, image, *, target=None, mask=None, preprocess=None, names=None, output=0):
    """Guided backpropagation: back through each ReLU goes only what is positive, where the ReLU was open
    (Springenberg et al. 2015, arXiv:1412.6806). Adebayo et al. 2018 show that it hardly depends on the class."""
    q = Question(model, image, target, mask, preprocess, names, output)
    slope = q.gradient(swap=_swap_relus(q.net, lambda above, is_open: ops.relu(above) * is_open))[0]
    return Attribution(q, slope.sum(-1), slope, "Guided backpropagation", "guided gradient", signed=True)


def deconvnet(model, image, *, target=None, mask=None, preprocess=None, names=None, output=0):
    """The deconvolutional net: back through each ReLU goes only what is positive, wherever it was open; pools go back to
    where their maximum lay (Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1). A net without max pools, such as a ResNet
    for CIFAR, keeps no trace of the image on this way: its projections look alike for all images."""
    q = Question(model, image, target, mask, preprocess, names, output)
    slope = q.gradient(swap=_swap_relus(q.net, lambda above, is_open: ops.relu(above)))[0]
    return Attribution(q, slope.sum(-1), slope, "Deconvnet", "projection", signed=True)


# --------------------------------------------------------------------------- covering


def occlusion(
    model,
    image,
    *,
    size=None,
    step=None,
    fill=None,
    target=None,
    mask=None,
    preprocess=None,
    names=None,
    output=0,
):
    """Occlusion: how much the score drops when a patch is covered, averaged over the patches that cover a pixel
    (Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2).

    size: the patch's side in pixels, an eighth of the image by default; step: between patches, half of that.
    fill: what covers, in the net's own input values: a number or one per channel; the image's mean colour by default."""
    q = Question(model, image, target, mask, preprocess, names, output)
    size, step = _patch(q.size, size, step)
    fill = q.x.mean((0, 1, 2)) if fill is None else np.asarray(fill, "float32")
    if fill.shape not in ((), (1,), q.x.shape[-1:]):
        raise ValueError(
            f"fill is a number, or one for each of {q.x.shape[-1]} channels, got shape {fill.shape}"
        )
    tops, lefts = ([*range(0, side - size, step), side - size] for side in q.size)
    corners = [(top, left) for top in tops for left in lefts]
    drops = []
    for i in range(0, len(corners), 32):
        covered = np.repeat(q.x, len(corners[i : i + 32]), axis=0)
        for image, (top, left) in zip(covered, corners[i : i + 32], strict=True):
            image[top : top + size, left : left + size] = fill
        drops.extend(q.score - q.scores(covered))
    total, count = np.zeros((2, *q.size))
    for (top, left), drop in zip(corners, drops, strict=True):
        total[top : top + size, left : left + size] += drop
        count[top : top + size, left : left + size] += 1
    values, note = np.reshape(drops, (len(tops), len(lefts))), f"patches of {size} pixels"
    look = dict(over=True, signed=True, note=note)
    return Attribution(q, total / count, values, "Occlusion", f"drop of the {q.measure}", **look)


def _patch(sides, size, step):
    """(size, step) of the patches, filled in and checked."""
    most = min(sides)
    size = max(1, most // 8) if size is None else size
    size = whole_number(size, "size, a patch's side in pixels,", most=most)
    step = max(1, size // 2) if step is None else step
    # no larger than the patch, so that every pixel is covered
    return size, whole_number(step, "step, pixels between patches,", most=size)

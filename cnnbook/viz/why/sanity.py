"""Is a heat map about this net at all? Parameters shuffled from the top down, pixels deleted and inserted by rank.

Adebayo et al. 2018, Sanity checks for saliency maps, arXiv:1810.03292: a map that stays when the net's weights are
destroyed did not show what the net has learnt. Petsiuk et al. 2018, RISE, arXiv:1806.07421: without the pixels that a
map ranks first the class's probability should fall fast, and with nothing but them it should rise fast.
"""

import contextlib

import numpy as np

from ...arguments import whole_number
from .. import style
from ..picture import Picture, panels, picture, ratio_of
from . import attribution as methods
from .question import Question

# --------------------------------------------------------------------------- the net destroyed


def rank_correlation(a, b):
    """Spearman's rank correlation of two maps: 1 the same order of pixels, 0 none; equal values share their rank."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(np.ravel(values), return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    spread = [r - r.mean() for r in ranks]
    scale = np.sqrt((spread[0] ** 2).sum() * (spread[1] ** 2).sum())
    return float((spread[0] * spread[1]).sum() / scale) if scale else 0.0


@contextlib.contextmanager
def _kept(layers):
    """The layers' weights are put back at the end, whatever happened."""
    before = [(v, np.array(v)) for layer in layers for v in layer.weights]
    try:
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


class Randomisation(Picture):
    """`.array`: rank correlation of the map with the trained net's, by number of layers destroyed, the first 1. `.maps`:
    the attributions. `.layers`: the lowest layer destroyed in each, the first None."""

    def __init__(self, maps, layers, counts):
        self.maps, self.layers, self.counts = maps, layers, counts
        self.array = np.array([rank_correlation(maps[0].array, m.array) for m in maps])
        self.alt = (
            f"{maps[0].title} of the trained net, and with its layers shuffled from the top down to "
            + ", ".join(map(str, layers[1:]))
            + "; under each its rank correlation with the first"
        )

    def _figure(self):
        height = 2.1 * ratio_of(self.maps[0].array) + 0.65
        figure, (first, *axes) = panels(len(self.maps) + 1, 5, 2.15, height)
        question = self.maps[0].question
        picture(first, question.shown, f"image\n{question.label}", fontsize=9)
        for i, (axis, attribution) in enumerate(zip(axes, self.maps, strict=True)):
            attribution.draw(axis)
            title = f"shuffled down to\n{self.layers[i]}" if i else f"{attribution.title}\ntrained net"
            axis.set_title(title, fontsize=9)
            axis.set_xlabel(f"rank correlation {self.array[i]:.2f}", fontsize=9)
        return figure


def randomisation(model, image, method, *, steps=4, seed=0, **arguments):
    """The same attribution while the net is destroyed from the top down: the weights of ever more layers are shuffled.

    method: `viz.grad_cam`, "grad_cam" or any function (model, image, target=...) that returns an `Attribution`; `arguments`
    go to it. The class stays that of the trained net. Each layer's numbers are shuffled among themselves, so that
    their sizes stay; `steps` is how many maps are made, the last one with every layer shuffled. The weights are put back.
    """
    call = getattr(methods, method, None) if method in methods.METHODS else method
    if not callable(call):
        raise ValueError(
            f"method is a function of viz or its name: {', '.join(methods.METHODS)}; got {method!r}"
        )
    steps = whole_number(steps, "steps")
    first = call(model, image, **arguments)
    arguments["target"] = first.question.target
    if "names" in arguments:
        arguments["names"] = first.question.names  # read once
    layers = list(dict.fromkeys(row.operation for row in first.question.net.rows if row.params))[::-1]
    groups = [g for g in np.array_split(np.arange(len(layers)), min(steps, len(layers))) if len(g)]
    rng, maps, lowest = np.random.default_rng(seed), [first], [None]
    if first.question.mask is not None:  # the region stays too, whatever the destroyed net predicts
        arguments["mask"] = first.question.mask
    with _kept(layers):
        for group in groups:
            for i in group:
                for variable in layers[i].weights:
                    values = np.array(variable)
                    variable.assign(rng.permutation(values.ravel()).reshape(values.shape))
            maps.append(call(model, image, **arguments))
            lowest.append(layers[group[-1]].name)
    return Randomisation(maps, lowest, [0, *np.cumsum([len(g) for g in groups])])


# --------------------------------------------------------------------------- pixels taken and given


class Curve(Picture):
    """`.array`: the probability of the class after each share `.share` of the pixels. `.area`: under the curve, 0 to 1.
    `.chance`, `.chance_area`: the same with the pixels in a random order, the mean of three. Where the net's output is no
    probability the curve is of the output itself."""

    def __init__(self, kind, attribution, share, array, chance):
        self.kind, self.title, self.share, self.array, self.chance = kind, kind, share, array, chance
        self.label, self.method = attribution.question.label, attribution.title
        self.area, self.chance_area = (
            float(((y[1:] + y[:-1]) / 2) @ np.diff(share)) for y in (array, chance)
        )
        self.of = self.label if attribution.question.probability is None else f"probability of {self.label}"
        self.what = "output" if attribution.question.probability is None else "probability"
        self.alt = f"{kind} curve of {self.method} for {self.label}: {self.what} by share of pixels, and in random order"

    def draw(self, axes):
        blue, red = style.PALETTE[0], style.PALETTE[1]
        axes.plot(
            100 * self.share, self.chance, "--", color=red, label=f"random order, area {self.chance_area:.2f}"
        )
        axes.plot(100 * self.share, self.array, color=blue, label=f"{self.method}, area {self.area:.2f}")
        axes.fill_between(100 * self.share, self.array, color=blue, alpha=0.12, linewidth=0)
        verb = "deleted" if self.kind == "Deletion" else "inserted"
        axes.set(xlabel=f"pixels {verb}, highest first (%)", ylabel=self.of)
        axes.set(xlim=(0, 100))
        if self.what == "probability":
            axes.set(ylim=(0, 1.02))
        axes.set_title(
            f"{self.kind}: {'lower' if self.kind == 'Deletion' else 'higher'} is better", fontsize=10
        )
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)


def _curve(kind, model, image, attribution, steps, seed, empty):
    if not isinstance(attribution, methods.Attribution):
        raise ValueError(
            f"attribution is what grad_cam, saliency ... gave for this image, got {type(attribution).__name__}"
        )
    question = attribution.question
    asked = question.mask, question.preprocess, question.names, question.output
    q = Question(model, image, question.target, *asked)
    if attribution.array.shape != q.size:
        raise ValueError(
            f"the attribution is of an image of {attribution.array.shape} pixels, this one has {q.size}"
        )
    steps = whole_number(steps, "steps")
    before, after = (q.x[0], empty(q.x[0])) if kind == "Deletion" else (empty(q.x[0]), q.x[0])
    rng, pixels = np.random.default_rng(seed), attribution.array.size
    ranked = np.lexsort((rng.random(pixels), -attribution.array.ravel()))  # equal values in a random order
    taken = np.linspace(0, pixels, steps + 1).round().astype(int)

    def probabilities(order):
        place = np.empty(pixels, int)
        place[order] = np.arange(pixels)
        changed = (place[None] < taken[:, None]).reshape(-1, *q.size, 1)
        return q.probabilities(np.where(changed, after, before).astype("float32"))

    chance = np.mean([probabilities(rng.permutation(pixels)) for _ in range(3)], axis=0)
    return Curve(kind, attribution, taken / pixels, probabilities(ranked), chance)


def deletion(model, image, attribution, *, steps=20, seed=0):
    """The class's probability while the pixels an attribution ranks first are replaced by the image's mean colour."""
    return _curve(
        "Deletion", model, image, attribution, steps, seed, lambda x: np.broadcast_to(x.mean((0, 1)), x.shape)
    )


def insertion(model, image, attribution, *, steps=20, seed=0):
    """The class's probability while the pixels an attribution ranks first are put into a blurred copy of the image."""
    return _curve("Insertion", model, image, attribution, steps, seed, blurred)


def blurred(x, share=0.1):
    """An image (h, w, c) blurred by a Gaussian with a standard deviation of `share` of its shorter side."""
    spread = share * min(x.shape[:2])
    for axis in (0, 1):
        places = np.arange(x.shape[axis])
        weights = np.exp(-0.5 * ((places[:, None] - places) / spread) ** 2)
        x = np.moveaxis(np.tensordot(weights / weights.sum(1, keepdims=True), x, (1, axis)), 0, axis)
    return x

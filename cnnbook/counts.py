"""`count`: which published figures a net matches, and where not, the layers that make the difference.

The table of figures says how many parameters a paper's net has; where a net of somebody else has another number, the
answer lies in its layers: biases in front of batch norm, another classifier, a projection more. So the nearest nets of the
table are built without memory, and layers with equal kernels are taken off one another until the difference is left.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from . import graph, tables
from .graph.bill import learned_in, macs_text
from .models import builder, figures

__all__ = ["Count", "Difference", "count"]

# So many nets of the table are built and compared, the likeliest first.
_CANDIDATES = 3
# Differences that are shown; those beyond are summed up.
_SHOWN = 12
# The numbers of classes that published nets have.
_CLASSES = (10, 100, 1000)


@dataclass(frozen=True)
class Difference:
    """params, macs: how many the net has more than the published one (less where negative); macs is None where the inputs
    differ or something is not counted. what: the layers in words. layers: how many; axes: along how many axes the kernel
    of each differs, 0 where it is the same and the vectors beside it or the size of the map are not."""

    params: int
    macs: int | None
    what: str
    layers: int = 1
    axes: int = 2


@dataclass(frozen=True)
class _Layer:
    """What of a layer decides its parameters: the name of its class, the shapes of its kernels, the lengths of its vectors
    by name. outputs: places of its output, in order (height, width); macs: of one image."""

    kind: str
    kernels: tuple
    vectors: tuple
    outputs: tuple
    macs: int | None

    @property
    def numbers(self):
        """How many parameters it has."""
        return sum(map(math.prod, self.kernels)) + sum(n for _, n in self.vectors)

    @property
    def channels(self):
        """What two layers must share to be the same layer but for its vectors."""
        return self.kernels or tuple(sorted({n for _, n in self.vectors}))

    @property
    def shapes(self):
        """Of its kernels; where it has none, of its vectors."""
        return self.kernels or tuple((n,) for n in self.channels)

    @property
    def windows(self):
        """What stays where a net is made wider: its kind, and how many kernels of which window."""
        return self.kind, tuple((len(shape), shape[:-2]) for shape in self.shapes)

    @property
    def sizes(self):
        """Its kernels in words: 3 x 3, 64 -> 128; of a layer without kernels the length of its vectors."""
        return " and ".join(map(_kernel, self.shapes))

    @property
    def words(self):
        """The layer in words: Conv2D 3 x 3, 64 -> 128; BatchNormalization of 64."""
        return f"{self.kind} {'' if self.kernels else 'of '}{self.sizes}"


def count(model):
    """What a model comes to, and how that goes together with what is published.

    model: a functional or Sequential keras.Model that has been built, channels last; ValueError for another. The result
    shows itself: parameters, moving statistics (Keras' `count_params()` adds them), multiply-adds, and either the lines of
    `models.figures()` with the same number of parameters or the nearest one, with the layers that make the difference.

        cnnbook.count(keras.applications.ResNet50(weights=None))    # +26,560: biases of 53 convolutions

    See `Count` for what it holds. The nearest is looked for among the nets of this package alone.
    """
    total = graph.totals(model)
    matches = [row for row in figures() if row["params"] == total["params"]]
    # Of nets with as many parameters the one with as many multiply-adds is meant.
    matches.sort(key=lambda row: abs(row["macs"] - (total["macs"] or 0)))
    ours = _layers(model)
    likely = matches[:1] or _likely(model, total["params"])
    compared = [(row, *_differences(ours, total, row)) for row in likely]
    figure, differences, near = min(compared, key=lambda each: _distance(each[1]))
    return Count(model.name, total, matches, figure, differences, near)


def _distance(differences):
    """How much has to be changed in one net to have the other: axes of kernels; layers whose kernels stay hardly count."""
    return sum(d.layers * (d.axes or 0.02) for d in differences)


class Count:
    """See `count`. name: the model's. params, state, macs: as of `graph.totals`. matches: the published figures with the
    same number of parameters, as in `models.figures()`, the nearest in multiply-adds first. nearest: the first of them, or
    the figure that needs the fewest changes. differences: a list of `Difference`, the largest first, whose params add up to
    `params` less those of `nearest`, and whose macs do where both are known for the same input. near: False where most
    layers of the two have nothing in common, so that the net is none of those published."""

    def __init__(self, name, total, matches, nearest, differences, near):
        self.name, self.matches, self.nearest, self.differences = name, matches, nearest, differences
        self.near = near
        self.params, self.state, self.macs = total["params"], total["state"], total["macs"]
        self._total = total

    def _head(self):
        total = self._total
        image = tables.number(total["input"])
        lines = [
            f"{self.name}: {self.params:,} parameters, "
            f"{macs_text(self.macs, total['macs_at_least'])} multiply-adds for an input of {image}"
        ]
        if self.state:
            lines.append(
                f"Beside them {self.state:,} moving statistics, which no paper counts; "
                f"Keras' count_params() does: {self.params + self.state:,}."
            )
        return lines

    def _verdict(self):
        row = self.nearest
        where = f"{row['call']} [{row['source']}]"
        if self.matches:
            others = [other["call"] for other in self.matches[1:] if other["builder"] != row["builder"]]
            also = f"; so have {', '.join(dict.fromkeys(others))}" if others else ""
            lines = [f"As many parameters as {where}{also}."]
            if self.differences:
                lines.append("Its layers differ from that net's all the same:")
            elif self.macs != row["macs"]:
                lines.append(f"Its {row['macs']:,} multiply-adds are published for an input of another size.")
            else:
                lines.append("As many multiply-adds, too.")
        elif not self.near:
            return [
                f"No published figure is near. {row['call']} comes next, with {row['params']:,} parameters, and has few "
                "layers in common with this net; `.differences` lists what differs."
            ]
        else:
            more = self.params - row["params"]
            lines = [
                f"No published figure is the same. The nearest is {where} with {row['params']:,}: "
                f"this net has {abs(more):,} {'more' if more > 0 else 'fewer'}."
            ]
        if row["note"] and (self.differences or not self.matches):
            lines.append(f"What the table of figures says of that one: {row['note']}.")
        return lines

    @property
    def _told(self):
        return self.differences if self.near else []

    def _lines(self):
        shown, rest = self.differences[:_SHOWN], self.differences[_SHOWN:]
        lines = [[_signed(d.params), _signed(d.macs), d.what] for d in shown]
        if rest:
            macs = None if any(d.macs is None for d in rest) else sum(d.macs for d in rest)
            lines.append([_signed(sum(d.params for d in rest)), _signed(macs), f"{len(rest)} smaller ones"])
        return lines

    def __repr__(self):
        said = "\n".join([*self._head(), *self._verdict()])
        if not self._told:
            return said
        columns = ("parameters", "multiply-adds", "what differs")
        return f"{said}\n\n{tables.text('', columns, self._lines(), left={2}, totals=False).lstrip()}"

    def _repr_html_(self):
        from html import escape

        said = "".join(
            f"<p>{escape(tables.printable(line))}</p>" for line in (*self._head(), *self._verdict())
        )
        if not self._told:
            return said
        columns = ("what differs", "parameters", "multiply-adds")
        lines = [[what, params, macs] for params, macs, what in self._lines()]
        return said + tables.html("", columns, lines, totals=False)


def convolutions(model):
    """How many layers of a model convolve: those with a kernel of four axes or more, locally connected ones too."""
    operations = {id(row.operation): row.operation for row in graph.trace(model)}
    return sum(
        any(len(v.shape) > 3 for v in getattr(operation, "weights", ())) for operation in operations.values()
    )


def _likely(model, params):
    """The figures that a net may be meant to be: near in the numbers of parameters and of convolutions, also where these
    have biases that the paper's lack, or where the classifier is another one or is missing; and those whose name it
    bears."""
    rows = graph.trace(model)
    biases = sum(
        math.prod(v.shape)
        for row in rows
        if row.params and "Conv" in row.kind
        for v in row.operation.weights
        if v.name == "bias"
    )
    last = next((row for row in reversed(rows) if row.params), None)
    bodies = [params]
    if last is not None and last.kind == "Dense" and len(last.operation.kernel.shape) == 2:
        features = last.operation.kernel.shape[0]
        bodies += [params - last.params + (features + 1) * n for n in _CLASSES]
    elif rows[-1].output_shape:
        bodies += [params + (rows[-1].output_shape[-1] + 1) * n for n in _CLASSES]
    bodies += [body - biases for body in bodies]
    name, deep = model.name.lower().replace("_", ""), convolutions(model)

    def far(row):
        sizes = min(abs(body - row["params"]) / row["params"] for body in bodies)
        published = int(row["convolutions"])
        return row["builder"].lower() != name, sizes + abs(deep - published) / published

    ranked = {}
    for row in sorted(figures(), key=far):
        ranked.setdefault((row["builder"], row["params"]), row)
    rows = list(ranked.values())
    # Where both sums are right with biases or another classifier, nothing else is looked at.
    if far(rows[0])[1] == 0:
        return rows[:1]
    # The other sizes of the likeliest net may lie behind those of others.
    relatives = [row for row in rows[_CANDIDATES:] if row["builder"] == rows[0]["builder"]]
    return rows[:_CANDIDATES] + relatives[:_CANDIDATES]


def _layers(model):
    """The layers of a model that hold parameters, each once."""
    learned, seen, layers = learned_in(model), set(), []
    for row in graph.trace(model):
        new = [v for v in getattr(row.operation, "weights", ()) if id(v) not in seen and id(v) in learned]
        seen.update(map(id, new))
        if new:
            kernels = tuple(tuple(v.shape) for v in new if len(v.shape) > 1)
            vectors = tuple((v.name, math.prod(v.shape)) for v in new if len(v.shape) < 2)
            layers.append(_Layer(row.kind, kernels, vectors, row.output_shape[:-1], row.macs))
    return layers


def _differences(ours, total, figure):
    """(what the layers `ours` have beside those of a published net, as a list of `Difference`, the largest first; whether
    the two have most layers in common)."""
    reference = graph.blueprint(builder(figure["builder"]), **figure["arguments"])
    theirs = _layers(reference)
    comparable = total["input"] == graph.totals(reference)["input"] and total["macs"] is not None
    pairs, more, fewer = _by_shape(ours, theirs)
    found = _as_differences(pairs, more, fewer, comparable)
    near = 2 * max(len(more), len(fewer)) <= max(len(ours), len(theirs))
    # In a net with another width throughout some layers are equal by chance; the layers in order say more, unless branches
    # stand in another order.
    if [layer.windows for layer in ours] == [layer.windows for layer in theirs]:
        in_order = _as_differences(zip(ours, theirs, strict=True), [], [], comparable)
        if _distance(in_order) <= 2 * _distance(found):
            return in_order, True
    return found, near


def _by_shape(ours, theirs):
    """(pairs of layers, ours that are left, theirs that are left): equal layers first, then such with equal kernels, then
    such whose kernels differ in length along an axis or two."""
    pairs = []
    for same in (
        lambda layer: layer,
        lambda layer: (layer.kind, layer.kernels, layer.vectors),
        lambda layer: (layer.kind, layer.channels),
    ):
        new, ours, theirs = _paired(ours, theirs, same)
        pairs += new
    new, ours, theirs = _alike(ours, theirs)
    return pairs + new, ours, theirs


def _as_differences(pairs, more, fewer, comparable):
    """The differences of pairs of layers, of layers that only one net has (more) and only the other (fewer)."""
    told = []
    for a, b in pairs:
        if a.channels != b.channels:
            told.append((f"{a.words} instead of {b.sizes}", a, b, _apart(a, b)[0]))
        elif a.vectors != b.vectors:
            told.append((_other_vectors(a, b), a, b, 0))
        elif comparable and a.macs != b.macs:
            told.append((_elsewhere(a, b), a, b, 0))
    told += [(f"{a.words} more", a, None, 2) for a in more]
    told += [(f"{b.words} fewer", None, b, 2) for b in fewer]
    found = _grouped(told)
    if not comparable:
        found = [replace(d, macs=None) for d in found]
    return sorted(found, key=lambda d: (abs(d.params), abs(d.macs or 0)), reverse=True)


def _paired(ours, theirs, what):
    """(pairs of layers with the same `what`, ours that are left, theirs that are left)."""
    waiting = defaultdict(list)
    for layer in theirs:
        waiting[what(layer)].append(layer)
    pairs, left = [], []
    for layer in ours:
        same = waiting[what(layer)]
        if same:
            pairs.append((layer, same.pop(0)))
        else:
            left.append(layer)
    return pairs, left, [layer for layers in waiting.values() for layer in layers]


def _alike(ours, theirs):
    """As `_paired`, of layers of one kind whose kernels differ in length along one axis, or two."""
    pairs, left, theirs = [], [], list(theirs)
    for layer in sorted(ours, key=lambda layer: layer.numbers, reverse=True):
        near = min(theirs, key=lambda other: _apart(layer, other), default=None)
        if near is None or _apart(layer, near)[0] > 2:
            left.append(layer)
        else:
            theirs.remove(near)
            pairs.append((layer, near))
    return pairs, left, theirs


def _apart(layer, other):
    """(along how many axes two layers differ, in how many numbers); infinitely where they cannot be the same layer."""
    if layer.windows != other.windows:
        return math.inf, 0
    ours, theirs = ([n for shape in each.shapes for n in shape] for each in (layer, other))
    return sum(a != b for a, b in zip(ours, theirs, strict=True)), abs(layer.numbers - other.numbers)


def _grouped(told):
    """`Difference`s of (words, layer, layer of the other net, axes): those with the same words are one."""
    params, macs, times, axes = Counter(), {}, Counter(), {}
    for words, ours, theirs, axes[words] in told:
        here, there = ((layer.numbers, layer.macs) if layer else (0, 0) for layer in (ours, theirs))
        params[words] += here[0] - there[0]
        before = macs.get(words, 0)
        macs[words] = None if None in (before, here[1], there[1]) else before + here[1] - there[1]
        times[words] += 1
    return [
        Difference(params[words], macs[words], _times(n, words), n, axes[words]) for words, n in times.items()
    ]


def _times(n, words):
    """Words with the number of layers that they are said of."""
    if "{n}" in words:
        return words.format(n=n)
    return f"{n} times: {words}" if n > 1 else words


def _elsewhere(ours, theirs):
    """Words for the same layer at another size of map."""
    sides = (tables.number(layer.outputs or None) for layer in (ours, theirs))
    return f"{ours.words}, on a map of {' instead of '.join(sides)}"


def _other_vectors(ours, theirs):
    """Words for the same kernels with other vectors."""
    have, lack = (
        [name for name, _ in (Counter(a.vectors) - Counter(b.vectors)).elements()]
        for a, b in ((ours, theirs), (theirs, ours))
    )
    what = _plural(ours.kind)
    parts = [f"{_plural_vector(name)} of {{n}} {what}" for name in have]
    parts += [f"no {_plural_vector(name)} in {{n}} {what}" for name in lack]
    return " and ".join(parts)


def _plural(kind):
    words = {"Conv2D": "convolutions", "DepthwiseConv2D": "depthwise convolutions", "Dense": "dense layers"}
    return words.get(kind, f"layers of kind {kind}")


def _plural_vector(name):
    return {"bias": "biases", "gamma": "gammas", "beta": "betas"}.get(name, name)


def _kernel(shape):
    """A kernel's shape in words: 3 x 3, 64 -> 128."""
    if len(shape) == 1:
        return str(shape[0])
    window, (before, after) = shape[:-2], shape[-2:]
    return f"{' x '.join(map(str, window))}, {before} -> {after}" if window else f"{before} -> {after}"


def _signed(number):
    return "-" if number is None else f"{number:+,}" if number else "0"

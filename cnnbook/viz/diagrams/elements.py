"""The elements of a drawing, layers and blocks of them, with their names and their words."""

import os
import re
from dataclasses import dataclass, field

from ... import graph


@dataclass(eq=False)
class Layer:
    """One box. what, numbers: its two lines of text; text: one line in their place; row: its row of `graph.trace`; folded:
    the rows that belong to it; parents: the boxes it reads."""

    row: graph.Row
    kind: str
    what: str
    numbers: str = ""
    text: str = ""
    parents: list = field(default_factory=list)
    folded: list = field(default_factory=list)

    @property
    def size(self):
        """(height, width) of its map; None for a vector of the whole image."""
        return self.row.output_shape[:2] if len(self.row.output_shape) == 3 and self.row.local else None

    @property
    def channels(self):
        return self.row.output_shape[-1] if self.row.output_shape else None

    @property
    def layers(self):
        return [self]

    @property
    def last(self):
        return self

    def key(self, numbers=True):
        """Equal for layers that are drawn the same; without numbers for those of the same kind."""
        return (self.kind, self.what, self.numbers if numbers else "")


@dataclass(eq=False)
class Parallel:
    """Branches, each a list of elements (an empty one is the identity), from one map to `merge`; None where they end in
    a merge further on."""

    branches: list
    merge: Layer | None

    @property
    def last(self):
        return self.merge or self.branches[-1][-1].last

    @property
    def layers(self):
        inside = [layer for branch in self.branches for element in branch for layer in element.layers]
        return inside + ([self.merge] if self.merge else [])

    def key(self, numbers=True):
        merge = self.merge.key(False) if self.merge else None
        return (merge, *(tuple(e.key(numbers) for e in branch) for branch in self.branches))


@dataclass(eq=False)
class Series:
    """A block without branches, known by its layers' names: an inverted residual that has no shortcut."""

    elements: list

    @property
    def last(self):
        return self.elements[-1].last

    @property
    def layers(self):
        return [layer for element in self.elements for layer in element.layers]

    def key(self, numbers=True):
        return tuple(element.key(numbers) for element in self.elements)


@dataclass(eq=False)
class Tangle:
    """Layers whose branches cross (the cells of NASNet): one box that counts them."""

    layers: list
    name: str

    @property
    def last(self):
        return self.layers[-1]

    def key(self, numbers=True):
        return tuple(sorted(layer.key(numbers) for layer in self.layers))


@dataclass(eq=False)
class Repeat:
    """`times` the same elements one after another; `elements` the first of them, `all` every one."""

    all: list
    times: int

    @property
    def elements(self):
        return self.all[: len(self.all) // self.times]

    @property
    def last(self):
        return self.all[-1].last

    @property
    def layers(self):
        return [layer for element in self.all for layer in element.layers]


# --------------------------------------------------------------------------- names


def label(layers):
    """What the names of these layers share, up to a part of a name; "" if nothing. One layer: its name."""
    names = [layer.row.name for layer in layers]
    if len(names) == 1:
        return names[0]
    shared = os.path.commonprefix(names)
    if any(name[len(shared) :][:1] not in ("", "_") for name in names):  # in the middle of a word
        shared = shared[: shared.rfind("_") + 1]
    shared = shared.rstrip("_")
    automatic = re.fullmatch(r"(conv2d|add|concatenate|activation|batch_normalization)(_\d+)?", shared)
    merges = [layer.row.name for layer in layers if layer.kind == "merge"]
    return shared if shared and not automatic else (merges[-1] if merges else "")


def name_of(element):
    """The name of a block: conv2_block1; of a repeat its first and last: conv2_block2 … 3."""
    if isinstance(element, Tangle):
        return element.name
    if not isinstance(element, Repeat):
        return label(element.layers)
    size = len(element.elements)
    parts = element.all[:size], element.all[-size:]
    first, last = (
        name_of(part[0]) if size == 1 else label([x for e in part for x in e.layers]) for part in parts
    )
    shared = os.path.commonprefix([first, last])
    shared = shared[: len(shared.rstrip("0123456789"))]
    if not first or not last or first == last or not shared:
        return first
    return f"{first} … {last[len(shared) :]}"


def single(elements):
    """Elements with repeats written out."""
    return [e for element in elements for e in (element.all if isinstance(element, Repeat) else [element])]


# --------------------------------------------------------------------------- elements in words


def in_words(elements):
    """Elements as a sentence."""
    return ", ".join(filter(None, map(_words, elements)))


def _words(element):
    if isinstance(element, Layer):
        return " ".join(filter(None, (element.what, element.numbers)))
    if isinstance(element, Repeat):
        return f"{element.times} times ({in_words(element.elements)})"
    if isinstance(element, Tangle):
        return f"{element.name} ({', '.join(tangle_lines(element))})"
    if isinstance(element, Series):
        return f"({in_words(element.elements)})"
    branches = " beside ".join(f"({in_words(b)})" if b else "the identity" for b in element.branches)
    return branches + (f", {element.merge.what}" if element.merge else "")


def tangle_lines(tangle):
    """What is in a block whose branches cross: each kind of layer, how often."""
    counts = {}
    for layer in tangle.layers:
        if layer.kind not in ("merge", "other"):
            counts[layer.what] = counts.get(layer.what, 0) + 1
    merges = sum(layer.kind == "merge" for layer in tangle.layers)
    return [f"{n} {what}" for what, n in counts.items()] + [f"{merges} merges"] * bool(merges)


def in_short(element, least=3):
    """A block of at least `least` branches in a line for each: the numbers of its layers; None for other elements."""
    branches = element.branches if isinstance(element, Parallel) else []
    branches = [element.elements] if isinstance(element, Series) else branches
    if len(branches) < least:
        return None
    return [" → ".join(_short(e) for e in branch) or "identity" for branch in branches]


def _short(element):
    if isinstance(element, Layer):
        if element.kind in ("gate", "attention"):
            return element.kind
        return "pool" if element.kind == "pool" else element.numbers or element.what
    if isinstance(element, Parallel):
        return "(" + " | ".join(" → ".join(_short(e) for e in b) or "=" for b in element.branches) + ")"
    if isinstance(element, Series):
        return " → ".join(map(_short, element.elements))
    return element.name

"""A network as its paper draws it: a chain of layers and of blocks whose branches part and meet, read from the graph alone.

What belongs to the layer before it (activation, batch norm, padding, dropout) is part of that layer. Names play no role,
so nets with any names, nested and Sequential ones have the same structure.
"""

import re

from ... import graph
from ...graph.rules import size_text
from .elements import Layer, Parallel, Repeat, Series, Tangle, label, name_of

# --------------------------------------------------------------------------- boxes


def boxes(model, everything=False):
    """(layers, others, rows): the boxes on the way to the model's first output, in graph order, each with those it reads;
    how many rows lead to its other outputs only; the rows of `graph.trace`. everything: activations and the like are boxes
    too. ValueError for a model that does not begin with one image."""
    flat = graph.flatten(model)
    rows = graph.trace(flat)
    main = graph.main_rows(rows, flat)
    # the box that gives each row's output
    box_of, layers = {}, []
    for row in main:
        parents = list(dict.fromkeys(box_of[name] for name in row.reads if name in box_of))
        kind, what, numbers, text = _described(row, len(parents), everything)
        # x * sigmoid(x) is an activation, too
        if kind is None or (len(parents) == 1 and kind == "merge"):
            box_of[row.name] = parents[0]
            parents[0].folded.append(row)
            continue
        box_of[row.name] = Layer(row, kind, what, numbers, text, parents)
        layers.append(box_of[row.name])
    if sum(layer.kind == "input" for layer in layers) != 1:
        raise ValueError(f"a diagram begins with one image; {model.name} has {len(flat.inputs)} inputs")
    return layers, len(rows) - len(main), rows


def _described(row, parents, everything):
    """(kind, what, numbers, text) of a row that reads so many boxes; kind None for what belongs to the box before."""
    said = graph.describe(row)
    kind, what = said.kind, said.what
    if kind is None and everything:
        kind = "quiet"
    if parents > 1 and kind in (None, "other", "unknown"):
        kind, what = "merge", row.kind
    if kind is None and parents == 1:
        return None, what, "", what
    # nobody registered it, or nothing comes before it that it could belong to
    kind = "other" if kind in (None, "unknown") else kind
    return kind, what, said.numbers, said.text


# --------------------------------------------------------------------------- series and branches


def chain(layers, source):
    """The elements that lead from `source` to the last of `layers` (graph order), `source` left out."""
    place = {layer: i for i, layer in enumerate(layers, 1)} | {source: 0}
    reads = {layer: [p for p in layer.parents if p in place] or [source] for layer in layers}
    reach = [0] * (len(layers) + 1)  # how far down an edge leads that starts at i
    for layer in layers:
        for parent in reads[layer]:
            reach[place[parent]] = max(reach[place[parent]], place[layer])
    elements, start, farthest = [], source, reach[0]
    inside = []
    for i, layer in enumerate(layers, 1):
        if farthest > i:
            inside.append(layer)
        elif not inside:
            elements.append(layer)
            start = layer
        else:
            block = _between(inside, start, layer, reads)
            elements += _by_name(block) if isinstance(block, Tangle) else [block]
            start, inside = layer, []
        farthest = max(farthest, reach[i])
    return elements


def _between(inside, start, merge, reads):
    """The branches from `start` to `merge`: what stays connected when both are taken away."""
    group = {layer: {layer} for layer in inside}
    for layer in inside:
        for parent in reads[layer]:
            if parent is not start and group[parent] is not group[layer]:
                joined = group[parent] | group[layer]
                group.update((member, joined) for member in joined)
    parts = list(dict.fromkeys(frozenset(group[layer]) for layer in inside))
    direct = start in reads[merge]
    if len(parts) == 1 and not direct:
        return Tangle([*inside, merge], label([*inside, merge]))
    branches = [_branch([x for x in inside if x in part], start, merge, reads) for part in parts]
    # in the order in which the merge reads them
    ends = {part: i for i, parent in enumerate(merge.parents) for part in parts if parent in part}
    order = sorted(range(len(parts)), key=lambda i: ends.get(parts[i], len(parts)))
    return Parallel([[]] * direct + [branches[i] for i in order], merge)


def _by_name(tangle):
    """A large tangle as the stages in its layers' names: NASNet's cells, each of which reads the two before."""
    groups = {}
    for layer in tangle.layers:
        groups.setdefault(graph.stage_of(layer.row), []).append(layer)
    if len(groups) == 1 or min(map(len, groups.values())) < 3:
        return [tangle]
    place = {layer: i for i, layer in enumerate(tangle.layers)}
    ordered = sorted(groups.items(), key=lambda item: place[item[1][-1]])
    return [Tangle(members, name) for name, members in ordered]


def _branch(layers, start, merge, reads):
    """A branch as elements. Where it parts again and its ends meet in `merge` only, its last element has no merge."""
    ends = [layer for layer in layers if layer in reads[merge]]
    if len(ends) == 1 and ends[0] is layers[-1]:
        return chain(layers, start)
    goal = Layer(merge.row, "merge", "", parents=ends)
    *elements, last = chain([*layers, goal], start)
    if isinstance(last, Parallel):
        return [*elements, Parallel(last.branches, None)]
    return [*elements, Tangle([x for x in last.layers if x is not goal], label(layers))]


# --------------------------------------------------------------------------- repeats and names


def collapsed(elements):
    """Elements with repeats as one `Repeat`: equal blocks from two on, plain layers from five on."""
    keys, result, i = [e.key() for e in elements], [], 0
    while i < len(elements):
        best = (1, 1)
        for period in range(1, 7):
            n = 1
            while keys[i : i + period] == keys[i + n * period : i + (n + 1) * period]:
                n += 1
            plain = all(isinstance(e, Layer) for e in elements[i : i + period])
            if n > 1 and n * period > best[0] * best[1] and (not plain or n * period > 4):
                best = (period, n)
        period, n = best
        result.append(Repeat(elements[i : i + period * n], n) if n > 1 else elements[i])
        i += period * n
    return result


_BLOCK = re.compile(r"^(.*block_?\d+[a-z]?)_")


def named(elements):
    """Elements with the layers of a separable block as one `Series`, where the names show blocks and no shortcut does."""
    result, block = [], None
    for element in elements:
        match = _BLOCK.match(element.row.name) if isinstance(element, Layer) else None
        if match and match[1] == block:
            result[-1].append(element)
        else:
            result.append([element])
            block = match[1] if match else None
    separable = [any("depthw." in layer.what for e in run for layer in e.layers) for run in result]
    return [
        e
        for run, apart in zip(result, separable, strict=True)
        for e in ([Series(run)] if len(run) > 1 and apart else run)
    ]


def gates(elements):
    """Squeeze-and-excitation as one box: x times what a global pool and two layers make of x. So the attention of SKNet and
    ResNeSt, which first sums the splits of x and ends with a softmax over them."""
    result = []
    for element in elements:
        if isinstance(element, Parallel):
            element = _gate(element) or Parallel(
                [gates(branch) for branch in element.branches], element.merge
            )
        result.append(element)
    return result


def _gate(element):
    if element.merge is None or element.merge.what != "×" or len(element.branches) != 2:
        return None
    identity, branch = sorted(element.branches, key=len)
    if identity or not all(isinstance(e, Layer) for e in branch):
        return None
    splits = branch[0].what == "sum splits"
    if branch[splits].what != "global":
        return None
    kind, what, numbers = ("attention", "split", "attention") if splits else ("gate", "squeeze,", "excite")
    rows = element.merge.folded + [row for e in branch for row in (e.row, *e.folded)]
    return Layer(element.merge.row, kind, what, numbers, folded=rows)


def of_block(layers, block, name):
    """The layers of a block: those whose names begin with it, or those of the block that holds the layer `block`."""
    inside = [x for x in layers if x.row.name == block or x.row.name.startswith(f"{block}_")]
    if len(inside) > 1:
        return inside
    elements = chain(layers[1:], layers[0])
    if inside:
        for element in elements:
            if inside[0] in element.layers and len(element.layers) > 1:
                return element.layers
    names = [name_of(e) for e in elements if not isinstance(e, Layer)]
    raise ValueError(
        f"{name} has no block {block!r}: it is the beginning of its layers' names; blocks of this net are "
        + (", ".join(dict.fromkeys(n for n in names if n)) or "none, it is a plain chain")
    )


# --------------------------------------------------------------------------- map sizes


class Band:
    """The elements of one map size. key: its stride, or its size where that is not known; None for vectors."""

    def __init__(self, key, elements=()):
        self.key, self.elements = key, list(elements)

    @property
    def layers(self):
        return [layer for e in self.elements for layer in e.layers]

    @property
    def rows(self):
        return [row for layer in self.layers for row in (layer.row, *layer.folded)]

    @property
    def last(self):
        return self.elements[-1].last

    def stages(self):
        """The names of its stages, three lines at most."""
        names = list(
            dict.fromkeys(graph.stage_of(layer.row) for layer in self.layers if layer.kind != "input")
        )
        return names if len(names) <= 3 else [names[0], "…", names[-1]]

    def name(self):
        """The size of its maps."""
        return "vector" if self.last.size is None else size_text(self.last.size)

    def sees(self):
        """The receptive field of its last layer, in words."""
        field = self.last.row.receptive_field
        if self.last.size is None:
            return "all"
        return "?" if field is None else f"{field[0]}" if field[0] == field[1] else size_text(field)

    def record(self):
        """What a row of the diagram says, as numbers."""
        return {
            "size": self.last.size,
            "stages": list(dict.fromkeys(graph.stage_of(layer.row) for layer in self.layers)),
            "output": self.last.row.output_shape,
            "params": sum(row.params for row in self.rows),
            "receptive field": self.last.row.receptive_field if self.last.size else None,
        }


def bands(elements):
    """Elements by the size of the maps they give."""
    result = []
    for element in elements:
        layer = element.last
        key = None if layer.size is None else (layer.row.stride or layer.size)
        if not result or result[-1].key != key:
            result.append(Band(key))
        result[-1].elements.append(element)
    if len(result) > 1 and len(result[0].elements) == 1:  # the image stands in the row of the first layer
        image = result.pop(0)
        result[0].elements[:0] = image.elements
    for band in result:
        band.elements = collapsed(band.elements)
    return result


def levels(groups):
    """The sides of a U as bands, each of its own."""
    return [Band(group.stride, group.elements) for group in groups]

"""The layout of nets that enlarge their maps again: a level for each stride, down on the left, up on the right."""

from .paint import GREY, width
from .structure import Layer, Repeat, chain, collapsed, gates, name_of, times

WIDE, HIGH, BETWEEN = 126, 22, 8  # pixels: a box at least, and the room between two


class Group:
    """Neighbours of one stride: one side of a level of the U. up: its maps were enlarged, so it is read upwards."""

    def __init__(self, layers, index):
        self.layers, self.index, self.rank = layers, index, 0
        first = layers[0]
        self.up = any(_stride(p) > _stride(first) for p in first.parents)
        source = Layer(first.row, "input", "", "")
        self.elements = collapsed(gates(chain(layers, source)))

    stride = property(lambda self: _stride(self.layers[0]))
    high = property(lambda self: sum(map(_high, self.elements)) + BETWEEN * (len(self.elements) - 1))


def _stride(layer):
    return max(layer.row.stride)


def _lines(element):
    if isinstance(element, Layer):
        return [", ".join(filter(None, (element.what, element.numbers)))]
    count = [f"×{element.times}"] if isinstance(element, Repeat) else []
    return [name_of(element) or "block", *count]


def _high(element):
    return HIGH if isinstance(element, Layer) else 14 * len(_lines(element)) + 10


def is_one(layers):
    """Whether a net's maps grow again, so that it is drawn as a U."""
    if any(layer.size is None or layer.row.stride is None for layer in layers):
        return False
    return any(_stride(p) > _stride(layer) for layer in layers for p in layer.parents)


def read(layers):
    """(groups, skips): the sides of the levels in graph order; skips (source, layers on the way, merge) between them.

    Of what a merge reads, that is a skip which has been at less coarse strides than the rest.
    """
    coarsest, skips = {}, set()
    for layer in layers:
        coarsest[layer] = max([_stride(layer), *(coarsest[p] for p in layer.parents)])
        deepest = max((coarsest[p] for p in layer.parents), default=0)
        skips.update((p, layer) for p in layer.parents if coarsest[p] < deepest)
    children = {layer: [c for c in layers if layer in c.parents] for layer in layers}
    on_skip = set()
    for layer in layers:  # a layer between the fork and the merge, as FCN's scores of pool4
        if len(layer.parents) == len(children[layer]) == 1 and (layer, children[layer][0]) in skips:
            way = [layer]
            while len(children[way[-1].parents[0]]) == len(way[-1].parents[0].parents) == 1:
                way.append(way[-1].parents[0])
            if len(children[way[-1].parents[0]]) > 1:
                on_skip.update(way)
    group, rest = {}, [layer for layer in layers if layer not in on_skip]
    for layer in rest:
        near = [
            p
            for p in layer.parents
            if p in group and (p, layer) not in skips and _stride(p) == _stride(layer)
        ]
        group[layer] = group[near[0]] if near else [layer]
        if near:
            group[layer].append(layer)
        for other in near[1:]:
            if group[other] is not group[layer]:
                group[layer][:0] = group[other]
                group.update((member, group[layer]) for member in group[other])
    place = {layer: i for i, layer in enumerate(layers)}
    lists = list({id(g): sorted(g, key=place.get) for g in group.values()}.values())
    groups = [Group(members, i) for i, members in enumerate(sorted(lists, key=lambda g: place[g[0]]))]
    found = []
    for source, merge in sorted(skips, key=lambda s: (place[s[1]], place[s[0]])):
        way = []
        while source in on_skip:
            way.insert(0, source)
            source = source.parents[0]
        found.append((source, way, merge))
    return groups, found


def draw(page, layers, top, draw_box, draw_lines):
    """Draws the U from `top` on; gives (groups, skips, the bottom)."""
    groups, skips = read(layers)
    of = {layer: g for g in groups for layer in g.layers}
    for g in groups:
        inputs = {of[p] for layer in g.layers for p in layer.parents if p in of} - {g}
        g.rank = max((other.rank + 1 for other in inputs), default=0)
    texts = [words for g in groups for e in g.elements for words in _lines(e)]
    wide = max([WIDE, *(width(words, bold=True) + 10 for words in texts)])
    ranks = max(g.rank for g in groups) or 1
    step = max(
        min(wide - 24, (960 - wide) / ranks), wide / 2 + 26
    )  # a page's width, room for the arrow between two
    crowded = len(skips) > len({g.stride for g in groups})
    places, y = {}, top
    levels = sorted({g.stride for g in groups})
    gutters = {}
    for level in levels:
        here = [g for g in groups if g.stride == level]
        far = any(of[s].stride == level and of[m].rank - of[s].rank > 2 for s, _, m in skips if len(here) > 2)
        gutters[level] = y + 6
        above = 24 + (18 if far else 0)
        high = max(g.high for g in here)
        for g in here:
            x, start = 16 + step * g.rank, y + above + high - g.high
            for element in reversed(g.elements) if g.up else g.elements:
                places[element] = x, start, _high(element)
                start += _high(element) + BETWEEN
            bottom = y + above + high
            _caption(page, g, x + wide / 2, y + above + high - g.high - 20 if g.up else bottom + 9)
        y += above + high + 26
    page.width = max(16 + step * ranks + wide + 16, 420)
    element_of = {layer: e for g in groups for e in g.elements for layer in e.layers}
    for g in groups:
        for before, element in zip(g.elements, g.elements[1:], strict=False):
            (x, y0, h0), (_, y1, h1) = places[before], places[element]
            ends = (y0, y1 + h1) if g.up else (y0 + h0, y1)
            page.line(*((x + wide / 2, end) for end in ends))
        first = g.elements[0]
        for parent in dict.fromkeys(p for layer in first.layers for p in layer.parents):
            if (
                parent in of
                and of[parent] is not g
                and (parent not in [s for s, _, m in skips if m in first.layers])
            ):
                _between(page, places[element_of[parent]], places[first], wide, g.up)
    for source, way, merge in skips:
        between = [
            g for g in groups if g.stride == of[merge].stride and of[source].rank < g.rank < of[merge].rank
        ]
        words = _words(source, way, crowded)
        _skip(
            page,
            places[element_of[source]],
            places[element_of[merge]],
            wide,
            words,
            between and gutters[of[merge].stride],
        )
    for g in groups:
        for element in g.elements:
            x, start, high = places[element]
            if isinstance(element, Layer):
                draw_box(page, element, _lines(element), x, start, wide, high)
            else:
                draw_lines(page, _lines(element), x, start, element, wide)
    return groups, skips, y


def _caption(page, group, x, y):
    row = group.elements[-1].last.row
    page.words(x, y, times(row.output_shape), 9.5, bold=True)
    field = row.receptive_field
    sees = "sees " + ("?" if field is None else str(field[0]) if field[0] == field[1] else times(field))
    page.words(x, y + 12, sees + " px", 9.5, color=GREY)


def _between(page, start, goal, wide, up):
    """From the right of the last box of a group into the first box of the next, which lies to the right of it."""
    (x0, y0, h0), (x1, y1, h1) = start, goal
    middle, enter = x1 + wide / 2, y1 + h1 if up else y1
    page.line((x0 + wide, y0 + h0 / 2), (middle, y0 + h0 / 2), (middle, enter), arrow=True)


def _words(source, way, crowded):
    """What is done on a skip."""
    if way or crowded:
        return ", ".join(_lines(x)[0] for x in way)
    if source.row.kind.endswith("Switches"):
        return "switches"
    return "copy, crop" if any(row.kind == "Cropping2D" for row in source.folded) else "copy"


def _skip(page, start, goal, wide, words, gutter):
    """From one side of a level to the other; along `gutter` where groups lie between."""
    (x0, y0, h0), (x1, y1, h1) = start, goal
    leave, enter = (x0 + wide, y0 + h0 / 2), (x1, y1 + h1 / 2)
    look = dict(arrow=True, dashed=True, color="#B34700", width=1.4, skip=True)
    if gutter:
        turn = leave[0] + 7
        page.line(
            leave, (turn, leave[1]), (turn, gutter), (x1 - 12, gutter), (x1 - 12, enter[1]), enter, **look
        )
        return
    level = abs(leave[1] - enter[1]) < 60
    turn = enter[0] - 14 if level else leave[0] + 12  # the switches of a pool lead to the level above
    page.line(
        *([leave, enter] if leave[1] == enter[1] else [leave, (turn, leave[1]), (turn, enter[1]), enter]),
        **look,
    )
    if words:
        start, y = (leave[0], leave[1]) if level else (turn, enter[1])
        page.words((start + (turn if level else enter[0])) / 2, y - 8, words, 9.5, color="#B34700")

"""The layout of nets that enlarge their maps again: a level for each stride, down on the left, up on the right."""

from ...graph.rules import size_text
from .elements import Layer, Repeat, name_of
from .layout import place_box, place_lines
from .paint import GREY, width
from .rows import place_frame, titled_page
from .structure import chain, collapsed, gates

# pixels: a box at least, and the room between two
WIDTH, HEIGHT, BETWEEN = 126, 22, 8
LEFT, PAGE = 16, 960

# --------------------------------------------------------------------------- groups and skips


class Group:
    """Neighbours of one stride: one side of a level of the U. up: its maps were enlarged, so it is read upwards."""

    def __init__(self, layers):
        self.layers, self.rank = layers, 0
        first = layers[0]
        self.up = any(_stride(p) > _stride(first) for p in first.parents)
        source = Layer(first.row, "input", "")
        self.elements = collapsed(gates(chain(layers, source)))

    @property
    def stride(self):
        return _stride(self.layers[0])

    @property
    def height(self):
        return sum(map(_height, self.elements)) + BETWEEN * (len(self.elements) - 1)


def _stride(layer):
    return max(layer.row.stride)


def _lines(element):
    if isinstance(element, Layer):
        return [", ".join(filter(None, (element.what, element.numbers)))]
    count = [f"×{element.times}"] if isinstance(element, Repeat) else []
    return [name_of(element) or "block", *count]


def _height(element):
    return HEIGHT if isinstance(element, Layer) else 14 * len(_lines(element)) + 10


def is_u(layers):
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
    on_skip = _on_skips(layers, skips)
    place = {layer: i for i, layer in enumerate(layers)}
    groups = _groups([layer for layer in layers if layer not in on_skip], skips, place)
    ways = []
    for source, merge in sorted(skips, key=lambda skip: (place[skip[1]], place[skip[0]])):
        way = []
        while source in on_skip:
            way.insert(0, source)
            source = source.parents[0]
        ways.append((source, way, merge))
    return groups, ways


def _on_skips(layers, skips):
    """The layers between a fork and its merge, such as FCN's scores of pool4."""
    children = {layer: [c for c in layers if layer in c.parents] for layer in layers}
    on_skip = set()
    for layer in layers:
        if len(layer.parents) == len(children[layer]) == 1 and (layer, children[layer][0]) in skips:
            way = [layer]
            while len(children[way[-1].parents[0]]) == len(way[-1].parents[0].parents) == 1:
                way.append(way[-1].parents[0])
            if len(children[way[-1].parents[0]]) > 1:
                on_skip.update(way)
    return on_skip


def _groups(layers, skips, place):
    """Layers of one stride that read each other, by no skip. place: {layer: its place in the graph}."""
    group = {}
    for layer in layers:
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
    members = list({id(g): sorted(g, key=place.get) for g in group.values()}.values())
    return [Group(layers) for layers in sorted(members, key=lambda g: place[g[0]])]


# --------------------------------------------------------------------------- places on the page


class ULayout:
    """Groups and skips with the places of their elements. `places`: {element: (x, y, height)}; `width`: of every box;
    `gutters`: {stride: the y above a level where long skips run}; `bottom`: where the U ends."""

    def __init__(self, layers, top):
        self.groups, self.skips = read(layers)
        self.group_of = {layer: group for group in self.groups for layer in group.layers}
        self.element_of = {x: element for g in self.groups for element in g.elements for x in element.layers}
        for group in self.groups:
            parents = {p for layer in group.layers for p in layer.parents}
            inputs = {self.group_of[p] for p in parents if p in self.group_of} - {group}
            group.rank = max((other.rank + 1 for other in inputs), default=0)
        texts = [text for group in self.groups for element in group.elements for text in _lines(element)]
        self.width = max([WIDTH, *(width(text, bold=True) + 10 for text in texts)])
        ranks = max(group.rank for group in self.groups) or 1
        # a page's width, with room for the arrow between two
        self.step = max(min(self.width - 24, (PAGE - self.width) / ranks), self.width / 2 + 26)
        self.page_width = max(LEFT + self.step * ranks + self.width + 16, 420)
        self.places, self.captions, self.gutters, self.bottom = {}, {}, {}, top
        for stride in sorted({group.stride for group in self.groups}):
            self._place_level(stride)

    def _place_level(self, stride):
        """Places the groups of one stride beside each other, their last boxes at one height."""
        groups = [group for group in self.groups if group.stride == stride]
        far = len(groups) > 2 and any(
            self.group_of[source].stride == stride
            and self.group_of[merge].rank - self.group_of[source].rank > 2
            for source, _, merge in self.skips
        )
        self.gutters[stride] = self.bottom + 6
        bottom = self.bottom + 24 + (18 if far else 0) + max(group.height for group in groups)
        for group in groups:
            x, y = LEFT + self.step * group.rank, bottom - group.height
            self.captions[group] = x + self.width / 2, (y - 20 if group.up else bottom + 9)
            for element in reversed(group.elements) if group.up else group.elements:
                self.places[element] = x, y, _height(element)
                y += _height(element) + BETWEEN
        self.bottom = bottom + 26

    def between(self, source, merge):
        """Whether groups lie on the straight way of a skip."""
        first, last = self.group_of[source].rank, self.group_of[merge].rank
        level = self.group_of[merge].stride
        return any(group.stride == level and first < group.rank < last for group in self.groups)


def u_page(name, total, layers, notes):
    """(page, groups): a net as a U with its title and its legend."""
    page, u = titled_page(name), ULayout(layers, 52)
    page.width = u.page_width
    for group in sorted(u.groups, key=lambda g: g.stride):
        _place_caption(page, group, *u.captions[group])
    for group in u.groups:
        _place_lines_inside(page, u, group)
        _place_lines_into(page, u, group)
    crowded = len(u.skips) > len({group.stride for group in u.groups})
    for source, way, merge in u.skips:
        gutter = u.gutters[u.group_of[merge].stride] if u.between(source, merge) else None
        ends = (u.places[u.element_of[layer]] for layer in (source, merge))
        _place_skip(page, *ends, u.width, _words(source, way, crowded), gutter)
    for element, (x, y, height) in ((e, u.places[e]) for group in u.groups for e in group.elements):
        if isinstance(element, Layer):
            place_box(page, element, _lines(element), x, y, u.width, height)
        else:
            place_lines(page, _lines(element), x, y, element, u.width)
    elements = [element for group in u.groups for element in group.elements]
    place_frame(page, total, elements, u.bottom + 14, notes)
    return page, u.groups


def _place_caption(page, group, x, y):
    """The size of a side's last map, and what a unit of it sees."""
    row = group.elements[-1].last.row
    page.words(x, y, size_text(row.output_shape), 9.5, bold=True)
    field = row.receptive_field
    sees = "sees " + ("?" if field is None else str(field[0]) if field[0] == field[1] else size_text(field))
    page.words(x, y + 12, sees + " px", 9.5, color=GREY)


def _place_lines_inside(page, u, group):
    """From each box of a side to the next one below or above."""
    for before, element in zip(group.elements, group.elements[1:], strict=False):
        (x, y0, height0), (_, y1, height1) = u.places[before], u.places[element]
        ends = (y0, y1 + height1) if group.up else (y0 + height0, y1)
        page.line(*((x + u.width / 2, end) for end in ends))


def _place_lines_into(page, u, group):
    """From the right of the last box of a side into the first box of the next, which lies to the right of it."""
    first = group.elements[0]
    skipped = [source for source, _, merge in u.skips if merge in first.layers]
    for parent in dict.fromkeys(p for layer in first.layers for p in layer.parents):
        if u.group_of.get(parent, group) is group or parent in skipped:
            continue
        (x0, y0, height0), (x1, y1, height1) = u.places[u.element_of[parent]], u.places[first]
        middle, enter = x1 + u.width / 2, y1 + height1 if group.up else y1
        start = x0 + u.width, y0 + height0 / 2
        page.line(start, (middle, start[1]), (middle, enter), arrow=True)


def _words(source, way, crowded):
    """What is done on a skip."""
    if way or crowded:
        return ", ".join(_lines(layer)[0] for layer in way)
    if source.row.kind.endswith("Switches"):
        return "switches"
    return "copy, crop" if any(row.kind == "Cropping2D" for row in source.folded) else "copy"


def _place_skip(page, start, goal, box_width, words, gutter):
    """From one side of a level to the other; along `gutter` where groups lie between."""
    (x0, y0, height0), (x1, y1, height1) = start, goal
    leave, enter = (x0 + box_width, y0 + height0 / 2), (x1, y1 + height1 / 2)
    look = dict(arrow=True, dashed=True, color="#B34700", width=1.4, skip=True)
    if gutter:
        turn = leave[0] + 7
        page.line(
            leave, (turn, leave[1]), (turn, gutter), (x1 - 12, gutter), (x1 - 12, enter[1]), enter, **look
        )
        return
    level = abs(leave[1] - enter[1]) < 60
    turn = enter[0] - 14 if level else leave[0] + 12  # the switches of a pool lead to the level above
    corners = [] if leave[1] == enter[1] else [(turn, leave[1]), (turn, enter[1])]
    page.line(leave, *corners, enter, **look)
    if words and not level and width(words, 9.5) > enter[0] - turn - 10:
        # too short a line: beside its corner there is room
        page.words(turn + 7, leave[1], words, 9.5, "start", "#B34700")
    elif words:
        x, y = (leave[0], leave[1]) if level else (turn, enter[1])
        page.words((x + (turn if level else enter[0])) / 2, y - 8, words, 9.5, color="#B34700")

"""From elements to placed boxes. Every element is measured once, when its node is made; then the nodes are placed on a page.

A chain runs from left to right, or from top to bottom. Lengths are pixels along the line and to both sides of it.
"""

from dataclasses import dataclass

from .elements import Layer, Parallel, Series, Tangle, tangle_lines
from .paint import FILLS, ink_on, width

ROUND = 9  # pixels: the radius of a sum
SHORT = "#EAF3F9"  # fill of a block that is written in words


@dataclass(frozen=True)
class Spacing:
    """How closely a chain is set, in pixels. gap: an arrow; fork: where branches part; room: above and below a line;
    widest: the widest line of units. short: whether any block is written in words where one like it was drawn before, not
    only those of three branches. always: the keys of blocks that are written in words though no other is like them."""

    gap: int = 14
    fork: int = 12
    room: int = 11
    widest: int = 724
    short: bool = False
    always: tuple = ()


class Flow:
    """The direction of a chain: from left to right, or, with `down`, from top to bottom.

    Lengths are (along, before, after): along the line and to both sides of it. `down` turns left of the line (before) to
    the right side of the page, where the shortcut of Fig. 5 in the ResNet paper is.
    """

    def __init__(self, down=False, spacing=Spacing()):
        self.down, self.gap, self.fork = down, spacing.gap, spacing.fork

    def at(self, along, across):
        """The (x, y) of a place on the page."""
        return (-across, along) if self.down else (along, across)

    def line(self, page, *points, **options):
        page.line(*(self.at(*point) for point in points), **options)


# --------------------------------------------------------------------------- boxes


def place_box(page, layer, lines, x, y, width, height):
    """A layer's box with its lines of text, the first one bold."""
    page.rect(x, y, width, height, fill=FILLS[layer.kind], of=layer)
    ink, step = ink_on(layer.kind), 13
    for i, text in enumerate(lines):
        middle = y + height / 2 + (i - (len(lines) - 1) / 2) * step
        page.words(x + width / 2, middle, text, color=ink, bold=i == 0 and layer.kind != "quiet")


def place_lines(page, lines, x, y, element, width=None):
    """A block in words: a pale box, a line of text for each branch."""
    width, height = width or lines_size(lines)[0], lines_size(lines)[1]
    page.rect(x, y, width, height, fill=SHORT, edge="#7FA9C4", of=element)
    for i, text in enumerate(lines):
        page.words(x + width / 2, y + 12 + 14 * i, text, 10)


def lines_size(lines):
    """(width, height) of a block in words."""
    return max([40, *(width(text, 10) + 14 for text in lines)]), 14 * len(lines) + 10


# --------------------------------------------------------------------------- measured elements


def measured(element, flow):
    """The node of an element: `along`, `before` and `after` are its size, `place(page, along, across)` puts it on a page
    and returns where the line goes on."""
    if isinstance(element, Layer):
        return MergeNode(element, flow) if element.kind == "merge" else BoxNode(element, flow)
    if isinstance(element, Series):
        return SeriesNode(element.elements, flow)
    if isinstance(element, Tangle):
        return WordsNode(element, flow)
    assert isinstance(element, Parallel), element
    return BranchesNode(element, flow)


class Node:
    """A box in the middle of the line, `width` times `height` pixels."""

    def __init__(self, element, flow, width, height):
        self.element, self.flow, self.width, self.height = element, flow, width, height
        self.along, across = (height, width) if flow.down else (width, height)
        self.before = self.after = across / 2

    def corner(self, along, across):
        """The (x, y) of its upper left corner where the line is at `across` and reaches it at `along`."""
        x, y = self.flow.at(along + self.along / 2, across)
        return x - self.width / 2, y - self.height / 2


class BoxNode(Node):
    """A layer: two lines of text, one where the chain runs down."""

    def __init__(self, layer, flow):
        self.lines = [layer.what] + [layer.numbers] * bool(layer.numbers)
        if flow.down:
            self.lines = [", ".join(filter(None, (layer.what, layer.numbers)))]
        text = max(width(line, bold=i == 0) for i, line in enumerate(self.lines)) + 11
        super().__init__(layer, flow, *((max(text, 110), 22) if flow.down else (max(text, 56), 34)))

    def place(self, page, along, across):
        place_box(page, self.element, self.lines, *self.corner(along, across), self.width, self.height)
        return along + self.along


class WordsNode(Node):
    """A block whose branches cross, in words."""

    def __init__(self, tangle, flow):
        self.lines = tangle_lines(tangle)
        super().__init__(tangle, flow, *lines_size(self.lines))

    def place(self, page, along, across):
        place_lines(page, self.lines, *self.corner(along, across), self.element)
        return along + self.along


class MergeNode(Node):
    """A sum as a circle on the line, a concatenation as a bar across its branches."""

    def __init__(self, layer, flow):
        super().__init__(layer, flow, 2 * ROUND, 2 * ROUND)
        self.bar = layer.what == "concat"

    def place(self, page, along, across, first=0.0, last=0.0):
        """first, last: how far the outermost branches lie from the line."""
        end = along + self.along
        if not self.bar or first == last:
            x, y = self.corner(along, across)
            side, what = 2 * ROUND, self.element.what
            page.rect(x, y, side, side, fill=FILLS["merge"], radius=ROUND, of=self.element)
            page.words(x + ROUND, y + ROUND, what if len(what) == 1 else what[0].upper(), 12.5)
            return end
        (x0, y0), (x1, y1) = self.flow.at(along, across + first - 8), self.flow.at(end, across + last + 8)
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        page.rect(x0, y0, x1 - x0, y1 - y0, fill=FILLS["merge"], of=self.element)
        fits = max(x1 - x0, y1 - y0) > width("concat", 9) + 6
        turned = fits and not self.flow.down
        page.words((x0 + x1) / 2, (y0 + y1) / 2, "concat" if fits else "C", 9, turned=turned)
        return end


class SeriesNode:
    """Elements one after another, arrows between."""

    def __init__(self, elements, flow):
        self.flow, self.nodes = flow, [measured(element, flow) for element in elements]
        self.along = sum(node.along for node in self.nodes) + flow.gap * max(len(self.nodes) - 1, 0)
        self.before = max((node.before for node in self.nodes), default=0)
        self.after = max((node.after for node in self.nodes), default=0)

    @property
    def forks(self):
        """Whether it begins with branches, which the line enters without an arrow."""
        return bool(self.nodes) and isinstance(self.nodes[0], BranchesNode)

    def place(self, page, along, across):
        for i, node in enumerate(self.nodes):
            if i:
                end, arrow = along + self.flow.gap, not isinstance(node, BranchesNode)
                self.flow.line(page, (along, across), (end, across), arrow=arrow)
                along = end
            along = node.place(page, along, across)
        return along


class BranchesNode:
    """Branches beside each other, and the merge where they meet (None if that is further on)."""

    BETWEEN = 10  # pixels between two branches

    def __init__(self, parallel, flow):
        self.flow = flow
        self.branches = [SeriesNode(branch, flow) for branch in parallel.branches]
        self.merge = MergeNode(parallel.merge, flow) if parallel.merge else None
        self.offsets = self._offsets([sum(len(e.layers) for e in branch) for branch in parallel.branches])
        self.inner = max(branch.along for branch in self.branches)
        self.along = 2 * flow.fork + self.inner + (self.merge.along if self.merge else 0)
        placed = list(zip(self.branches, self.offsets, strict=True))
        before = max(branch.before - offset for branch, offset in placed)
        after = max(branch.after + offset for branch, offset in placed)
        if self.merge and self.merge.bar:  # it reaches a little beyond the outermost branches
            before, after = max(before, 9 - min(self.offsets)), max(after, 9 + max(self.offsets))
        self.before, self.after = max(before, ROUND), max(after, ROUND)

    def _offsets(self, counts):
        """How far each branch lies from the line. counts: how many layers each has."""
        if len(counts) == 2 and counts[0] != counts[1]:  # a shortcut beside what it goes around
            short = counts.index(min(counts))
            clear = max(self.branches[1 - short].before + 11 + self.branches[short].after, 24)
            return [-clear if i == short else 0 for i in (0, 1)]
        total = sum(b.before + b.after for b in self.branches) + self.BETWEEN * (len(counts) - 1)
        offsets, place = [], -total / 2
        for branch in self.branches:
            offsets.append(place + branch.before)
            place += branch.before + branch.after + self.BETWEEN
        return [-o for o in offsets] if self.flow.down else offsets  # the first on the left, or above

    def place(self, page, along, across):
        end, merges = along + 2 * self.flow.fork + self.inner, self.merge is not None
        for branch, offset in zip(self.branches, self.offsets, strict=True):
            level = across + offset
            start = along + self.flow.fork + (self.inner - branch.along) / 2
            way = [(along, across)] + ([(along + 4, across), (along + 4, level)] if offset else [])
            leave = self._exit(end, across, offset)
            if not branch.nodes:
                self.flow.line(page, *way, *leave, arrow=merges, skip=True)
                continue
            self.flow.line(page, *way, (start, level), arrow=not branch.forks)
            self.flow.line(page, (branch.place(page, start, level), level), *leave, arrow=merges)
        if not merges:
            return end
        return self.merge.place(page, end, across, min(self.offsets), max(self.offsets))

    def _exit(self, end, across, offset):
        """The points from the end of a branch to the merge, or back to the line."""
        level = across + offset
        if self.merge is None:
            return [(end - 4, level), (end - 4, across), (end, across)] if offset else [(end, across)]
        if self.merge.bar or not offset:
            return [(end, level)]
        return [(end + ROUND, level), (end + ROUND, across + (ROUND if offset > 0 else -ROUND))]

"""A network on one page, as its paper draws it, read from the model: `diagram(ResNet50())`.

A row for each map size, boxes for layers, frames for blocks with their shortcuts and branches, repeats once (×3). Nets
that enlarge their maps again (U-Net, FCN) stand as a U, a level for each stride. `block=` draws one block, layer by layer.
"""

from dataclasses import dataclass, replace

from ... import graph, tables
from ..picture import Picture
from . import u_shape as letter_u
from .paint import FILLS, GREY, RULE, WORDS, Page, ink_on, side_by_side, width
from .structure import (
    Layer,
    Parallel,
    Repeat,
    Series,
    Tangle,
    boxes,
    chain,
    collapsed,
    gates,
    label,
    name_of,
    named,
    times,
)

# --------------------------------------------------------------------------- series and branches on a page

ROUND = 9  # pixels: the radius of a sum
PAGE = 1060, 1100  # the widest and the highest a net's diagram may be


@dataclass(frozen=True)
class Layout:
    """How closely a chain is set, in pixels. gap: an arrow; fork: where branches part; room: above and below a line;
    most: the widest line of units. short: whether any block is told in words where one like it was drawn before, not only
    those of three branches. told: the keys of blocks that are told in words though no other is like them."""

    gap: int = 14
    fork: int = 12
    room: int = 11
    most: int = 724
    short: bool = False
    told: tuple = ()


def layouts(found):
    """Layouts for these bands, ever shorter: set closer, then in words what is like another block, then one block after the
    other, the smallest first, so that those with most to see are drawn longest."""
    yield Layout()
    close = Layout(gap=12, fork=10, room=6, most=786)
    yield close
    yield replace(close, short=True)
    inner = (e.elements if isinstance(e, Repeat) else [e] for band in found for e in band.elements)
    blocks = [elements[0] for elements in inner if len(elements) == 1 and in_short(elements[0], 1)]
    keys = list(dict.fromkeys(b.key(False) for b in sorted(blocks, key=lambda b: len(b.layers))))
    for n in range(1, len(keys) + 1):
        yield replace(close, short=True, told=tuple(keys[:n]))


class Flow:
    """Draws elements along a line: from left to right, or, with `down`, from top to bottom.

    Lengths are (along, before, after): along the line and to both sides of it. `down` turns left of the line (before) to
    the right side of the page, where the shortcut of Fig. 5 in the ResNet paper is.
    """

    def __init__(self, page, down=False, layout=Layout()):
        self.page, self.down, self.gap, self.fork = page, down, layout.gap, layout.fork

    def at(self, a, c):
        return (-c, a) if self.down else (a, c)

    def line(self, *points, **options):
        return self.page.line(*(self.at(*p) for p in points), **options)

    def shift(self, dx, dy):
        return -dx if self.down else dx, dy

    # --- how long

    def text(self, layer):
        """The lines of a box."""
        if not self.down:
            return [layer.what] + [layer.numbers] * bool(layer.numbers)
        return [", ".join(filter(None, (layer.what, layer.numbers)))]

    def box(self, layer):
        """(width, height) of a layer's box."""
        lines = self.text(layer)
        wide = max(width(t, bold=i == 0) for i, t in enumerate(lines)) + 11
        return (max(wide, 110), 22) if self.down else (max(wide, 56), 34)

    def measure(self, element):
        if isinstance(element, Layer):
            wide, high = self.box(element)
            if element.kind == "merge":
                wide = high = 2 * ROUND
            return (high, wide / 2, wide / 2) if self.down else (wide, high / 2, high / 2)
        if isinstance(element, Series):
            return self.series(element.elements)
        if isinstance(element, Tangle):
            wide, high = tangle_size(element)
            return (high, wide / 2, wide / 2) if self.down else (wide, high / 2, high / 2)
        arms, offsets = self.arms(element)
        along = 2 * self.fork + max(a for a, _, _ in arms) + (2 * ROUND if element.merge else 0)
        before = max(b - o for (_, b, _), o in zip(arms, offsets, strict=True))
        after = max(b + o for (_, _, b), o in zip(arms, offsets, strict=True))
        if is_bar(element.merge):  # it reaches a little beyond the outermost branches
            before, after = max(before, 9 - min(offsets)), max(after, 9 + max(offsets))
        return along, max(before, ROUND), max(after, ROUND)

    def series(self, elements):
        if not elements:
            return 0, 0, 0
        sizes = [self.measure(e) for e in elements]
        return (
            sum(s[0] for s in sizes) + self.gap * (len(sizes) - 1),
            max(s[1] for s in sizes),
            max(s[2] for s in sizes),
        )

    def arms(self, element):
        """The branches' sizes and how far each lies from the line."""
        arms = [self.series(branch) for branch in element.branches]
        counts = [sum(len(e.layers) for e in branch) for branch in element.branches]
        if len(arms) == 2 and counts[0] != counts[1]:  # a shortcut beside what it goes around
            short = counts.index(min(counts))
            clear = max(arms[1 - short][1] + 11 + arms[short][2], 24)
            return arms, [-clear if i == short else 0 for i in (0, 1)]
        between = 10
        whole = sum(b + a for _, b, a in arms) + between * (len(arms) - 1)
        offsets, place = [], -whole / 2
        for _, before, after in arms:
            offsets.append(place + before)
            place += before + after + between
        return arms, [-o for o in offsets] if self.down else offsets  # the first on the left, or above

    # --- drawing; every function gives where the line goes on

    def draw(self, element, a, c):
        if isinstance(element, Layer):
            return self.layer(element, a, c)
        if isinstance(element, Series):
            return self.run(element.elements, a, c)
        if isinstance(element, Tangle):
            along, before, _ = self.measure(element)
            wide, high = tangle_size(element)
            x, y = self.at(a + along / 2, c)
            draw_tangle(self.page, element, x - wide / 2, y - high / 2)
            return a + along
        return self.parallel(element, a, c)

    def layer(self, layer, a, c):
        along, before, _ = self.measure(layer)
        x, y = self.at(a + along / 2, c)
        if layer.kind == "merge":
            return self.merge(layer, a, c, c, c)
        wide, high = self.box(layer)
        draw_box(self.page, layer, self.text(layer), x - wide / 2, y - high / 2, wide, high)
        return a + along

    def merge(self, layer, a, c, first, last):
        """A sum as a circle on the line, a concatenation as a bar across the branches from `first` to `last`."""
        end = a + 2 * ROUND
        if layer.what != "concat" or first == last:
            x, y = self.at(a + ROUND, c)
            self.page.rect(
                x - ROUND, y - ROUND, 2 * ROUND, 2 * ROUND, fill=FILLS["merge"], radius=ROUND, of=layer
            )
            self.page.words(x, y, layer.what if len(layer.what) == 1 else layer.what[0].upper(), 12.5)
            return end
        (x0, y0), (x1, y1) = self.at(a, first - 8), self.at(end, last + 8)
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        self.page.rect(x0, y0, x1 - x0, y1 - y0, fill=FILLS["merge"], of=layer)
        fits = max(x1 - x0, y1 - y0) > width("concat", 9) + 6
        self.page.words(
            (x0 + x1) / 2, (y0 + y1) / 2, "concat" if fits else "C", 9, turned=fits and not self.down
        )
        return end

    def run(self, elements, a, c):
        """Elements one after another, arrows between."""
        for i, element in enumerate(elements):
            if i:
                self.line((a, c), (a + self.gap, c), arrow=not isinstance(element, Parallel))
                a += self.gap
            a = self.draw(element, a, c)
        return a

    def parallel(self, element, a, c):
        arms, offsets = self.arms(element)
        inner = max(length for length, _, _ in arms)
        end = a + 2 * self.fork + inner
        bar = is_bar(element.merge)
        for branch, (length, _, _), offset in zip(element.branches, arms, offsets, strict=True):
            y = c + offset
            start = a + self.fork + (inner - length) / 2
            way = [(a, c)] + ([(a + 4, c), (a + 4, y)] if offset else [])
            if element.merge is None:
                exit_ = [(end - 4, y), (end - 4, c), (end, c)] if offset else [(end, c)]
            elif bar or not offset:
                exit_ = [(end, y)]
            else:
                exit_ = [(end + ROUND, y), (end + ROUND, c + (ROUND if offset > 0 else -ROUND))]
            ends = element.merge is not None
            if not branch:
                self.line(*way, *exit_, arrow=ends, skip=True)
                continue
            self.line(*way, (start, y), arrow=not isinstance(branch[0], Parallel))
            self.line((self.run(branch, start, y), y), *exit_, arrow=ends)
        if element.merge is None:
            return end
        return self.merge(element.merge, end, c, c + min(offsets), c + max(offsets))


def is_bar(merge):
    return merge is not None and merge.what == "concat"


def draw_box(page, layer, lines, x, y, wide, high):
    page.rect(x, y, wide, high, fill=FILLS[layer.kind], of=layer)
    ink, step = ink_on(layer.kind), 13
    for i, words in enumerate(lines):
        middle = y + high / 2 + (i - (len(lines) - 1) / 2) * step
        page.words(x + wide / 2, middle, words, color=ink, bold=i == 0 and layer.kind != "quiet")


# --------------------------------------------------------------------------- blocks that are told in words

SHORT = "#EAF3F9"


def draw_lines(page, lines, x, y, of, wide=None):
    wide, high = wide or lines_size(lines)[0], lines_size(lines)[1]
    page.rect(x, y, wide, high, fill=SHORT, edge="#7FA9C4", of=of)
    for i, words in enumerate(lines):
        page.words(x + wide / 2, y + 12 + 14 * i, words, 10)


def lines_size(lines):
    return max([40, *(width(t, 10) + 14 for t in lines)]), 14 * len(lines) + 10


def tangle_lines(element):
    """What is in a block whose branches cross: each kind of layer, how often."""
    found = {}
    for layer in element.layers:
        if layer.kind not in ("merge", "other"):
            found[layer.what] = found.get(layer.what, 0) + 1
    merges = sum(layer.kind == "merge" for layer in element.layers)
    lines = [f"{n} {what}" for what, n in found.items()]
    return lines + [f"{merges} merges"] * bool(merges)


def tangle_size(element):
    return lines_size(tangle_lines(element))


def draw_tangle(page, element, x, y):
    draw_lines(page, tangle_lines(element), x, y, element)


def in_short(element, least=3):
    """A block of at least `least` branches in a line for each: the numbers of its layers; None where that cannot be told."""
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


# --------------------------------------------------------------------------- the chain, a row for each size

LEFT, PAD, LINK, CAPTION = 92, 7, 30, 15


class Unit:
    """An element of a row: a layer, or a block with its frame, its name and how often it comes."""

    def __init__(self, element, seen, layout):
        self.element, self.layout, flow = element, layout, Flow(None, layout=layout)
        self.inner = element.elements if isinstance(element, Repeat) else [element]
        self.times = element.times if isinstance(element, Repeat) else 1
        self.framed = self.times > 1 or not isinstance(element, Layer)
        self.short = None
        lines = in_short(self.inner[0], 1 if layout.short else 3) if len(self.inner) == 1 else None
        if lines:
            key = self.inner[0].key(False)
            self.short = lines if key in seen or key in layout.told else None
            seen.add(key)
        self.in_numbers = self.short is not None
        if len(self.inner) == 1 and isinstance(self.inner[0], Tangle):
            self.short = tangle_lines(self.inner[0])
        if self.short:
            wide, high = lines_size(self.short)
            size = wide, high / 2, high / 2
        else:
            size = flow.series(self.inner)
        self.name = name_of(element) if self.framed else ""
        self.badge = f"×{self.times}" if self.times > 1 else ""
        extra = PAD if self.framed and not self.short else 0
        title = width(self.name, 9.5) + (width(self.badge, 12, True) + 8 if self.badge else 0)
        self.width = max(size[0] + 2 * extra, title if self.framed else 0)
        self.up, self.down = size[1] + extra + (CAPTION if self.framed else 0), size[2] + extra
        self.inside = size[0]

    def draw(self, page, x, y):
        """Draws it with the line of data at height y; gives where the line enters and leaves."""
        flow = Flow(page, layout=self.layout)
        if not self.framed:
            return x, flow.run(self.inner, x, y)
        top = y - self.up + CAPTION
        if not self.short:
            page.rect(x, top, self.width, y + self.down - top, "#F6F6F6", "#BDBDBD", of=self.element)
        page.words(x, top - 7, self.name, 9.5, "start", GREY)
        if self.badge:
            page.words(x + self.width, top - 7.5, self.badge, 12, "end", bold=True)
        start = x + (self.width - self.inside) / 2
        if self.short:
            high = lines_size(self.short)[1]
            draw_lines(page, self.short, start, y - high / 2, self.element)
            return start, start + self.inside
        if self.inner and isinstance(self.inner[0], (Layer, Series, Tangle)):
            page.line((x, y), (start, y), arrow=True)
        else:
            page.line((x, y), (start, y))
        end = flow.run(self.inner, start, y)
        page.line((end, y), (x + self.width, y))
        return x, x + self.width


class Band:
    """The units of one map size."""

    def __init__(self, key):
        self.key, self.elements = key, []

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
        names = list(
            dict.fromkeys(graph.stage_of(layer.row) for layer in self.layers if layer.kind != "input")
        )
        return names if len(names) <= 3 else [names[0], "…", names[-1]]

    def sees(self):
        field = self.last.row.receptive_field
        if self.last.size is None:
            return "all"
        return "?" if field is None else f"{field[0]}" if field[0] == field[1] else times(field)

    def record(self):
        return {
            "size": self.last.size,
            "stages": list(dict.fromkeys(graph.stage_of(layer.row) for layer in self.layers)),
            "output": self.last.row.output_shape,
            "params": sum(row.params for row in self.rows),
            "receptive field": self.last.row.receptive_field if self.last.size else None,
        }


def bands(elements):
    """Elements by the size of the maps they give."""
    found = []
    for element in elements:
        layer = element.last
        key = None if layer.size is None else (layer.row.stride or layer.size)
        if not found or found[-1].key != key:
            found.append(Band(key))
        found[-1].elements.append(element)
    if len(found) > 1 and len(found[0].elements) == 1:  # the image stands in the row of the first layer
        image = found.pop(0)
        found[0].elements[:0] = image.elements
    for band in found:
        band.elements = collapsed(band.elements)
    return found


def levels(groups):
    """The sides of a U as bands, each of its own."""
    found = []
    for group in groups:
        found.append(Band(group.stride))
        found[-1].elements = group.elements
    return found


def single(elements):
    """Elements with repeats written out."""
    return [e for element in elements for e in (element.all if isinstance(element, Repeat) else [element])]


def draw_chain(page, found, top, layout):
    """Bands from the top down; gives the bottom, and whether blocks are told by their numbers."""
    seen, lines = set(), []  # lines: (band, its first line?, units)
    for band in found:
        line, used = [], 0
        for element in band.elements:
            unit = Unit(element, seen, layout)
            if line and used + LINK + unit.width > layout.most:
                lines.append((band, line))
                line, used = [], 0
            used += unit.width + (LINK if line else 0)
            line.append(unit)
        lines.append((band, line))
    right = LEFT + 20 + max(sum(u.width for u in units) + LINK * (len(units) - 1) for _, units in lines) + 18
    page.width = max(right + 142, 560)
    sees, params = page.width - 88, page.width - 14
    page.words(14, top, "maps", 9.5, "start", GREY)
    page.words(sees, top, "sees (pixels)", 9.5, "end", GREY)
    page.words(params, top, "parameters", 9.5, "end", GREY)
    y, before, leave = top + 10, None, None
    for i, (band, units) in enumerate(lines):
        first = i == 0 or lines[i - 1][0] is not band
        final = i + 1 == len(lines) or lines[i + 1][0] is not band
        up, down = max(u.up for u in units), max(u.down for u in units)
        if first:
            page.line((10, y), (page.width - 10, y), color="#D5D5D5", width=0.8)
            up = max(up, 26)
            down = max(down, 26) if final else down
        room = layout.room
        middle = y + room + up
        if first:
            size = "vector" if band.last.size is None else times(band.last.size)
            page.words(14, middle - 7, size.replace("×", " × "), 12, "start", bold=True)
            for j, stage in enumerate(band.stages()):
                page.words(14, middle + 9 + 12 * j, stage, 9.5, "start", GREY)
            down = max(down, 9 + 12 * len(band.stages()) - 8)
        if final:
            page.words(sees, middle, band.sees(), 11, "end")
            page.words(params, middle, tables.number(sum(r.params for r in band.rows)), 11, "end")
        x = LEFT + 20
        for j, unit in enumerate(units):
            arrow = not unit.framed or unit.short
            enter = unit.draw(page, x, middle)
            if j == 0 and leave:
                turn = y if first else y + room / 2
                points = [leave, (leave[0] + 14, leave[1]), (leave[0] + 14, turn)]
                points += [(x - 16, turn), (x - 16, middle), (enter[0], middle)]
                page.line(*points, arrow=bool(arrow), color=RULE)
            elif j:
                page.line((leave[0], middle), (enter[0], middle), arrow=bool(arrow))
            if before is not None and j and before.kind != "input":
                words = str(before.channels)
                page.words((leave[0] + enter[0]) / 2 - 1, middle - 8, words, 9, color=GREY)
            leave, before = (enter[1], middle), unit.element.last
            x += unit.width + LINK
        y = middle + down + room
    page.line((10, y), (page.width - 10, y), color="#D5D5D5", width=0.8)
    return y, any(unit.in_numbers for _, units in lines for unit in units)


# --------------------------------------------------------------------------- one block, layer by layer


def draw_block(page, layers, title):
    """The layers of one block from top to bottom, the map that enters it above, the one that leaves it below."""
    own = set(layers)
    sources = list(dict.fromkeys(p for layer in layers for p in layer.parents if p not in own))
    if len(sources) > 1:
        names = ", ".join(s.row.name for s in sources)
        raise ValueError(
            f"{title} reads several maps from outside ({names}); draw the whole net, or a block of one input"
        )
    source = sources[0] if sources else layers[0]
    elements = chain([x for x in layers if x is not source], source)
    flow = Flow(page, down=True)
    along, before, after = flow.series(elements)
    # in a Flow that goes down, `before` is on the right
    page.width = max(after + before + 60, width(title, 13, True) + 40)
    middle = 30 + after + (page.width - 60 - after - before) / 2
    page.words(14, 20, title, 13, "start", bold=True)
    page.words(middle, 46, times(source.row.output_shape), 10.5, color=GREY)
    page.line((middle, 54), (middle, 70), arrow=isinstance(elements[0], Layer))
    end = flow.run(elements, 70, -middle)
    page.line((middle, end), (middle, end + 18), arrow=True)
    page.words(middle, end + 28, times(layers[-1].row.output_shape), 10.5, color=GREY)
    page.height = end + 44
    return elements


def of_block(found, block, name):
    """The boxes of a block: those whose names begin with it, or those of the block that holds the layer `block`."""
    own = [x for x in found if x.row.name == block or x.row.name.startswith(f"{block}_")]
    if len(own) > 1:
        return own
    if own:
        for element in chain(found[1:], found[0]):
            if own[0] in element.layers and len(element.layers) > 1:
                return element.layers
    names = [name_of(e) for e in chain(found[1:], found[0]) if not isinstance(e, Layer)]
    raise ValueError(
        f"{name} has no block {block!r}: it is the beginning of its layers' names; blocks of this net are "
        + (", ".join(dict.fromkeys(n for n in names if n)) or "none, it is a plain chain")
    )


# --------------------------------------------------------------------------- the picture


class Diagram(Picture):
    """`.page`: boxes, lines and words with their places. `.rows`: what the rows say, a dict for each map size.
    `.blocks`: the net's blocks by name, repeats each. `.svg()`: the drawing as text; `.figure()`: matplotlib."""

    def __init__(self, name, page, rows, blocks, alt):
        self.name, self.page, self.rows, self.blocks, self.alt = name, page, rows, blocks, alt

    def svg(self):
        return self.page.svg(self.alt)

    def beside(self, *others):
        """This diagram and others in one: `diagram(a, block="conv2_block1").beside(diagram(b, block="conv2_block1"))`."""
        drawn = [self, *others]
        page, rows = side_by_side([d.page for d in drawn]), [row for d in drawn for row in d.rows]
        name, blocks = ", ".join(d.name for d in drawn), [b for d in drawn for b in d.blocks]
        return Diagram(name, page, rows, blocks, "; ".join(d.alt for d in drawn))

    def save(self, path):
        """Writes the drawing to a file: .svg, or what matplotlib knows by its ending (.png, .pdf)."""
        if str(path).endswith(".svg"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.svg())
        else:
            self.figure().savefig(path)

    def _figure(self):
        return self.page.figure()

    def _repr_svg_(self):
        return self.svg()


def diagram(model, *, block=None):
    """The network on one page: a row for each size of its maps, blocks in frames, repeats once; what a unit sees, and
    parameters, beside. A net that enlarges its maps again is drawn as a U. One that would not fit the page (`PAGE`) is set
    closer, then its blocks are told in words where one like them is drawn, and the legend says so.

    model: functional, Sequential or nested; `graph.blueprint(ResNet152)` needs no memory. block: the name of one block,
    "conv4_block2" (the beginning of its layers' names, or a layer inside it): that block alone, every layer of it. Shows
    itself as SVG, and as PNG where SVG is not trusted.
    """
    if block is not None:
        page = Page()
        layers = of_block(boxes(model, everything=True)[0], block, model.name)
        title = label(layers)
        elements = draw_block(page, layers, title)
        alt = f"{title} of {model.name}: " + in_words(elements)
        return Diagram(model.name, page, [], [title], alt)
    layers, others = boxes(model)
    total = graph.totals(model)
    further = [f"not drawn: {others} layers that lead to further outputs"] * bool(others)
    if letter_u.is_one(layers):
        page = titled(model.name)
        groups, _, bottom = letter_u.draw(page, layers, 52, draw_box, draw_lines)
        found, elements = levels(groups), [e for g in groups for e in g.elements]
        frame(page, total, elements, bottom + 14, further)
    else:
        elements = named(gates([layers[0], *chain(layers[1:], layers[0])]))
        found = bands(elements)
        for layout in layouts(found):
            page = titled(model.name)
            bottom, told = draw_chain(page, found, 60, layout)
            notes = [
                "/2: stride; grey numbers: channels",
                *further,
                *[IN_SHORT if layout.short else FILTERS] * told,
            ]
            frame(page, total, elements, bottom + 14, notes)
            if page.width <= PAGE[0] and page.height <= PAGE[1]:
                break
    blocks = [name_of(e) for e in single(elements) if not isinstance(e, Layer)]
    alt = f"Diagram of {model.name}. " + "; ".join(
        f"{'vector' if band.last.size is None else times(band.last.size)}: {in_words(band.elements)}"
        for band in found
    )
    return Diagram(model.name, page, [band.record() for band in found], blocks, alt)


# What the legend says of blocks that are told in words.
FILTERS = "pale: filters of the branches, in the order of the block drawn before them"
IN_SHORT = "in short, to fit a page; pale: the numbers of a block's layers, a line for each branch"


def titled(name):
    """A new page with the net's name on top."""
    page = Page()
    page.words(14, 22, name, 15, "start", bold=True)
    return page


def frame(page, total, elements, y, notes):
    """Above the net's size, from `y` on the legend: what the colours say, and notes. Sets the page's height."""
    head = [f"{total['params']:,} parameters"]
    head += [] if total["macs"] is None else [f"{total['macs']:,} multiply-adds"]
    page.words(14, 39, ", ".join(head), 10, "start", GREY)
    shown = [x.kind for e in elements for x in e.layers]
    marks = [kind for kind in FILLS if kind in shown and kind not in ("input", "quiet")]
    x = 14
    for text, kind in [*((WORDS[kind], kind) for kind in marks), *((note, None) for note in notes)]:
        wide = width(text, 9.5) + (15 if kind else 0)
        if x > 14 and x + wide > page.width:
            x, y = 14, y + 16
        if kind:
            page.rect(x, y - 5, 10, 10, fill=FILLS[kind], radius=5 if kind == "merge" else 2)
        page.words(x + (15 if kind else 0), y, text, 9.5, "start", GREY)
        x += wide + 12
    page.height = y + 16


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

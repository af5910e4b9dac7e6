"""A net as rows of blocks, a row for each map size, with what a unit sees and the parameters beside; and one block alone."""

from dataclasses import dataclass, replace

from ... import tables
from ...graph.bill import macs_text
from ...graph.rules import size_text
from .elements import Layer, Repeat, Series, Tangle, in_short, name_of, tangle_lines
from .layout import Flow, SeriesNode, Spacing, lines_size, place_lines
from .paint import FILLS, GREY, RULE, WORDS, Page, width
from .structure import chain

PAGE = 1060, 1100  # pixels: the widest and the highest a net's diagram may be
LEFT, PAD, LINK, CAPTION = 92, 7, 30, 15

# What the legend says of blocks that are written in words.
FILTERS = "pale: filters of the branches, in the order of the block drawn before them"
IN_SHORT = "in short, to fit a page; pale: the numbers of a block's layers, a line for each branch"


def spacings(bands):
    """Spacings for these bands, ever shorter: set closer, then with blocks in words if one like them is drawn before, then
    with one more kind of block in words each time, the smallest first, so that those with most to see are drawn longest."""
    yield Spacing()
    close = Spacing(gap=12, fork=10, room=6, widest=786)
    yield close
    yield replace(close, short=True)
    inner = (e.elements if isinstance(e, Repeat) else [e] for band in bands for e in band.elements)
    blocks = [elements[0] for elements in inner if len(elements) == 1 and in_short(elements[0], 1)]
    keys = list(dict.fromkeys(b.key(False) for b in sorted(blocks, key=lambda b: len(b.layers))))
    for n in range(1, len(keys) + 1):
        yield replace(close, short=True, always=tuple(keys[:n]))


# --------------------------------------------------------------------------- units


class Unit:
    """An element of a row: a layer, or a block with its frame, its name and how often it comes."""

    def __init__(self, element, seen, spacing):
        """seen: the keys of the blocks drawn before; those of this one are added."""
        self.element, flow = element, Flow(spacing=spacing)
        self.inner = element.elements if isinstance(element, Repeat) else [element]
        repeats = element.times if isinstance(element, Repeat) else 1
        self.framed = repeats > 1 or not isinstance(element, Layer)
        self.name = name_of(element) if self.framed else ""
        self.badge = f"×{repeats}" if repeats > 1 else ""
        self.lines, self.in_numbers = self._in_words(seen, spacing)
        if self.lines:
            self.inside, height = lines_size(self.lines)
            before = after = height / 2
        else:
            self.node = SeriesNode(self.inner, flow)
            self.inside, before, after = self.node.along, self.node.before, self.node.after
        padding = PAD if self.framed and not self.lines else 0
        title = width(self.name, 9.5) + (width(self.badge, 12, True) + 8 if self.badge else 0)
        self.width = max(self.inside + 2 * padding, title if self.framed else 0)
        self.up, self.down = before + padding + (CAPTION if self.framed else 0), after + padding

    def _in_words(self, seen, spacing):
        """(lines of a block that is written in words, or None; whether they are its layers' numbers)."""
        if len(self.inner) > 1:
            return None, False
        block = self.inner[0]
        lines = in_short(block, 1 if spacing.short else 3)
        short = bool(lines) and (block.key(False) in seen or block.key(False) in spacing.always)
        if lines:
            seen.add(block.key(False))
        if isinstance(block, Tangle):
            return tangle_lines(block), False
        return (lines if short else None), short

    def place(self, page, x, y):
        """Puts it on the page with the line of data at height y; returns where the line enters and leaves."""
        if not self.framed:
            return x, self.node.place(page, x, y)
        top = y - self.up + CAPTION
        if not self.lines:
            page.rect(x, top, self.width, y + self.down - top, "#F6F6F6", "#BDBDBD", of=self.element)
        page.words(x, top - 7, self.name, 9.5, "start", GREY)
        if self.badge:
            page.words(x + self.width, top - 7.5, self.badge, 12, "end", bold=True)
        start = x + (self.width - self.inside) / 2
        if self.lines:
            height = lines_size(self.lines)[1]
            place_lines(page, self.lines, start, y - height / 2, self.element)
            return start, start + self.inside
        page.line((x, y), (start, y), arrow=isinstance(self.inner[0], (Layer, Series, Tangle)))
        end = self.node.place(page, start, y)
        page.line((end, y), (x + self.width, y))
        return x, x + self.width


# --------------------------------------------------------------------------- rows


@dataclass
class Row:
    """Units side by side. first, last: whether it is the first and the last row of its band."""

    band: object
    units: list
    first: bool
    last: bool = True

    @property
    def width(self):
        return sum(unit.width for unit in self.units) + LINK * (len(self.units) - 1)

    @property
    def up(self):
        up = max(unit.up for unit in self.units)
        return max(up, 26) if self.first else up

    @property
    def down(self):
        down = max(unit.down for unit in self.units)
        if not self.first:
            return down
        return max(down, 26 if self.last else 0, 9 + 12 * len(self.band.stages()) - 8)


def rows_of(bands, spacing):
    """The units of all bands in rows that are no wider than the spacing allows."""
    rows, seen = [], set()
    for band in bands:
        start = len(rows)
        for element in band.elements:
            unit = Unit(element, seen, spacing)
            if len(rows) > start and rows[-1].width + LINK + unit.width <= spacing.widest:
                rows[-1].units.append(unit)
                continue
            if len(rows) > start:
                rows[-1].last = False
            rows.append(Row(band, [unit], first=len(rows) == start))
    return rows


def place_rows(page, bands, top, spacing):
    """Puts bands on the page from `top` on; returns the bottom, and whether blocks are written as their numbers."""
    rows = rows_of(bands, spacing)
    right = LEFT + 20 + max(row.width for row in rows) + 18
    page.width = max(right + 142, 560)
    page.words(14, top, "maps", 9.5, "start", GREY)
    # the right ends of the two columns of numbers
    widest = max(width(params_text(band), 11) for band in bands)
    columns = page.width - 14 - max(74, widest + 10), page.width - 14
    page.words(columns[0], top, "sees (pixels)", 9.5, "end", GREY)
    page.words(columns[1], top, "parameters", 9.5, "end", GREY)
    y, leave = top + 10, None
    for row in rows:
        if row.first:
            page.line((10, y), (page.width - 10, y), color="#D5D5D5", width=0.8)
        middle = y + spacing.room + row.up
        _place_captions(page, row, middle, columns)
        turn = y if row.first else y + spacing.room / 2
        leave = _place_units(page, row, middle, leave, turn)
        y = middle + row.down + spacing.room
    page.line((10, y), (page.width - 10, y), color="#D5D5D5", width=0.8)
    return y, any(unit.in_numbers for row in rows for unit in row.units)


def params_text(band):
    return tables.number(sum(row.params for row in band.rows))


def _place_captions(page, row, middle, columns):
    """The size of the maps and the stages on the left, what a unit sees and the parameters on the right."""
    band = row.band
    if row.first:
        page.words(14, middle - 7, band.name().replace("×", " × "), 12, "start", bold=True)
        for i, stage in enumerate(band.stages()):
            page.words(14, middle + 9 + 12 * i, stage, 9.5, "start", GREY)
    if row.last:
        page.words(columns[0], middle, band.sees(), 11, "end")
        page.words(columns[1], middle, params_text(band), 11, "end")


def _place_units(page, row, middle, leave, turn):
    """The units of a row with the lines between them; the line from the row above, which ends at `leave`, comes back at the
    height `turn`. Returns where the line leaves this row."""
    x, before = LEFT + 20, None
    for unit in row.units:
        arrow = bool(not unit.framed or unit.lines)
        enter, end = unit.place(page, x, middle)
        if before is not None:
            page.line((leave[0], middle), (enter, middle), arrow=arrow)
            if before.kind != "input":
                page.words((leave[0] + enter) / 2 - 1, middle - 8, str(before.channels), 9, color=GREY)
        elif leave:
            points = [leave, (leave[0] + 14, leave[1]), (leave[0] + 14, turn)]
            points += [(x - 16, turn), (x - 16, middle), (enter, middle)]
            page.line(*points, arrow=arrow, color=RULE)
        leave, before = (end, middle), unit.element.last
        x += unit.width + LINK
    return leave


def rows_page(name, total, elements, bands, notes):
    """The page of a net as rows, set as closely as it must be to fit `PAGE`."""
    for spacing in spacings(bands):
        page = titled_page(name)
        bottom, in_numbers = place_rows(page, bands, 60, spacing)
        here = ["/2: stride; grey numbers: channels", *notes]
        here += [IN_SHORT if spacing.short else FILTERS] * in_numbers
        place_frame(page, total, elements, bottom + 14, here)
        if page.width <= PAGE[0] and page.height <= PAGE[1]:
            break
    return page


# --------------------------------------------------------------------------- title and legend


def titled_page(name):
    """A new page with the net's name on top."""
    page = Page()
    page.words(14, 22, name, 15, "start", bold=True)
    return page


def place_frame(page, total, elements, y, notes):
    """Above the net's size, from `y` on the legend: what the colours say, and notes. Sets the page's height."""
    head = [f"{total['params']:,} parameters"]
    macs = macs_text(total["macs"], total["macs_at_least"])
    head += [] if macs == "-" else [f"{macs} multiply-adds"]
    page.words(14, 39, ", ".join(head), 10, "start", GREY)
    place_legend(page, {layer.kind for e in elements for layer in e.layers}, y, notes)


def place_legend(page, kinds, y, notes=(), size=9.5):
    """What the colours of these kinds of layers say, then notes, in lines as wide as the page. Sets the page's height."""
    marks = [kind for kind in FILLS if kind in kinds and kind not in ("input", "quiet")]
    x = 14
    for text, kind in [*((WORDS[kind], kind) for kind in marks), *((note, None) for note in notes)]:
        mark = 15 if kind else 0
        length = width(text, size) + mark
        if x > 14 and x + length > page.width:
            x, y = 14, y + 16
        if kind:
            page.rect(x, y - 5, 10, 10, fill=FILLS[kind], radius=5 if kind == "merge" else 2)
        page.words(x + mark, y, text, size, "start", GREY)
        x += length + 12
    page.height = y + 16


# --------------------------------------------------------------------------- one block, layer by layer


def block_page(layers, title):
    """(page, elements): the layers of one block from top to bottom, the map that enters it above, the one that leaves it
    below."""
    inside = set(layers)
    sources = list(dict.fromkeys(p for layer in layers for p in layer.parents if p not in inside))
    if len(sources) > 1:
        names = ", ".join(source.row.name for source in sources)
        raise ValueError(
            f"{title} reads several maps from outside ({names}); draw the whole net, or a block of one input"
        )
    source = sources[0] if sources else layers[0]
    elements = chain([layer for layer in layers if layer is not source], source)
    node, page = SeriesNode(elements, Flow(down=True)), Page()
    # where a chain runs down, `before` is on the right
    page.width = max(node.after + node.before + 60, width(title, 13, True) + 40)
    middle = 30 + node.after + (page.width - 60 - node.after - node.before) / 2
    page.words(14, 20, title, 13, "start", bold=True)
    page.words(middle, 46, size_text(source.row.output_shape), 10.5, color=GREY)
    page.line((middle, 54), (middle, 70), arrow=isinstance(elements[0], Layer))
    end = node.place(page, 70, -middle)
    page.line((middle, end), (middle, end + 18), arrow=True)
    page.words(middle, end + 28, size_text(layers[-1].row.output_shape), 10.5, color=GREY)
    page.height = end + 44
    return page, elements

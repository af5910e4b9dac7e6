"""Boxes, lines and words on a page, and what paints them: as SVG, and by matplotlib where a PNG is needed.

Lengths are pixels of a page whose origin is above on the left. The SVG is written here, so it needs no program.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from ... import lettering
from ..picture import Picture

INK, GREY, RULE = "#1A1A1A", "#5F5F5F", "#8A8A8A"
# kind -> (fill, what the legend says); Okabe & Ito's colours, and each box says in words what it is
# fmt: off
KINDS = {
    "input":     ("#FFFFFF", "image"),
    "conv":      ("#0072B2", "convolution"),
    "pool":      ("#E69F00", "pooling"),
    "norm":      ("#CC79A7", "local response norm"),
    "dense":     ("#56B4E9", "dense"),
    "merge":     ("#FFFFFF", "merge of branches"),
    "other":     ("#DDDDDD", "other"),
    "gate":      ("#009E73", "squeeze-and-excitation"),
    "attention": ("#009E73", "attention over splits"),
    "quiet":     ("#F2F2F2", "activation and the like"),
}
# fmt: on
FILLS = {kind: fill for kind, (fill, _) in KINDS.items()}
WORDS = {kind: words for kind, (_, words) in KINDS.items()}
FAMILY = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


def ink_on(kind):
    """The colour of words on a box."""
    return "#FFFFFF" if kind in ("conv", "gate", "attention") else INK


def width(text, size=10.5, bold=False):
    """The length of a text in pixels, in DejaVu Sans, the widest of the fonts named above but for a bold Verdana."""
    units, per_em = _advances(bold)
    return sum(units.get(ord(character), per_em) for character in text) * size / per_em


@functools.lru_cache
def _advances(bold):
    """({character: its advance}, units of an em) from the font file that comes with matplotlib. These are the same on every
    machine, while the length of a rendered text depends on the version of FreeType."""
    import matplotlib
    from fontTools.ttLib import TTFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    with TTFont(Path(matplotlib.get_data_path(), "fonts", "ttf", name), lazy=True) as font:
        advance = {glyph: units for glyph, (units, _) in font["hmtx"].metrics.items()}
        return {code: advance[glyph] for code, glyph in font.getBestCmap().items()}, font["head"].unitsPerEm


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    fill: str = "#FFFFFF"
    edge: str = "#333333"
    line: float = 0.8
    radius: float = 4
    of: object = None  # what it stands for: a layer or a block

    @property
    def box(self):
        """(left, top, right, bottom)."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True)
class Line:
    """Through `points`, corners rounded; arrow at its end."""

    points: tuple
    arrow: bool = False
    dashed: bool = False
    color: str = "#333333"
    width: float = 1.1
    skip: bool = False  # a shortcut: the identity


@dataclass(frozen=True)
class Words:
    """`x`, `y`: the middle of the line's height, at the start, middle or end of the words. turned: read upwards."""

    x: float
    y: float
    text: str
    size: float = 10.5
    anchor: str = "middle"
    color: str = INK
    bold: bool = False
    turned: bool = False

    @property
    def box(self):
        """(left, top, right, bottom)."""
        length, height = width(self.text, self.size, self.bold), self.size
        if self.turned:
            return self.x - height / 2, self.y - length / 2, self.x + height / 2, self.y + length / 2
        left = self.x - {"start": 0, "middle": length / 2, "end": length}[self.anchor]
        return left, self.y - height / 2, left + length, self.y + height / 2


class Page:
    """What is drawn, in order; `width`, `height` in pixels."""

    def __init__(self):
        self.items, self.width, self.height = [], 0.0, 0.0

    def add(self, item):
        self.items.append(item)
        return item

    def rect(self, *args, **options):
        return self.add(Rect(*args, **options))

    def line(self, *points, **options):
        return self.add(Line(tuple(points), **options))

    def words(self, x, y, text, *args, **options):
        return self.add(Words(x, y, text, *args, **options))

    def of(self, kind):
        """The items of one kind: `page.of(Rect)`."""
        return [item for item in self.items if isinstance(item, kind)]

    # ----------------------------------------------------------------------- SVG

    def svg(self, alt):
        w, h = round(self.width), round(self.height)
        # The file brings the characters that the fonts of a machine may lack.
        letters = lettering.embedded("".join(words.text for words in self.of(Words)))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" '
            f'aria-label={quoteattr(alt)} font-family="{FAMILY}">',
            *([f"<style>{letters}</style>"] if letters else []),
            f'<rect width="{w}" height="{h}" rx="8" fill="#FFFFFF"/>',
            *map(_svg, self.items),
            "</svg>",
        ]
        return "\n".join(parts)

    # ----------------------------------------------------------------------- matplotlib

    def figure(self):
        """The same page as a matplotlib figure, 100 pixels to the inch."""
        import matplotlib.pyplot as plt

        with lettering.as_names():
            figure = plt.figure(
                figsize=(self.width / 100, self.height / 100), dpi=160, facecolor="white",
                FigureClass=lettering.figure_class(),
            )  # fmt: skip
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        for z, item in enumerate(self.items, 2):
            _matplotlib(axes, item, z)
        return figure


def side_by_side(pages):
    """One page of several, from left to right."""
    page = Page()
    for part in pages:
        for item in part.items:
            page.add(_moved(item, page.width))
        page.width, page.height = page.width + part.width, max(page.height, part.height)
    return page


def _moved(item, right):
    if isinstance(item, Line):
        return replace(item, points=tuple((x + right, y) for x, y in item.points))
    return replace(item, x=item.x + right)


class Drawing(Picture):
    """A page as a picture: `.page`, its boxes, lines and words with their places; `.svg()`, the drawing as text;
    `.figure()`, by matplotlib; `.alt`, the drawing in words. There are no numbers behind it, so it has no `.array`."""

    def __init__(self, page, alt):
        self.page, self.alt = page, alt

    def svg(self):
        return self.page.svg(self.alt)

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


def _n(number):
    return f"{number:.1f}".removesuffix(".0")


def _corners(points, radius=7):
    """A polyline with rounded corners as path commands: ("M" or "L", point) and ("Q", corner, point)."""
    yield "M", points[0]
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        near = min(radius, *(max(abs(p[0] - at[0]), abs(p[1] - at[1])) / 2 for p in (before, after)))
        yield "L", _towards(at, before, near)
        yield "Q", at, _towards(at, after, near)
    yield "L", points[-1]


def _towards(start, goal, length):
    dx, dy = goal[0] - start[0], goal[1] - start[1]
    distance = (dx * dx + dy * dy) ** 0.5 or 1
    return start[0] + dx / distance * length, start[1] + dy / distance * length


def _head(points, length=6, half=3):
    """The triangle of an arrow at the end of a line."""
    (x0, y0), (x, y) = points[-2:]
    distance = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5 or 1
    dx, dy = (x - x0) / distance, (y - y0) / distance
    back = x - dx * length, y - dy * length
    return (x, y), (back[0] - dy * half, back[1] + dx * half), (back[0] + dy * half, back[1] - dx * half)


def _shortened(points, by=4):
    return (*points[:-1], _towards(points[-1], points[-2], by))


def _svg(item):
    if isinstance(item, Rect):
        at = f'x="{_n(item.x)}" y="{_n(item.y)}" width="{_n(item.width)}" height="{_n(item.height)}"'
        return f'<rect {at} rx="{_n(item.radius)}" fill="{item.fill}" stroke="{item.edge}" stroke-width="{item.line}"/>'
    if isinstance(item, Line):
        points = _shortened(item.points) if item.arrow else item.points
        path = " ".join(
            f"{command}{' '.join(f'{_n(x)} {_n(y)}' for x, y in where)}"
            for command, *where in _corners(points)
        )
        dashes = ' stroke-dasharray="4 3"' if item.dashed else ""
        line = f'<path d="{path}" fill="none" stroke="{item.color}" stroke-width="{item.width}"{dashes}/>'
        if not item.arrow:
            return line
        head = " ".join(f"{_n(x)},{_n(y)}" for x, y in _head(item.points))
        return f'{line}<polygon points="{head}" fill="{item.color}"/>'
    turn = f' transform="rotate(-90 {_n(item.x)} {_n(item.y)})"' if item.turned else ""
    weight = ' font-weight="bold"' if item.bold else ""
    # First of all, since browsers draw the first word without a font that they meet as a fallback.
    family = f' font-family="{lettering.FAMILY}, {FAMILY}"' if lettering.chinese(item.text) else ""
    return (
        f'<text x="{_n(item.x)}" y="{_n(item.y + 0.36 * item.size)}" font-size="{item.size}" '
        f'text-anchor="{item.anchor}" fill="{item.color}"{family}{weight}{turn}>{escape(item.text)}</text>'
    )


def _matplotlib(axes, item, z):
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
    from matplotlib.path import Path

    if isinstance(item, Rect):
        radius = min(item.radius, item.width / 2, item.height / 2)
        shape = FancyBboxPatch(
            (item.x, item.y), item.width, item.height, boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=item.fill, edgecolor=item.edge, linewidth=item.line * 0.72, zorder=z, mutation_aspect=1,
        )  # fmt: skip
        axes.add_patch(shape)
    elif isinstance(item, Line):
        points = _shortened(item.points) if item.arrow else item.points
        codes = {"M": [Path.MOVETO], "L": [Path.LINETO], "Q": [Path.CURVE3, Path.CURVE3]}
        commands = list(_corners(points))
        path = Path([p for _, *where in commands for p in where], [c for k, *_ in commands for c in codes[k]])
        dashes = (0, (4, 3)) if item.dashed else "-"
        style = dict(edgecolor=item.color, linewidth=item.width * 0.72, linestyle=dashes, zorder=z)
        axes.add_patch(PathPatch(path, facecolor="none", **style))
        if item.arrow:
            axes.add_patch(Polygon(_head(item.points), facecolor=item.color, linewidth=0, zorder=z))
    else:
        align = {"start": "left", "middle": "center", "end": "right"}[item.anchor]
        axes.text(
            item.x, item.y, item.text, size=item.size * 0.72, ha=align, va="center" if item.turned else "center_baseline",
            color=item.color, weight="bold" if item.bold else "normal", rotation=90 if item.turned else 0, zorder=z,
        )  # fmt: skip

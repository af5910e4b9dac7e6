"""Texts in figures: Chinese ones are drawn on every machine, and names as they are.

matplotlib's own font has no Chinese, so a part of Noto Sans CJK comes with the package (tools/build_font.py; its terms are
in OFL.txt beside it). Figures of the class that `figure_class` gives fall back to it, glyph by glyph, where the font of a
text has none; what the user sets in matplotlib's rcParams comes first and is not changed. matplotlib and the font are
loaded when a figure is made.
"""

import base64
import contextlib
import contextvars
import dataclasses
import functools
import io
from pathlib import Path

__all__ = ["FAMILY", "as_names", "chinese", "embedded", "figure_class"]
FAMILY = "cnnbook Hans"
FILE = Path(__file__).with_name("cnnbook-hans.ttf")
# What machines may have for the rarer characters, best first.
ELSEWHERE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Arial Unicode MS",
)  # fmt: skip
_as_names = contextvars.ContextVar("as_names", default=False)


@contextlib.contextmanager
def as_names():
    """Figures made in this block draw every text as it is: a class called "$5_bill$" is no formula, nor is "$x^$" an error.

    Only the numbers at an axis may still be written by matplotlib's mathematics, as in 10 to the 3rd.
    """
    token = _as_names.set(True)
    try:
        yield
    finally:
        _as_names.reset(token)


@functools.lru_cache
def figure_class():
    """A class of matplotlib figures whose texts fall back to our font: `plt.subplots(..., FigureClass=figure_class())`."""
    import matplotlib
    from matplotlib import figure

    _register()

    # Called as matplotlib's own, since figures show their class in a notebook; and found in this file by pickle.
    class Figure(figure.Figure):
        __doc__ = figure.Figure.__doc__
        __qualname__ = "Figure"

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self._names = _as_names.get()

        def fall_back(self):
            """Has the texts that are here fall back to our font; what measures them before the figure is drawn calls it."""
            _prepare(self, self._names)

        def draw(self, renderer):
            self.fall_back()
            # Labels of ticks may only be made while an axis is drawn.
            with matplotlib.rc_context({"font.family": [*matplotlib.rcParams["font.family"], FAMILY]}):
                return super().draw(renderer)

        def tight_layout(self, **options):
            self.fall_back()
            return super().tight_layout(**options)

        def get_tightbbox(self, *args, **options):
            self.fall_back()
            return super().get_tightbbox(*args, **options)

    return Figure


def __getattr__(name):
    if name == "Figure":
        return figure_class()
    raise AttributeError(f"cnnbook.lettering has no {name!r}")


def _register():
    """Tells matplotlib of the font, once in a process: its one weight stands for the bold ones, too."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    if any(entry.name == FAMILY for entry in manager.ttflist):
        return
    manager.addfont(FILE)
    entry = manager.ttflist[-1]
    for weight in (400, 700):
        for style in ("normal", "italic", "oblique"):
            manager.ttflist.append(dataclasses.replace(entry, weight=weight, style=style))


def _prepare(figure, names):
    """Has every text of a figure fall back to our font; with `names`, no text of it is a formula but numbers at axes."""
    from matplotlib.text import Text

    numbers = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)) if names else ():
        if not _named(axis.get_major_formatter()):
            numbers |= {id(text) for text in axis.findobj(Text) if text is not axis.label}
    for text in figure.findobj(Text):
        if names and id(text) not in numbers:
            text.set_parse_math(False)
        font = text.get_fontproperties()
        wanted = [FAMILY, *_elsewhere()] if _is_rare(text.get_text()) else [FAMILY]
        missing = [family for family in wanted if family not in font.get_family()]
        # A font chosen by its file is the user's choice.
        if missing and font.get_file() is None:
            # Texts may share their properties with others, of other figures too.
            font = font.copy()
            font.set_family([*font.get_family(), *missing])
            text.set_fontproperties(font)


def _named(formatter):
    """Whether the labels at an axis are texts that were given, not numbers."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    return isinstance(formatter, (FixedFormatter, FuncFormatter, StrCategoryFormatter))


def _is_rare(text):
    return not text.isascii() and any(ord(c) >= 0x2E80 and ord(c) not in _covered() for c in text)


@functools.lru_cache
def _covered():
    """The code points that the font has."""
    from fontTools.ttLib import TTFont

    with TTFont(FILE, lazy=True) as font:
        return frozenset(font.getBestCmap())


@functools.lru_cache
def _elsewhere():
    """The families of ELSEWHERE that this machine has."""
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return [family for family in ELSEWHERE if family in here]


def chinese(text):
    """The Chinese characters in a text that our font has, each once, in order."""
    return sorted(c for c in set(text) if ord(c) >= 0x2E80 and ord(c) in _covered())


@functools.lru_cache(maxsize=64)
def embedded(text):
    """A style sheet with a font of the Chinese characters in a text, for an SVG file, which no page's font reaches.

    Empty where there are none. An element is drawn with it by naming FAMILY first among its fonts.
    """
    wanted = chinese(text)
    if not wanted:
        return ""
    from fontTools import subset

    options = subset.Options(hinting=False, recalc_timestamp=False, notdef_outline=True)
    font = subset.load_font(FILE, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(wanted))
    subsetter.subset(font)
    file = io.BytesIO()
    font.save(file)
    data = base64.b64encode(file.getvalue()).decode()
    return f'@font-face{{font-family:"{FAMILY}";src:url(data:font/ttf;base64,{data})}}'

"""A table of strings as text and as HTML: what `summary` and `compare` show themselves with."""

import unicodedata
from html import escape

# What turns or reorders a line of text: the line's and the paragraph's end, and Unicode's directions that bind.
_TURNS = {*"\u2028\u2029", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def printable(name):
    """A name with its control characters escaped (a newline as \\n, ESC as \\x1b), so that showing it is all it does."""
    return "".join(
        c.encode("unicode_escape").decode() if c in _TURNS or unicodedata.category(c) == "Cc" else c
        for c in str(name)
    )


def number(value):
    """A cell: 25,557,032; 224 x 224 x 3; a square window by its side; a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        if len(value) == 2 and value[0] == value[1]:
            return number(value[0])
        return " x ".join("?" if v is None else f"{v}" for v in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def text(title, columns, lines, *, left=1, totals=True):
    """Aligned columns; with `totals` the last line stands under a rule.

    left: how many of the first columns are aligned to the left, or a set of the indices of those that are. Control
    characters are escaped.
    """
    title, columns, lines = _printable(title, columns, lines)
    left = range(left) if isinstance(left, int) else left
    widths = [max(len(line[i]) for line in [columns, *lines]) for i in range(len(columns))]

    def row(cells):
        padded = (
            c.ljust(w) if i in left else c.rjust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    body = [row(line) for line in lines]
    if totals:
        body.insert(-1, rule)
    return "\n".join([title, row(columns), rule, *body])


def html(title, columns, lines, *, left=1, totals=True, marked=()):
    """The same as an HTML table; text is escaped, control characters too.

    columns: their names. lines: a list of strings for each line, as many as there are columns. left: how many columns
    are aligned to the left, the others to the right. totals: the last line becomes the table's foot. marked: indices
    of lines that stand out.
    """
    title, columns, lines = _printable(title, columns, lines)

    def row(cells, tag, bold=False):
        style = "font-weight:bold;" if bold else ""
        return "".join(
            f'<{tag} style="{style}text-align:{"left" if i < left else "right"}">{escape(c)}</{tag}>'
            for i, c in enumerate(cells)
        )

    body = lines[:-1] if totals else lines
    middle = "".join(f"<tr>{row(cells, 'td', i in marked)}</tr>" for i, cells in enumerate(body))
    foot = f"<tfoot><tr>{row(lines[-1], 'th')}</tr></tfoot>" if totals else ""
    return (
        f'<table class="cnnbook-summary dataframe"><caption>{escape(title)}</caption>'
        f"<thead><tr>{row(columns, 'th')}</tr></thead><tbody>{middle}</tbody>{foot}</table>"
    )


def _printable(title, columns, lines):
    return printable(title), list(map(printable, columns)), [list(map(printable, line)) for line in lines]

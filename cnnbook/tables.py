"""A table of strings as text and as HTML: what `summary` and `compare` show themselves with."""

from html import escape


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

    left: how many of the first columns are aligned to the left, or a set of the indices of those that are.
    """
    left = range(left) if isinstance(left, int) else left
    widths = [max(len(line[i]) for line in [list(columns), *lines]) for i in range(len(columns))]

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
    """The same as an HTML table, escaped.

    columns: their names. lines: a list of strings for each line, as many as there are columns. left: how many columns
    are aligned to the left, the others to the right. totals: the last line becomes the table's foot. marked: indices
    of lines that stand out.
    """

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

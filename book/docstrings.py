"""Docstrings in reStructuredText, which Sphinx reads. The package's are plain prose with `code` in single backticks and
parameters as sentences ("size: side in pixels."): here they become lists of parameters, errors, tables, links."""

import inspect
import re

CODE = re.compile(r"`([^`\n]+)`")
# Arguments and their values look like code, size=64, "segment"; a quotation of several words stays one.
VALUE = re.compile(
    r'(?<![\w"=.])(?:[a-z]\w*=(?:"[^"\s]*"|\([^()]*\)|-?\w[\w.-]*(?<!\.))|"[\w./:+-]+"(?![\w"]))'
)
ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{4,5})")
COLUMNS = re.compile(r"(?<=[^\s.;]) {2,}(?=[^\s#])")
SENTENCE = re.compile(r"(?<!\beq)(?<!\bal)(?<!\bFig)(?<!\.\.)(?:(?<=\.)|(?<=\.\)))\s+(?=[A-Z`({])")
ERROR = re.compile(r"(?:Raises\s+)?(?=\w+Error\b)")


def restructured(docstring, parameters=(), link=None):
    """The docstring's lines in reStructuredText.

    parameters: names whose sentences ("name: what it is", "name, other: ...") become a list; it stands at the end, with
    the errors below it. link(code): the full name that a piece of code stands for, or None.
    """
    body, items, errors = [], [], []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = block.splitlines()
        prose, explained = split(block, parameters)
        if all(line.startswith("    ") for line in lines):
            language = "text" if COLUMNS.search(block) else "python"
            body += [f".. code-block:: {language}", "", *lines, ""]
            continue
        in_columns = [bool(COLUMNS.search(line)) or line.startswith("  ") for line in lines]
        if not explained and COLUMNS.search(lines[0]) and 2 * sum(in_columns) >= len(lines):
            body += [*table(lines, link), ""]
            continue
        # The errors end a paragraph, and so the last of its parameters.
        last, raised = without_errors(explained[-1][1] if explained else prose)
        if explained:
            explained[-1] = explained[-1][0], last
        else:
            prose = last
        body += [inline(prose, link), ""] if prose else []
        items += explained
        errors += [raised] if raised else []
    if items:
        body += [":Parameters:"]
        body += [f"    * **{names.replace(', ', '**, **')}**: {inline(text, link)}" for names, text in items]
    return [*body, *([f":Raises: {inline(' '.join(errors), link)}"] if errors else []), ""]


def split(block, parameters):
    """(text before, [(names, text), ...]) of a paragraph whose sentences explain parameters."""
    if not parameters:
        return block, []
    name = "(?:" + "|".join(re.escape(p) for p in sorted(parameters, key=len, reverse=True)) + ")"
    start = re.compile(rf"(?:^|(?<=[.;] )|(?<=\.\) )|(?<=   )|(?<=\n))({name}(?:, {name})*): ")
    head, *rest = start.split(block)
    return head.strip().removesuffix(";"), [
        (rest[i], rest[i + 1].strip().removesuffix(";")) for i in range(0, len(rest), 2)
    ]


def without_errors(text):
    """(the text without its sentences on errors, those)."""
    sentences = SENTENCE.split(text)
    errors = [s for s in sentences if ERROR.match(s)]
    rest = " ".join(s for s in sentences if s not in errors)
    return rest, " ".join(ERROR.sub("", s, count=1) for s in errors)


def table(lines, link=None):
    """Lines in columns as a table. A line that begins with spaces goes on with the row above, or in its last column."""
    rows = []
    for line in lines:
        cells = COLUMNS.split(line.strip())
        if line.startswith(" ") and rows[-1][-1].endswith(","):
            rows[-1][-1] += f" {cells[0]}"
        else:
            rows.append(["", *cells] if line.startswith(" ") else cells)
    width = max(map(len, rows))
    first = [f"``{cell}``" if "(" in cell or " " not in cell else escaped(cell) for cell, *_ in rows]
    rows = [[*[""] * (width - len(cells)), *(inline(cell, link) for cell in cells)] for _, *cells in rows]
    return list_table([[a if a != "````" else "", *b[1:]] for a, b in zip(first, rows, strict=True)])


def list_table(rows, header=()):
    """The lines of a table; cells hold reStructuredText."""
    lines = [".. list-table::", *(["   :header-rows: 1"] if header else []), "   :class: room-table", ""]
    for cells in [header, *rows] if header else rows:
        lines += [f"   {' ' if i else '*'} - {cell}".rstrip() for i, cell in enumerate(cells)]
    return [*lines, ""]


def summary(docstring):
    """Its first sentence."""
    return SENTENCE.split(inspect.cleandoc(docstring).split("\n\n")[0])[0]


def inline(text, link=None):
    """One paragraph on one line: code, arXiv numbers and names of the package marked, all else as it stands."""
    text = " ".join(text.split())
    out, end = "", 0
    pieces = [m for pattern in (CODE, VALUE, ARXIV) for m in pattern.finditer(text)]
    for match in sorted(pieces, key=re.Match.start):
        if match.start() < end:  # a value inside of code
            continue
        out += escaped(text[end : match.start()])
        out += "\\ " * bool(out and not out[-1].isspace()) + marked(match, link) + "\\ "
        end = match.end()
    # What would begin a list or a block elsewhere begins a sentence here.
    return re.sub(r"^(?=\W|\w{1,4}[.)] )", r"\\ ", out + escaped(text[end:]))


def marked(match, link):
    if match.re is ARXIV:
        return f"`{match[0]} <https://arxiv.org/abs/{match[1]}>`__"
    target = link and match.re is CODE and link(match[1])
    return (
        f":py:obj:`{match[1]} <{target}>`" if target else f"``{match[1] if match.re is CODE else match[0]}``"
    )


def escaped(text):
    return re.sub(
        r"([\\*|`])|(?<=\w)(_)(?!\w)|(::)", lambda m: "\\" + (m[1] or m[2] or ":") + ":" * bool(m[3]), text
    )

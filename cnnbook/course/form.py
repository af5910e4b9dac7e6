"""`cnnbook form`: is a chapter a text with code in it, and does what it hides only draw?

The limits are those of every chapter that `[tool.cnnbook] form` in pyproject.toml lists; what they measure is said beside
them. A chapter is read as text; the sources that it shows are read from the outputs that its notebook stores.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from cnnbook.course import shown
from cnnbook.course.chapter import read_chapter
from cnnbook.course.notebook import read_notebook
from cnnbook.course.project import Project, UserError, tags

# Words of prose for each visible line of code, as in good textbooks on the subject, or a quarter of it.
WORDS_A_LINE = 15
# Lines of a visible cell: what one takes in at a glance. The sources that it shows have no limit of their own.
LINES_A_CELL = 20
# The mean sentence: below, a text is a list of verdicts; above, it is hard to follow.
WORDS_A_SENTENCE = 11, 20
WORDS_A_TITLE = 6

# A code cell with one of these tags, or one that begins with "remove-", is no visible code.
NOT_SEEN = {"hide-input", "hide-cell", "solution", "colab", "parameters"}
# And of these tags nothing that the cell displays is seen.
NO_OUTPUT = {"hide-cell", "hide-output", "remove-cell", "remove-output", "solution"}
# Code that nobody asks to see: it may draw and make tables.
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}

TRAINING = {"fit", "compile", "train_on_batch", "live"}  # `live`: an experiment at its live size
OF_KERAS = {"Model", "Sequential", "Input"}


@dataclass
class Form:
    """What was measured of a chapter, and what to do where it is past a limit. Cells are numbered from 1."""

    stem: str
    words: int = 0
    code: dict[int, int] = field(default_factory=dict)  # cell: its visible lines
    sources: dict[int, int] = field(default_factory=dict)  # cell: lines of the sources that it shows
    sentences: list[tuple[int, int]] = field(default_factory=list)  # (cell, words)
    problems: list[str] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return sum(self.code.values()) + sum(self.sources.values())

    @property
    def words_a_line(self) -> float:
        return self.words / max(1, self.lines)

    @property
    def words_a_sentence(self) -> float:
        return sum(words for _, words in self.sentences) / max(1, len(self.sentences))

    def text(self) -> str:
        """The measures in a line."""
        cell = max(self.code, key=self.code.get, default=None)
        longest = f"longest cell {self.code[cell]} lines (cell {cell})" if cell else "no visible cell"
        return (
            f"{self.stem:<24} {self.words_a_line:5.1f} words a line ({self.words} words, {self.lines} lines)  "
            f"{longest}  {self.words_a_sentence:4.1f} words a sentence"
        )


def form(project: Project, only: str | None = None) -> int:
    """Print a line for each chapter, and what to do; those listed are held to the limits, or those chosen. Exit status."""
    paths = project.chapter_paths(only)
    listed = project.form
    unknown = set(listed) - {path.stem for path in project.chapter_paths()}
    if unknown:
        raise UserError(
            f"[tool.cnnbook] form in pyproject.toml lists {', '.join(sorted(unknown))}: "
            "there is no such chapter; give stems such as 03-vgg"
        )
    failed = False
    for path in paths:
        notebook = project.notebooks / f"{path.stem}.ipynb"
        measured = measure(
            path.stem, read_chapter(path), read_notebook(notebook) if notebook.exists() else None
        )
        judged = only is not None or path.stem in listed
        print(measured.text() + ("" if judged else "  (not held to the form yet)"))
        if judged and measured.problems:
            failed = True
            print("\n".join(f"    {problem}" for problem in measured.problems))
    return 1 if failed else 0


def measure(stem: str, chapter, notebook=None) -> Form:
    """A chapter's form. notebook: its executed twin, for the sources that it shows."""
    found = Form(stem)
    stored = defaultdict(list)
    for cell in notebook.cells if notebook else ():
        stored[cell.source.strip()].append(cell)
    in_references = False
    for number, cell in enumerate(chapter.cells, 1):
        if cell.cell_type == "markdown" and "solution" not in tags(cell):
            blocks, in_references = prose(cell.source, in_references)
            found.words += sum(len(words(block)) for block in blocks)
            found.sentences += [(number, len(words(s))) for block in blocks for s in sentences(block)]
        elif cell.cell_type == "code":
            _measure_code(found, number, cell, stored[cell.source.strip()])
    found.problems = [
        *_title(chapter),
        *found.problems,
        *_too_long(found),
        *_hidden_work(chapter),
        *_too_much_code(found),
        *_sentences(found),
    ]
    return found


def _measure_code(found, number, cell, stored):
    marks = set(tags(cell))
    seen = not marks & NOT_SEEN and not any(mark.startswith("remove-") for mark in marks)
    if seen and cell.source.strip():
        found.code[number] = _lines(cell.source)
    if shown.shows(cell.source) and not marks & NO_OUTPUT:
        markdown = "\n\n".join(shown.displayed(stored.pop(0))) if stored else ""
        if not markdown.strip():
            found.problems.append(
                f"cell {number}: the sources that it shows are not stored: cnnbook sync --execute --only {found.stem}"
            )
        fenced = re.findall(r"^(`{3,})python\n(.*?)^\1$", markdown, re.M | re.S)
        if fenced:
            found.sources[number] = sum(_lines(code) for _, code in fenced)


def _lines(source):
    return sum(bool(line.strip()) for line in source.splitlines())


# Prose


def prose(text: str, in_references: bool = False) -> tuple[list[str], bool]:
    """The paragraphs, list items and boxes of a Markdown cell, and whether it ends inside the references.

    Without headings, tables, fenced code, displayed formulas, HTML and references; code and formulas in a line are one word.
    """
    for noise in (r"^(`{3,}|~{3,}).*?^\1", r"\$\$.*?\$\$", r"<!--.*?-->", r"</?[a-zA-Z][^<>]*>"):
        text = re.sub(noise, "\n", text, flags=re.M | re.S)
    blocks = [""]
    for line in text.splitlines():
        line = re.sub(r"^\s*(?:>\s?)+", "", line).strip()
        if heading := re.match(r"#{1,6}\s+(.*)", line):
            in_references = bool(re.match(r"references\b", heading[1], re.I))
        if heading or in_references or not line or line.startswith("|") or re.fullmatch(r"\[!\w+\]", line):
            blocks.append("")
            continue
        item = re.match(r"(?:[-*+]|\d+\.)\s+(.*)", line)
        if item:
            blocks.append(item[1])
        else:
            blocks[-1] += f" {line}"
    return [block for block in map(_plain, blocks) if block], in_references


def _plain(block):
    """A paragraph without its marks; a bold label, as of a box or an exercise, is no part of it."""
    block = re.sub(r"!\[[^\]]*\]\([^)]*\)|\[\w+\d{4}\w?\](?!\()", "", block)
    block = re.sub(r"`+[^`]+`+", "Code", block)
    block = re.sub(r"\$[^$]+\$", "Formula", block)
    block = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", block)
    block = re.sub(r"^\s*\*\*[^*]{1,60}(?:[.:?]\*\*|\*\*[.:])", "", block)
    return re.sub(r"[*_]{1,3}(?=\S)|(?<=\S)[*_]{1,3}", "", block).strip()


def words(text: str) -> list[str]:
    """The words of a text: whatever stands between spaces and holds a letter or a digit."""
    return [word for word in text.split() if re.search(r"\w", word)]


ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|et al|vs|cf|ca|Fig|Eq|Sec|Tab|No|pp?|[A-Z])\.$")
# Between two sentences: after a full stop, its quote or bracket, and before what may begin one.
BETWEEN = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\")’”]))\s+(?=[\"'(“‘]?[A-Z0-9\u4e00-\u9fff])|(?<=[。！？])")
ENDED = re.compile(r"[.!?:。！？][\"')’”]*\s*$")


def sentences(block: str) -> Iterator[str]:
    """The sentences of a paragraph; what ends without a full stop or a colon, as an item of a list may, is none."""
    parts = BETWEEN.split(block)
    begun = ""
    for place, part in enumerate(parts, 1):
        begun = f"{begun} {part}".strip()
        if place == len(parts) or not ABBREVIATION.search(begun):
            if words(begun) and ENDED.search(begun):
                yield begun
            begun = ""


# The limits


def _title(chapter):
    for number, cell in enumerate(chapter.cells, 1):
        title = re.search(r"^#\s+(.*)", cell.source, re.M) if cell.cell_type == "markdown" else None
        if title:
            count = len(words(title[1]))
            if count > WORDS_A_TITLE:
                yield f"cell {number}: the title has {count} words: {WORDS_A_TITLE} at most; the question may follow it"
            return
    yield "cell 1: no title: begin with a line such as # VGG: depth from 3x3 convolutions"


def _too_long(found):
    for number, lines in found.code.items():
        if lines > LINES_A_CELL:
            yield (
                f"cell {number}: {lines} lines: {LINES_A_CELL} at most. Split it where its idea changes; what only draws "
                "or makes a table is hide-input, or belongs into the package"
            )


def _too_much_code(found):
    if found.lines and found.words_a_line < WORDS_A_LINE:
        parts = {n: found.code.get(n, 0) + found.sources.get(n, 0) for n in {*found.code, *found.sources}}
        most = ", ".join(f"cell {n} ({parts[n]})" for n in sorted(parts, key=parts.get, reverse=True)[:3])
        yield (
            f"{found.words_a_line:.1f} words for each visible line of code: {WORDS_A_LINE} at least, so "
            f"{WORDS_A_LINE * found.lines - found.words} words are missing or "
            f"{found.lines - found.words // WORDS_A_LINE} lines too many. Most lines: {most}"
        )


def _sentences(found):
    low, high = WORDS_A_SENTENCE
    mean = found.words_a_sentence
    if not found.sentences or low <= mean <= high:
        return
    of_cell = defaultdict(list)
    for number, count in found.sentences:
        of_cell[number].append(count)
    means = {
        n: sum(counts) / len(counts) for n, counts in of_cell.items() if len(counts) > 1 or len(of_cell) < 4
    }
    worst = sorted(means, key=means.get, reverse=mean > high)[:3]
    do = "split the long ones" if mean > high else "join what belongs together by because, so, but"
    yield (
        f"the mean sentence has {mean:.1f} words: {low} to {high}; {do}, "
        f"first in {', '.join(f'cell {n} ({means[n]:.0f})' for n in worst)}"
    )


# What hidden cells do


def _hidden_work(chapter):
    cells = [(n, cell) for n, cell in enumerate(chapter.cells, 1) if cell.cell_type == "code"]
    trees = {n: _parsed(cell.source) for n, cell in cells if "solution" not in tags(cell)}
    work = Work(trees.values())
    for number, cell in cells:
        if HIDDEN & set(tags(cell)) and number in trees:
            done = sorted(set(work.of(trees[number])))
            if done:
                yield (
                    f"cell {number} is hidden and {'; '.join(done)}: a hidden cell draws or makes a table, so do this in a "
                    "visible cell"
                )


class Work:
    """What code builds, trains and asserts, in words, by the names that a chapter's cells import and define."""

    def __init__(self, trees):
        from cnnbook import models

        self.builders, self.papers = set(models.BUILDERS), set(models.BUILDERS.values())
        self.stands_for, self.defined = {}, {}
        nodes = [node for tree in trees for node in ast.walk(tree)]
        for node in nodes:
            if isinstance(node, ast.Import):
                self.stands_for |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self.stands_for |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.FunctionDef):
                self.defined[node.name] = node
        # A function of the chapter works where one that it calls does.
        self.working, before = {}, None
        while before != len(self.working):
            before = len(self.working)
            for name, function in self.defined.items():
                if name not in self.working and any(True for _ in self._calls(function)):
                    self.working[name] = function

    def of(self, tree: ast.AST) -> Iterator[str]:
        """What a cell does, in words: "asserts", "builds (models.VGG16)"."""
        if any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
            yield "asserts"
        yield from self._calls(tree)

    def _calls(self, tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                written = ast.unparse(node.func)
                said = self._said(node, *self._name(node.func))
                if said:
                    yield f"{said} ({written if len(written) < 40 else written[:37] + '...'})"

    def _name(self, func):
        """A call's dotted name with the import behind it, and its last part; of `f(x).fit` the last part alone."""
        parts = []
        while isinstance(func, ast.Attribute):
            parts.append(func.attr)
            func = func.value
        if isinstance(func, ast.Name):
            parts.append(self.stands_for.get(func.id, func.id))
            return ".".join(parts[::-1]), parts[0].rpartition(".")[2]
        return "", parts[0] if parts else ""

    def _said(self, call, name, last):
        root, _, rest = name.removeprefix("cnnbook.").partition(".")
        if root == "training" and rest:
            return "trains"
        if root == "models" and (
            rest in self.builders or ("." in rest and rest.partition(".")[0] in self.papers)
        ):
            return "builds"
        if root == "parts" or (root == "keras" and (last in OF_KERAS or rest.startswith("layers."))):
            return "builds"
        if isinstance(call.func, ast.Attribute) and last in TRAINING and root != "re":
            return "trains"
        if isinstance(call.func, ast.Name) and call.func.id in self.working:
            return "builds or trains by a function of this chapter"
        return None


def _parsed(source):
    # A magic may be all that a block holds.
    try:
        return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M))
    except SyntaxError:
        return ast.Module([], [])

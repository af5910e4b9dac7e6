"""The exercises that a chapter asks: the calls of `check` in its cells, and what in a cell would give an answer away."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from numbers import Number

from cnnbook import answers
from cnnbook.course.said import tags_of

NUMBER = re.compile(r"(?<![\w.])\d[\d,_]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
# A shorter text than this may stand in a chapter by chance.
LONG = 5


def keys(source: str) -> list[str]:
    """The keys of a code cell's calls `check("chapter.entry", answer)`, in order."""
    return [call.args[0].value for call in _checks(source) if _is_by_key(call)]


def shows_answers(source: str) -> bool:
    """Whether a code cell calls `check(answer, correct, ...)`, as chapters do whose answers stand in their cells."""
    return any(not _is_by_key(call) for call in _checks(source))


def _checks(source) -> Iterator[ast.Call]:
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            if name == "check" and node.args:
                yield node


def _parsed(source):
    # A magic may be all that a block holds.
    try:
        return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M))
    except SyntaxError:
        return ast.Module([], [])


def _is_by_key(call):
    first = call.args[0]
    return (
        len(call.args) == 2
        and not call.keywords
        and isinstance(first, ast.Constant)
        and isinstance(first.value, str)
    )


def holds_value(text: str, correct, tolerance: float = 0) -> bool:
    """Whether a text holds a right value: a number as digits or as a word, a text as words, of several values all of them.

    False where `correct` is a function: there is no value to give away.
    """
    if callable(correct):
        return False
    if isinstance(correct, bool):
        return re.search(rf"\b{correct}\b", text, re.I) is not None
    if isinstance(correct, str):
        return re.search(rf"(?<!\w){re.escape(folded(correct))}(?!\w)", folded(text)) is not None
    if isinstance(correct, Number):
        return any(_same(number, correct, tolerance) for number in numbers(text))
    parts = list(_parts(correct))
    return bool(parts) and all(holds_value(text, part, tolerance) for part in parts)


def _same(number, correct, tolerance):
    return abs(number - correct) <= tolerance or math.isclose(number, correct, rel_tol=1e-6)


def _parts(correct) -> Iterator:
    if hasattr(correct, "tolist"):
        correct = correct.tolist()
    if isinstance(correct, dict):
        correct = list(correct.values())
    if not isinstance(correct, Iterable):
        return
    for part in correct:
        if isinstance(part, (list, tuple)):
            yield from _parts(part)
        elif part is not None:
            yield part


def numbers(text: str) -> list[float]:
    """The numbers in a text: 1,000 and 1_000 and 1e3, and "zero" to "twelve"."""
    found = [float(match.replace(",", "").replace("_", "")) for match in NUMBER.findall(text)]
    return found + [float(n) for n, word in enumerate(WORDS) if re.search(rf"\b{word}\b", text, re.I)]


def folded(text: str) -> str:
    """A text without its case, its line ends and its closing full stop."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".").casefold()


def gives_away(cells: list) -> list[str]:
    """Where the cells of a students' copy tell the answer to an exercise that they check by its key, in words.

    The reason and the hints may stand nowhere, short ones not beside the exercise; the right value not in the cell that
    checks it, nor in the text above it where a number or a text is so long that it is there for no other reason.
    """
    problems = []
    for index, cell in enumerate(cells):
        for key in keys(cell["source"]) if cell["cell_type"] == "code" else ():
            try:
                answer = answers.find(key)
            except ValueError as error:
                problems.append(f"cell {index + 1}: {error}")
                continue
            problems += _told(cells, index, key, answer)
    return problems


def _told(cells, index, key, answer):
    above = next((i for i in range(index, -1, -1) if cells[i]["cell_type"] == "markdown"), index)
    texts = {"the reason": answer.why, "the first hint": answer.hints[0], "the second hint": answer.hints[1]}
    for number, cell in enumerate(cells):
        for name, text in texts.items():
            somewhere = number in (index, above) or len(text.split()) >= LONG
            if somewhere and folded(text) in folded(cell["source"]):
                yield f"cell {number + 1} holds {name} of {key}"
    source = cells[index]["source"].replace(key, "")
    if holds_value(source, answer.correct, answer.tolerance):
        yield f"cell {index + 1} holds the right value of {key}"
    elif _is_telling(answer.correct) and holds_value(cells[above]["source"], answer.correct):
        yield f"cell {above + 1} holds the right value of {key}"


def _is_telling(correct):
    """Whether a value stands in a text about something else by no chance: 25557032, 0.125, a sentence."""
    if isinstance(correct, bool) or callable(correct):
        return False
    if isinstance(correct, str):
        return len(correct.split()) >= LONG
    if isinstance(correct, Number):
        return len(re.sub(r"^[0.]+|\D", "", f"{correct!r}".partition("e")[0])) >= 3
    parts = list(_parts(correct))
    return bool(parts) and all(map(_is_telling, parts))


def needed_from_solutions(cells: list) -> list[str]:
    """The names that other cells read and that solutions alone bind: without its solutions the notebook would stop there."""
    trees = [(set(tags_of(cell)), _parsed(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    bound = {True: set(), False: set()}
    read = set()
    for tags, tree in trees:
        nodes = list(ast.walk(tree))
        bound["solution" in tags] |= _bound(nodes)
        if "solution" not in tags:
            read |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return sorted((bound[True] - bound[False]) & read)


def _bound(nodes):
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    imported = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return names | {a.asname or a.name.partition(".")[0] for n in imported for a in n.names}

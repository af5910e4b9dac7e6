"""The exercises that a chapter asks: the calls of `check` in its cells, and what in a cell would give an answer away."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from numbers import Number

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
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            if name == "check" and node.args:
                yield node


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

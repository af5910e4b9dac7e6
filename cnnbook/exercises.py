"""What the chapters' exercises use: `check` an answer, `show_source` of a function that is the lesson.

`check` prints plain text, so that it reads the same in JupyterLab, on Colab, in a log and in the book, and it
never raises: "Run All" passes on a copy in which nothing is answered yet.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import textwrap
from collections.abc import Mapping, Sequence, Set
from numbers import Number

__all__ = ["check", "show_source"]


class _Differs(Exception):
    """The two values differ; the text says where."""


def check(answer, correct, why="", *, tolerance=0, hint=""):
    """Print whether `answer` is right, and why.

    answer: what the reader wrote; `...` or None means "not answered yet".
    correct: the right value, or a function of the answer that is true for a right one. Numbers are compared
        within `tolerance` (absolute), texts without regard to case, space or a closing full stop, sequences
        and arrays element by element, sets without order.
    why: printed with a right answer, and with a wrong one when there is no `hint`.
    """
    try:
        print(_verdict(answer, correct, str(why), tolerance, str(hint)))
    except Exception as error:  # an exercise must never stop "Run All"
        print(f"This answer could not be compared ({type(error).__name__}: {error}).")


def _verdict(answer, correct, why, tolerance, hint):
    if _unanswered(answer):
        return "Not answered yet: replace the ... above and run this cell again."
    try:
        if callable(correct):
            if not _truth(correct(answer)):
                raise _Differs
        else:
            _compare(answer, correct, tolerance)
    except _Differs as place:
        where = f" {place}" if str(place) else ""
        return f"Not right yet: {_short(answer)}.{where} {hint or why}".strip()
    return f"Right. {why}".strip()


def _unanswered(answer):
    if answer is None or answer is ...:
        return True
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    return isinstance(answer, (list, tuple)) and any(_unanswered(a) for a in answer)


def _truth(value):
    import numpy as np

    return bool(np.all(_plain(value)))


def _compare(answer, correct, tolerance):
    answer, correct = _plain(answer), _plain(correct)
    if isinstance(correct, str):
        if not isinstance(answer, str) or _fold(answer) != _fold(correct):
            raise _Differs
    elif isinstance(correct, Number):
        if not _same_number(answer, correct, tolerance):
            raise _Differs
    elif isinstance(correct, Mapping):
        if not isinstance(answer, Mapping):
            raise _Differs("A dictionary is wanted.")
        if set(answer) != set(correct):
            raise _Differs(f"The keys wanted are {', '.join(map(str, correct))}.")
        _elementwise([(k, answer[k], correct[k]) for k in correct], tolerance)
    elif isinstance(correct, Set):
        if isinstance(answer, (str, Number)) or {_key(a) for a in answer} != {_key(c) for c in correct}:
            raise _Differs
    elif isinstance(correct, Sequence):
        if isinstance(answer, (str, Number)) or not isinstance(answer, Sequence):
            raise _Differs(f"{len(correct)} values are wanted.")
        if len(answer) != len(correct):
            raise _Differs(f"{len(correct)} values are wanted, {len(answer)} were given.")
        _elementwise([(i, a, c) for i, (a, c) in enumerate(zip(answer, correct, strict=True), 1)], tolerance)
    elif not _truth(answer == correct):
        raise _Differs


def _elementwise(triples, tolerance):
    wrong = []
    for place, a, c in triples:
        try:
            _compare(a, c, tolerance)
        except _Differs:
            wrong.append(str(place))
    if wrong:
        shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise _Differs(f"{len(wrong)} of {len(triples)} differ (no. {shown}).")


def _plain(value):
    """Arrays and tensors as lists and numbers; everything else as it is."""
    if isinstance(value, (str, Number, Mapping, Set, list, tuple)):
        return value
    if hasattr(value, "__array__"):
        import numpy as np

        return np.asarray(value).tolist()
    return value


def _same_number(answer, correct, tolerance):
    if isinstance(answer, str):
        try:
            answer = float(answer.replace(",", "").replace("_", ""))
        except ValueError:
            return False
    if not isinstance(answer, Number):
        return False
    # A float that came out of a sum is right up to rounding; whole numbers are compared exactly.
    return (
        answer == correct
        or abs(answer - correct) <= tolerance
        or (
            not (isinstance(answer, int) and isinstance(correct, int))
            and not isinstance(answer, complex)
            and not isinstance(correct, complex)
            and math.isclose(answer, correct, rel_tol=1e-9)
        )
    )


def _fold(text):
    return re.sub(r"\s+", " ", text).strip().rstrip(".").casefold()


def _key(value):
    return _fold(value) if isinstance(value, str) else value


def _short(value):
    if hasattr(value, "__array__") and not isinstance(value, Number):
        value = _plain(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def show_source(*objects):
    """Display the source of functions, classes or modules as highlighted code (Markdown: portable).

    TypeError for an object that has no source in Python.
    """
    from IPython.display import Markdown, display

    display(Markdown(sources(*objects)))


def sources(*objects) -> str:
    """What `show_source` displays, as Markdown text."""
    return "\n\n".join(_fenced(_source(o)) for o in objects)


def _source(thing):
    while isinstance(thing, functools.partial):
        thing = thing.func
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(thing) if callable(thing) else thing))
    except (OSError, TypeError) as error:
        raise TypeError(
            f"show_source takes a function, class or module written in Python; {thing!r} has none ({error})"
        ) from None


def _fenced(code):
    # Longer than any run of backticks inside, else a docstring with a fence would end the block.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", code)), default=0))
    return f"{fence}python\n{code.rstrip()}\n{fence}"

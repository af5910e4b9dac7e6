"""What the chapters' exercises use: `check` an answer, `show_source` of a function that is the lesson.

`check` prints plain text, so that it reads the same in JupyterLab, on Colab, in a log and in the book, and it
never raises: "Run All" passes on a copy in which nothing is answered yet.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set, Sized
from numbers import Number

from cnnbook import answers

__all__ = ["check", "show_source"]


class _Differs(Exception):
    """The two values differ; the text says where."""


# Wrong answers in this process, by the exercise's key: the second one is told the second hint.
_wrong = Counter()
# No exercise asks for more values.
_MOST = 1_000_000
_COLLECTION = "A list, a tuple or a set is wanted."
_NOT_YET = "Not answered yet: replace the ... above and run this cell again."


def check(key, answer, why="", *, tolerance=0, hint=""):
    """Print whether the answer to an exercise is right: nothing is told that gives it away before.

    key: the exercise, "chapter.entry", as in cnnbook/answers. ValueError for one that is not there.
    answer: what the reader wrote. `...`, None, and a function or class in which a `...` is left, are "not answered yet".
        Where it is a function, a layer or a model, it is run: what it raises is told and stops nothing.

    Numbers are compared within the entry's tolerance (absolute), texts without regard to case, space or a closing full
    stop, sequences and arrays element by element, sets without order. A wrong answer is told the first of two hints, from
    the second time on the second; a right one the reason.
    """
    # Chapters that have no file of answers yet call check(answer, correct, why, tolerance=, hint=). Such a call always says
    # more than two things, or its first is no text like "vgg.sides". This form goes with the last of these chapters.
    if isinstance(key, str) and re.fullmatch(r"[a-z]\w*\.\w+", key) and not (why or tolerance or hint):
        print(_answered(key, answers.find(key), answer))
        return
    try:
        print(_verdict(key, answer, str(why), tolerance, str(hint)))
    except Exception as error:  # an exercise must never stop "Run All"
        print(f"This answer could not be compared ({type(error).__name__}: {error}).")


def _answered(key, right, answer):
    """The verdict in words on the answer to the exercise `key`."""
    try:
        if _unanswered(answer):
            return _NOT_YET
        _judge(answer, right)
        return f"Right. {right.why}"
    except NotImplementedError:
        return _NOT_YET
    except (_Differs, AssertionError) as error:
        words = _text(error)
    except (Exception, SystemExit) as error:  # the reader's own code is run
        words = f"It raised {type(error).__name__}: {_text(error)}"
    _wrong[key] += 1
    number = min(_wrong[key], len(right.hints))
    hint = f"Hint {number} of {len(right.hints)}: {right.hints[number - 1]}"
    return "\n".join(filter(None, [f"Not right yet: {_short(answer)}.", words, hint]))


def _check_end(answer):
    """_Differs for what has no end or a far one: itertools.count(), range(10**15); also for what could be read only once."""
    sized = isinstance(answer, Sized)
    if isinstance(answer, Iterable) and not (sized or hasattr(answer, "__array__")):
        raise _Differs(_COLLECTION)
    if sized and not hasattr(answer, "__array__"):
        try:
            few = len(answer) <= _MOST
        except OverflowError:  # of a range
            few = False
        if not few:
            raise _Differs("These are too many values.")


def _judge(answer, right):
    _check_end(answer)
    if callable(right.correct):
        said = right.correct(answer)
        # A function that consists of asserts returns None.
        if said is not None and not _truth(said):
            raise _Differs
    else:
        _compare(answer, right.correct, right.tolerance)


def _verdict(answer, correct, why, tolerance, hint):
    if _unanswered(answer):
        return _NOT_YET
    try:
        _check_end(answer)
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
    return answer is None or _has_gap(answer)


def _has_gap(answer):
    """Whether a `...` is left in it. None may stand inside an answer: (None, 14, 14, 512)."""
    if answer is ...:
        return True
    if isinstance(answer, Mapping):
        return any(map(_has_gap, answer.values()))
    if isinstance(answer, (list, tuple)):
        return any(map(_has_gap, answer))
    # An object of a class that the notebook itself defines, a layer for instance, is what that class is.
    of_class = answer if isinstance(answer, type) else type(answer)
    if of_class is answer or of_class.__module__ == "__main__":
        return any(map(_is_skeleton, vars(of_class).values()))
    return _is_skeleton(answer)


def _is_skeleton(thing):
    """Whether a function's source still holds a `...`, but as an index, where it is Python: `x[..., 0]`."""
    if not inspect.isfunction(thing):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return False  # no source: it was not written in a cell
    indices = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        for part in ast.walk(node.slice)
    }
    gaps = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value is ...)
    return any(id(node) not in indices for node in gaps)


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
        if isinstance(answer, (str, Number)) or not isinstance(answer, Collection):
            raise _Differs(_COLLECTION)
        wanted, found = {_key(c) for c in correct}, set()
        for value in map(_key, answer):
            if value not in wanted:
                raise _Differs
            found.add(value)
        if found != wanted:
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
    """A value in at most 60 characters, without the address of a function or an object."""
    if inspect.isroutine(value) or isinstance(value, type):
        return getattr(value, "__name__", type(value).__name__)
    try:
        if hasattr(value, "__array__") and not isinstance(value, Number):
            value = _plain(value)
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    except Exception:  # a reader's own class
        return f"an object of {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _text(error):
    """What an error says; errors of a reader's own may not even say that."""
    try:
        return str(error).strip()
    except Exception:
        return ""


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

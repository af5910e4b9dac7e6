"""The check cells say right, wrong or not answered, and never stop a notebook."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from cnnbook.exercises import check, show_source


def said(capsys, *arguments, **options):
    assert check(*arguments, **options) is None
    return capsys.readouterr().out


@pytest.mark.parametrize("answer", [None, ..., [1, ...], (..., ...), {"a": ...}])
def test_not_answered(capsys, answer):
    assert said(capsys, answer, 3).startswith("Not answered yet")


@pytest.mark.parametrize(
    "answer, correct, tolerance",
    [
        (27, 27, 0),
        (27.0, 27, 0),
        (np.int64(27), 27, 0),
        ("138,357,544", 138357544, 0),
        (0.1 + 0.2, 0.3, 0),
        (0.71, 0.7, 0.02),
        (True, True, 0),
        (" Bottleneck. ", "bottleneck", 0),
        ((3, 4), [3, 4], 0),
        (np.array([3, 4]), (3, 4), 0),
        ([[1, 2], [3, 4.001]], np.array([[1, 2], [3, 4]]), 0.01),
        (["A", "b"], ["a", "B"], 0),
        ({"b", "a"}, {"A", "B"}, 0),
        ({"macs": 5}, {"macs": 5}, 0),
        (5, lambda n: n > 3, 0),
    ],
)
def test_right(capsys, answer, correct, tolerance):
    assert said(capsys, answer, correct, "Because.", tolerance=tolerance) == "Right. Because.\n"


@pytest.mark.parametrize(
    "answer, correct",
    [
        (28, 27),
        (138357543, 138357544),
        ("twenty", 20),
        ("basic", "bottleneck"),
        (5, "bottleneck"),
        ([3, 5], [3, 4]),
        ([3], [3, 4]),
        (3, [3, 4]),
        ("34", [3, 4]),
        ({"a"}, {"a", "b"}),
        ({"macs": 5}, {"params": 5}),
        (float("nan"), 1.0),
        (2, lambda n: n > 3),
        (1j, 1),
    ],
)
def test_wrong_shows_the_hint(capsys, answer, correct):
    text = said(capsys, answer, correct, "Because.", hint="Count again.")
    assert text.startswith("Not right yet: ") and text.rstrip().endswith("Count again.")
    assert said(capsys, answer, correct, "Because.").rstrip().endswith("Because.")


def test_wrong_element_is_named(capsys):
    assert "1 of 3 differ (no. 2)" in said(capsys, [1, 9, 3], [1, 2, 3])
    assert "3 values are wanted, 2 were given" in said(capsys, [1, 2], [1, 2, 3])


@pytest.mark.parametrize("answer", [object(), len, "x", [None, 1], b"1", np.zeros((2, 2))])
@pytest.mark.parametrize("correct", [3, "a", [1, 2], {"a": 1}, {1}, lambda a: a["no"], object()])
def test_never_raises(capsys, answer, correct):
    assert said(capsys, answer, correct)


class Endless:
    """Never ends, and does not say so as an iterator does."""

    def __iter__(self):
        return itertools.count()


@pytest.mark.parametrize(
    "answer", [itertools.count(), iter("ab"), (n for n in (1, 2)), range(10**15), Endless()]
)
def test_what_has_no_end_is_not_waited_for(capsys, answer):
    """A set is compared with a collection; and with a long one only up to what is not in it."""
    assert said(capsys, answer, {1, 2}).startswith("Not right yet")
    assert said(capsys, [answer], [{1, 2}]).startswith("Not right yet")
    # By its key, too: the function that judges it would go through it.
    wrong = said(capsys, "errata.ten_sentences", answer)
    assert wrong.startswith("Not right yet"), wrong


def test_a_set_may_be_given_as_any_collection(capsys):
    for answer in ({1, 2}, [2, 1, 1], (1, 2), {1: "a", 2: "b"}.keys(), range(1, 3)):
        assert said(capsys, answer, {1, 2}).startswith("Right.")
    for answer in ([1], [1, 2, 3], "12", 3):
        assert said(capsys, answer, {1, 2}).startswith("Not right yet")


def shown(*objects, monkeypatch):
    pieces = []
    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "display", pieces.append)
    assert show_source(*objects) is None
    return pieces[0].data


class Reads(Sequence):
    """A billion numbers, of which somebody looks at how many are looked at."""

    looked = 0

    def __len__(self):
        return 10**9

    def __getitem__(self, place):
        self.looked += 1
        assert self.looked < 1000, "read without end"
        return place


def endless(answer=1):
    for _ in range(1000):
        yield answer
    raise AssertionError("read without end")


@pytest.mark.parametrize("correct", [{1, 2}, [1, 2], {"a": 1}, 3, "text"])
@pytest.mark.parametrize(
    "answer", [Reads, endless, lambda: map(str, endless()), lambda: enumerate(endless())]
)
def test_an_answer_without_end_ends(capsys, answer, correct):
    found = said(capsys, answer(), correct)
    assert found.startswith("Not right yet: ") and "read without end" not in found and len(found) < 200


def test_show_source(monkeypatch):
    text = shown(functools.partial(said, 1), monkeypatch=monkeypatch)
    assert text.startswith("```python\ndef said(capsys") and text.endswith("\n```")
    fenced = shown(_with_a_fence, monkeypatch=monkeypatch)
    assert fenced.startswith("````python\n") and fenced.endswith("\n````")
    two = shown(said, _with_a_fence, monkeypatch=monkeypatch)
    assert "def said" in two and "def _with_a_fence" in two
    with pytest.raises(TypeError, match="has none"):
        show_source(3)


def _with_a_fence():
    """
    ```
    code
    ```
    """

"""Exercises by key: what `check` says of an answer, and that chapters and answers fit together."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnbook import answers, exercises
from cnnbook.answers import Answer
from cnnbook.course import asked
from cnnbook.course.notebook import read_notebook
from cnnbook.course.project import Project, tags
from cnnbook.exercises import check

ROOT = Path(__file__).parents[1]

TOY = '''"""Answers of a chapter that no book has."""
from cnnbook.answers import Answer


def doubles(answer):
    for n in (0, 3):
        got = answer(n)
        assert got == 2 * n, f"of {n} it gives {got}, wanted: {2 * n}"


HINTS = ("The first.", "The second.")
ANSWERS = {
    "sides": Answer(512, why="Two a channel.", hints=HINTS),
    "near": Answer([0.5, 0.25], why="Halves.", hints=HINTS, tolerance=0.01),
    "shape": Answer((None, 14, 512), why="One map.", hints=HINTS),
    "odd": Answer(lambda n: n % 2 == 1, why="It is odd.", hints=HINTS),
    "doubles": Answer(doubles, why="Twice.", hints=HINTS),
}
'''


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    """A file of answers beside those of the package; no answer was given yet."""
    (tmp_path / "toy.py").write_text(TOY, "utf-8")
    monkeypatch.setattr(answers, "__path__", [*answers.__path__, str(tmp_path)])
    monkeypatch.setattr(exercises, "_wrong", exercises.Counter())
    importlib.invalidate_caches()
    yield importlib.import_module("cnnbook.answers.toy")
    del sys.modules["cnnbook.answers.toy"], answers.toy


def said(capsys, key, answer):
    assert check(key, answer) is None
    return capsys.readouterr().out


def left_open(x, gamma): ...


def left_open_inside(x):
    scale = ...
    return x * scale


def returns_open(x):
    """Doubles."""
    return ...


def not_written(n):
    raise NotImplementedError


def last_axis(x):
    return np.asarray(x)[..., None] if isinstance(x, list) else 2 * x


class Layer:
    def call(self, x): ...


@pytest.mark.parametrize(
    "answer",
    [None, ..., (..., 1), {"a": ...}, left_open, left_open_inside, returns_open, not_written, Layer, lambda x: ...],
)  # fmt: skip
def test_not_answered_yet(capsys, answer):
    for _ in range(2):
        assert said(capsys, "toy.doubles", answer) == (
            "Not answered yet: replace the ... above and run this cell again.\n"
        )
    assert not exercises._wrong, "nothing was answered, so no hint is used up"


def test_an_object_of_a_class_of_the_notebook_is_what_its_class_is(capsys, monkeypatch):
    assert said(capsys, "toy.doubles", Layer()).startswith("Not right yet")
    monkeypatch.setattr(Layer, "__module__", "__main__")
    assert said(capsys, "toy.doubles", Layer()).startswith("Not answered yet")


@pytest.mark.parametrize(
    "key, answer, why",
    [
        ("sides", 512, "Two a channel."),
        ("sides", "512", "Two a channel."),
        ("near", np.array([0.501, 0.25]), "Halves."),
        ("shape", (None, 14, 512), "One map."),
        ("odd", 7, "It is odd."),
        ("doubles", lambda n: n + n, "Twice."),
        ("doubles", last_axis, "Twice."),
    ],
)
def test_right(capsys, key, answer, why):
    assert said(capsys, f"toy.{key}", answer) == f"Right. {why}\n"


def test_the_second_wrong_answer_is_told_the_second_hint(capsys):
    first = "Not right yet: 256.\nHint 1 of 2: The first.\n"
    second = "Not right yet: 128.\nHint 2 of 2: The second.\n"
    assert said(capsys, "toy.sides", 256) == first
    assert said(capsys, "toy.odd", 2).endswith("Hint 1 of 2: The first.\n"), "each exercise counts its own"
    assert said(capsys, "toy.sides", 128) == second
    assert said(capsys, "toy.sides", 128) == second
    assert said(capsys, "toy.sides", 512) == "Right. Two a channel.\n"


def triples(n):
    return 3 * n


def test_words_of_what_is_built_are_shown(capsys):
    assert said(capsys, "toy.doubles", triples) == (
        "Not right yet: triples.\nof 3 it gives 9, wanted: 6\nHint 1 of 2: The first.\n"
    )
    assert "2 of 2 differ (no. 1, 2)." in said(capsys, "toy.near", [1, 2])


class Strange:
    """Whatever is asked of it fails."""

    def _fail(self, *_):
        raise RuntimeError("no")

    __eq__ = __repr__ = __array__ = __call__ = __mod__ = _fail
    __hash__ = None


def exits(n):
    sys.exit(3)


def fails_wordlessly(n):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    raise Mute


def without_end(n):
    return without_end(n)


ENDLESS = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize("key", ["sides", "near", "shape", "odd", "doubles"])
@pytest.mark.parametrize(
    "answer",
    [Strange(), Strange, object(), len, "x", b"1", 1j, float("nan"), np.zeros((2, 2)), exits, fails_wordlessly,
     without_end, ENDLESS, lambda: 1],
)  # fmt: skip
def test_never_raises(capsys, key, answer):
    text = said(capsys, f"toy.{key}", answer)
    assert text.startswith("Not right yet: ") and text.endswith("Hint 1 of 2: The first.\n")
    assert " at 0x" not in text.partition("\n")[0]


def test_what_the_readers_code_raises_is_told(capsys):
    assert "\nIt raised SystemExit: 3\n" in said(capsys, "toy.doubles", exits)
    assert "\nIt raised TypeError: unsupported operand" in said(capsys, "toy.odd", object())


def test_an_unknown_key_names_those_that_there_are():
    with pytest.raises(ValueError, match="no exercise 'toy.side'; there is: toy.sides, toy.near, toy.shape"):
        check("toy.side", 3)
    with pytest.raises(ValueError, match="no chapter 'tay' has answers; there is: .*toy"):
        check("tay.sides", 3)


def test_the_old_calls_go_on_working(capsys):
    """Until their chapters are rewritten."""
    assert said(capsys, "3.5", 3.5) == "Right.\n"
    check("toy.sides", "toy.sides", "It names itself.")
    check("a.b", "A.B", why="Names.")
    check("a text. with more", "other", hint="Read.")
    assert capsys.readouterr().out.splitlines() == [
        "Right. It names itself.",
        "Right. Names.",
        "Not right yet: 'a text. with more'. Read.",
    ]


@pytest.mark.parametrize(
    "how", [dict(why=" "), dict(hints=("one",)), dict(hints="ab"), dict(hints=("one", "")), dict(why=3)]
)
def test_an_answer_has_a_why_and_two_hints(how):
    with pytest.raises(ValueError, match="hints=|why="):
        Answer(**{"correct": 1, "why": "So.", "hints": ("one", "two"), **how})


@pytest.mark.parametrize(
    "stem, name", [("06-normalisation", "normalisation"), ("a0-before-cnns", "before_cnns"), ("10-a-b-c", "a_b_c")]
)  # fmt: skip
def test_the_name_of_a_chapters_answers(stem, name):
    assert answers.name_of(stem) == name


def test_reading_answers_imports_nothing_heavy():
    code = (
        "import sys, cnnbook.exercises; from cnnbook import answers; [answers.of(n) for n in answers.names()]; "
        "print(sorted({'keras', 'numpy', 'tensorflow', 'jax', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The book's own answers and chapters.

NAMES = [name for name in answers.names() if name != "toy"]
ENTRIES = [(name, entry) for name in NAMES for entry in answers.of(name)]


def test_hints_do_not_hold_the_right_value():
    found = [
        f"{name}.{entry}: {hint!r} holds {answer.correct!r}: say how to find it, not what it is"
        for name, entry in ENTRIES
        for answer in [answers.of(name)[entry]]
        for hint in answer.hints
        if asked.holds_value(hint, answer.correct, answer.tolerance)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text, correct, tolerance, held",
    [
        ("It is 138,357,544.", 138357544, 0, True),
        ("two of them", 2, 0, True),
        ("3x3", 3, 0, False),
        ("about 0.71", 0.7, 0.02, True),
        ("half", 0.5, 0, False),
        ("The Bottleneck block", "bottleneck", 0, True),
        ("bottlenecks", "bottleneck", 0, False),
        ("first 3, then 4", (3, 4), 0, True),
        ("first 3", [[3], [4]], 0, False),
        ("14 and 512", (None, 14, 512), 0, True),
        ("It is true that", True, 0, True),
        ("1e3", {"a": 1000}, 0, True),
        ("anything", len, 0, False),
        ("12", np.array([12]), 0, True),
    ],
)
def test_what_holds_a_value(text, correct, tolerance, held):
    assert asked.holds_value(text, correct, tolerance) is held


def test_calls_of_check_are_told_apart():
    source = "check('a.b', x)\ncheck(answer_1, 5, why='So.')\nexercises.check('a.c', answer=x)\ncheck()"
    assert asked.keys(source) == ["a.b"] and asked.shows_answers(source)
    assert asked.keys("%magic") == [] and not asked.shows_answers("check('a.b', f(x))")


@pytest.fixture(scope="module")
def course():
    return Project(ROOT)


def cells(course):
    """(stem, cell) of each code cell of the chapters' notebooks that checks an answer by its key."""
    for path in course.notebook_paths():
        for cell in read_notebook(path).cells:
            if cell.cell_type == "code" and asked.keys(cell.source):
                yield path.stem, cell


@pytest.mark.checkout
def test_keys_and_entries_fit(course):
    pytest.importorskip("nbformat")
    for kind in ("open", "solution"):
        used = {
            (stem, key)
            for stem, cell in cells(course)
            for key in asked.keys(cell.source)
            if ("solution" in tags(cell)) == (kind == "solution")
        }
        foreign = [key for stem, key in used if key.partition(".")[0] != answers.name_of(stem)]
        assert not foreign, f"keys of another chapter's answers: {foreign}"
        keys = {key for _, key in used}
        entries = {f"{name}.{entry}" for name, entry in ENTRIES if _is_written(course, name)}
        assert not keys - entries, f"no entry in cnnbook/answers: {sorted(keys - entries)}"
        assert not entries - keys, f"no cell ({kind}) checks them: {sorted(entries - keys)}"


def _is_written(course, name):
    return name in {answers.name_of(path.stem) for path in course.notebook_paths()}


@pytest.mark.checkout
def test_every_file_of_answers_has_its_chapter(course):
    pytest.importorskip("nbformat")
    missing = [name for name in NAMES if not _is_written(course, name)]
    assert not missing, (
        f"cnnbook/answers: no notebook NN-name.ipynb for {missing}: write it, then cnnbook sync"
    )


@pytest.mark.checkout
def test_the_stored_solutions_are_right(course):
    """And what an open exercise has stored gives nothing away."""
    pytest.importorskip("nbformat")
    for stem, cell in cells(course):
        text = "".join(output.get("text", "") for output in cell.outputs)
        verdicts = re.findall(r"^(Right\.|Not right yet|Not answered yet)", text, re.M)
        expected = "Right." if "solution" in tags(cell) else "Not answered yet"
        if not cell.outputs:
            continue  # not run yet: tests/test_pairing.py says so
        for key in asked.keys(cell.source):
            assert verdicts and set(verdicts) == {expected}, f"{stem}, {key}: {text!r}, expected {expected}"

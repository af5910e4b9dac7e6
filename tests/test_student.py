"""The students' copies hold no solution, no output, and nothing that gives an answer away."""

import json
from pathlib import Path

import pytest
from helpers.notebooks import code, markdown, notebook, printed
from helpers.runs import project

from cnnbook import answers
from cnnbook.answers import Answer
from cnnbook.course import asked, cli, sync
from cnnbook.course.notebook import read_notebook
from cnnbook.course.project import Project, tags

ROOT = Path(__file__).parents[1]

COUNT = Answer(
    25557032, why="It is counted layer by layer.", hints=("Count the stem too.", "No biases before a norm.")
)
BLOCK = Answer(lambda block: block(2) == 4, why="It doubles.", hints=("What of two?", "Add it to itself."))
SIDE = Answer(
    14, why="Four halvings of 224 give it.", hints=("Halve.", "Halve it once for each stage but one.")
)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    of = answers.of
    toys = {"count": COUNT, "block": BLOCK, "side": SIDE}
    monkeypatch.setattr(answers, "of", lambda name: toys if name == "toy" else of(name))


def chapter():
    """A chapter of the new form, as it is stored."""
    return notebook(
        markdown("# A toy\n\nTen of its 256 channels see 14 pixels."),
        code("def residual(x): return x + x\n\nprint(residual(14))", printed("28\n")),
        markdown("**1.** How many parameters?"),
        code('answer_1 = ...\ncheck("toy.count", answer_1)', printed("Not answered yet\n")),
        code('check("toy.count", 25_557_032)', printed(f"Right. {COUNT.why}\n"), tags=["solution"]),
        markdown("They are 25,557,032, since it is counted layer by layer.", "solution"),
        markdown("**2.** Write a block.\n\nIt must double 14."),
        code('def block(x):\n    ...\n\n\ncheck("toy.block", block)', printed("Not answered yet\n")),
        code('check("toy.block", residual)', printed(f"Right. {BLOCK.why}\n"), tags=["solution"]),
        markdown("**3.** Which side has its map after 14 epochs?"),
        code('answer_3 = ...\ncheck("toy.side", answer_3)', printed("Not answered yet\n")),
        code('check("toy.side", 14)', printed(f"Right. {SIDE.why}\n"), tags=["solution"]),
    )  # fmt: skip


def test_a_students_copy_holds_no_answer(tmp_path, capsys):
    root = project(tmp_path, **{"00-toy": chapter()})
    assert cli.main(["student", "--root", str(root)]) == 0
    path = root / "build" / "student" / "00-toy.ipynb"
    said = capsys.readouterr()
    assert said.out == f"{path}\n" and said.err == ""
    copy = read_notebook(path)
    assert asked.gives_away(copy.cells) == []
    text = json.dumps([cell.source for cell in copy.cells])
    told = [t for answer in (COUNT, BLOCK, SIDE) for t in (answer.why, *answer.hints)]
    assert not [t for t in [*told, "25557032", "25,557,032", "25_557_032"] if t in text]
    assert len(copy.cells) == 8 and not any("solution" in tags(cell) for cell in copy.cells)
    assert all(cell.outputs == [] for cell in copy.cells if cell.cell_type == "code")
    assert copy.metadata.keys() <= {"kernelspec", "language_info"}


@pytest.mark.parametrize(
    "number, source, told",
    [
        (1, "It is counted  layer\nby layer.", "cell 1 holds the reason of toy.count"),
        (1, "Halve it once for each stage but one.", "cell 1 holds the second hint of toy.side"),
        (1, "It doubles. Halve.", None),
        (7, "**2.** Write a block. It doubles.", "cell 7 holds the reason of toy.block"),
        (3, "**1.** Are there 25,557,032?", "cell 3 holds the right value of toy.count"),
        (4, 'answer_1 = ...  # 25_557_032\ncheck("toy.count", answer_1)', "cell 4 holds the right value of toy.count"),
        (11, 'answer_3 = 14\ncheck("toy.side", answer_3)', "cell 11 holds the right value of toy.side"),
        (11, 'check("toy.x", ...)', "cell 11: there is no exercise 'toy.x'; there is: toy.count, toy.block, toy.side"),
    ],
)  # fmt: skip
def test_what_gives_an_answer_away_is_named(tmp_path, capsys, number, source, told):
    made = chapter()
    made.cells[number - 1].source = source
    root = project(tmp_path, **{"00-toy": made})
    assert cli.main(["student", "--root", str(root)]) == (1 if told else 0)
    # The copy lacks the solutions, so its cells have numbers of their own.
    place = number - sum("solution" in tags(cell) for cell in made.cells[:number])
    expected = told and told.replace(f"cell {number}", f"cell {place}")
    assert capsys.readouterr().err == (f"  an answer is given away: {expected}\n" if told else "")


def test_a_chapter_whose_cells_hold_answers_is_told(tmp_path, capsys):
    root = project(tmp_path, **{"00-old": notebook("answer_1 = ...\ncheck(answer_1, 5, why='So.')")})
    assert cli.main(["student", "--root", str(root)]) == 0
    assert "  1 of its exercises hold their answers: check(key, answer)" in capsys.readouterr().out


def test_what_a_copy_needs_of_its_solutions():
    cells = [
        code("import numpy as np\nmine = 1"),
        code("net = build()\nmine = 2\nfor k in range(3): pass", tags=["solution"]),
        code("%matplotlib inline\nprint(np.mean(net), mine, k)"),
        code("def f(k): return k"),
    ]
    assert asked.needed_from_solutions(cells) == ["net"]


@pytest.mark.checkout
def test_the_books_copies(tmp_path):
    """Those of chapters that check by key give nothing away; all run without their solutions."""
    course = Project(ROOT)
    for path in course.notebook_paths():
        assert asked.needed_from_solutions(read_notebook(path).cells) == [], path.stem
        (copy,) = sync.student(course, tmp_path, path.stem)
        assert asked.gives_away(read_notebook(copy).cells) == [], path.stem

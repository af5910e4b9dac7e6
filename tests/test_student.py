"""The students' copies hold no solution, no output, and nothing that gives an answer away."""

import json
from pathlib import Path

import pytest
from helpers.notebooks import code, markdown, nbformat, notebook, printed, write
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
    assert copy.metadata.keys() <= {"kernelspec", "language_info", "cnnbook"}
    assert list(copy.metadata.cnnbook) == ["copy"]


def answered(path, text):
    """A student's answer, in a copy that JupyterLab has saved."""
    copy = read_notebook(path)
    copy.cells[2].source = text
    nbformat.write(copy, path)
    return path.read_bytes()


def test_a_copy_that_somebody_has_changed_stays(tmp_path, capsys):
    root = project(tmp_path, **{"00-toy": chapter(), "01-other": chapter()})
    folder = root / "build" / "student"
    path, beside, third = (folder / f"00-toy{end}.ipynb" for end in ("", ".new", ".new-2"))
    assert sync.student(Project(root), folder) == [path, folder / "01-other.ipynb"]
    mine = answered(path, "**1.** I say seven.")

    # The same chapter again, then one that has changed, then one that has changed once more.
    for first_line in ("# A toy", "# Another toy", "# A third toy"):
        made = chapter()
        made.cells[0].source = made.cells[0].source.replace("# A toy", first_line)
        write(root / "notebooks", {"00-toy": made})
        capsys.readouterr()
        assert cli.main(["student", "--root", str(root), "--only", "00"]) == 0
        assert capsys.readouterr().out == (
            f"{beside}\n  {path.name} there was changed since it was written, and stays as it is\n"
        )
        assert path.read_bytes() == mine
        assert read_notebook(beside).cells[0].source.startswith(f"{first_line}\n")
    theirs = answered(beside, "**1.** Now I say eight.")
    assert sync.student(Project(root), folder, "00") == [third]
    assert (path.read_bytes(), beside.read_bytes()) == (mine, theirs)


def test_a_copy_that_was_only_run_is_renewed_with_its_chapter(tmp_path):
    root = project(tmp_path, **{"00-toy": chapter()})
    (path,) = sync.student(Project(root), tmp_path / "copies")
    run = read_notebook(path)
    run.cells[1].outputs = [printed("28\n")]
    nbformat.write(run, path)
    # Nothing new is to be written: the outputs stay.
    assert sync.student(Project(root), tmp_path / "copies") == [path]
    assert read_notebook(path).cells[1].outputs == [printed("28\n")]
    made = chapter()
    made.cells[0].source = "# Another toy"
    write(root / "notebooks", {"00-toy": made})
    assert sync.student(Project(root), tmp_path / "copies") == [path]
    assert read_notebook(path).cells[0].source == "# Another toy"


def test_files_that_are_no_copies_stay(tmp_path):
    root = project(tmp_path, **{"00-toy": chapter(), "01-toy": chapter(), "02-toy": chapter()})
    folder = tmp_path / "copies"
    # The full notebook of another checkout, half a notebook, and a copy of the version before, which bore no stamp.
    write(folder, {"00-toy": chapter()})
    (folder / "01-toy.ipynb").write_text('{"cells": [', "utf-8")
    (bare,) = sync.student(Project(root), folder, "02")
    unstamped = read_notebook(bare)
    del unstamped.metadata["cnnbook"]
    nbformat.write(unstamped, bare)
    before = [(folder / f"0{n}-toy.ipynb").read_bytes() for n in range(2)]
    written = sync.student(Project(root), folder)
    assert [path.name for path in written] == ["00-toy.new.ipynb", "01-toy.new.ipynb", "02-toy.ipynb"]
    assert [(folder / f"0{n}-toy.ipynb").read_bytes() for n in range(2)] == before
    assert "copy" in read_notebook(bare).metadata.cnnbook


@pytest.mark.parametrize("place", ["", "notebooks", "chapters", "notebooks/profiles", "link"])
def test_copies_do_not_go_into_the_course(tmp_path, capsys, place):
    root = project(tmp_path, **{"00-toy": chapter()})
    (root / "chapters").mkdir()
    (tmp_path / "link").symlink_to(root / "notebooks", target_is_directory=True)
    out = tmp_path / "link" if place == "link" else root / place
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert cli.main(["student", "--root", str(root), "--out", str(out)]) == 2
    assert f"--out {out} holds the course itself: give a folder of its own" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


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

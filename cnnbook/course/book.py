"""The book rendered from the notebooks of a run; the page of one that failed says so and shows the stored outputs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from cnnbook.course.board import RUNNING, Board
from cnnbook.course.notebook import read_notebook
from cnnbook.course.project import Project, UserError, how_to_install

TITLE = re.compile(r"^# .*$", re.M)
LONGEST_ERROR = 300  # characters of an error that the page of a failed notebook quotes


def build_book(project: Project, notebooks: Path | None = None, out: Path | None = None) -> int | None:
    """Render the book by book/build.py, from the copies in the folder `notebooks` when it is given.

    Returns build.py's exit status; None where the course has no book or Sphinx is not installed.
    """
    script = project.root / "book" / "build.py"
    if not script.exists():
        print("book: not rendered, for this course has no book/build.py")
        return None
    if find_spec("sphinx") is None or find_spec("myst_nb") is None:
        print(f"book: not rendered, for Sphinx is not installed: {how_to_install('book')}")
        return None
    command = [sys.executable, str(script)]
    command += ["--notebooks", str(notebooks)] if notebooks else []
    command += ["--out", str(out)] if out else []
    with Board(["book"]) as board:
        board.set("book", RUNNING, "rendering")
        done = subprocess.run(
            command, cwd=project.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip
        last_line = (done.stdout.strip().split("\n") or [""])[-1]
        board.set("book", "failed" if done.returncode else "passed", "" if done.returncode else last_line)
    if done.returncode:
        print(done.stdout)
    return done.returncode


def copy_notebooks(tasks, executed: Path, folder: Path) -> None:
    """Fill `folder` with what the book is rendered from: executed copies, and of a failed one the stored notebook.

    The stored notebook has the outputs of a run that passed; a warning below its title says what happened in this run. A
    file that is no notebook has no page.
    """
    import nbformat

    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        if task.status == "failed":
            try:
                notebook = read_notebook(task.path)
            except UserError:
                continue
            _insert_below_title(notebook, failure_warning(task.cell, task.error))
            nbformat.write(notebook, folder / task.path.name)
        else:
            shutil.copyfile(executed / task.path.name, folder / task.path.name)


def failure_warning(cell: str | None, error: str | None) -> str:
    """The warning as MyST text: one fence, so that book/build.py looks for no links or citations in an error."""
    first_line = (error or "no message").strip().split("\n")[0]
    if len(first_line) > LONGEST_ERROR:
        first_line = first_line[: LONGEST_ERROR - 3] + "..."
    # Longer than any run of backticks inside, and with spaces, since the error may begin or end with one.
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", first_line)), default=0))
    return (
        "```{warning}\n"
        f"**This notebook failed on this machine, which rendered the book:** {cell or 'before its first cell'}, "
        f"{ticks} {first_line} {ticks}\n\n"
        "The outputs below are not of that run. They are those stored in the repository, from a run that passed.\n"
        "```"
    )


def _insert_below_title(notebook, text):
    import nbformat

    for cell in notebook.cells:
        title = TITLE.search(cell.source) if cell.cell_type == "markdown" else None
        if title:
            rest = cell.source[title.end() :].strip("\n")
            cell.source = f"{cell.source[: title.end()]}\n\n{text}\n\n{rest}".rstrip("\n")
            return
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="run-failed"))

"""Reads chapters. What is wrong with a file that is no chapter, or cells that can be none, is said in words that name it."""

from __future__ import annotations

import re
from pathlib import Path

from cnnbook.course.notebook import text_of
from cnnbook.course.project import UserError

MYST = "md:myst"
NAME = re.compile(r"[0-9a]\d-[^.]+")
CALLED = "a chapter is called NN-name, such as 05-nin"
# A line of = below a text makes it a title.
CONFLICT = re.compile(r"^(<{7}|>{7})(?= |$)", re.M)


def read_chapter(path: Path):
    """A chapter's text as a notebook. Raises UserError, which names the file and what is wrong with it."""
    return parsed(text_of(path, "chapter"), path)


def parsed(text: str, path: Path):
    """A chapter's text, of the file `path`, as a notebook."""
    import jupytext

    if conflict := CONFLICT.search(text):
        line = text[: conflict.start()].count("\n") + 1
        raise UserError(
            f"{path} is no chapter: line {line} is a mark of a merge conflict, {conflict[0]}; keep one side and delete "
            "the marks"
        )
    try:
        notebook = jupytext.reads(text, fmt=MYST)
    # A head that is no YAML, or not one of a notebook, ends in whatever its libraries raise.
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is no chapter: its head cannot be read, the lines between --- ({type(error).__name__}: {why})"
        ) from None
    if not has_cells(notebook):
        raise UserError(f"{path} is no chapter: it has no cells; take it from the repository or from a copy")
    return notebook


def has_cells(notebook) -> bool:
    """Whether there is anything in a notebook's cells."""
    return any(cell.source.strip() or cell.get("outputs") for cell in notebook.cells)


def check_can_be_one(notebook, path: Path) -> None:
    """Raises UserError where a notebook's cells can be no chapter."""
    if not has_cells(notebook):
        raise UserError(f"{path}: it has no cells, so no chapter can be written from it")
    for number, cell in enumerate(notebook.cells, 1):
        if CONFLICT.search(cell.source):
            raise UserError(
                f"{path}: cell {number} holds a mark of a merge conflict; keep one side and delete the marks"
            )

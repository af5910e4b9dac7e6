"""Whose a folder is: commands write into folders that are empty or bear their mark, and delete only what bears it.

The mark is a small file of JSON in the folder. Without it nothing that is there is ours, whatever it is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cnnbook import files
from cnnbook.course.project import UserError

MARK = ".cnnbook"
# What systems put into folders that people have looked at.
NOBODYS = {".DS_Store", "Thumbs.db", "desktop.ini"}


def leave(folder: Path, command: str, names: Iterable[str] = ()) -> None:
    """Mark a folder, which is made where it is missing, as written by `cnnbook COMMAND`; names: what it wrote there."""
    what = f"`cnnbook {command}` wrote this folder, and may replace or delete what it wrote."
    files.write(folder / MARK, json.dumps({"command": command, "what": what, "names": sorted(names)}) + "\n")


def kind(folder: Path) -> str | None:
    """The command that has marked a folder; None where there is no mark."""
    command = _mark(folder).get("command")
    return command if isinstance(command, str) else None


def names(folder: Path) -> set[str]:
    """What the mark of a folder says that was written there."""
    listed = _mark(folder).get("names")
    return set(map(str, listed)) if isinstance(listed, list) else set()


def check(
    folder: Path, command: str, *, recognised: bool = False, known: Iterable[str] | None = None
) -> None:
    """Raises UserError where a folder holds what `cnnbook COMMAND` did not write; it is neither made nor marked.

    recognised: a folder without a mark is ours by what it holds, since versions before left none. known: the names that
    the command would replace, where it is no matter what else there is.
    """
    if (found := kind(folder)) not in (None, command):
        raise UserError(
            f"{folder} holds what `cnnbook {found}` wrote: give `cnnbook {command}` another folder with --out"
        )
    if found or recognised or not folder.is_dir():
        return
    there = sorted(path.name for path in folder.iterdir() if path.name not in NOBODYS)
    if known is not None:
        there = [name for name in there if name in known]
    if there:
        raise UserError(
            f"{folder} holds what `cnnbook {command}` did not write ({listed(there)}): give a folder that is empty, "
            "or one that is still to be made, with --out"
        )


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, in order."""
    names = sorted(names)
    return ", ".join(names[:most] + (["..."] if len(names) > most else []))


def _mark(folder):
    try:
        mark = json.loads((folder / MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return mark if isinstance(mark, dict) else {}

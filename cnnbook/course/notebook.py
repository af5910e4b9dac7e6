"""Reads notebooks. What is wrong with a file that is no notebook is said in words that name it."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path

from cnnbook.course.project import UserError

CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?= |$)", re.M)
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Unusable(Exception):
    """Its text says why a file is no notebook."""


def read_notebook(path: Path):
    """A notebook of any format, brought to nbformat 4. Raises UserError, which names the file and what is wrong with it."""
    try:
        return _checked(_parsed(_text(path)))
    except OSError as error:
        why = f"it cannot be read: {error.strerror or error}"
    except _Unusable as error:
        why = str(error)
    raise UserError(f"{path} is no notebook: {why}")


def text_of(path: Path, kind: str) -> str:
    """A file's text. Raises UserError, which names the file and says why it is no `kind`."""
    try:
        return _text(path)
    except OSError as error:
        why = f"it cannot be read: {error.strerror or error}"
    except _Unusable as error:
        why = str(error)
    raise UserError(f"{path} is no {kind}: {why}")


def _text(path):
    if path.is_dir():
        raise _Unusable("it is a folder; give it another name")
    content = path.read_bytes()
    if not content.strip():
        raise _Unusable("the file is empty; take it from the repository or from a copy")
    if content.startswith(UTF_16) or b"\0" in content[:4]:
        raise _Unusable("it is UTF-16; save it as UTF-8")
    if content.startswith(codecs.BOM_UTF8):
        raise _Unusable("it begins with a byte-order mark; save it as UTF-8 without one")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _Unusable(f"it is not UTF-8 in line {line}; save it as UTF-8") from None


def _parsed(text):
    """The file's JSON as nbformat 4."""
    import nbformat

    try:
        stored = json.loads(text)
    except json.JSONDecodeError as error:
        conflict = CONFLICT.search(text)
        if conflict:
            line = text[: conflict.start()].count("\n") + 1
            raise _Unusable(
                f"line {line} is a mark of a merge conflict, {conflict[0]}; keep one side and delete the marks"
            ) from None
        raise _Unusable(
            f"it is no JSON in line {error.lineno} ({error.msg}); it may be cut short, so take it from the "
            "repository or from a copy"
        ) from None
    except RecursionError:
        raise _Unusable("it is JSON nested without end") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("nbformat"), int):
        raise _Unusable("it is JSON, but not of a notebook: that is an object with `nbformat` and `cells`")
    try:
        # from_dict, since what comes of an old format has types of its own.
        return nbformat.from_dict(nbformat.convert(nbformat.reader.reads(text), 4))
    # nbformat meets what is missing as KeyError, AttributeError, TypeError and its own errors.
    except Exception as error:
        raise _Unusable(
            f"nbformat {nbformat.__version__} cannot read it as format {stored['nbformat']}: "
            f"{type(error).__name__}: {error}"
        ) from None


def _checked(notebook):
    """The notebook, if its cells hold what is needed to run them and no text that a file cannot hold."""
    if not isinstance(notebook.get("cells"), list):
        raise _Unusable("it has no list `cells`")
    for number, cell in enumerate(notebook.cells, 1):
        if not isinstance(cell, dict) or not isinstance(cell.get("source"), str) or "cell_type" not in cell:
            raise _Unusable(f"cell {number} lacks its `cell_type` or its `source`, a text")
        _encodable(cell, f"cell {number}")
    _encodable(notebook.get("metadata"), "its metadata")
    return notebook


def _encodable(part, place):
    try:
        json.dumps(part, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("ascii", "backslashreplace").decode()
        raise _Unusable(f"{place} holds {half}, half of a character, as text; type it anew") from None

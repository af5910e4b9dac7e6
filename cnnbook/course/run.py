"""`cnnbook run`: every notebook by papermill, in processes of their own, with a live line each.

What is written: `notebooks/` and `html/` (what passed), `failed/` (what did not), `logs/`, `results/` (one
record per notebook) and `summary.html`. A result counts only with its record, which is written last, and a
record only with the notebook whose digest it holds. So whatever interrupts a run, the next one repeats what
is not whole, and no more than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cnnbook import files
from cnnbook.course.board import RUNNING, Board
from cnnbook.course.book import build_book, copy_notebooks
from cnnbook.course.project import (
    KERNEL_ARGUMENTS,
    KERNELSPEC,
    Project,
    UserError,
    digest,
    kernel_environment,
    one_thread,
)
from cnnbook.machine import backend, cores, versions

TIMEOUTS = {"default": 1800, "gpu": 7200}  # seconds a notebook; other profiles have none
# Where a notebook's files are; the record first, for without it the others do not count.
PLACES = (
    ("results", ".json"),
    ("notebooks", ".ipynb"),
    ("html", ".html"),
    ("failed", ".ipynb"),
    ("failed", ".html"),
    ("logs", ".log"),
)
GIB_PER_NOTEBOOK = 1.5
UNCHANGED = "unchanged"
COURSE = Path(__file__).parent  # code that no notebook's result depends on


@dataclass
class Task:
    """One notebook to run."""

    path: Path
    parameters: dict
    key: str = ""
    status: str = "waiting"
    cell: str | None = None
    error: str | None = None
    seconds: float | None = None
    used: dict = field(default_factory=dict)  # CPU seconds and MB of memory, see the worker
    process: subprocess.Popen | None = None
    kernels: list = field(default_factory=list)
    deadline: float = float("inf")
    stopped: str | None = None  # why the runner ended it

    @property
    def name(self):
        return self.path.stem


def run(
    project: Project,
    *,
    profile="default",
    only=None,
    jobs=None,
    timeout=None,
    out=None,
    book=True,
    fresh=False,
):
    """Execute the notebooks; returns the exit status. Wrong input raises UserError before anything runs."""
    missing = [m for m in ("papermill", "ipykernel", "psutil") if find_spec(m) is None]
    if missing:
        raise UserError(f"running notebooks needs {', '.join(missing)}: python -m pip install -e '.[lab]'")
    tasks = plan(project, profile, only)
    out = Path(out or project.root / "build").resolve()
    if out in (project.notebooks, project.root, project.chapters):
        raise UserError(f"--out {out} holds the course itself: give a folder that may be overwritten")
    timeout = timeout or TIMEOUTS.get(profile)
    jobs = jobs or default_jobs(len(tasks))
    with _alone(out):
        return _run(project, tasks, profile, only, jobs, timeout, out, book, fresh)


def plan(project: Project, profile: str, only: str | None) -> list[Task]:
    """The chosen notebooks with the profile's parameters, each of which the notebook must have."""
    paths = project.notebook_paths(only)
    if not paths:
        raise UserError(f"there is no notebook in {project.notebooks}: `cnnbook sync --execute` makes them")
    sizes = read_profile(project, profile)
    tasks = []
    for path in paths:
        parameters = sizes.get(path.stem, {})
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
    common = _common_inputs(project)
    for task in tasks:
        cells = [(c["cell_type"], c["source"]) for c in json.loads(task.path.read_text("utf-8"))["cells"]]
        task.key = digest([common, cells, task.parameters])
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
        sizes = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {error}") from None
    if not isinstance(sizes, dict) or not all(isinstance(v, dict) for v in sizes.values()):
        raise UserError(
            f"{path} must map each notebook's name to its parameters, such as `03-vgg: {{epochs: 20}}`"
        )
    stems = [p.stem for p in project.notebook_paths()]
    unknown = [stem for stem in sizes if stem not in stems]
    if unknown:
        raise UserError(
            f"{path} names {', '.join(map(repr, unknown))}; the notebooks are: {', '.join(stems)}"
        )
    return sizes


def _common_inputs(project):
    """What every result depends on: the package, the notebooks' data files, the versions and the backend."""
    package = COURSE.parent
    inputs = [p for p in package.rglob("*") if p.suffix != ".pyc" and not p.is_relative_to(COURSE)]
    for folder in (project.notebooks, project.chapters):
        inputs += [p for p in folder.rglob("*") if p.suffix not in (".ipynb", ".md", ".cfg", ".yaml")]
    sums = {}
    for path in sorted(p for p in inputs if p.is_file() and "__pycache__" not in p.parts):
        base = package if path.is_relative_to(package) else project.root
        sums[path.relative_to(base).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return [sums, versions(), backend()]


def default_jobs(count: int) -> int:
    """One notebook per core, as far as memory goes; one in all where a GPU is to be shared."""
    if shutil.which("nvidia-smi"):
        return 1
    import psutil

    memory = int(psutil.virtual_memory().available / 2**30 / GIB_PER_NOTEBOOK)
    return max(1, min(cores(), memory, count))


@contextlib.contextmanager
def _alone(out):
    """Two runs into one folder would mix their results: the second one is refused."""
    import psutil

    out.mkdir(parents=True, exist_ok=True)
    lock = out / "run.lock"
    try:
        pid, birthday = json.loads(lock.read_text())
        if psutil.Process(pid).create_time() == birthday:
            raise UserError(
                f"process {pid} is already running notebooks into {out}: wait for it, or give another --out"
            )
    except (OSError, ValueError, psutil.NoSuchProcess):
        pass  # no lock, or that of a run which is gone
    files.write(lock, json.dumps([os.getpid(), psutil.Process().create_time()]))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _run(project, tasks, profile, only, jobs, timeout, out, book, fresh):
    started = time.monotonic()
    shutil.rmtree(out / "partial", ignore_errors=True)
    for folder in ("partial", "notebooks", "html", "failed", "logs", "results"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    stems = {p.stem for p in project.notebook_paths()}
    for left in (out / "results").glob("*.json"):
        if left.stem not in stems:
            _forget(out, left.stem)
    before = {task.name: _record(out, task.name) for task in tasks}
    for task in tasks:
        old = before[task.name]
        if (
            not fresh
            and old.get("status") == "passed"
            and old["key"] == task.key
            and _whole(out, task.name, old)
        ):
            task.status, task.seconds, task.used = UNCHANGED, old["seconds"], old.get("used", {})
        else:
            _forget(out, task.name)
    todo = [t for t in tasks if t.status != UNCHANGED]
    jobs = min(jobs, max(1, len(todo)))
    threads = "one thread each" if jobs > 1 else "all its threads"
    print(
        f"{len(tasks)} notebook{'s' if len(tasks) > 1 else ''}, profile {profile}, "
        f"{jobs} at a time with {threads}, backend {backend()}"
        + (f", at most {timeout:.0f} s each" if timeout else ""),
        flush=True,
    )
    interrupted = None
    with Board([t.name for t in tasks]) as board:
        for task in tasks:
            if task.status == UNCHANGED:
                board.set(task.name, "passed", f"before, unchanged ({task.seconds:.0f} s then)")
        todo = _longest_first(todo, {t.name: before[t.name].get("seconds") for t in todo})
        try:
            with _signals_interrupt():
                _work(todo, jobs, timeout, out, board)
        except KeyboardInterrupt as error:
            interrupted = error
            for task in todo:
                if task.status in ("waiting", RUNNING):
                    task.status = "stopped"
                    board.set(task.name, "stopped", "interrupted; the next run repeats it")
    failed = [t for t in tasks if t.status == "failed"]
    for task in failed:
        print(f"\nFAILED {task.name}: {task.cell or 'before its first cell'}\n  {task.error}")
        print(f"  {_page(out, task)}")
    status = 130 if interrupted else 1 if failed else 0
    rendered = None
    if book and only is None and not interrupted:
        copy_notebooks(tasks, out / "notebooks", out / "partial" / "book")
        code = build_book(project, notebooks=out / "partial" / "book", out=out / "book")
        rendered = code == 0
        status = 1 if code else status
    elif book:
        why = "the run was interrupted" if interrupted else "only some notebooks were run"
        print(f"book: not rendered, since {why}")
    shutil.rmtree(out / "partial", ignore_errors=True)
    earlier = _earlier(project, out, tasks)
    files.write(
        out / "summary.html", summary([*tasks, *earlier], profile, out, rendered, time.monotonic() - started)
    )
    count = {s: sum(t.status == s for t in tasks) for s in ("passed", UNCHANGED, "failed", "stopped")}
    print(
        f"\n{count['passed']} passed, {count[UNCHANGED]} passed before and unchanged, "
        f"{count['failed']} failed"
        + (f", {count['stopped']} stopped" if interrupted else "")
        + f" in {time.monotonic() - started:.0f} s\nsummary: {out / 'summary.html'}",
        flush=True,
    )
    return status


def _longest_first(tasks, seconds):
    """The order of starting, by what each took last: else the longest may start last and run alone. One that was never
    timed may be the longest, so those go first."""
    return sorted(tasks, key=lambda t: -float("inf") if seconds[t.name] is None else -seconds[t.name])


def _earlier(project, out, tasks):
    """The results of earlier runs that this one left alone: the summary shows them too."""
    found = []
    for path in project.notebook_paths():
        record = _record(out, path.stem)
        if record and path not in [t.path for t in tasks]:
            status = f"{record['status']} in an earlier run"
            found.append(
                Task(
                    path,
                    {},
                    status=status,
                    seconds=record["seconds"],
                    used=record.get("used", {}),
                    cell=record["cell"],
                    error=record["error"],
                )
            )
    return found


@contextlib.contextmanager
def _signals_interrupt():
    """A closed terminal or a polite kill ends the run as Ctrl-C does."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    saved = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                saved[name] = signal.signal(getattr(signal, name), interrupt)
    try:
        yield
    finally:
        for name, handler in saved.items():
            signal.signal(getattr(signal, name), handler)


def _work(todo, jobs, timeout, out, board):
    waiting, running = list(todo), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Worker(waiting.pop(0), jobs, timeout, out, board))
            for worker in list(running):
                if worker.finished():
                    running.remove(worker)
            time.sleep(0.05)
    finally:
        for worker in running:  # after an interruption: nothing of ours stays behind
            worker.end()


class _Worker:
    """The process that runs one notebook, seen from the runner."""

    def __init__(self, task, jobs, timeout, out, board):
        self.task, self.out, self.board, self.timeout = task, out, board, timeout
        self.partial = out / "partial" / f"{task.name}.ipynb"
        self.result = None
        self.started = time.monotonic()
        task.status = RUNNING
        task.deadline = self.started + (timeout or float("inf"))
        board.set(task.name, RUNNING, "starting")
        env = kernel_environment()
        with open(out / "logs" / f"{task.name}.log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cnnbook.course.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=one_thread(env) if jobs > 1 else env,
                # A group of its own: Ctrl-C in the terminal reaches the runner, which ends the workers.
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        job = {
            "source": str(task.path),
            "partial": str(self.partial),
            "parameters": task.parameters,
            "cwd": str(task.path.parent),
            "kernel": KERNELSPEC["name"],
            "kernel_arguments": KERNEL_ARGUMENTS,
        }
        with contextlib.suppress(OSError):  # it died at once: `finished` says so
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "result" in message:
                self.result = message["result"]
                return
            self.task.kernels = message["kernels"]
            tags = f" [{', '.join(message['tags'])}]" if message["tags"] else ""
            self.task.cell = f"code cell {message['cell']} of {message['of']}{tags}"
            self.board.note(self.task.name, self.task.cell)

    def end(self):
        from cnnbook.course.worker import end_tree

        end_tree(self.process.pid, kernels=self.task.kernels)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def finished(self):
        late = time.monotonic() > self.task.deadline
        if self.process.poll() is None and not late:
            return False
        if not late:
            self.reader.join(5)  # the last line may still be on its way
        self.end()
        self._keep(late)
        return True

    def _keep(self, late):
        task = self.task
        task.seconds = time.monotonic() - self.started
        if late:
            task.status, task.error = "failed", f"not done within {self.timeout:.0f} s (--timeout)"
        elif self.result is None:
            code = self.process.returncode
            how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
            task.status, task.error = "failed", f"its process ended {how}; logs/{task.name}.log may say why"
        else:
            task.status, task.error = self.result["status"], self.result.get("error")
            task.cell = self.result.get("cell") if task.status == "failed" else None
            task.used = {key: self.result[key] for key in ("cpu", "memory") if key in self.result}
        passed = task.status == "passed"
        record = {
            "status": task.status,
            "key": task.key,
            "seconds": round(task.seconds, 1),
            "used": task.used,
            "parameters": task.parameters,
            "cell": task.cell,
            "error": task.error,
        }
        page = self.partial.with_suffix(".html")
        if page.exists():
            os.replace(page, self.out / ("html" if passed else "failed") / page.name)
        if self.partial.exists():
            record["sha256"] = hashlib.sha256(self.partial.read_bytes()).hexdigest()
            os.replace(self.partial, self.out / ("notebooks" if passed else "failed") / self.partial.name)
        # Last, for only with it does the rest count.
        files.write(
            self.out / "results" / f"{task.name}.json", json.dumps(record, indent=1, ensure_ascii=False)
        )
        why = f"{task.cell or ''}: {_first_line(task.error)}"
        self.board.set(task.name, task.status, _in_words(task.used) if passed else why)


def _in_words(used):
    """ "38 s of CPU, 1,240 MB", as far as it is known."""
    said = [f"{used['cpu']:.0f} s of CPU"] if "cpu" in used else []
    return ", ".join(said + ([f"{used['memory']:,} MB"] if "memory" in used else []))


def _first_line(text):
    return (text or "").strip().split("\n")[0]


def _record(out, name):
    try:
        record = json.loads((out / "results" / f"{name}.json").read_text("utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def _whole(out, name, record):
    try:
        return (
            hashlib.sha256((out / "notebooks" / f"{name}.ipynb").read_bytes()).hexdigest() == record["sha256"]
        )
    except (OSError, KeyError):
        return False


def _forget(out, name):
    # The record first: what is left when this is interrupted does not count.
    for folder, kind in PLACES:
        (out / folder / f"{name}{kind}").unlink(missing_ok=True)


def _bad(task):
    return task.status.startswith(("failed", "stopped"))


def _page(out, task):
    folder = "failed" if _bad(task) else "html"
    for path in (f"{folder}/{task.name}.html", f"notebooks/{task.name}.ipynb", f"failed/{task.name}.ipynb"):
        if (out / path).exists():
            return out / path
    return out / "logs" / f"{task.name}.log"


def summary(tasks, profile, out, rendered, seconds) -> str:
    """The page that links every executed notebook."""
    rows = []
    for task in tasks:
        page = _page(out, task)
        link = html.escape(page.relative_to(out).as_posix(), quote=True)
        status = {UNCHANGED: "passed before, unchanged"}.get(task.status, task.status)
        took = "" if task.seconds is None else f"{task.seconds:.0f} s"
        error = (
            f"<p>{html.escape(task.cell or '')}</p><pre>{html.escape(task.error)}</pre>" if task.error else ""
        )
        extra = ""
        for label, path in (("ipynb", f"notebooks/{task.name}.ipynb"), ("log", f"logs/{task.name}.log")):
            if (out / path).exists():
                extra += f' <a href="{html.escape(path, quote=True)}">{label}</a>'
        name = f'<a href="{link}">{html.escape(task.name)}</a>' if page.exists() else html.escape(task.name)
        kind = "bad" if _bad(task) else "good"
        rows.append(
            f'<tr class="{kind}"><th scope="row">{name}</th><td>{status}</td><td class="n">{took}</td>'
            f'<td class="n">{_in_words(task.used)}</td>'
            f"<td>{error}</td><td>{extra}</td></tr>"
        )
    failed = sum(map(_bad, tasks))
    head = f"{len(tasks) - failed} of {len(tasks)} notebooks passed"
    facts = ", ".join(f"{k} {v}" for k, v in versions().items())
    book = '<p><a href="book/index.html">The book, rendered from these notebooks</a></p>' if rendered else ""
    when = time.strftime("%Y-%m-%d %H:%M")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{head}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0 }}
th, td {{ border-bottom: 1px solid #8886 }}
.n {{ text-align: right }} .bad td:nth-child(2) {{ font-weight: bold }}
pre {{ white-space: pre-wrap; margin: 0 }}
.bad th {{ border-left: .4rem solid #c33; padding-left: .6rem }}
.good th {{ border-left: .4rem solid #283; padding-left: .6rem }}
</style></head><body>
<h1>{head}</h1>
<p>Profile {html.escape(profile)}, {seconds:.0f} s, {when}.
Backend {html.escape(backend())}; {html.escape(facts)}.</p>
{book}
<table><thead><tr><th scope="col">notebook</th><th scope="col">result</th><th scope="col" class="n">time</th>
<th scope="col" class="n">CPU, most memory</th><th scope="col">error</th><th scope="col">files</th></tr></thead><tbody>
{chr(10).join(rows)}
</tbody></table></body></html>
"""

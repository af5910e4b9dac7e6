"""`cnnbook run`: every notebook by papermill, in processes of their own, with a live line each.

The plan says what is to do (plan.py), workers do it (jobs.py), the folder of results tells what need not be done again
(records.py); at the end come the book and the page summary.html.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cnnbook import files
from cnnbook.course.board import RUNNING, WAITING, Board
from cnnbook.course.book import build_book, copy_notebooks
from cnnbook.course.jobs import work
from cnnbook.course.plan import (
    FAILED,
    PASSED,
    STOPPED,
    TIMEOUTS,
    UNCHANGED,
    Task,
    default_jobs,
    expected_seconds,
    longest_first,
    plan,
)
from cnnbook.course.project import Project, UserError, check_out, how_to_install, unwritable
from cnnbook.course.records import Records
from cnnbook.course.said import in_a_line, missed
from cnnbook.course.summary import summary
from cnnbook.machine import backend

INTERRUPTED = "interrupted"


@dataclass
class Result:
    """What a run came to.

    book: build.py's exit status, None where no book was rendered. stopped: why not all was run, None where all was. summary:
    the page, None where it could not be written.
    """

    tasks: list[Task]
    records: Records
    book: int | None
    stopped: str | None
    summary: Path | None
    seconds: float

    @property
    def status(self) -> int:
        """The exit status: 0 all passed, 1 a notebook or the book failed or could not be kept, 130 interrupted."""
        if self.stopped == INTERRUPTED:
            return 130
        return 1 if self.stopped or self.book or any(task.status == FAILED for task in self.tasks) else 0

    def text(self) -> str:
        """The failures with their cells and errors, the claims that were missed, how many passed, where the summary is."""
        lines = []
        for task in self.tasks:
            if task.status == FAILED:
                lines.append(f"\nFAILED {task.name}: {task.cell or 'before its first cell'}\n  {task.error}")
                if (page := self.records.page(task)).exists():
                    lines.append(f"  {page}")
        if self.stopped and self.stopped != INTERRUPTED:
            lines.append(f"\nSTOPPED: {self.stopped}\n  What passed is kept: the next run does the rest.")
        count = {s: sum(t.status == s for t in self.tasks) for s in (PASSED, UNCHANGED, FAILED, STOPPED)}
        lines += not_shown(self.tasks)
        lines.append(
            f"\n{count[PASSED]} passed, {count[UNCHANGED]} passed before and unchanged, {count[FAILED]} failed"
            + (f", {count[STOPPED]} stopped" if self.stopped else "")
            + f" in {self.seconds:.0f} s"
        )
        lines += [f"summary: {self.summary}"] if self.summary else []
        return "\n".join(lines)


def not_shown(tasks: list[Task]) -> list[str]:
    """A line for each claim that did not hold in a run, below a title; nothing where all held."""
    lines = [f"  {task.name}: {in_a_line(facts)}" for task in tasks for facts in missed(task.claims)]
    return (
        ["\nClaims that did not hold on this machine; a run does not fail for them:", *lines] if lines else []
    )


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
) -> Result:
    """Execute the notebooks and render the book. Wrong input raises UserError before anything runs."""
    missing = [m for m in ("papermill", "ipykernel", "psutil") if find_spec(m) is None]
    if missing:
        raise UserError(f"running notebooks needs {', '.join(missing)}: {how_to_install('lab')}")
    tasks = plan(project, profile, only)
    out = Path(out or project.root / "build").resolve()
    check_out(out, project)
    records = Records(out, shared=out == (project.root / "build").resolve())
    with records.locked():
        return _run(
            project, tasks, records, profile, only, jobs, timeout or TIMEOUTS.get(profile), book, fresh
        )


def _run(project, tasks, records, profile, only, jobs, timeout, book, fresh):
    started = time.monotonic()
    seconds = expected_seconds(tasks, {task.name: records.read(task.name) for task in tasks})
    records.prepare({path.stem for path in project.notebook_paths()})
    for task in tasks:
        _reuse_or_forget(task, records, fresh)
    todo = longest_first([task for task in tasks if task.status == WAITING], seconds)
    jobs = min(jobs or default_jobs(len(tasks)), max(1, len(todo)))
    print(_heading(tasks, profile, jobs, timeout), flush=True)
    stopped = _execute(tasks, todo, jobs, timeout, records)
    book_status, page = None, None
    try:
        if book:
            book_status = _render_book(project, tasks, records, stopped, only)
        records.clean()
        seconds = time.monotonic() - started
        page = _write_summary(project, tasks, profile, records, book_status == 0, seconds)
    except OSError as error:
        stopped = stopped or unwritable(error, records.folder)
    return Result(tasks, records, book_status, stopped, page, time.monotonic() - started)


def _render_book(project, tasks, records, stopped, only):
    if stopped:
        print(f"book: not rendered, since the run was {INTERRUPTED if stopped == INTERRUPTED else STOPPED}")
    elif only is not None:
        print("book: not rendered, since only some notebooks were run")
    else:
        copy_notebooks(tasks, records.folder / "notebooks", records.scratch / "book")
        return build_book(project, records.scratch / "book", records.folder / "book")
    return None


def _write_summary(project, tasks, profile, records, with_book, seconds):
    chosen = {task.path for task in tasks}
    earlier = records.earlier([path for path in project.notebook_paths() if path not in chosen])
    files.write(records.summary, summary([*tasks, *earlier], profile, records, with_book, seconds))
    return records.summary


def _reuse_or_forget(task, records, fresh):
    if task.status == FAILED:
        records.forget(task.name)
        records.keep(task, records.scratch / f"{task.name}.ipynb")
    elif not fresh and records.still_holds(task):
        record = records.read(task.name)
        task.status, task.seconds, task.used = UNCHANGED, record["seconds"], record.get("used", {})
        task.claims = record.get("claims", [])
    else:
        records.forget(task.name)


def _heading(tasks, profile, jobs, timeout):
    threads = "one thread each" if jobs > 1 else "all its threads"
    return (
        f"{len(tasks)} notebook{'s' if len(tasks) > 1 else ''}, profile {profile}, "
        f"{jobs} at a time with {threads}, backend {backend()}"
        + (f", at most {timeout:.0f} s each" if timeout else "")
    )


def _execute(tasks, todo, jobs, timeout, records):
    """Run what is to do, with a live line per notebook; returns why not all was run, None where all was."""
    with Board([task.name for task in tasks]) as board:
        for task in tasks:
            if task.status == UNCHANGED:
                board.set(task.name, PASSED, f"before, unchanged ({task.seconds:.0f} s then)")
            elif task.status == FAILED:
                board.set(task.name, FAILED, task.error)
        try:
            work(todo, jobs, timeout, records, board)
            return None
        except KeyboardInterrupt:
            stopped = INTERRUPTED
        except OSError as error:
            stopped = unwritable(error, records.folder)
        for task in todo:
            if task.status in (WAITING, RUNNING):
                task.status = STOPPED
                board.set(task.name, STOPPED, "the next run repeats it")
    return stopped

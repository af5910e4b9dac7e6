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
    longest_first,
    plan,
)
from cnnbook.course.project import Project, UserError, how_to_install
from cnnbook.course.records import Records
from cnnbook.course.summary import summary
from cnnbook.machine import backend


@dataclass
class Result:
    """What a run came to. `book`: build.py's exit status, None where no book was rendered."""

    tasks: list[Task]
    records: Records
    book: int | None
    interrupted: bool
    seconds: float

    @property
    def status(self) -> int:
        """The exit status: 0 all passed, 1 a notebook or the book failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.book or any(task.status == FAILED for task in self.tasks) else 0

    def text(self) -> str:
        """The failures with their cells and errors, then how many passed, and where the summary is."""
        lines = []
        for task in self.tasks:
            if task.status == FAILED:
                lines.append(f"\nFAILED {task.name}: {task.cell or 'before its first cell'}\n  {task.error}")
                lines.append(f"  {self.records.page(task)}")
        count = {s: sum(t.status == s for t in self.tasks) for s in (PASSED, UNCHANGED, FAILED, STOPPED)}
        lines.append(
            f"\n{count[PASSED]} passed, {count[UNCHANGED]} passed before and unchanged, {count[FAILED]} failed"
            + (f", {count[STOPPED]} stopped" if self.interrupted else "")
            + f" in {self.seconds:.0f} s"
        )
        return "\n".join([*lines, f"summary: {self.records.summary}"])


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
    if out in (project.notebooks, project.root, project.chapters):
        raise UserError(f"--out {out} holds the course itself: give a folder that may be overwritten")
    records = Records(out)
    with records.locked():
        return _run(
            project, tasks, records, profile, only, jobs, timeout or TIMEOUTS.get(profile), book, fresh
        )


def _run(project, tasks, records, profile, only, jobs, timeout, book, fresh):
    started = time.monotonic()
    seconds = {task.name: records.read(task.name).get("seconds") for task in tasks}
    records.prepare({path.stem for path in project.notebook_paths()})
    for task in tasks:
        _reuse_or_forget(task, records, fresh)
    todo = longest_first([task for task in tasks if task.status != UNCHANGED], seconds)
    jobs = min(jobs or default_jobs(len(tasks)), max(1, len(todo)))
    print(_heading(tasks, profile, jobs, timeout), flush=True)
    interrupted = _execute(tasks, todo, jobs, timeout, records)
    book_status = None
    if book and interrupted:
        print("book: not rendered, since the run was interrupted")
    elif book and only is not None:
        print("book: not rendered, since only some notebooks were run")
    elif book:
        copy_notebooks(tasks, records.folder / "notebooks", records.scratch / "book")
        book_status = build_book(project, records.scratch / "book", records.folder / "book")
    records.clean()
    result = Result(tasks, records, book_status, interrupted, time.monotonic() - started)
    chosen = {task.path for task in tasks}
    earlier = records.earlier([path for path in project.notebook_paths() if path not in chosen])
    page = summary([*tasks, *earlier], profile, records, book_status == 0, result.seconds)
    files.write(records.summary, page)
    return result


def _reuse_or_forget(task, records, fresh):
    if not fresh and records.still_holds(task):
        record = records.read(task.name)
        task.status, task.seconds, task.used = UNCHANGED, record["seconds"], record.get("used", {})
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
    """Run what is to do, with a live line per notebook; returns whether that was interrupted."""
    with Board([task.name for task in tasks]) as board:
        for task in tasks:
            if task.status == UNCHANGED:
                board.set(task.name, PASSED, f"before, unchanged ({task.seconds:.0f} s then)")
        try:
            work(todo, jobs, timeout, records, board)
        except KeyboardInterrupt:
            for task in todo:
                if task.status in (WAITING, RUNNING):
                    task.status = STOPPED
                    board.set(task.name, STOPPED, "interrupted; the next run repeats it")
            return True
    return False

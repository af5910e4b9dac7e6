"""What a run leaves in its folder: executed notebooks, their pages, logs, and one record per notebook.

A result counts only with its record, which is written last, and a record only with the notebook whose digest it holds. So
whatever interrupts a run, the next one repeats what is not complete, and no more than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

from cnnbook import files
from cnnbook.course import mark
from cnnbook.course.plan import FAILED, PASSED, STOPPED, Task
from cnnbook.course.project import UserError
from cnnbook.course.said import claims_in, own_cells

# Where a notebook's files are; the record first, for without it the others do not count.
PLACES = (
    ("results", ".json"),
    ("notebooks", ".ipynb"),
    ("html", ".html"),
    ("failed", ".ipynb"),
    ("failed", ".html"),
    ("logs", ".log"),
)
LOCK = "run.lock"
EDITED = "edited"


class Records:
    """The folder of a run's results.

    shared: other commands may write into it, too, as into the course's own folder build.
    """

    command = "run"  # whose folder this is, see `mark`
    busy = "running notebooks"  # what a second process is told that the first one does

    def __init__(self, folder: Path, *, shared: bool = False):
        self.folder, self.shared = folder, shared
        self.scratch = folder / "partial"
        self.summary = folder / "summary.html"

    @contextlib.contextmanager
    def locked(self):
        """Two runs into one folder would mix their results: the second one is refused, and so is a folder not ours."""
        import filelock

        self.check()
        process = self.folder / "run.pid"
        lock = files.lock(self.folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            other = "another process"
            # Not there yet, where both were started at the same instant.
            with contextlib.suppress(OSError):
                other = f"process {process.read_text()}"
            raise UserError(
                f"{other} is already {self.busy} into {self.folder}: wait for it, or give another --out"
            ) from None
        try:
            files.write(process, str(os.getpid()))
            if mark.kind(self.folder) is None:
                mark.leave(self.folder, self.command)
            yield
        finally:
            process.unlink(missing_ok=True)
            lock.release()

    def check(self) -> None:
        """Raises UserError where the folder holds what is not ours."""
        # Versions before left no mark, but always this file.
        known = {EDITED, *(folder for folder, _ in PLACES), self.scratch.name, self.summary.name}
        ours = (self.folder / LOCK).exists()
        try:
            mark.check(self.folder, self.command, recognised=ours, known=known if self.shared else None)
        except UserError:
            # Another run may have begun in the folder between these two looks at it.
            if ours or not (self.folder / LOCK).exists():
                raise
            mark.check(self.folder, self.command, recognised=True)

    def prepare(self, stems: set[str]) -> None:
        """Make the folders; remove what an interrupted run left, and the results of notebooks that are gone."""
        self.clean()
        for folder in ("partial", *(folder for folder, _ in PLACES)):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "results").glob("*.json"):
            if path.stem not in stems and self.read(path.stem):
                self.forget(path.stem)

    def clean(self) -> None:
        """Remove what was only needed during a run."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def read(self, name: str) -> dict:
        """A notebook's record; an empty one where there is none that can be read, or what is there is none of ours."""
        try:
            record = json.loads((self.folder / "results" / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return record if _is_record(record) else {}

    def still_holds(self, task: Task) -> bool:
        """Whether this very task passed in an earlier run, and its executed notebook is as it was then."""
        record = self.read(task.name)
        if record.get("status") != PASSED:
            return False
        if record.get("key") != task.keys.of(task, record.get("imported")):
            return False
        try:
            return _sha256(self.folder / "notebooks" / f"{task.name}.ipynb") == record["sha256"]
        except (OSError, KeyError):
            return False

    def forget(self, name: str) -> None:
        """Remove a notebook's results, the record first: what is left when this is interrupted does not count.

        An executed copy that somebody has edited since is moved to the folder `edited`.
        """
        made = self.read(name).get("sha256")
        executed = self.folder / "notebooks" / f"{name}.ipynb"
        if made and executed.exists() and _sha256(executed) != made:
            folder = self.folder / EDITED
            folder.mkdir(exist_ok=True)
            kept = files.free(folder / executed.name)
            os.replace(executed, kept)
            print(f"{executed} was edited after the run: it is now {kept}", flush=True)
        for folder, suffix in PLACES:
            (self.folder / folder / f"{name}{suffix}").unlink(missing_ok=True)

    def keep(self, task: Task, partial: Path) -> None:
        """Move a finished task's notebook and page to their place, and write its record."""
        task.claims = claims_of(partial)
        record = {
            "status": task.status,
            "key": task.keys.of(task, task.imported),
            "imported": task.imported,
            "seconds": round(task.seconds, 1),
            "used": task.used,
            "parameters": task.parameters,
            "cell": task.cell,
            "error": task.error,
            "claims": task.claims,
        }
        page = partial.with_suffix(".html")
        if page.exists():
            os.replace(page, self.folder / ("html" if task.status == PASSED else "failed") / page.name)
        if partial.exists():
            record["sha256"] = _sha256(partial)
            folder = "notebooks" if task.status == PASSED else "failed"
            os.replace(partial, self.folder / folder / partial.name)
        # Last, for only with it does the rest count.
        text = json.dumps(record, indent=1, ensure_ascii=False)
        files.write(self.folder / "results" / f"{task.name}.json", text)

    def earlier(self, paths: list[Path]) -> list[Task]:
        """The results that earlier runs left for these notebooks, as tasks."""
        tasks = []
        for path in paths:
            if record := self.read(path.stem):
                status = f"{record['status']} in an earlier run"
                seen = {key: record.get(key) for key in ("seconds", "cell", "error")}
                seen |= {"used": record.get("used", {}), "claims": record.get("claims", [])}
                tasks.append(Task(path, {}, status=status, **seen))
        return tasks

    def page(self, task: Task) -> Path:
        """What shows best how a task went: its page, else its notebook, else its log, which may not exist."""
        folder = "failed" if task.status.startswith((FAILED, STOPPED)) else "html"
        for name in (
            f"{folder}/{task.name}.html",
            f"notebooks/{task.name}.ipynb",
            f"failed/{task.name}.ipynb",
        ):
            if (self.folder / name).exists():
                return self.folder / name
        return self.folder / "logs" / f"{task.name}.log"


def claims_of(executed: Path) -> list[dict]:
    """What an executed notebook claims, see said.claims_in; nothing where it was not written, or not to its end."""
    try:
        return claims_in(own_cells(executed))
    except UserError:
        return []


def _is_record(record):
    """Whether this is what `keep` writes: a folder that somebody else has filled may hold anything, HTML for one."""
    if not isinstance(record, dict) or record.get("status") not in (PASSED, FAILED):
        return False
    imported, used, said = (record.get(key, {}) for key in ("imported", "used", "claims"))
    return (
        isinstance(record.get("key"), str)
        and _is_number(record.get("seconds"))
        and all(isinstance(record.get(key), str | None) for key in ("cell", "error"))
        and (not imported or (isinstance(imported, list) and all(isinstance(name, str) for name in imported)))
        and isinstance(used, dict)
        and all(map(_is_number, used.values()))
        and (not said or (isinstance(said, list) and all(map(_is_claim, said))))
    )


def _is_claim(said):
    return (
        isinstance(said, dict)
        and all(isinstance(said.get(key), str) for key in ("sentence", "asked"))
        and isinstance(said.get("held"), bool)
        and (said.get("value", "") is None or _is_number(said.get("value")))
    )


def _is_number(value):
    # Whole numbers of JSON have no end.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

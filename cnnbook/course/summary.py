"""summary.html: the page that links every executed notebook of a run."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from string import Template

from cnnbook.course.jobs import in_words
from cnnbook.course.plan import FAILED, STOPPED, UNCHANGED, Task
from cnnbook.course.records import Records
from cnnbook.machine import backend, versions

PAGE = Template(Path(__file__).with_name("summary.html").read_text("utf-8"))


def summary(tasks: list[Task], profile: str, records: Records, with_book: bool, seconds: float) -> str:
    """The page as HTML; `seconds`: what the whole run took."""
    missed = [task for task in tasks if _missed(task)]
    book = '<p><a href="book/index.html">The book, rendered from these notebooks</a>'
    book += "; the page of one that failed shows its stored outputs.</p>" if missed else "</p>"
    return PAGE.substitute(
        head=f"{len(tasks) - len(missed)} of {len(tasks)} notebooks passed",
        profile=escape(profile),
        seconds=f"{seconds:.0f}",
        when=time.strftime("%Y-%m-%d %H:%M"),
        backend=escape(backend()),
        versions=escape(", ".join(f"{name} {version}" for name, version in versions().items())),
        book=book if with_book else "",
        rows="\n".join(_row(task, records) for task in tasks),
    )


def _row(task, records):
    page = records.page(task)
    status = "passed before, unchanged" if task.status == UNCHANGED else task.status
    seconds = "" if task.seconds is None else f"{task.seconds:.0f} s"
    error = f"<p>{escape(task.cell or '')}</p><pre>{escape(task.error)}</pre>" if task.error else ""
    links = [
        _link(f"{folder}/{task.name}.{suffix}", label)
        for label, folder, suffix in (("ipynb", "notebooks", "ipynb"), ("log", "logs", "log"))
        if (records.folder / folder / f"{task.name}.{suffix}").exists()
    ]
    name = escape(task.name)
    if page.exists():
        name = _link(page.relative_to(records.folder).as_posix(), task.name)
    return (
        f'<tr class="{"bad" if _missed(task) else "good"}"><th scope="row">{name}</th><td>{status}</td>'
        f'<td class="n">{seconds}</td><td class="n">{in_words(task.used)}</td>'
        f"<td>{error}</td><td>{' '.join(links)}</td></tr>"
    )


def _link(address, text):
    return f'<a href="{escape(address, quote=True)}">{escape(text)}</a>'


def _missed(task):
    return task.status.startswith((FAILED, STOPPED))

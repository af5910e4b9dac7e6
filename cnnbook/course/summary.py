"""summary.html: the page that links every executed notebook of a run."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from string import Template

from cnnbook.course.jobs import in_words
from cnnbook.course.plan import FAILED, STOPPED, UNCHANGED, Task
from cnnbook.course.records import Records
from cnnbook.course.said import missed, number
from cnnbook.machine import backend, versions

PAGE = Template(Path(__file__).with_name("summary.html").read_text("utf-8"))


def summary(tasks: list[Task], profile: str, records: Records, with_book: bool, seconds: float) -> str:
    """The page as HTML; `seconds`: what the whole run took."""
    failed = [task for task in tasks if _failed(task)]
    book = '<p><a href="book/index.html">The book, rendered from these notebooks</a>'
    book += "; the page of one that failed shows its stored outputs.</p>" if failed else "</p>"
    return PAGE.substitute(
        head=f"{len(tasks) - len(failed)} of {len(tasks)} notebooks passed",
        profile=escape(profile),
        seconds=f"{seconds:.0f}",
        when=time.strftime("%Y-%m-%d %H:%M"),
        backend=escape(backend()),
        versions=escape(", ".join(f"{name} {version}" for name, version in versions().items())),
        book=book if with_book else "",
        claims=_claims(tasks),
        rows="\n".join(_row(task, records) for task in tasks),
    )


def _claims(tasks):
    """How many claims held, and a table of those that did not."""
    every = [facts for task in tasks for facts in task.claims]
    if not every:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(task.name)}</th><td>{escape(facts["sentence"])}</td>'
        f'<td class="n">{number(facts["value"])}</td><td>{escape(facts["asked"])}</td></tr>'
        for task in tasks
        for facts in missed(task.claims)
    )
    text = f"<p>{len(every) - len(missed(every))} of {len(every)} measured claims held on this machine."
    if not rows:
        return f"{text}</p>"
    return (
        f"{text} Those that did not (no notebook fails for it):</p>\n"
        '<table><thead><tr><th scope="col">notebook</th><th scope="col">claim</th>'
        f'<th scope="col" class="n">here</th><th scope="col">asked</th></tr></thead><tbody>\n{rows}\n</tbody></table>'
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
        f'<tr class="{"bad" if _failed(task) else "good"}"><th scope="row">{name}</th><td>{escape(status)}</td>'
        f'<td class="n">{seconds}</td><td class="n">{in_words(task.used, task.claims)}</td>'
        f"<td>{error}</td><td>{' '.join(links)}</td></tr>"
    )


def _link(address, text):
    return f'<a href="{escape(address, quote=True)}">{escape(text)}</a>'


def _failed(task):
    return task.status.startswith((FAILED, STOPPED))

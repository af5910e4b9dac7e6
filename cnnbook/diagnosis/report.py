"""What `diagnose` returns: findings, and what was looked at beside them."""

import textwrap
from dataclasses import dataclass, field
from html import escape

from .. import tables

__all__ = ["Diagnosis", "Finding"]

WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong. kind: a short name, always the same for the same thing ("pixels not scaled"). seen: what
    was seen, with its numbers. cause: the likely one. cure: what to do, code among it."""

    kind: str
    seen: str
    cause: str
    cure: str


@dataclass
class Diagnosis:
    """See `diagnose`. model: the net's name; given: what was looked at, in words. findings: a list of `Finding`, causes
    before what follows from them. in_order: {check: what it saw} of those that found nothing; not_looked: {check: why it
    could not look}. It shows itself."""

    model: str
    given: str
    findings: list = field(default_factory=list)
    in_order: dict = field(default_factory=dict)
    not_looked: dict = field(default_factory=dict)

    def add(self, check, saw, findings):
        """What a check saw, in words, and its findings."""
        self.findings += findings
        if not findings:
            self.in_order[check] = saw

    def leave(self, check, why):
        """A check that could not look, and why."""
        self.not_looked[check] = why

    @property
    def kinds(self):
        """The findings by their short names."""
        return [found.kind for found in self.findings]

    @property
    def _title(self):
        number = len(self.findings)
        count = {0: "nothing looks wrong", 1: "1 thing looks wrong"}.get(
            number, f"{number} things look wrong"
        )
        return f"{self.model} on {self.given}: {count}"

    def __repr__(self):
        lines = [tables.printable(self._title)]
        for number, found in enumerate(self.findings, 1):
            lines += ["", *_wrapped(f"{number}. {found.kind}: {found.seen}", "   ")]
            lines += [
                *_wrapped(f"   likely cause: {found.cause}", "   "),
                *_wrapped(f"   do: {found.cure}", "   "),
            ]
        for title, checks in (("in order", self.in_order), ("not looked at", self.not_looked)):
            if checks:
                lines += ["", f"{title}:"]
            for check, saw in checks.items():
                lines += _wrapped(f"  {check:20}  {saw}", " " * 24)
        return "\n".join(lines)

    def _repr_html_(self):
        def said(text):
            return escape(tables.printable(text))

        items = "".join(
            f"<li><b>{said(f.kind)}</b>: {said(f.seen)}<br><i>likely cause:</i> {said(f.cause)}<br>"
            f"<i>do:</i> {said(f.cure)}</li>"
            for f in self.findings
        )
        rows = [[check, "in order", saw] for check, saw in self.in_order.items()]
        rows += [[check, "not looked at", why] for check, why in self.not_looked.items()]
        table = (
            tables.html("", ("looked at", "", "what was seen"), rows, left=3, totals=False) if rows else ""
        )
        return f"<p>{said(self._title)}</p>" + (f"<ol>{items}</ol>" if items else "") + table


def _wrapped(text, indent):
    return textwrap.wrap(
        tables.printable(text),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""README's table of chapters and the two routes: what each chapter needs is what the chapter itself says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.checkout

README = (ROOT / "README.md").read_text("utf-8")
TABLE = re.findall(r"^\| `([\w-]+)` \| (.+\?) \| ([\w, -]+) \|$", README, re.M)


def needs(stem):
    """The chapters that stand in the first clause of "Before you start", by their numbers."""
    text = (ROOT / "chapters" / f"{stem}.md").read_text("utf-8")
    line = re.search(r"\| Before you start \| (.*) \|", text)[1].split(";")[0]
    return re.findall(r"\[(\w\w)\]\(", line)


def test_the_table_lists_every_chapter_with_its_question_and_needs():
    stems = sorted(path.stem for path in (ROOT / "chapters").glob("*.md"))
    assert [stem for stem, _, _ in TABLE] == stems
    assert {stem: listed for stem, _, listed in TABLE} == {s: ", ".join(needs(s)) or "-" for s in stems}


def test_the_core_route_needs_nothing_but_itself():
    route = re.search(r"The \*\*core\*\* is a course of nine chapters: ([^.]*?), from", README)[1]
    route = re.findall(r"\d\d", route)
    assert route == ["00", "01", "02", "03", "05", "06", "08", "15", "19"]
    by_number = {stem[:2]: stem for stem, _, _ in TABLE}
    outside = {n: set(needs(by_number[n])) - set(route[:k]) for k, n in enumerate(route)}
    assert not any(outside.values()), f"chapters that the route leaves out: {outside}"
    index = (ROOT / "index.md").read_text("utf-8")
    front = index[index.index("## Two routes") : index.index("**Everything**")]
    assert re.findall(r"\[(\d\d)\]", front) == route

"""Every system, table, formula and slip of the course's sources has a cell that shows it, or none yet."""

import collections
import csv
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"
COLUMNS = ["id", "kind", "item", "sources", "chapter", "cell", "status"]
# What the sources hold. Rows only ever move between chapters: a row that vanishes is a row nobody teaches.
COUNTS = {"system": 35, "table": 14, "formula": 8, "worked example": 23, "erratum": 54}
SHOWN, PENDING = "shown", "not written yet"

with (CHAPTERS / "coverage.csv").open(encoding="utf-8", newline="") as file:
    READER = csv.DictReader(file)
    ROWS = list(READER)


def cell_tags(text):
    """The tags of a MyST text notebook, from the cells' heads only: prose may name tags too."""
    tags, lines = set(), iter(text.splitlines())
    for line in lines:
        if line.startswith("+++"):
            tags |= set(re.findall(r"[\w-]+", line))
        elif line.startswith("```{code-cell}"):
            block = False
            for head in lines:
                if head.strip() == "---":  # a YAML block, which closes with the same line
                    if block:
                        break
                    block = True
                elif block or head.startswith(":"):
                    tags |= set(re.findall(r"[\w-]+", head))
                else:
                    break
    return {tag for tag in tags if tag.startswith("cover-")}


def written():
    return {
        path.stem: cell_tags(path.read_text("utf-8")) for path in sorted(CHAPTERS.glob("[0-9a][0-9]-*.md"))
    }


def test_the_list_is_whole():
    assert READER.fieldnames == COLUMNS
    assert collections.Counter(row["kind"] for row in ROWS) == COUNTS
    for field in ("id", "cell"):
        twice = [key for key, n in collections.Counter(row[field] for row in ROWS).items() if n > 1]
        assert not twice, f"{field} used twice: {twice}"
    numbered = [row["id"] for row in ROWS if row["kind"] != "system"]
    assert numbered == [f"{k}{i}" for k, n in (("t", 14), ("f", 31), ("e", 54)) for i in range(1, n + 1)]


def test_rows_are_well_formed():
    rules = {
        "an empty field": lambda row: all(row[column].strip() for column in COLUMNS),
        "the cell is not cover-ID": lambda row: row["cell"] == f"cover-{row['id']}",
        "no chapter's name": lambda row: re.fullmatch(r"[\da]\d-[a-z0-9-]+", row["chapter"]),
        f"the status is neither {SHOWN!r} nor {PENDING!r}": lambda row: row["status"] in (SHOWN, PENDING),
    }
    bad = [f"{row['id']}: {rule}" for row in ROWS for rule, holds in rules.items() if not holds(row)]
    assert len(ROWS) == sum(COUNTS.values()) and not bad, "\n".join(bad)


def test_one_stem_per_chapter_number():
    stems = {row["chapter"] for row in ROWS} | set(written())
    numbers = collections.Counter(stem[:2] for stem in stems)
    assert not [n for n, k in numbers.items() if k > 1], f"two names for one chapter: {sorted(stems)}"


def test_written_chapters_show_their_rows():
    chapters, missing = written(), []
    for row in ROWS:
        tags = chapters.get(row["chapter"])
        if tags is None:
            if row["status"] != PENDING:
                missing.append(f"{row['id']}: {row['chapter']} does not exist, so the status is '{PENDING}'")
        elif row["status"] != SHOWN:
            missing.append(f"{row['id']}: {row['chapter']} is written: show the row there or move it")
        elif row["cell"] not in tags:
            missing.append(
                f"{row['id']}: no cell of {row['chapter']} is tagged {row['cell']} ({row['item']})"
            )
    assert not missing, "\n".join(missing)


def test_no_tag_without_a_row():
    home = {row["cell"]: row["chapter"] for row in ROWS}
    stray = [
        f"{stem}: {tag} belongs to {home.get(tag, 'no row')}"
        for stem, tags in written().items()
        for tag in sorted(tags)
        if home.get(tag) != stem
    ]
    assert not stray, "\n".join(stray)


def test_tags_are_read_from_cell_heads_only():
    text = (
        "cover-in-prose\n\n```{code-cell} ipython3\n:tags: [cover-t1, hide-input]\n\n'cover-in-code'\n```\n"
        "```{code-cell}\n---\ntags: [cover-e1, cover-e2,\n  cover-e3]\n---\n# cover-in-comment\n```\n"
        "```{code-cell} ipython3\ntags = 'cover-none'\n```\n"
        '+++ {"tags": ["cover-vgg-5x5"]}\n\ntext\n\n+++\n\nmore\n'
    )
    assert cell_tags(text) == {"cover-t1", "cover-e1", "cover-e2", "cover-e3", "cover-vgg-5x5"}

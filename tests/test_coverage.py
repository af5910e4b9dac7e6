"""Every system, table, formula, idea and slip of the course's sources has a cell that shows it, or none yet.

A cell shows a row when it is tagged with the row's `cover-ID`, its stored output is not empty, and, for a slip, it asserts
or claims something.
"""

import ast
import collections
import csv
import json
import re
from pathlib import Path

import pytest

transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"
COLUMNS = ["id", "kind", "item", "sources", "chapter", "cell", "status"]
# What the sources hold. Rows only ever move between chapters: a row that vanishes is a row nobody teaches.
COUNTS = {
    "system": 56,
    "table": 28,
    "formula": 14,
    "worked example": 37,
    "idea": 32,
    "note": 1,
    "erratum": 70,
}
NUMBERED = {"t": 14, "f": 31, "e": 54, "n": 17}
STATUSES = SHOWN, PENDING, MISSING = "shown", "not written yet", "not shown yet"
# Items of chapters that exist which no cell shows yet: this list only ever gets shorter.
TO_SHOW = []

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
    numbered = [row["id"] for row in ROWS if re.fullmatch(r"[a-z]\d+", row["id"])]
    assert numbered == [f"{k}{i}" for k, n in NUMBERED.items() for i in range(1, n + 1)]


def test_rows_are_well_formed():
    rules = {
        "an empty field": lambda row: all(row[column].strip() for column in COLUMNS),
        "the cell is not cover-ID": lambda row: row["cell"] == f"cover-{row['id']}",
        "no chapter's name": lambda row: re.fullmatch(r"[\da]\d-[a-z0-9-]+", row["chapter"]),
        f"the status is none of {STATUSES}": lambda row: row["status"] in STATUSES,
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
        elif row["status"] == MISSING:
            if row["cell"] in tags:
                missing.append(
                    f"{row['id']}: a cell of {row['chapter']} shows it, so the status is '{SHOWN}'"
                )
        elif row["status"] != SHOWN:
            missing.append(f"{row['id']}: {row['chapter']} is written: show the row there or move it")
        elif row["cell"] not in tags:
            missing.append(
                f"{row['id']}: no cell of {row['chapter']} is tagged {row['cell']} ({row['item']})"
            )
    assert not missing, "\n".join(missing)


def test_what_written_chapters_do_not_show_is_listed(capsys):
    listed = [row["id"] for row in ROWS if row["status"] == MISSING]
    with capsys.disabled():
        print(f"\n{len(listed)} of {len(ROWS)} rows wait to be shown in a chapter that exists")
    assert sorted(listed) == sorted(TO_SHOW), f"say '{MISSING}' of what TO_SHOW lists, and of nothing else"


def faults(cell, kind, asserting=frozenset({"claim"})):
    """Why a cell of a notebook does not show its row: texts, none where it does.

    asserting: the functions whose calls state something.
    """
    if cell["cell_type"] != "code":
        return ["is not a code cell"]
    empty = [] if cell["outputs"] else ["has no output"]
    nodes = ast.walk(tree(cell))
    silent = kind == "erratum" and not any(states(node, asserting) for node in nodes)
    return empty + ["asserts nothing, so it corrects nothing"] * silent


def tree(cell):
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    return ast.parse(transform(source))


def states(node, asserting):
    return isinstance(node, ast.Assert) or getattr(getattr(node, "func", None), "id", None) in asserting


def that_assert(notebook):
    """The functions of a notebook that assert something, and `claim`."""
    cells = [tree(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    functions = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.FunctionDef)]
    return {"claim"} | {f.name for f in functions if any(isinstance(n, ast.Assert) for n in ast.walk(f))}


def test_tagged_cells_have_outputs_and_those_of_slips_assert():
    shown, found = [row for row in ROWS if row["status"] == SHOWN], []
    for stem in sorted({row["chapter"] for row in shown}):
        notebook = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text("utf-8"))
        asserting = that_assert(notebook)
        for row in [row for row in shown if row["chapter"] == stem]:
            cells = [c for c in notebook["cells"] if row["cell"] in c["metadata"].get("tags", [])]
            words = [words for cell in cells for words in faults(cell, row["kind"], asserting)]
            words += [f"stands on {len(cells)} cells"] * (len(cells) != 1)
            found += [f"{row['id']}: {row['cell']} of {stem} {why}" for why in words]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "kind, cell, found",
    [
        ("table", dict(source="1 + 1", outputs=["2"]), []),
        ("table", dict(source=["x = 2\n", "x"], outputs=[]), ["has no output"]),
        ("erratum", dict(source="assert 1, 'one'\nprint(1)", outputs=["1"]), []),
        ("erratum", dict(source="claim('larger', 2, above=1)", outputs=["held"]), []),
        ("erratum", dict(source="print('assert')", outputs=["assert"]), ["asserts nothing, so it corrects nothing"]),
        ("erratum", dict(source="%time 1", outputs=[]), ["has no output", "asserts nothing, so it corrects nothing"]),
    ],
)  # fmt: skip
def test_what_a_cell_lacks(kind, cell, found):
    assert faults({"cell_type": "code", **cell}, kind) == found
    assert faults({"cell_type": "markdown", "source": "text"}, kind) == ["is not a code cell"]


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


def test_functions_that_assert_are_found():
    source = "def told(x):\n    assert x, 'none'\n\ndef net(x):\n    return x\n"
    cells = [dict(cell_type="code", source=source), dict(cell_type="markdown", source="def f(: assert")]
    assert that_assert({"cells": cells}) == {"claim", "told"}
    called = {"cell_type": "code", "source": "told(1)", "outputs": ["1"]}
    assert faults(called, "erratum", {"told"}) == [] != faults(called, "erratum")

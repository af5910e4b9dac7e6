"""A chapter and its notebook hold the same cells, and the stored outputs are those of these cells."""

import subprocess
from pathlib import Path

import pytest

from cnnbook.course.project import Project, UserError, code_digest, tags, without_imports

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
from cnnbook.course import shown, sync  # noqa: E402

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[1]
COURSE = Project(ROOT)
STEMS = sorted({p.stem for p in (*COURSE.chapter_paths(), *COURSE.notebook_paths())})
each = pytest.mark.parametrize("stem", STEMS)


def pair(stem):
    chapter, notebook = COURSE.chapters / f"{stem}.md", COURSE.notebooks / f"{stem}.ipynb"
    assert chapter.exists(), f"chapters/{stem}.md is missing: cnnbook sync --from notebooks --only {stem}"
    assert notebook.exists(), f"notebooks/{stem}.ipynb is missing: cnnbook sync --execute --only {stem}"
    return sync.read_chapter(chapter), sync.read_notebook(notebook)


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


@each
def test_chapter_and_notebook_are_equal(stem):
    differences = sync.differences(*pair(stem))
    assert not differences, "\n".join([*differences, f"cnnbook sync --only {stem}"])


@each
def test_notebook_is_valid(stem):
    _, notebook = pair(stem)
    nbformat.validate(notebook)
    ids = [c.id for c in notebook.cells]
    assert len(ids) == len(set(ids))
    assert notebook.metadata.kernelspec == sync.KERNELSPEC
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    assert sum("parameters" in tags(c) for c in notebook.cells) == 1


@each
def test_stored_outputs_are_of_this_code(stem):
    _, notebook = pair(stem)
    again = f"cnnbook sync --execute --only {stem}"
    assert notebook.metadata.get("cnnbook", {}).get("code") == code_digest(notebook), (
        f"code was edited: {again}"
    )
    counts = [c.execution_count for c in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), f"not run from top to bottom: {again}"


@each
def test_stored_outputs_are_clean(stem):
    _, notebook = pair(stem)
    assert sync.output_problems(notebook, ROOT) == []


def test_shown_sources_are_those_of_the_code():
    assert sync.stale_sources(COURSE) == []


@each
def test_something_is_compared(stem):
    _, notebook = pair(stem)
    compared = [
        c
        for c in code(notebook)
        if not {"nbval-ignore-output", "nbval-skip"} & set(tags(c))
        and any(
            o.output_type == "stream" or {"text/plain", "text/html"} & set(o.get("data", {}))
            for o in c.outputs
        )
    ]
    assert compared, "nbval would compare nothing in this notebook"


@each
def test_colab_cell_is_what_the_address_gives(stem):
    chapter, _ = pair(stem)
    cells = [c for c in chapter.cells if "colab" in tags(c)]
    assert [c.source for c in cells] == [sync.colab_source(COURSE.repository)], "cnnbook sync"


@each
def test_what_is_tagged_as_hidden_is_hidden_in_jupyterlab_and_on_colab(stem):
    _, notebook = pair(stem)
    for number, cell in enumerate(notebook.cells, 1):
        stored = {name: cell.metadata[name] for name in sync.HIDING if name in cell.metadata}
        assert stored == sync.hiding(cell), f"cell {number}: cnnbook sync --only {stem}"
    text = (COURSE.chapters / f"{stem}.md").read_text("utf-8")
    assert "cellView" not in text and "source_hidden" not in text, "only the notebook holds this metadata"


BOTH = {"jupyter": {"outputs_hidden": True, "source_hidden": True}, "cellView": "form"}


@pytest.mark.parametrize(
    "tags_, expected",
    [
        ([], {}),
        (["cover-t1", "train"], {}),
        (["hide-input", "cover"], {"jupyter": {"source_hidden": True}, "cellView": "form"}),
        (["hide-output"], {"jupyter": {"outputs_hidden": True}}),
        (["hide-cell"], BOTH),
        (["solution"], BOTH),
        (["hide-input", "solution"], BOTH),
    ],
)
def test_hiding(tags_, expected):
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": tags_})
    assert sync.hiding(cell) == expected
    assert sync.hiding(nbformat.v4.new_markdown_cell("1", metadata={"tags": tags_})) == {}


def test_hidden_cells_are_hidden_in_the_notebook_alone(course):
    """The pair still compares equal, no output is lost, and a cell that was opened by hand is closed again."""
    md, ipynb = texts(course)
    sync.sync(course)
    first = sync.read_notebook(ipynb)
    for cell in code(first):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{cell.source}\n")]
    nbformat.write(first, ipynb)
    for source, tag in (("print(n * n)", "hide-input"), ('print("last")', "solution")):
        edit(md, f"ipython3\n{source}", f"ipython3\n:tags: [{tag}]\n\n{source}")
    text = md.read_text("utf-8")
    sync.sync(course)
    second = sync.read_notebook(ipynb)
    assert [dict(c.metadata) for c in second.cells[3:]] == [
        {"tags": ["hide-input"], "jupyter": {"source_hidden": True}, "cellView": "form"},
        {"tags": ["solution"], **BOTH},
    ]
    assert [c.outputs for c in second.cells if "outputs" in c] == [c.outputs for c in code(first)]
    assert sync.differences(sync.read_chapter(md), second) == []
    # The other way the chapter stays as it is, and so does the notebook.
    sync.sync(course, source="notebooks")
    assert md.read_text("utf-8") == text
    edit(ipynb, '"source_hidden": true', '"source_hidden": false')
    sync.sync(course)
    assert sync.read_notebook(ipynb) == second
    edit(ipynb, '"last', '"the last')
    edit(ipynb, '"source_hidden": true', '"source_hidden": false')
    sync.sync(course, source="notebooks")
    body = text.partition("# A chapter")[2]
    assert md.read_text("utf-8").endswith(body.replace('"last', '"the last'))
    again = sync.read_notebook(ipynb)
    assert [dict(c.metadata) for c in again.cells] == [dict(c.metadata) for c in second.cells]


def test_colab_source():
    assert "%pip" not in sync.colab_source("")
    source = sync.colab_source("https://example.org/x/cnnbook")
    assert '    %pip install -q "cnnbook[lite0] @ git+https://example.org/x/cnnbook"' in source
    for text in (source.replace("%pip", "pass  #"), sync.colab_source("")):
        exec(compile(text, "colab", "exec"), {})  # cnnbook is installed here: nothing happens


CHAPTER = """---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

# A chapter

```{code-cell} ipython3
:tags: [colab]

pass
```

```{code-cell} ipython3
:tags: [parameters]

n = 3
```

```{code-cell} ipython3
print(n * n)
```

```{code-cell} ipython3
print("last")
```
"""


@pytest.fixture
def course(tmp_path):
    root = tmp_path / "课 程"
    for folder in ("chapters", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (root / "chapters" / "00-a.md").write_text(CHAPTER, "utf-8")
    return Project(root)


def texts(course):
    return (course.chapters / "00-a.md"), (course.notebooks / "00-a.ipynb")


def edit(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_sync_keeps_ids_and_outputs_of_unchanged_cells(course):
    md, ipynb = texts(course)
    assert sync.sync(course, execute=True) == 0
    first = sync.read_notebook(ipynb)
    assert [o.text for c in code(first) for o in c.outputs] == ["9\n", "last\n"]
    assert code(first)[0].source == sync.colab_source("") and sync.colab_source("") in md.read_text("utf-8")
    before = ipynb.read_bytes()
    sync.sync(course)
    assert ipynb.read_bytes() == before, "nothing changed, nothing is written"

    edit(md, "print(n * n)", "print(n + n)")
    sync.sync(course)
    second = sync.read_notebook(ipynb)
    assert [o.text for c in code(second) for o in c.outputs] == ["last\n"]
    assert [c.id for c in second.cells][:3] == [c.id for c in first.cells][:3]
    assert second.cells[3].id != first.cells[3].id
    assert second.metadata.cnnbook.code != code_digest(second), "the other outputs are seen to be stale"


def test_import_lines_decide_no_output(course):
    md, ipynb = texts(course)
    edit(md, "print(n * n)", "import math\nfrom json import (\n    dumps,\n)\n\nprint(n * n)")
    assert sync.sync(course, execute=True) == 0
    edit(md, "import math\nfrom json import (\n    dumps,\n)\n", "import cmath\n")
    sync.sync(course)
    moved = sync.read_notebook(ipynb)
    assert "import cmath" in code(moved)[2].source
    assert [o.text for c in code(moved) for o in c.outputs] == ["9\n", "last\n"]
    assert moved.metadata.cnnbook.code == code_digest(moved), "nothing to execute again"


TOY = """def block():
    return 1


def net():
    return block()
"""
SHOWING = """
```{code-cell} ipython3
import toy
from cnnbook.exercises import show_source


def mine(): return 2
```

```{code-cell} ipython3
show_source(toy.block)  # the lesson
```

```{code-cell} ipython3
show_source(mine)
```

```{code-cell} ipython3
print(toy.net())
```
"""


def sources(notebook):
    return [o.data["text/markdown"] for c in notebook.cells for o in c.get("outputs", []) if "data" in o]


def test_shown_sources_follow_the_code_and_nothing_is_run(course, capsys):
    md, ipynb = texts(course)
    toy = course.notebooks / "toy.py"
    toy.write_text(TOY, "utf-8")
    md.write_text(CHAPTER + SHOWING, "utf-8")
    assert sync.sync(course) == 0
    assert sources(sync.read_notebook(ipynb)) == [], "a notebook that was never run has no outputs"
    assert sync.sync(course, execute=True) == 0
    first = sync.read_notebook(ipynb)
    block, mine = "```python\ndef block():\n    return 1\n```", "```python\ndef mine(): return 2\n```"
    assert sources(first) == [block, mine]
    assert sync.stale_sources(course) == []
    before = ipynb.read_bytes()
    sync.sync(course)
    assert ipynb.read_bytes() == before, "sync stores a source as a kernel does"
    assert "left as it is: mine is not an imported name" in capsys.readouterr().out

    # Another source, and another result, which a sync does not see.
    edit(toy, "return 1", "return 3  # as before")
    assert sync.stale_sources(course) == ["00-a, cell 7: not the code's source: cnnbook sync --only 00-a"]
    sync.sync(course)
    second = sync.read_notebook(ipynb)
    assert sources(second) == [block.replace("return 1", "return 3  # as before"), mine]
    assert second.cells[-1].outputs == first.cells[-1].outputs
    assert sync.stale_sources(course) == []

    # Other functions shown, in one cell more: still nothing to run.
    edit(md, "show_source(toy.block)  # the lesson", "show_source(toy.block)\nshow_source(toy.net)")
    cell = "```{code-cell} ipython3\nshow_source(mine)"
    edit(md, cell, f"```{{code-cell}} ipython3\nshow_source(toy.block, toy.net)\n```\n\n{cell}")
    sync.sync(course)
    third = sync.read_notebook(ipynb)
    assert len(sources(third)) == 4 and sources(third)[1] == "```python\ndef net():\n    return block()\n```"
    assert third.metadata.cnnbook.code == code_digest(third)
    assert [c.execution_count for c in code(third)] == list(range(1, 10))
    assert [o.text for o in third.cells[-1].outputs] == ["1\n"]

    # What cannot be imported is left as it was, and said.
    edit(md, "show_source(toy.block)\n", "show_source(toy.gone)\n")
    capsys.readouterr()
    sync.sync(course)
    assert "AttributeError: module 'toy' has no attribute 'gone'" in capsys.readouterr().out
    stale = sync.read_notebook(ipynb)
    assert stale.metadata.cnnbook.code != code_digest(stale)


@pytest.mark.parametrize(
    "source, reason",
    [
        ("show_source(models.VGG16)", None),
        ("from cnnbook.models import vgg\nshow_source(vgg.block, models.VGG16)", None),
        ("exercises.show_source(models)", None),
        ("print(1)\nshow_source(models)", "it does more than show_source"),
        ("show_source(here)", "here is not an imported name"),
        ("show_source(models.VGG16())", "models.VGG16() is not an imported name"),
        ("show_source(data)", "data is not an imported name"),
    ],
)
def test_only_cells_that_show_imported_names_are_refreshed(source, reason):
    cells = ["from cnnbook import data, exercises, models\nfrom cnnbook.exercises import show_source",
             "here = 1\ndef data(): pass", source]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    found = shown.shown_cells(notebook)
    assert found.skipped.get(2) == reason
    assert (2 in found.code) == (reason is None)


@pytest.mark.parametrize(
    "source, rest",
    [
        ("import a\nfrom b import (\n    c,\n)  # why\nx = 1\n", "x = 1"),
        ("import sys; print(1)", "import sys; print(1)"),
        ("if True:\n    import a", "if True:\n    import a"),
        ("%pip install x\nimport a", "%pip install x\nimport a"),
        ('"""\nimport a\n"""', '"""\nimport a\n"""'),
    ],
)
def test_without_imports(source, rest):
    assert without_imports(source) == rest


def test_drift_is_seen_and_edits_are_not_lost(course, capsys):
    md, ipynb = texts(course)
    sync.sync(course)
    assert sync.differences(sync.read_chapter(md), sync.read_notebook(ipynb)) == []
    edit(ipynb, '"parameters"', '"other"')
    found = sync.differences(sync.read_chapter(md), sync.read_notebook(ipynb))
    assert len(found) == 1 and "tags differs" in found[0]
    with pytest.raises(UserError, match="edited since the last sync"):
        sync.sync(course)
    sync.sync(course, source="notebooks")
    assert ":tags: [other]" in md.read_text("utf-8")
    assert sync.differences(sync.read_chapter(md), sync.read_notebook(ipynb)) == []
    edit(ipynb, "n * n", "n * 5")
    sync.sync(course, force=True)
    assert "n * n" in ipynb.read_text("utf-8")


def contents(course):
    return {p: p.read_bytes() for p in course.root.rglob("*") if p.is_file()}


def refused(course, **options):
    with pytest.raises(UserError) as error:
        sync.sync(course, **options)
    return str(error.value)


def test_neither_direction_loses_what_was_edited_on_the_other_side(course):
    md, ipynb = texts(course)
    sync.sync(course)
    edit(md, "print(n * n)", "print(n + n)")
    before = contents(course)
    said = refused(course, source="notebooks")
    assert said.startswith(
        "00-a.md was edited since the last sync, and so its edits would be lost:\n    cell 4: "
    )
    assert said.endswith(
        "Keep the chapter's cells with `cnnbook sync --only 00-a`, or the notebook's with --force"
    )
    assert contents(course) == before
    sync.sync(course, source="notebooks", force=True)
    assert "print(n * n)" in md.read_text("utf-8")


@pytest.mark.parametrize("source", ["chapters", "notebooks"])
def test_where_both_sides_were_edited_neither_is_lost(course, source):
    md, ipynb = texts(course)
    sync.sync(course)
    edit(md, 'print("last")', 'print("chapter")')
    edit(ipynb, "n * n", "n * 5")
    before = contents(course)
    beside = course.chapters / "00-a.from-notebook.md"
    for _ in range(2):
        said = refused(course, source=source)
        assert said.startswith("00-a.md and 00-a.ipynb were both edited since the last sync:\n    cell 4: ")
        assert f"The notebook's cells are now also in {beside}" in said
        assert contents(course) == before | {beside: beside.read_bytes()}
    assert sync.cells(sync.read_chapter(beside)) == sync.cells(sync.read_notebook(ipynb))
    assert [path.stem for path in course.chapter_paths()] == ["00-a"]
    # What somebody has made of that file is not lost either.
    beside.write_text("mine", "utf-8")
    assert f"{course.chapters / '00-a.from-notebook-2.md'}" in refused(course, source=source)
    assert beside.read_text("utf-8") == "mine"
    # The way that the refusal names.
    edit(md, "print(n * n)", "print(n * 5)")
    sync.sync(course, "00-a", force=True)
    assert [c.source for c in code(sync.read_notebook(ipynb))][-2:] == ["print(n * 5)", 'print("chapter")']


def test_a_notebook_that_was_never_synced_is_not_lost(course):
    md, ipynb = texts(course)
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("mine = 1")])
    nbformat.write(made, ipynb)
    before = ipynb.read_bytes(), md.read_bytes()
    for source in ("chapters", "notebooks"):
        assert "were both edited" in refused(course, source=source)
    assert (ipynb.read_bytes(), md.read_bytes()) == before
    # A new one, as JupyterLab makes it, holds nothing.
    made.cells[0].source = ""
    nbformat.write(made, ipynb)
    assert sync.sync(course) == 0
    assert sync.differences(sync.read_chapter(md), sync.read_notebook(ipynb)) == []


UNUSABLE = {
    "empty": (b"", "the file is empty"),
    "without cells": (CHAPTER.partition("# A chapter")[0].encode(), "it has no cells"),
    "half a head": (b"---\nkernelspec:\n  name: python3\n---\n\n# A chapter", "its head cannot be read"),
    "conflict": (CHAPTER.replace("# A chapter", "<<<<<<< HEAD\n# A chapter").encode(), "line 8 is a mark of a merge"),
    "utf-16": (CHAPTER.encode("utf-16"), "it is UTF-16"),
    "gbk": (CHAPTER.replace("A chapter", "卷积").encode("gbk"), "it is not UTF-8 in line 8"),
    "head": (CHAPTER.replace("kernelspec:", "kernelspec: [").encode(), "its head cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_chapter_that_is_none_is_named_and_nothing_is_written(course, case):
    md, ipynb = texts(course)
    sync.sync(course, execute=False)
    content, words = UNUSABLE[case]
    md.write_bytes(content)
    # The other chapter's cell for Colab would be written anew.
    (course.chapters / "01-b.md").write_text(CHAPTER, "utf-8")
    before = contents(course)
    for options in ({}, {"force": True}, {"source": "notebooks"}):
        assert refused(course, **options).startswith(f"{md} is no chapter: {words}")
    assert contents(course) == before


def test_a_setext_title_is_no_conflict(course):
    md, ipynb = texts(course)
    edit(md, "# A chapter\n", "A chapter\n=======\n")
    assert sync.sync(course) == 0
    assert sync.read_notebook(ipynb).cells[0].source == "A chapter\n======="


def test_of_notebooks_only_chapters_become_chapters(course, capsys):
    md, ipynb = texts(course)
    sync.sync(course)
    (course.notebooks / "Untitled.ipynb").write_bytes(ipynb.read_bytes())
    edit(ipynb, '"last', '"the last')
    capsys.readouterr()
    assert sync.sync(course, source="notebooks") == 0
    assert "  Untitled  left alone: a chapter is called NN-name, such as 05-nin\n" in capsys.readouterr().out
    assert [path.name for path in course.chapters.iterdir()] == ["00-a.md"]
    assert '"the last' in md.read_text("utf-8")
    said = refused(course, source="notebooks", only="Untitled")
    assert (
        said
        == "Untitled.ipynb cannot become a chapter: a chapter is called NN-name, such as 05-nin; rename it"
    )


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("n * n", "n\\n<<<<<<< HEAD", "00-a.ipynb: cell 4 holds a mark of a merge conflict"),
        (None, '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "00-a.ipynb: it has no cells"),
        (None, "{\n<<<<<<< HEAD", "00-a.ipynb is no notebook: line 2 is a mark"),
    ],
)  # fmt: skip
def test_a_notebook_that_cannot_become_a_chapter_is_named(course, old, new, words):
    md, ipynb = texts(course)
    sync.sync(course)
    edit(ipynb, old or ipynb.read_text("utf-8"), new)
    before = contents(course)
    assert words in refused(course, source="notebooks")
    assert contents(course) == before


def test_what_is_saved_while_a_notebook_runs_is_not_lost(course, capsys):
    md, ipynb = texts(course)
    sync.sync(course)
    later = ipynb.read_text("utf-8").replace('"last', '"the last')
    (course.root / "later").write_text(later, "utf-8")
    edit(
        md, "print(n * n)", f"import shutil\n_ = shutil.copy({str(course.root / 'later')!r}, {str(ipynb)!r})"
    )
    assert sync.sync(course, execute=True) == 1
    assert "00-a: outputs not stored\n  it was changed while it ran" in capsys.readouterr().err
    assert ipynb.read_text("utf-8") == later


def test_a_path_in_a_traceback_is_a_bad_output(tmp_path):
    lines = ["\x1b[31mValueError\x1b[39m", "File \x1b[32m/home/ann/x.py:3\x1b[39m in f"]
    failed = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=lines)
    cell = nbformat.v4.new_code_cell("f()", metadata={"tags": ["raises-exception"]}, outputs=[failed])
    found = nbformat.v4.new_notebook(cells=[cell])
    assert sync.output_problems(found, tmp_path) == [
        "cell 1 shows a path of this machine: '/home/ann/x.py:3'"
    ]
    failed.traceback, failed.evalue = [], "no /tmp/x"
    assert sync.output_problems(found, tmp_path) == ["cell 1 shows a path of this machine: '/tmp/x'"]
    failed.evalue = "no"
    assert sync.output_problems(found, tmp_path) == []


@pytest.mark.parametrize(
    "line, words",
    [
        ("import sys; print('hot', file=sys.stderr)", "writes to stderr: 'hot'"),
        ("raise ValueError('no')", "ValueError: no"),
        ("import pathlib; print(pathlib.Path.cwd())", "path of this machine"),
    ],
)
def test_bad_outputs_are_not_stored(course, capsys, line, words):
    md, ipynb = texts(course)
    edit(md, 'print("last")', line)
    assert sync.sync(course, execute=True) == 1
    assert words in capsys.readouterr().err
    assert all(c.outputs == [] for c in code(sync.read_notebook(ipynb)))


def test_notebooks_are_not_ignored_by_git():
    if not (ROOT / ".git").exists():
        pytest.skip("no git here")
    paths = [str(p.relative_to(ROOT)) for p in COURSE.notebook_paths()]
    if paths:
        done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == ""

"""`cnnbook sync`: notebooks/NN-name.ipynb from chapters/NN-name.md, and its stored outputs.

Chapters are written and reviewed as text; the notebooks hold the same cells with the outputs. The direction is always
explicit: jupytext's own `--sync` lets the newer file win, which in a fresh clone is an accident. Edits on the other side,
whichever that is, are never overwritten without --force; what was edited is known by the stamp of the last sync, which the
notebook bears.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import os
import re
import sys
from pathlib import Path

from cnnbook import files
from cnnbook.course import shown
from cnnbook.course.board import RUNNING, Board
from cnnbook.course.chapter import CALLED, MYST, NAME, check_can_be_one, has_cells, parsed, read_chapter
from cnnbook.course.notebook import read_notebook, text_of
from cnnbook.course.processes import FAMILY, end_family, new_family
from cnnbook.course.project import (
    KERNEL_ARGUMENTS,
    KERNELSPEC,
    Project,
    UserError,
    check_out,
    code_digest,
    digest,
    how_to_install,
    kernel_environment,
    machine_path,
    tags,
    without_imports,
)
from cnnbook.course.said import claims_in, in_a_line, missed

PAIRED = ("tags", "mystnb")  # the cell metadata that both files hold
# What a tag hides of its cell. The book reads the tags themselves; for JupyterLab and Colab the notebook, and it alone,
# also holds the metadata that these read (see `hiding`): derived from the tags, so that it takes no part in a pair.
HIDES = {
    "hide-input": {"source"},
    "hide-output": {"outputs"},
    "hide-cell": {"source", "outputs"},
    "solution": {"source", "outputs"},
}
HIDING = ("jupyter", "cellView")
COPY = "copy"  # in a students' copy: the digest of its cells as they were written
COLOUR = re.compile(r"\x1b\[[\d;]*m")
LANGUAGE_INFO = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}


def colab_source(repository: str) -> str:
    """The source of every chapter's cell tagged `colab`, as the repository's address gives it."""
    missing = 'raise ModuleNotFoundError("This notebook needs cnnbook: README.md says how to install it.")'
    if repository:
        missing = f'%pip install -q "cnnbook[lite0] @ git+{repository}"'  # lite0: chapter 16's weights
    return (
        'import importlib.util\n\nif importlib.util.find_spec("cnnbook") is None:\n    '
        f"{missing}\n\nimport cnnbook  # before Keras: it has TensorFlow use its quicker CPU kernels"
    )


def cells(notebook) -> list[tuple[str, str, dict]]:
    """What a chapter and its notebook have in common: type, source, tags, figure settings of each cell."""
    return [
        (c.cell_type, c.source.strip(), {k: c.metadata[k] for k in PAIRED if c.metadata.get(k)})
        for c in notebook.cells
    ]


def hiding(cell) -> dict:
    """The metadata by which JupyterLab (`jupyter`) and Colab (`cellView`) hide what a code cell's tags say."""
    if cell.cell_type != "code":
        return {}
    parts = set().union(*(HIDES.get(tag, ()) for tag in tags(cell)))
    found = {"jupyter": {f"{part}_hidden": True for part in sorted(parts)}} if parts else {}
    return found | ({"cellView": "form"} if "source" in parts else {})


def differences(chapter, notebook, limit=5) -> list[str]:
    """Where the two files of a pair differ, in words."""
    pair = cells(chapter), cells(notebook)
    problems = []
    for i, (a, b) in enumerate(zip(*pair, strict=False), 1):
        if a != b:
            what = next(w for w, x, y in zip(("type", "source", "tags"), a, b, strict=True) if x != y)
            index = ("type", "source", "tags").index(what)
            problems.append(
                f"cell {i}: {what} differs: {_short(a[index])} in the chapter, "
                f"{_short(b[index])} in the notebook"
            )
    counts = [len(listed) for listed in pair]
    if counts[0] != counts[1]:
        problems.append(f"{counts[0]} cells in the chapter, {counts[1]} in the notebook")
    return problems[:limit]


def _short(value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return repr(text if len(text) <= 70 else text[:67] + "...")


def sync(project: Project, only=None, *, execute=False, source="chapters", force=False, timeout=None) -> int:
    """Bring the pairs together; with `execute`, run the notebooks and store their outputs. Exit status."""
    _need("jupytext", "nbclient", "nbformat")
    if source == "notebooks":
        return _to_chapters(project, only, force)
    paths = project.chapter_paths(only)
    if not paths:
        raise UserError(f"there is no chapter NN-name.md in {project.chapters}")
    # All are read and found to be right before the first is written.
    texts = {path: _with_colab_cell(path, colab_source(project.repository)) for path in paths}
    pairs = {path.stem: _merged(project, path, text, force) for path, text in texts.items()}
    words = _refresh_shown_sources(project, pairs)
    for path, text in texts.items():
        if text != path.read_text("utf-8"):
            files.write(path, text)
    for stem, (_, notebook) in pairs.items():
        print(f"  {stem}  {_write(project.notebooks / f'{stem}.ipynb', notebook)}")
        for word in words[stem]:
            print(f"    {word}")
    return _execute([project.notebooks / f"{p.stem}.ipynb" for p in paths], timeout) if execute else 0


def _to_chapters(project, only, force):
    """Write the chapters whose notebooks have other cells; exit status."""
    strays = [path for path in project.notebook_paths(only) if not NAME.fullmatch(path.stem)]
    if only and strays:
        raise UserError(f"{strays[0].name} cannot become a chapter: {CALLED}; rename it")
    pairs = {}
    for path in project.notebook_paths(only):
        if path not in strays:
            notebook = read_notebook(path)
            check_can_be_one(notebook, path)
            target = project.chapters / f"{path.stem}.md"
            chapter = read_chapter(target) if target.exists() else None
            _refuse_to_lose(project, path.stem, chapter, notebook, force, source="notebooks")
            pairs[path] = target, notebook, chapter is not None and cells(chapter) == cells(notebook)
    for path, (target, notebook, equal) in pairs.items():
        if not equal:
            files.write(target, _as_chapter(project, notebook, target))
            _stamp(path, notebook)
        print(f"  {path.stem}  {'equal' if equal else 'chapter written from the notebook'}")
    for path in strays:
        print(f"  {path.stem}  left alone: {CALLED}")
    return 0


def _as_chapter(project, notebook, target):
    """A notebook's cells as the text of a chapter."""
    import jupytext
    from jupytext.config import load_jupytext_config

    before = os.getcwd()
    try:  # jupytext looks for its settings (which metadata to write) beside the file that it writes
        os.chdir(project.root)
        return jupytext.writes(notebook, fmt=MYST, config=load_jupytext_config(str(target)))
    finally:
        os.chdir(before)


def _refuse_to_lose(project, stem, chapter, notebook, force, source):
    """Raises UserError where what was edited on the other side since the last sync would be written over.

    Where both were edited, the notebook's cells are then also in a file beside the chapter.
    """
    if force or chapter is None or notebook is None or cells(chapter) == cells(notebook):
        return
    stamp = notebook.metadata.get("cnnbook", {}).get("cells")
    md, ipynb = f"{stem}.md", f"{stem}.ipynb"
    edited = {
        "chapters": stamp != digest(cells(chapter)),
        "notebooks": stamp != digest(cells(notebook)) and has_cells(notebook),
    }
    how = "".join(f"\n    {line}" for line in differences(chapter, notebook))
    if all(edited.values()):
        beside = _written_beside(project, stem, notebook)
        raise UserError(
            f"{md} and {ipynb} were both edited since the last sync:{how}\n"
            f"The notebook's cells are now also in {beside}. Bring what is wanted of them into {md}, then "
            f"`cnnbook sync --only {stem} --force` writes the notebook from it"
        )
    if source == "chapters" and edited["notebooks"]:
        raise UserError(
            f"{ipynb} was edited since the last sync, and so its edits would be lost:{how}\n"
            f"Keep the notebook's cells with `cnnbook sync --from notebooks --only {stem}`, "
            "or the chapter's with --force"
        )
    if source == "notebooks" and edited["chapters"]:
        raise UserError(
            f"{md} was edited since the last sync, and so its edits would be lost:{how}\n"
            f"Keep the chapter's cells with `cnnbook sync --only {stem}`, or the notebook's with --force"
        )


def _written_beside(project, stem, notebook):
    """The file with the notebook's cells beside the chapter; what is there from before stays."""
    first = project.chapters / f"{stem}.from-notebook.md"
    text = _as_chapter(project, notebook, first)
    for path in sorted(project.chapters.glob(f"{stem}.from-notebook*.md")):
        if path.read_bytes() == text.encode():
            return path
    path = files.free(first)
    files.write(path, text)
    return path


def _stamp(path, notebook):
    for cell in notebook.cells:
        for name in HIDING:
            cell.metadata.pop(name, None)
        cell.metadata.update(hiding(cell))
    notebook.metadata.setdefault("cnnbook", {})["cells"] = digest(cells(notebook))
    files.write(path, _text(notebook))


def _merged(project, path, text, force):
    """The notebook as it is stored (None where there is none), and with the cells of the chapter's text."""
    chapter = parsed(text, path)
    target = project.notebooks / f"{path.stem}.ipynb"
    old = read_notebook(target) if target.exists() else None
    # As it is stored, for the cell for Colab is nobody's edit.
    _refuse_to_lose(project, path.stem, read_chapter(path), old, force, source="chapters")
    return old, merge(chapter, old, path.stem)


def _write(target, notebook):
    """Write the notebook where it differs from the file; says what was done."""
    text = _text(notebook)
    if target.exists() and target.read_text("utf-8") == text:
        return "equal"
    files.write(target, text)
    kept = sum(bool(c.get("outputs")) for c in notebook.cells if c.cell_type == "code")
    return f"notebook written from the chapter ({kept} cells with outputs)"


def _refresh_shown_sources(project, pairs):
    """Bring the sources that executed notebooks show up to date; returns what to say of each notebook."""
    words = {stem: [] for stem in pairs}
    shown_cells = {
        stem: shown.shown_cells(new)
        for stem, (old, new) in pairs.items()
        if old is not None and "code" in old.metadata.get("cnnbook", {})
    }
    computed = shown.compute(shown_cells, project.notebooks)
    for stem, sources in computed.items():
        old, new = pairs[stem]
        refreshed = {i for i, source in sources.items() if isinstance(source, list)}
        changed = [i for i in sorted(refreshed) if shown.replace(new.cells[i], sources[i])]
        words[stem] += [f"cell {i + 1}: the source shown is new" for i in changed]
        failed = {i: why for i, why in sources.items() if i not in refreshed} | shown_cells[stem].skipped
        words[stem] += [
            f"cell {i + 1}: the source shown is left as it is: {why}" for i, why in failed.items()
        ]
        # Where nothing else changed, the other outputs are as fresh as they were.
        others = _code(old, without=shown.shown_cells(old).code), _code(new, without=refreshed)
        if old.metadata.cnnbook.code == code_digest(old) and others[0] == others[1]:
            new.metadata.cnnbook.code = code_digest(new)
            _number_cells(new, refreshed)
    return words


def stale_sources(project: Project, only=None) -> list[str]:
    """Where a stored notebook shows another source than the code has now, in words."""
    notebooks = {path.stem: read_notebook(path) for path in project.notebook_paths(only)}
    shown_cells = {stem: shown.shown_cells(notebook) for stem, notebook in notebooks.items()}
    problems = []
    for stem, sources in shown.compute(shown_cells, project.notebooks).items():
        for index, source in sources.items():
            if isinstance(source, str):
                problems.append(f"{stem}, cell {index + 1}: {source}")
            elif shown.displayed(notebooks[stem].cells[index]) != source:
                problems.append(
                    f"{stem}, cell {index + 1}: not the code's source: cnnbook sync --only {stem}"
                )
    return problems


def _code(notebook, without):
    return [
        without_imports(c.source)
        for i, c in enumerate(notebook.cells)
        if c.cell_type == "code" and i not in without
    ]


def _number_cells(notebook, refreshed):
    """Count the executed cells from the top, for a refreshed one may be new, moved or gone."""
    place = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        place += 1
        if cell.execution_count is not None or index in refreshed:
            cell.execution_count = place
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = place


def _with_colab_cell(path, source):
    """A chapter's text with this source in its cell tagged `colab`."""
    fence = re.compile(
        r"(^```\{code-cell\}[^\n]*\n(?:(?::[^\n]*\n)+|---\n.*?^---\n)?\n*)(.*?)(^```[ \t]*$)", re.M | re.S
    )

    def replace(match):
        return match[1] + source + "\n" + match[3] if re.search(r"\bcolab\b", match[1]) else match[0]

    return fence.sub(replace, text_of(path, "chapter"))


def merge(chapter, old, stem):
    """The chapter's cells, with the ids and outputs of those cells of `old` that did not change but in what they import."""
    import nbformat

    new = nbformat.v4.new_notebook()
    stored = dict(old.metadata.get("cnnbook", {})) if old is not None else {}
    new.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNELSPEC,
            "language_info": LANGUAGE_INFO,
            "cnnbook": {**stored, "cells": digest(cells(chapter))},
        }
    )
    stored_cells = list(old.cells) if old is not None else []
    match = difflib.SequenceMatcher(
        a=[_decides_output(c) for c in stored_cells],
        b=[_decides_output(c) for c in chapter.cells],
        autojunk=False,
    )
    same = {b + i: stored_cells[a + i] for a, b, size in match.get_matching_blocks() for i in range(size)}
    used = {c.id for c in same.values()}
    for i, cell in enumerate(chapter.cells):
        paired = {k: cell.metadata[k] for k in PAIRED if cell.metadata.get(k)}
        cell = nbformat.from_dict({**cell, "metadata": paired | hiding(cell)})
        if i in same:
            cell.id = same[i].id
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = same[i].outputs, same[i].execution_count
        else:
            cell.id = _new_id(stem, cell.source, used)
        used.add(cell.id)
        new.cells.append(cell)
    return new


def _decides_output(cell):
    """What a cell's output depends on: outputs survive a change of the lines that import."""
    return cell.cell_type, without_imports(cell.source) if cell.cell_type == "code" else cell.source.strip()


def _new_id(stem, source, used):
    # From the text, not random: two people who sync the same chapter get the same file.
    for n in range(1000):
        name = hashlib.sha256(f"{stem}\n{n}\n{source}".encode()).hexdigest()[:8]
        if name not in used:
            return name
    raise AssertionError("a thousand equal cells")


def _text(notebook):
    import nbformat

    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _execute(paths, timeout):
    refused = {}
    with Board([p.stem for p in paths]) as board:
        for path in paths:
            board.set(path.stem, RUNNING, "starting the kernel")
            problems = record(path, timeout, note=lambda text, name=path.stem: board.note(name, text))
            if problems:
                refused[path.stem] = problems
                board.set(path.stem, "failed", "outputs not stored, see below")
            else:
                board.set(path.stem, "stored")
    for stem, problems in refused.items():
        print(f"\n{stem}: outputs not stored\n  " + "\n  ".join(problems), file=sys.stderr)
    return 1 if refused else 0


def record(path: Path, timeout=None, note=lambda text: None) -> list[str]:
    """Run a notebook and store its outputs; the list says why they were refused, empty if stored."""
    import nbclient

    before = path.read_bytes()
    notebook = read_notebook(path)
    code = [i for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]
    running = {"cell": 0}

    def started(cell, cell_index):
        running["cell"] = cell_index + 1
        place = code.index(cell_index) + 1 if cell_index in code else "?"
        note(f"code cell {place} of {len(code)}" + (f" [{', '.join(tags(cell))}]" if tags(cell) else ""))

    client = nbclient.NotebookClient(
        notebook,
        kernel_name=KERNELSPEC["name"],
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        on_cell_start=started,
        extra_arguments=KERNEL_ARGUMENTS,
        resources={"metadata": {"path": str(path.parent)}},
    )
    problems = _executed(client, path.stem, running, timeout) or output_problems(notebook, path.parents[1])
    if problems:
        return problems
    if not path.exists() or path.read_bytes() != before:
        return ["it was changed while it ran: run it again"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = LANGUAGE_INFO
    notebook.metadata["cnnbook"] = {"cells": digest(cells(notebook)), "code": code_digest(notebook)}
    files.write(path, _text(notebook))
    return []


def _executed(client, stem, running, timeout):
    """Execute the client's notebook; what went wrong, empty if nothing did. running: the number of the cell at work."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    # Stored outputs are those of the default backend. A missed claim is told at the end, with all others.
    family = new_family()
    env = {
        **kernel_environment(),
        "KERAS_BACKEND": "tensorflow",
        "CNNBOOK_CLAIMS": "report",
        FAMILY: family,
    }
    saved = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(env)  # the kernel spec is looked up in this process, by this environment
        if failure := _start_kernel(client, env, stem):
            return [failure]
        client.execute()
    except CellExecutionError as error:
        return [f"cell {running['cell']}: {error.ename}: {error.evalue}"]
    except TimeoutError:
        return [f"cell {running['cell']}: not done within {timeout} s"]
    except DeadKernelError:
        return [f"cell {running['cell']}: the kernel died (out of memory?)"]
    finally:
        os.environ.clear()
        os.environ.update(saved)
        end_family(family)
    return []


def _start_kernel(client, env, stem):
    """Start the client's kernel, once more where it dies or is silent: it may have been given another one's port.

    Returns what went wrong both times, else None.
    """
    for last in (False, True):
        client.create_kernel_manager()
        client.start_new_kernel(env=env)
        try:
            client.start_new_kernel_client()
            return None
        except RuntimeError as error:
            if last:
                return f"the kernel did not start, twice: {error}"
            print(f"{stem}: the kernel did not start: {error}. It is started again.", file=sys.stderr)


def output_problems(notebook, root: Path) -> list[str]:
    """What no stored output may hold: missed claims, errors, warnings on stderr, paths of a machine."""
    problems = [
        f"cell {facts['cell'] + 1}: missed, and so not what the text says: {in_a_line(facts)}"
        for facts in missed(claims_in(notebook.cells))
    ]
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                problems.append(f"cell {number}: {output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                problems.append(f"cell {number} writes to stderr: {_short(output.text.strip())}")
            # A traceback has its paths between colours.
            said = [output.get("evalue", ""), *output.get("traceback", [])]
            texts = [output.get("text", ""), *(COLOUR.sub("", text) for text in said)]
            texts += [
                v for k, v in output.get("data", {}).items() if not k.startswith("image/") or "svg" in k
            ]
            for text in texts:
                path = machine_path(text if isinstance(text, str) else json.dumps(text), root)
                if path:
                    problems.append(f"cell {number} shows a path of this machine: {_short(path)}")
    return problems


def student(project: Project, out: Path, only=None) -> list[Path]:
    """Write the students' copies: no cell tagged `solution`, no outputs. `asked.gives_away` says whether that is enough.

    Returns where each copy is: NAME.ipynb, or NAME.new.ipynb where somebody has changed the cells of the one that was there.
    """
    check_out(out, project)
    # All are read before the first is written.
    copies = {path.stem: _copy(read_notebook(path)) for path in project.notebook_paths(only)}
    return [_put(copy, out, stem) for stem, copy in copies.items()]


def _copy(notebook):
    """A notebook without solutions and outputs, with a stamp by which it is known for as long as its cells are these."""
    import nbformat

    notebook.cells = [c for c in notebook.cells if "solution" not in tags(c)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # The other stamps are of the full notebook with its outputs; this copy has neither, nor the state of widgets.
    notebook.metadata.pop("widgets", None)
    notebook.metadata["cnnbook"] = {COPY: digest(cells(notebook))}
    return nbformat.from_dict(notebook)


def _put(copy, folder, stem):
    """Write a copy where it is in nobody's way; returns where it is."""
    for number in itertools.count():
        path = folder / f"{stem}{('', '.new')[number] if number < 2 else f'.new-{number}'}.ipynb"
        if not os.path.lexists(path):
            break
        try:
            old = read_notebook(path)
        except UserError:
            continue
        stamp = old.metadata.get("cnnbook", {}).get(COPY)
        if cells(old) == cells(copy):
            # It may have been run: its outputs stay. Copies once bore no stamp.
            copy, old.metadata["cnnbook"] = old, copy.metadata["cnnbook"]
            break
        if stamp == digest(cells(old)):
            break
    text = _text(copy)
    if not path.exists() or path.read_text("utf-8") != text:
        files.write(path, text)
    return path


def _need(*modules):
    from importlib.util import find_spec

    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        raise UserError(f"this needs {', '.join(missing)}: {how_to_install('lab')}")

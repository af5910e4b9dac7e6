"""Sources shown on a page: the outputs of cells that only call `show_source`, computed anew without running a notebook.

A refactoring changes such outputs and no number, so it must not cost a training. `cnnbook sync` replaces them, and a
test holds those that are stored against the code. What is shown must be an imported name (`models.VGG16`): the imports of
the notebook are all that is executed, in a process of their own that serves all notebooks at once.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cnnbook.course.project import UserError, kernel_environment

FUNCTION = "show_source"
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass
class ShownCells:
    """Cells that show sources, by their index: the code that computes what they show, or why they are skipped."""

    code: dict[int, str] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)


def shown_cells(notebook) -> ShownCells:
    """The notebook's cells that consist of `show_source(...)` calls and imports; others that call it, with the reason."""
    shown = ShownCells()
    trees = {i: _parsed(cell.source) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"}
    assigned = {name for tree in trees.values() for name in _assigned(tree)}
    imports = []
    for index, tree in trees.items():
        imports += [statement for statement in tree.body if isinstance(statement, IMPORTS)]
        if not any(map(_is_show, ast.walk(tree))):
            continue
        calls = [statement.value for statement in tree.body if _is_show(getattr(statement, "value", None))]
        reason = _reason_to_skip(tree, calls, {_bound(a) for s in imports for a in s.names} - assigned)
        if reason:
            shown.skipped[index] = reason
        else:
            roots = {_root(node) for call in calls for node in (call.func, *call.args)}
            needed = [s for s in imports if roots & {_bound(a) for a in s.names}]
            shown.code[index] = "\n".join(ast.unparse(s) for s in [*needed, *calls])
    return shown


def shows(source: str) -> bool:
    """Whether a code cell calls `show_source`."""
    return any(map(_is_show, ast.walk(_parsed(source))))


def compute(notebooks: dict[str, ShownCells], folder: Path) -> dict[str, dict[int, list[str] | str]]:
    """For each notebook and cell the Markdown texts that its calls display, or one string: why there are none.

    folder: where the notebooks' kernels run, so that a module beside them is found.
    """
    code = {stem: shown.code for stem, shown in notebooks.items() if shown.code}
    if not code:
        return {stem: {} for stem in notebooks}
    done = subprocess.run(
        [sys.executable, "-m", "cnnbook.course.shown"],
        input=json.dumps(code), cwd=folder, env=kernel_environment(),
        capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"the sources that chapters show cannot be read:\n{done.stderr.strip()}")
    sources = json.loads(done.stdout.strip().split("\n")[-1])
    return {stem: {int(i): source for i, source in sources.get(stem, {}).items()} for stem in notebooks}


def displayed(cell) -> list[str]:
    """The Markdown that a cell's stored outputs display."""
    return [o["data"].get("text/markdown", "") for o in cell.get("outputs", []) if "data" in o]


def replace(cell, sources: list[str]) -> bool:
    """Store these sources as the cell's outputs; False where they are there already."""
    import nbformat

    if displayed(cell) == sources and len(cell.outputs) == len(sources):
        return False
    cell.outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={"text/markdown": source, "text/plain": "<IPython.core.display.Markdown object>"},
        )
        for source in sources
    ]
    return True


def main() -> int:
    """The process: notebook -> cell -> code as JSON on standard input, the sources as the last line of standard output."""
    from cnnbook import exercises

    sources = []
    # The cells import this function, which now collects what it would have displayed.
    exercises.show_source = lambda *objects: sources.append(exercises.sources(*objects))
    result = {}
    for stem, cells in json.load(sys.stdin).items():
        result[stem] = {}
        for index, code in cells.items():
            sources.clear()
            try:
                exec(compile(code, f"{stem}, cell {index}", "exec"), {"__name__": "__main__"})
                result[stem][index] = list(sources)
            except Exception as error:
                result[stem][index] = f"{type(error).__name__}: {error}"
    print("\n" + json.dumps(result))
    return 0


def _parsed(source):
    # A cell with magics calls no show_source that could be told apart.
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def _is_show(node):
    return isinstance(node, ast.Call) and FUNCTION in (
        getattr(node.func, "id", None),
        getattr(node.func, "attr", None),
    )


def _reason_to_skip(tree, calls, imported):
    others = [s for s in tree.body if not isinstance(s, IMPORTS) and getattr(s, "value", None) not in calls]
    if others:
        return f"it does more than {FUNCTION}"
    for call in calls:
        for argument in (call.func, *call.args, *(k.value for k in call.keywords)):
            root = _root(argument)
            if root not in imported:
                return f"{ast.unparse(argument)} is not an imported name"
    return None


def _root(node):
    """`models` of `models.VGG16`; None for what is not a dotted name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _bound(alias):
    return alias.asname or alias.name.partition(".")[0]


def _assigned(tree):
    """The names that a cell binds otherwise than by an import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name


if __name__ == "__main__":
    sys.exit(main())

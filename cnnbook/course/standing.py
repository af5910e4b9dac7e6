"""What a claim stands on, as a key: the code that decides its number, and nothing else.

That is the cells up to the claim's own, and the sources of those modules of the package that compute and that the notebook
imports, without comments, docstrings, messages of asserts, sentences and bounds of claims. Texts, drawings, exercises, the
course's own machinery and versions are not in it. A record with another key is of an earlier version.
"""

from __future__ import annotations

import ast
import copy
import csv
import functools
import re
from pathlib import Path

from cnnbook.course.imports import Imports
from cnnbook.course.project import digest
from cnnbook.course.said import is_claim, tags_of

ROOMS = ("data", "models", "parts", "training", "transfer", "segmentation", "faces")
# Cells of another machine, and of readers who ask for a solution.
SKIPPED = {"colab", "solution"}


def record_key(key: str, asked: str) -> str:
    """The key of a claim's record: what decides its number, and the bound that it was asked for."""
    return digest([key, asked])[:16]


class Standing:
    """The keys of one notebook's claims.

    cells: as `said.own_cells` gives them; a claim's cell is named by its index in that list.
    """

    def __init__(self, cells: list[dict], package: Imports):
        self.code = {
            index: _parsed(cell["source"])
            for index, cell in enumerate(cells)
            if cell["cell_type"] == "code" and not SKIPPED & set(tags_of(cell))
        }
        self.drawings = {index for index in self.code if "hide-input" in tags_of(cells[index])}
        sources = [cells[index]["source"] for index in self.code]
        self.modules = {name: _module_digest(package.paths[name]) for name in decisive(package, sources)}
        self._without_claims = {index: _decisive(tree) for index, tree in self.code.items()}

    def key(self, cell: int) -> str:
        """What decides the numbers of a cell's claims."""
        return digest([self._cells(cell, self._without_claims), self.modules])

    def call(self, cell: int) -> str:
        """How a cell makes its claims, bounds and sentences included."""
        return digest(_canonical(self.code[cell]) if cell in self.code else "")

    def run(self) -> str:
        """All that decides which claims the notebook makes with which numbers, but not their bounds."""
        claiming = [index for index, tree in self.code.items() if any(map(is_claim, ast.walk(tree)))]
        with_sentences = {index: _decisive(tree, sentences=True) for index, tree in self.code.items()}
        return digest([self._cells(max(claiming, default=-1), with_sentences), self.modules])

    def _cells(self, last, trees):
        """The canonical forms of the cells up to `last`: without those that only draw, and without imports."""
        kept, used, renamed = [], set(), set()
        for index in sorted((i for i in trees if i <= last), reverse=True):
            if index in self.drawings and index != last and not used & _bound(trees[index]):
                continue
            used |= _read(trees[index])
            statements = []
            for statement in trees[index].body:
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    # Where a name lives decides no number, what it stands for does.
                    renamed |= {(a.asname, a.name) for a in statement.names if a.asname}
                else:
                    statements.append(statement)
            kept.append(_canonical(statements))
        return [cell for cell in kept[::-1] if cell], sorted(renamed)


def decisive(package: Imports, sources: list[str]) -> list[str]:
    """The modules of the rooms that compute, of those that code cells with these sources import.

    Of the networks a file counts where the cells name it or one of its builders, or where `transfer`, which builds by name,
    does and the cells import it; so do the papers that it modifies. Another network's file decides nothing here.
    """
    # `check` reads the answers, and these may build any network: no claim stands on them.
    reached = package.closure(package.imports_of(sources), without="answers")
    of_room = {module: _room(module) for module in reached}
    texts = list(sources)
    if "transfer" in of_room.values():
        files = (package.folder / "transfer").rglob("*")
        texts += [path.read_text("utf-8") for path in files if path.suffix in (".py", ".json")]
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    papers = {f"{package.name}.models.{file}": {file} for file in _builders(package).values()}
    for builder, file in _builders(package).items():
        papers[f"{package.name}.models.{file}"].add(builder)
    named = {module for module, names in papers.items() if words & names}
    # The room's table of builders imports each file, so what is reached through it says nothing.
    reached -= papers.keys() - _through(package, named & package.paths.keys(), papers.keys())
    return sorted(module for module in reached if of_room[module] in ROOMS)


def _through(package, modules, papers):
    """Papers, with those that they import, directly or through other papers."""
    found, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += package.imported_by(module) & papers
    return found


def _builders(package):
    """{builder: file} of the table of networks."""
    table = package.folder / "models" / "figures.csv"
    if not table.exists():
        return {}
    with open(table, encoding="utf-8", newline="") as file:
        return {row["builder"]: row["file"] for row in csv.DictReader(file)}


def _room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@functools.cache
def _module_digest(path: Path) -> str:
    return digest(_canonical(_decisive(ast.parse(path.read_bytes()))))


def _parsed(source):
    """A code cell's tree; its magics are left out."""
    plain = re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M)
    try:
        return ast.parse(plain)
    except SyntaxError:
        # Not Python: the text itself counts.
        return ast.Module([ast.Expr(ast.Constant(source.strip()))], [])


def _decisive(tree, sentences=False):
    """A copy of a tree without what decides no number; sentences: those of claims stay."""
    return _Decisive(sentences).visit(copy.deepcopy(tree))


class _Decisive(ast.NodeTransformer):
    def __init__(self, sentences):
        self.sentences = sentences

    def visit_Assert(self, node):
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node):
        if is_claim(node):
            said = {keyword.arg: keyword.value for keyword in node.keywords}
            said = [*node.args[:2], *(said[name] for name in ("sentence", "value") if name in said)]
            node = ast.Tuple(said if self.sentences else said[1:], ast.Load())
        return self.generic_visit(node)

    def _documented(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _documented


def _read(tree):
    """The names that a cell reads."""
    changed = {
        n.target.id for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and hasattr(n.target, "id")
    }
    return changed | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _bound(tree):
    """The names that a cell binds."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    names |= {n.name for n in ast.walk(tree) if isinstance(n, kinds)}
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    return names | {a.asname or a.name.partition(".")[0] for n in imports for a in n.names}


def _canonical(node):
    """A tree as nested lists, the same on every Python: `ast.unparse` and `ast.dump` change with versions."""
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        (name, _canonical(value))
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    ]
    return [type(node).__name__, *fields]

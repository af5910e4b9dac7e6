"""What decides a number: code without what decides nothing, and the modules that some code computes with."""

from __future__ import annotations

import ast
import copy
import csv
import hashlib
import json
import re
from collections.abc import Iterable

from .imports import Imports

__all__ = [
    "ROOMS", "Decisive", "canonical", "decisive", "digest", "experiment_files", "without_imports",
]  # fmt: skip

ROOMS = ("data", "models", "parts", "search", "training", "transfer", "segmentation", "faces")


def digest(value) -> str:
    """A short digest of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    # Names of files may hold bytes that are no UTF-8.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def decisive(
    package: Imports, imported: Iterable[str], texts: Iterable[str], experiments: Iterable[str] = ()
) -> list[str]:
    """The modules that decide numbers, of those that some code imports: those of the rooms that compute.

    imported: what the code imports itself. texts: the code. Of the networks a file counts where the code names it or one
    of its builders, or where `transfer`, which builds by name, does and the code imports it; so do the papers that it
    modifies. Another network's file decides nothing here. experiments: files of experiments that the code loads by name;
    those that it imports, and these, count with what they import.
    """
    files = experiment_files(package)
    # `check` reads the answers, and these may build any network: no number stands on them.
    own = {module for module in package.paths if _room(module) in ("experiments", "answers")} - files
    loaded = (set(experiments) | set(imported)) & files
    # `check` reads the answers, and these may build any network: no number stands on them.
    own |= {module for module in package.paths if _room(module) == "answers"}
    reached = package.closure(imported, without=own | files) | package.closure(loaded, without=own)
    texts = [*texts, *(_code(package.paths[module]) for module in sorted(reached & files))]
    if any(_room(module) == "transfer" for module in reached):
        beside = (package.folder / "transfer").rglob("*")
        texts += [path.read_text("utf-8") for path in beside if path.suffix in (".py", ".json")]
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    papers = {f"{package.name}.models.{file}": {file} for file in _builders(package).values()}
    for builder, file in _builders(package).items():
        papers[f"{package.name}.models.{file}"].add(builder)
    named = {module for module, names in papers.items() if words & names}
    # The room's table of builders imports each file, so what is reached through it says nothing.
    reached -= papers.keys() - _through(package, named & package.paths.keys(), papers.keys())
    return sorted(module for module in reached if _room(module) in ROOMS or module in files)


def experiment_files(package: Imports) -> set[str]:
    """The modules that hold a chapter's experiments, without the room's own."""
    room = f"{package.name}.experiments"
    return {module for module, path in package.paths.items()
            if module.rpartition(".")[0] == room and path.name != "__init__.py"}  # fmt: skip


# Kept evidence is made on TensorFlow, or on JAX: what only PyTorch runs through decides none of its numbers.
_ON_TORCH = ast.dump(ast.parse('keras.backend.backend() == "torch"', mode="eval").body)


class Decisive(ast.NodeTransformer):
    """Takes out of a tree what decides no number: docstrings, the messages of asserts, and branches
    `if keras.backend.backend() == "torch":`, in whose place their `else` stands."""

    def of(self, tree):
        """A copy of a tree without it."""
        return self.visit(copy.deepcopy(tree))

    def visit_Assert(self, node):
        node.msg = None
        return self.generic_visit(node)

    def visit_If(self, node):
        node = self.generic_visit(node)
        return node.orelse if ast.dump(node.test) == _ON_TORCH else node

    def _documented(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        node = self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _documented


def without_imports(statements: Iterable[ast.stmt]) -> tuple[list[ast.stmt], set[tuple[str, str]]]:
    """The statements that import nothing, and (new name, name) of what the others import under another name.

    Where a name lives decides no number, what it stands for does.
    """
    others, renamed = [], set()
    for statement in statements:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            renamed |= {(a.asname, a.name) for a in statement.names if a.asname}
        else:
            others.append(statement)
    return others, renamed


def canonical(node):
    """A tree as nested lists, the same on every Python: `ast.unparse` and `ast.dump` change with versions."""
    if isinstance(node, list):
        return [canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        (name, canonical(value))
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    ]
    return [type(node).__name__, *fields]


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


def _code(path):
    """A module's code, its comments and docstrings left out."""
    return ast.unparse(Decisive().visit(ast.parse(path.read_bytes())))


def _room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""

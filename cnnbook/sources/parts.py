"""Of modules: the statements that some code stands on."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .decisive import Decisive, canonical, decisive, digest, without_imports
from .imports import Imports

__all__ = ["bound", "function_digest", "reached", "read", "standing_on"]


@dataclass(frozen=True)
class _Statement:
    """A statement at a module's top: the names that it binds, all words of its code, and its digest."""

    names: frozenset[str]
    words: frozenset[str]
    digest: str


def reached(
    package: Imports, modules: Iterable[str], texts: Iterable[str], own_names: Iterable[str] = ()
) -> dict[str, list[str]]:
    """{module: digests} of those statements of the modules that code reaches by name, in order.

    texts: the code. own_names: variables of its own. A statement counts where one of the names that it binds is a
    word of the code or of another statement that counts, in whichever module: so a function more, which nobody calls,
    changes nothing. Texts that are names, such as "fit" or "training.fit", are words too, since things are called
    through tables of names; a sentence is none. A name such as _x is a word of its own module alone, where no other
    imports it. What binds nothing, such as a call, counts with its module.
    """
    words = {word for text in texts for word in _words(_parsed(text), frozenset(own_names))}
    waiting = {m: list(enumerate(_statements(package.paths[m]))) for m in modules}
    counted = {module: {} for module in waiting}
    own = {module: set() for module in waiting}
    shared = {name for module in waiting for name in _private_imports(package.paths[module])}
    while True:
        known = {m: own[m] | {w for w in words if not w.startswith("_") or w in shared} for m in waiting}
        new = [
            (module, place, statement)
            for module, statements in waiting.items()
            for place, statement in statements
            if (statement.names & known[module] if statement.names else counted[module])
        ]
        if not new:
            return {m: [found[i] for i in sorted(found)] for m, found in counted.items() if found}
        for module, place, statement in new:
            counted[module][place] = statement.digest
            words |= statement.words
            own[module] |= statement.words
            waiting[module].remove((place, statement))


@functools.cache
def _private_imports(path: Path) -> set[str]:
    """The names such as _x that a module imports from another."""
    imports = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names if alias.name.startswith("_")}


@functools.cache
def _statements(path: Path) -> list[_Statement]:
    """The statements at a module's top that decide numbers; of its imports those that give another name."""
    tree = Decisive().visit(ast.parse(path.read_bytes()))
    others, renamed = without_imports(tree.body)
    made = [_statement(_bound_at_the_top(statement), statement) for statement in others]
    # Where a name lives decides no number, what it stands for does.
    made += [_statement({new}, ast.Name(old), ast.Name(new)) for new, old in sorted(renamed)]
    # Nobody reads `__all__`, and `__getattr__` is how modules are found, which the list of modules says.
    return [statement for statement in made if not any(name.startswith("__") for name in statement.names)]


def _statement(names, *trees):
    words = {word for tree in trees for word in _words(tree)}
    return _Statement(frozenset(names), frozenset(words), digest(canonical(list(trees))))


def _parsed(text):
    """A text as a tree; of what is no code, its words as names."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.Constant(".".join(re.findall(r"\w+", text)))


def _words(tree, own_names=frozenset()):
    """The names in code: of variables, attributes, arguments given, imports, and texts that are names.

    A function's own variables are none, nor are own_names.
    """
    if isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        own_names = own_names | _own_variables(tree)
    if not isinstance(tree, ast.arg):
        for kind in ("id", "attr", "arg", "name", "asname", "module"):
            name = getattr(tree, kind, None)
            if isinstance(name, str) and not (kind == "id" and name in own_names):
                yield from name.split(".")
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str) and re.fullmatch(r"[\w.]+", tree.value):
        yield from tree.value.split(".")
    for child in ast.iter_child_nodes(tree):
        yield from _words(child, own_names)


def _own_variables(function):
    """A function's parameters and what it binds, but for what it calls global."""
    nodes = [node for part in ast.iter_child_nodes(function) for node in ast.walk(part)]
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return ({node.arg for node in nodes if isinstance(node, ast.arg)} | stored) - shared


def function_digest(package: Imports, module: str, name: str, words: str = "") -> str:
    """The digest of a module's function: its code, that of its module which it uses, what it reaches in others.

    words: what the function is given, since a network that it names counts. KeyError where there is no such function.
    """
    statements = standing_on(ast.parse(package.paths[module].read_bytes()), name)
    code = Decisive().visit(ast.Module(statements, []))
    imported = package.imports_in(statements, module.rpartition(".")[0])
    texts = [ast.unparse(code), words]
    others, renamed = without_imports(code.body)
    found = reached(package, decisive(package, imported, texts), texts)
    return digest([canonical(others), sorted(renamed), found])


def standing_on(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The statements at the top of a module that its function `name` stands on, itself included, in order.

    Those that bind a name which one of them reads, of imports only these names; and those that bind none, such as a call.
    KeyError where no statement binds `name`.
    """
    statements = tree.body[ast.get_docstring(tree, clean=False) is not None :]
    binds = [_bound_at_the_top(statement) for statement in statements]
    if not any(name in names for names in binds):
        raise KeyError(name)
    needed, taken = {name, "*"}, set()
    while new := {i for i, names in enumerate(binds) if i not in taken and (not names or names & needed)}:
        taken |= new
        needed |= {word for i in new for word in read(statements[i])}
    return [_only(statements[i], needed) for i in sorted(taken)]


def _bound_at_the_top(statement):
    """The names that a statement of a module binds there; those inside a function are its own."""
    own = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    return {statement.name} if own else bound(statement)


def _only(statement, needed):
    """An import of the names that are needed alone; any other statement as it is."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return statement
    aliases = [alias for alias in statement.names if _name(alias) in needed]
    if isinstance(statement, ast.Import):
        return ast.Import(aliases)
    return ast.ImportFrom(statement.module, aliases, statement.level)


def read(tree: ast.AST) -> set[str]:
    """The names that code reads."""
    changed = {
        n.target.id for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and hasattr(n.target, "id")
    }
    return changed | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def bound(tree: ast.AST) -> set[str]:
    """The names that code binds."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    names |= {n.name for n in ast.walk(tree) if isinstance(n, kinds)}
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    return names | {_name(a) for n in imports for a in n.names}


def _name(alias):
    return alias.asname or alias.name.partition(".")[0]

"""Of a module: the statements that one of its functions stands on, and what they import."""

from __future__ import annotations

import ast

from .decisive import Decisive, canonical, decisive, digest, module_digest, without_imports
from .imports import Imports

__all__ = ["bound", "function_digest", "read", "standing_on"]


def function_digest(package: Imports, module: str, name: str, words: str = "") -> str:
    """The digest of a module's function: its code, that of its module which it uses, the modules that decide its numbers.

    words: what the function is given, since a network that it names counts. KeyError where there is no such function.
    """
    statements = standing_on(ast.parse(package.paths[module].read_bytes()), name)
    code = Decisive().visit(ast.Module(statements, []))
    imported = package.imports_in(statements, module.rpartition(".")[0])
    modules = decisive(package, imported, [ast.unparse(code), words])
    others, renamed = without_imports(code.body)
    return digest([canonical(others), sorted(renamed), {m: module_digest(package.paths[m]) for m in modules}])


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

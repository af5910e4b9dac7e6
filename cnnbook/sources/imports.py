"""What code and the modules of cnnbook import of cnnbook, read from the source (nothing is run): what a key follows.

A package whose `__init__` loads names on demand (by a module `__getattr__`) counts whole, unless the name imported from it
is a file or stands in a table `{"name": "file"}` there. Where in doubt everything but `cnnbook.course` counts. A run of a
notebook knows better what it imported, see `dependencies`; a record must be held against today's code without a run.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


class Imports:
    """The modules of the package in `folder`, by their dotted names, and what each imports of it."""

    def __init__(self, folder: Path = PACKAGE):
        self.folder, self.name = folder, folder.name
        self.paths = {self._dotted(path): path for path in sorted(folder.rglob("*.py"))}
        # Code in a string, which a notebook writes to a file or hands to another process.
        self._import_line = re.compile(rf"^\s*(?:from|import)\s+{self.name}\b", re.M)
        self._direct = functools.cache(self._direct)

    def closure(self, modules: Iterable[str], without: Iterable[str] = ()) -> set[str]:
        """These modules with all that they import, in functions too, and the packages they lie in.

        without: modules that are not followed, and not in it.
        """
        reached, waiting, without = set(), list(modules), set(without)
        while waiting:
            module = waiting.pop()
            if module not in reached and module not in without:
                reached.add(module)
                waiting += self._direct(module)
        return reached

    def imported_by(self, module: str) -> set[str]:
        """What a module itself imports, in functions too, and the packages it lies in."""
        return self._direct(module)

    def imports_in(self, statements: list[ast.stmt], package: str) -> set[str]:
        """What these statements, of a module that lies in `package`, import, in functions too."""
        return self._imports(ast.Module(statements, []), package)

    def imports_of(self, sources: Iterable[str]) -> set[str]:
        """What code cells import of the package, together: what one imports, another one uses."""
        together = ast.Module([], [])
        for source in sources:
            tree = self._cell(source)
            if tree is None:
                return self._everything()
            together.body += tree.body
        imported = self._imports(together, package="")
        for node in ast.walk(together):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.value in self.paths:  # `python -m cnnbook.distributed`
                    imported |= self._with_parents(node.value)
                elif self._import_line.search(node.value):
                    imported |= self.imports_of([node.value])
        return imported

    def _cell(self, source):
        """A code cell's tree without its magics; None where what it uses of the package cannot be read."""
        lines = source.splitlines()
        magics = [line for line in lines if re.match(r"\s*[%!]", line)]
        if any(self.name in line for line in magics if "%pip" not in line):
            return None
        # A magic may be all that a block holds.
        plain = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines]
        try:
            return ast.parse("\n".join(plain))
        except SyntaxError:
            return None if self.name in source else ast.Module([], [])

    def _direct(self, module):
        package = module if self._is_package(module) else module.rpartition(".")[0]
        return self._imports(self._tree(module), package) | self._with_parents(module)

    def _imports(self, tree, package):
        """The modules that the statements of `tree`, a module of `package`, import."""
        imported = set()
        for node in _without_getattr(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == self.name:
                        imported |= self._attributes(tree, alias.asname or alias.name)
                    elif alias.name in self.paths:
                        imported |= self._used(alias.name)
                        if not alias.asname:
                            imported |= self._attributes(tree, self.name)
            elif isinstance(node, ast.ImportFrom):
                origin = _absolute("." * node.level + (node.module or ""), package)
                for alias in node.names if origin in self.paths else ():
                    imported |= self._name(origin, alias.name)
            elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
                imported |= self._dynamic(node, package)
        return imported

    def _attributes(self, tree, root):
        """What `cnnbook.x` in `tree` stands for, where `root` is the name that cnnbook is imported as."""
        imported, bases = {self.name}, set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == root:
                bases.add(node.value)
                imported |= self._name(self.name, node.attr)
        for node in ast.walk(tree):
            # Handed on as it is: whoever gets it may use any room.
            if isinstance(node, ast.Name) and node.id == root and node not in bases:
                imported |= self._everything()
        return imported

    def _name(self, module, name):
        """What `from module import name` loads."""
        if f"{module}.{name}" in self.paths:
            return self._used(f"{module}.{name}")
        if not self._is_lazy(module) or (name.startswith("__") and name.endswith("__")):
            return self._with_parents(module)
        tree = self._tree(module)
        if name in _bound_at_the_top(tree):
            return self._with_parents(module)
        target = f"{module}.{_literal_tables(tree).get(name)}"
        return self._used(target if target in self.paths else module)

    def _used(self, module):
        """A module as a value: a package that loads on demand may load all it has."""
        if self._is_lazy(module):
            return self._below(module)
        return self._with_parents(module)

    def _dynamic(self, call, package):
        """`import_module` of a name that is known in part: all modules that begin so."""
        argument = call.args[0] if call.args else None
        parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
        prefix = ""
        for part in parts:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                prefix += part.value
            elif isinstance(part, ast.FormattedValue) and getattr(part.value, "id", "") == "__package__":
                prefix += package
            else:
                break
        else:
            name = _absolute(prefix, package)
            return self._used(name) if name in self.paths else set()
        known = _absolute(prefix, package).rpartition(".")[0]
        if known.partition(".")[0] not in ("", self.name):
            return set()
        return self._below(known)

    def _below(self, module):
        if module in ("", self.name):
            return self._everything()
        return {m for m in self.paths if m.startswith(f"{module}.")} | self._with_parents(module)

    def _everything(self):
        return {m for m in self.paths if m.split(".")[1:2] != ["course"]}

    def _with_parents(self, module):
        parts = module.split(".")
        return {".".join(parts[:n]) for n in range(1, len(parts) + 1)} & self.paths.keys()

    def _is_package(self, module):
        return self.paths[module].name == "__init__.py"

    def _is_lazy(self, module):
        return self._is_package(module) and any(
            isinstance(s, ast.FunctionDef) and s.name == "__getattr__" for s in self._tree(module).body
        )

    def _tree(self, module):
        return _parse(self.paths[module])

    def _dotted(self, path):
        parts = path.relative_to(self.folder).with_suffix("").parts
        return ".".join([self.name, *(parts[:-1] if parts[-1] == "__init__" else parts)])


@functools.cache
def _parse(path):
    return ast.parse(path.read_bytes())


def _absolute(name, package):
    """`..graph` in the package cnnbook.models is cnnbook.graph; an absolute name stays."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parents = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join(filter(None, [*parents, name[level:]]))


def _called(call):
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None)


def _without_getattr(tree):
    """All nodes but those of a module's `__getattr__`, whose imports are followed where its names are used."""
    for statement in tree.body:
        if not (isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"):
            yield from ast.walk(statement)


def _bound_at_the_top(tree):
    names = set()
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            names |= {
                n.id
                for n in ast.walk(statement)
                if isinstance(getattr(n, "ctx", None), ast.Store) and hasattr(n, "id")
            }
    return names


def _literal_tables(tree):
    """The pairs of texts in a module's dictionaries: its table of what is loaded from where."""
    pairs = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                texts = [getattr(n, "value", None) for n in (key, value)]
                if all(isinstance(text, str) for text in texts):
                    pairs[texts[0]] = texts[1]
    return pairs

"""Which files of cnnbook a notebook's result depends on: those of the modules that its kernel imported when it last ran.

As long as none of these files changes, the notebook imports the same ones again, so no other file matters: a network that it
does not build, or the runner. What a process imports that the notebook starts is not seen. So where cells hand the package's
name to a shell or to another process, everything counts: a notebook that is run once too often costs time, one that is
wrongly called unchanged costs trust.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from cnnbook.sources.imports import PACKAGE, Imports

# Cell magics that run their cell in the kernel.
IN_THE_KERNEL = ("time", "timeit", "capture", "prun")


class Package:
    """The files of the package in `folder`: its modules by their dotted names, and the data files of its rooms."""

    def __init__(self, folder: Path = PACKAGE):
        self.folder, self.name = folder, folder.name
        self.modules = Imports(folder).paths
        self.data = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix not in (".py", ".pyc")]
        name = re.escape(self.name)
        # Code or a command in a text, which a notebook writes to a file or hands to another process.
        self._code = re.compile(rf"^\s*(?:from|import)\s+{name}\b|-m\s+{name}\b|\A{name}\.[\w.]+\Z", re.M)

    def files(self, imported: Iterable[str] | None = None) -> list[Path]:
        """The files of these modules, and the data files of their rooms; all files where it is not known what was imported.

        A module that is gone has the file that it would have.
        """
        if imported is None:
            return [*self.modules.values(), *self.data]
        modules = {self.modules.get(m, self.folder.parent / f"{m.replace('.', '/')}.py") for m in imported}
        rooms = {self._room(path) for path in modules}
        without_code = {self._room(path) for path in self.data} - {
            self._room(p) for p in self.modules.values()
        }
        data = [path for path in self.data if self._room(path) in rooms | without_code]
        return sorted(modules) + (data if modules else [])

    def is_used_elsewhere(self, source: str) -> bool:
        """Whether a code cell hands the package's name to a shell, or to another process as code or as a command."""
        if self.name not in source:
            return False
        lines = source.splitlines()
        cell_magic = re.match(r"\s*%%(\w+)", source)
        if cell_magic and cell_magic[1] not in IN_THE_KERNEL:
            return True
        magics = [line for line in lines if re.match(r"\s*[%!]", line)]
        if any(self.name in line and "%pip" not in line for line in magics):
            return True
        # A magic may be all that a block holds.
        plain = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines]
        try:
            tree = ast.parse("\n".join(plain))
        except SyntaxError:
            return True
        return any(self._is_code(node) for node in ast.walk(tree))

    def _is_code(self, node):
        if isinstance(node, (ast.List, ast.Tuple)):  # [python, "-m", "cnnbook", "doctor"]
            return any(getattr(element, "value", None) == self.name for element in node.elts)
        text = node.value if isinstance(node, ast.Constant) else None
        return isinstance(text, str) and bool(self._code.search(text))

    def _room(self, path):
        parts = path.relative_to(self.folder).parts
        return parts[0] if len(parts) > 1 else ""

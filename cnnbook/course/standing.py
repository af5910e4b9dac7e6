"""What a claim stands on, as a key: the code that decides its number, and nothing else.

That is the cells up to the claim's own, the files of the experiments that they name, and the sources of those modules of
the package that compute and that the notebook imports, without comments, docstrings, messages of asserts, sentences and
bounds of claims. Texts, drawings, exercises, the course's own machinery and versions are not in it. A record with another
key is of an earlier version.
"""

from __future__ import annotations

import ast
import re

from cnnbook.course.said import is_claim, tags_of
from cnnbook.sources.decisive import (
    Decisive,
    canonical,
    decisive,
    digest,
    experiment_files,
    module_digest,
    without_imports,
)
from cnnbook.sources.imports import Imports
from cnnbook.sources.parts import bound, read

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
        imported, experiments = package.imports_of(sources), experiments_in(package, sources)
        self.modules = {
            name: module_digest(package.paths[name])
            for name in decisive(package, imported, sources, experiments)
        }
        self._without_claims = {index: _decisive(tree) for index, tree in self.code.items()}

    def key(self, cell: int) -> str:
        """What decides the numbers of a cell's claims."""
        return digest([self._cells(cell, self._without_claims), self.modules])

    def call(self, cell: int) -> str:
        """How a cell makes its claims, bounds and sentences included."""
        return digest(canonical(self.code[cell]) if cell in self.code else "")

    def run(self) -> str:
        """All that decides which claims the notebook makes with which numbers, but not their bounds."""
        claiming = [index for index, tree in self.code.items() if any(map(is_claim, ast.walk(tree)))]
        with_sentences = {index: _decisive(tree, sentences=True) for index, tree in self.code.items()}
        return digest([self._cells(max(claiming, default=-1), with_sentences), self.modules])

    def _cells(self, last, trees):
        """The canonical forms of the cells up to `last`: without those that only draw, and without imports."""
        kept, used, renamed = [], set(), set()
        for index in sorted((i for i in trees if i <= last), reverse=True):
            if index in self.drawings and index != last and not used & bound(trees[index]):
                continue
            used |= read(trees[index])
            statements, new_names = without_imports(trees[index].body)
            renamed |= new_names
            kept.append(canonical(statements))
        return [cell for cell in kept[::-1] if cell], sorted(renamed)


def experiments_in(package: Imports, sources: list[str]) -> set[str]:
    """The files of experiments that code cells name: "normalisation.placement" names normalisation."""
    return {
        module
        for module in experiment_files(package)
        if any(re.search(rf"\b{module.rpartition('.')[2]}\.\w", source) for source in sources)
    }


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
    return _WithoutClaims(sentences).of(tree)


class _WithoutClaims(Decisive):
    def __init__(self, sentences):
        self.sentences = sentences

    def visit_Call(self, node):
        if is_claim(node):
            said = {keyword.arg: keyword.value for keyword in node.keywords}
            said = [*node.args[:2], *(said[name] for name in ("sentence", "value") if name in said)]
            node = ast.Tuple(said if self.sentences else said[1:], ast.Load())
        return self.generic_visit(node)

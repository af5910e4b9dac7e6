"""The claims that a notebook's outputs hold: `cnnbook.claim` writes them there, the course reads them here."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cnnbook.claims import METADATA, Claim
from cnnbook.course.notebook import read_notebook

# What a cell calls that shows all claims of its notebook, with their records.
REPORT = re.compile(r"\bclaims\.report\(\)")
# Cells that papermill adds to what it runs.
ADDED = {"injected-parameters", "papermill-error-cell-tag"}


def own_cells(path: Path) -> list[dict]:
    """The cells of a notebook without those that papermill added. Raises UserError where the file is no notebook."""
    return [cell for cell in read_notebook(path).cells if not ADDED & set(tags_of(cell))]


def tags_of(cell: dict) -> list[str]:
    """A cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def claims_in(cells: Iterable[dict]) -> list[dict]:
    """The facts of each claim in the outputs of these cells, in order, with `cell`, the index of its cell.

    Facts are `sentence, asked, held, value, margin`; a number that was none (nan) is None. A sentence that comes again
    stands at its first place with what was said last, as in `cnnbook.claims.made`.
    """
    found = {}
    for facts in _all_facts(cells):
        found[facts["sentence"]] = facts
    return list(found.values())


def missed(claims: Iterable[dict]) -> list[dict]:
    """Those that did not hold."""
    return [facts for facts in claims if not facts["held"]]


def in_a_line(facts: dict) -> str:
    """ "batch norm trains: 0.1 (asked: above 0.2)" """
    return f"{facts['sentence']}: {number(facts['value'])} (asked: {facts['asked']})"


def number(value: float | None) -> str:
    """A claim's number in a text."""
    return "nan" if value is None else f"{value:.3g}"


def judged(facts: dict, asked: str) -> dict:
    """A claim's facts as another bound judges them: "above 0.2", "below 3", "between 0.4 and 0.6"."""
    numbers = [float(number) for number in re.findall(r"[-+\d.e]*\d", asked)]
    above = numbers[0] if asked.startswith(("above", "between")) else None
    below = numbers[-1] if asked.startswith(("below", "between")) else None
    value = math.nan if facts["value"] is None else facts["value"]
    return {**facts, **Claim(facts["sentence"], value, above, below).facts()}


def repeated(cells: list[dict]) -> list[str]:
    """Sentences that two claims of one notebook share: by its outputs, and by its code where the sentence is a text."""
    said = Counter(facts["sentence"] for facts in _all_facts(cells))
    written = Counter(
        sentence
        for cell in cells
        if cell["cell_type"] == "code"
        for sentence in _written_sentences(cell["source"])
    )
    return sorted(sentence for sentence in said | written if max(said[sentence], written[sentence]) > 1)


def makes_claims(source: str) -> bool:
    """Whether a code cell calls `claim`."""
    return any(True for _ in claim_calls(_tree(source)))


def claim_calls(tree: ast.AST):
    """The calls of `claim` in a tree."""
    for node in ast.walk(tree):
        if is_claim(node):
            yield node


def is_claim(node: ast.AST) -> bool:
    """Whether a node calls `claim` or `cnnbook.claim`."""
    return isinstance(node, ast.Call) and "claim" in (
        getattr(node.func, "id", None),
        getattr(node.func, "attr", None),
    )


def _written_sentences(source):
    for call in claim_calls(_tree(source)):
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
            yield call.args[0].value.strip().rstrip(".")


def _tree(source):
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def _all_facts(cells):
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            facts = output.get("metadata", {}).get(METADATA)
            if isinstance(facts, dict) and "sentence" in facts:
                yield {**facts, "cell": index}

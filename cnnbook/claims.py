"""Measured statements: what a training run showed, said with a bound, and whether it held here.

A count or a shape is exact: it is asserted. What depends on a training run is a claim: another processor, another
backend or another seed gives another number, so a claim that is missed says so, and the notebook goes on:

    claim("batch norm trains what the plain net does not", normed - plain, above=0.2)

prints "claim: batch norm trains what the plain net does not: 0.46 (asked: above 0.2), held". What it says stands in the
output's metadata as well, for whoever runs notebooks. The environment's CNNBOOK_CLAIMS says how a claim binds: "report"
(the default) prints, "strict" raises `ClaimMissed`. How often each claim of the course has held, over seeds and
machines, is kept in results/claims.csv: `report` puts it beside what this run showed.
"""

import csv
import math
import os
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from . import tables

__all__ = ["Claim", "ClaimMissed", "claim", "made", "report"]

RECORDS = Path(__file__).parent / "results" / "claims.csv"
BINDS = ("report", "strict")
# The key of a claim's facts in the metadata of its output.
METADATA = "cnnbook_claim"

_made = {}


class ClaimMissed(AssertionError):
    """A claim did not hold, where CNNBOOK_CLAIMS is "strict"."""


@dataclass(frozen=True)
class Claim:
    """A measured statement: the number, the bounds that were asked for (both excluded; None for none), whether it held.

    margin: how far inside the nearer bound the number lies, negative where it was missed.
    """

    sentence: str
    value: float
    above: float | None = None
    below: float | None = None

    @property
    def margin(self) -> float:
        sides = [*([self.value - self.above] if self.above is not None else []),
                 *([self.below - self.value] if self.below is not None else [])]  # fmt: skip
        return min(sides)

    @property
    def held(self) -> bool:
        # A number that is not one (nan) is missed, whatever was asked.
        return self.margin > 0

    @property
    def asked(self) -> str:
        """The bounds in words."""
        if self.above is None or self.below is None:
            return f"above {self.above:g}" if self.below is None else f"below {self.below:g}"
        return f"between {self.above:g} and {self.below:g}"

    def facts(self) -> dict:
        """What stands in the metadata of the output, as JSON holds it: a number that is none becomes None."""
        number = {name: value if math.isfinite(value) else None for name, value in
                  dict(value=self.value, margin=self.margin).items()}  # fmt: skip
        return dict(sentence=self.sentence, asked=self.asked, held=self.held, **number)

    def __str__(self):
        return f"claim: {self.sentence}: {_short(self.value)} (asked: {self.asked}), {'held' if self.held else 'missed'}"


def claim(sentence, value, *, above=None, below=None, between=None) -> None:
    """Says what a run showed, in a line, and whether it held. Returns nothing: as the last line of a cell a result would be
    shown, and compared.

    sentence: what is claimed, without numbers that a run measures, so that it is the same in every run. value: one number.
    above, below: the bound, excluded; between: (above, below). ValueError for no bound, for bounds that leave nothing, for
    something that is not one number, and for a sentence with a line break; ClaimMissed as the module says.
    """
    said = Claim(*_checked(sentence, value), *_bounds(above, below, between))
    _made[said.sentence] = said
    _display(said)
    if not said.held and _binds() == "strict":
        raise ClaimMissed(str(said))


def made() -> list[Claim]:
    """The claims of this process so far, each as it came last, in order."""
    return list(_made.values())


def report():
    """Shows every claim that this notebook has made, what it was here, and how often it has held elsewhere.

    What the sizes, the seed or the machine of this run do not show stands first.
    """
    records = recorded()
    print(
        reported([said.facts() for said in made()], {claim: in_words(row) for claim, row in records.items()})
    )


def reported(claims, records) -> str:
    """What `report` shows. claims: their facts, in order; records: by a claim's sentence, how often it has held."""
    missed = [facts for facts in claims if not facts["held"]]
    lines = [f"{len(claims)} measured claims in this notebook, {len(claims) - len(missed)} held in this run."]
    lines += [
        f"Not shown by this run: {facts['sentence']} ({_of(facts)}, asked: {facts['asked']})."
        for facts in missed
    ]
    rows = [
        (facts["sentence"], _of(facts), facts["asked"], records.get(facts["sentence"], in_words(None)))
        for facts in claims
    ]
    if rows:
        columns = "claim", "here", "asked", "held elsewhere"
        lines += ["", tables.text("", columns, rows, left={0, 2, 3}, totals=False).strip()]
    return "\n".join(lines)


def recorded(notebook=None) -> dict[str, dict]:
    """The track record of claims by their sentences: the columns of results/claims.csv.

    notebook: its name; without one, that whose records share most sentences with the claims of this process.
    """
    if not RECORDS.exists():
        return {}
    notebooks = {}
    with open(RECORDS, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            notebooks.setdefault(row["notebook"], {})[row["claim"]] = row
    if notebook is None:
        notebook = max(notebooks, key=lambda name: len(notebooks[name].keys() & _made.keys()), default=None)
    return notebooks.get(notebook, {})


def in_words(record, earlier=False) -> str:
    """A row of results/claims.csv as the course shows it. earlier: the code that it stands on has changed since."""
    if not record:
        return "no record yet"
    kinds = len(record["conditions"].split(";"))
    words = (
        f"in {record['held']} of {record['runs']} runs on {kinds} kind{'s' if kinds > 1 else ''} of machine"
    )
    return f"{words} (record of an earlier version)" if earlier else words


def _checked(sentence, value):
    if not isinstance(sentence, str) or not sentence.strip() or "\n" in sentence:
        raise ValueError(f"a claim begins with a sentence in one line, got {sentence!r}")
    array = getattr(value, "numpy", lambda: value)()
    number = array.item() if getattr(array, "size", None) == 1 and hasattr(array, "item") else array
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(
            f"the claim {sentence!r} takes one number to compare, got {value!r}: of several give the smallest or the "
            "largest, of a comparison the difference"
        )
    return sentence.strip().rstrip("."), float(number)


def _bounds(above, below, between):
    if between is not None:
        if above is not None or below is not None:
            raise ValueError("give a claim above and below, or between, not both")
        above, below = between
    if above is None and below is None:
        raise ValueError("a claim needs a bound: above=, below= or between=(above, below)")
    if above is not None and below is not None and not above < below:
        raise ValueError(f"nothing lies between {above} and {below}")
    return above, below


def _binds():
    binds = os.environ.get("CNNBOOK_CLAIMS") or "report"
    if binds not in BINDS:
        raise ValueError(f"CNNBOOK_CLAIMS is {' or '.join(BINDS)}, got {binds!r}")
    return binds


def _short(number):
    return f"{number:.3g}" if abs(number) < 1000 or not math.isfinite(number) else f"{number:,.0f}"


def _of(facts):
    return "nan" if facts["value"] is None else _short(facts["value"])


def _display(said):
    """In a notebook as an output with metadata, elsewhere as a line."""
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    if get_ipython() is None:
        print(said, flush=True)
        return
    from IPython.display import display

    display({"text/plain": str(said)}, raw=True, metadata={METADATA: said.facts()})

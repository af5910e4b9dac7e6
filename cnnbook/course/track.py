"""How often each claim has held: results/claims.csv in the package, made from the lines that `cnnbook shake` keeps."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cnnbook import claims, files
from cnnbook.course.notebook import text_of
from cnnbook.course.project import Project, UserError
from cnnbook.course.said import ADDED, claims_in, judged, own_cells, repeated, tags_of
from cnnbook.course.standing import Standing, record_key
from cnnbook.sources.imports import Imports

COLUMNS = (
    "notebook", "claim", "key", "runs", "held", "smallest_margin", "median_margin", "conditions", "date",
)  # fmt: skip
KIND = "table of claims"
# A claim that was missed once stands after so many runs.
ENOUGH = 24
# What there is for a claim: no record, one of an earlier version of what it stands on, one of what it is now.
NONE, EARLIER, CURRENT = "none", "earlier", "current"


@dataclass(frozen=True)
class Current:
    """A claim as the notebook makes it now: what decides its number, how it is called, its bound."""

    key: str
    call: str
    asked: str

    @property
    def record_key(self) -> str:
        return record_key(self.key, self.asked)


def current_claims(path: Path, package: Imports, lines=()) -> dict[str, Current]:
    """The claims of a notebook by their sentences: those of its stored outputs, and of the runs of what it is now.

    lines: of this notebook, see `shake.Journal`.
    """
    cells = own_cells(path)
    standing = Standing(cells, package)
    run, found = standing.run(), {}
    for line in lines:
        if line["run"] == run:
            found |= {
                said["sentence"]: Current(said["key"], said["call"], said["asked"]) for said in line["claims"]
            }
    for said in claims_in(cells):
        cell = said["cell"]
        found[said["sentence"]] = Current(standing.key(cell), standing.call(cell), said["asked"])
    return found


def all_are_known(path: Path, package: Imports, lines) -> bool:
    """Whether `current_claims` are all that the notebook makes: its outputs, or a whole run of what it is now, say so."""
    cells = own_cells(path)
    run = Standing(cells, package).run()
    return bool(claims_in(cells)) or any(line["run"] == run and line["status"] == "passed" for line in lines)


def stands(row: dict) -> bool:
    """Whether a claim has held as often as it must: always, or all but once in 24."""
    runs, held = int(row["runs"]), int(row["held"])
    return held == runs or (runs >= ENOUGH and (runs - held) * ENOUGH <= runs)


def rows_of(notebook: str, lines: list[dict], current: dict[str, Current]) -> list[dict]:
    """The rows of a notebook's claims that have run as they are now."""
    rows = []
    for sentence, now in current.items():
        counted = counted_runs(lines, sentence, now)
        if not counted:
            continue
        margins = [said["margin"] for _, said in counted]
        finite = [margin for margin in margins if margin is not None]
        kinds = Counter(line["kind"] for line, _ in counted)
        rows.append(
            dict(
                notebook=notebook,
                claim=sentence,
                key=now.record_key,
                runs=str(len(counted)),
                held=str(sum(said["held"] for _, said in counted)),
                smallest_margin="nan" if None in margins else f"{min(finite):.3g}",
                median_margin=f"{statistics.median(finite):.3g}" if finite else "nan",
                conditions="; ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items())),
                date=max(line["date"] for line, _ in counted),
            )
        )
    return rows


def counted_runs(lines: list[dict], sentence: str, now: Current) -> list[tuple[dict, dict]]:
    """The runs that count for a claim as it is now, the last of each condition: (line, facts by today's bound)."""
    counted = {}
    for line in lines:
        for said in line["claims"]:
            if said["sentence"] == sentence and said["key"] == now.key:
                facts = said if said["call"] == now.call else judged(said, now.asked)
                counted[line["condition"], line["kind"], line["processor"]] = line, facts
    return list(counted.values())


def check(project: Project, only: str | None = None) -> int:
    """Print how the records of the stored notebooks' claims stand; 1 where something is wrong, else 0.

    Wrong is a claim that has not held as often as it must, a claim without a record in a notebook that has records, and a
    sentence that two claims of one notebook share. A record of an earlier version is counted.
    """
    table, package = Table(project.claims_table), Imports()
    wrong, count = [], Counter()
    for path in project.notebook_paths(only):
        rows, current = table.of(path.stem), current_claims(path, package)
        wrong += [f"{path.stem}: two claims say {said!r}" for said in repeated(own_cells(path))]
        for sentence, now in current.items():
            standing = state(rows.get(sentence), now)
            count[standing] += 1
            if standing == NONE and rows:
                wrong.append(f"{path.stem}: no record of {sentence!r}: cnnbook shake --only {path.stem}")
            elif standing == CURRENT and not stands(rows[sentence]):
                row = rows[sentence]
                wrong.append(f"{path.stem}: {sentence!r} held in {row['held']} of {row['runs']} runs")
        count["gone"] += len(rows.keys() - current.keys())
    print(
        f"{count[CURRENT] + count[EARLIER] + count[NONE]} claims: {count[CURRENT]} with a record, "
        f"{count[EARLIER]} with one of an earlier version, {count[NONE]} without"
        + (f"; {count['gone']} records of claims that are gone" if count["gone"] else "")
    )
    for problem in wrong:
        print(f"  {problem}")
    return int(bool(wrong))


def state(row: dict | None, now: Current) -> str:
    """Whether a claim has a record, and of what it is now or of an earlier version."""
    if row is None:
        return NONE
    return CURRENT if row["key"] == now.record_key else EARLIER


def in_words(cells: list[dict], rows: dict[str, dict], package: Imports) -> dict[str, str]:
    """How often each claim in the outputs of these cells has held, by sentence; rows: those of the notebook.

    Where papermill has changed parameters, the numbers are of other sizes than those of the records.
    """
    own = [cell for cell in cells if not ADDED & set(tags_of(cell))]
    changed = any("injected-parameters" in tags_of(cell) for cell in cells)
    standing, words = Standing(own, package), {}
    for said in claims_in(own):
        row, cell = rows.get(said["sentence"]), said["cell"]
        now = Current(standing.key(cell), standing.call(cell), said["asked"])
        words[said["sentence"]] = claims.in_words(row, earlier=state(row, now) == EARLIER)
        if changed and row:
            words[said["sentence"]] = f"{claims.in_words(row)} with the default sizes"
    return words


class Table:
    """The file results/claims.csv, read at once and written whole. UserError where a line of it would be lost so."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = {}
        if path.exists():
            reader = csv.DictReader(io.StringIO(text_of(path, KIND)))
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UserError(f"{path} is no {KIND}: its first line is not {','.join(COLUMNS)}")
            for row in reader:
                _check(row, path, reader.line_num)
                self.rows[row["notebook"], row["claim"]] = row

    def of(self, notebook: str) -> dict[str, dict]:
        """A notebook's rows by the claims' sentences."""
        return {claim: row for (name, claim), row in self.rows.items() if name == notebook}

    def update(self, notebook: str, rows: list[dict], sentences=None) -> None:
        """Take in new rows of a notebook; where all its sentences are known, drop those of claims that it no longer makes.

        A row of the same key that counts more runs, on another machine's disk perhaps, stays.
        """
        for claim, old in self.of(notebook).items():
            if sentences is not None and claim not in sentences:
                del self.rows[notebook, claim]
            else:
                rows = [r for r in rows if r["claim"] != claim or not _says_more(old, r)]
        self.rows |= {(notebook, row["claim"]): row for row in rows}

    def write(self) -> None:
        """Write it, sorted, where it changed."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows[key] for key in sorted(self.rows))
        if not self.path.exists() or self.path.read_text("utf-8") != text.getvalue():
            files.write(self.path, text.getvalue())


def _check(row, path, line):
    whole = None not in row and None not in row.values()
    if not (whole and row["runs"].isdecimal() and row["held"].isdecimal()):
        raise UserError(
            f"{path} is no {KIND}: line {line} is no record; where it is a mark of a merge conflict, keep one side and "
            "delete the marks"
        )


def _says_more(old, new):
    return old["key"] == new["key"] and int(old["runs"]) > int(new["runs"])

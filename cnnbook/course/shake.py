"""`cnnbook shake`: repeats notebooks under other seeds and on other machines, and counts how often each claim holds.

A run's facts are one JSON line in the folder --out, appended when the notebook has ended; what is there is not run again
while the notebook's code, and what it computes with, is the same. The lines make results/claims.csv of the package.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cnnbook import files, machine
from cnnbook.course import conditions as places
from cnnbook.course.conditions import Condition
from cnnbook.course.jobs import work_through
from cnnbook.course.plan import FAILED, PACKAGES, PASSED, TIMEOUTS, Task, default_jobs, longest_first
from cnnbook.course.project import Project, UserError, check_out, how_to_install
from cnnbook.course.records import Records, claims_of
from cnnbook.course.said import in_a_line, makes_claims, missed, own_cells, tags_of
from cnnbook.course.standing import Standing
from cnnbook.course.track import Current, Table, all_are_known, counted_runs, current_claims, rows_of, stands
from cnnbook.sources.decisive import digest
from cnnbook.sources.imports import Imports

PARAMETER = "seed"
ERROR = "error"
LONGEST_ERROR = 400  # characters of an error that are told


@dataclass
class Trial(Task):
    """A notebook to run under a condition."""

    condition: Condition | None = None
    force: dict | None = None  # what is in force under it

    @property
    def name(self) -> str:
        return f"{self.path.stem}.{self.condition.name}"


class Journal(Records):
    """The folder of the runs: their lines, and logs and copies of those that ended in an error."""

    command = "shake"

    def __init__(self, folder: Path, package: Imports):
        super().__init__(folder)
        self.package = package
        self.path = folder / "runs.jsonl"

    def prepare(self) -> None:
        """Make the folders; remove what an interrupted run left."""
        self.clean()
        for folder in (self.scratch, self.folder / "logs", self.folder / "failed"):
            folder.mkdir(parents=True, exist_ok=True)

    def lines(self, notebook: str | None = None) -> list[dict]:
        """The lines that can be read, of one notebook or of all, in order."""
        found = []
        text = self.path.read_text("utf-8", errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = json.loads(line)
                if notebook in (None, line["notebook"]):
                    found.append(line)
        return found

    def keep(self, task: Trial, partial: Path) -> None:
        """Append how a trial went; one that was stopped, late or killed leaves no line, so it is run again."""
        task.claims = claims_of(partial)
        failed = self.folder / "failed" / partial.name
        failed.unlink(missing_ok=True)
        if task.status == FAILED and partial.exists():
            os.replace(partial, failed)
        if task.status == PASSED or _by_a_cell(failed):
            self._append(_line(task, failed if failed.exists() else partial, self.package))
        partial.unlink(missing_ok=True)

    def _append(self, line):
        text = json.dumps(line, ensure_ascii=False) + "\n"
        with files.lock(self.path.with_suffix(".lock")), open(self.path, "ab+") as file:
            # After a line that a kill has cut off, a new one begins.
            if file.tell() and not _ends_with_newline(self.path):
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def _ends_with_newline(path):
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _by_a_cell(executed):
    """Whether a cell of an executed notebook has raised: the notebook itself failed, not what ran it."""
    try:
        return any(o["output_type"] == "error" for c in own_cells(executed) for o in c.get("outputs", []))
    except UserError:
        return False


def _line(task, executed, package):
    standing = Standing(own_cells(executed), package)
    claims = [
        {**said, "key": standing.key(said["cell"]), "call": standing.call(said["cell"])}
        for said in task.claims
    ]
    return dict(
        notebook=task.path.stem,
        condition=task.condition.name,
        seed=task.condition.seed,
        kind=places.kind(task.force),
        processor=task.force["processor"],
        run=standing.run(),
        status=PASSED if task.status == PASSED else ERROR,
        cell=task.cell,
        error=_short(task.error),
        seconds=round(task.seconds, 1),
        used=task.used,
        date=datetime.date.today().isoformat(),
        claims=claims,
    )


def _short(error):
    """An error without colours, and without the arrays that it may quote."""
    text = re.sub(r"\x1b\[[\d;]*m", "", error or "").strip()
    return text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 3] + "..."


def shake(
    project: Project,
    *,
    only=None,
    conditions=None,
    more=False,
    jobs=None,
    timeout=None,
    out=None,
    fresh=False,
) -> int:
    """Run the notebooks that make claims under the conditions, bring results/claims.csv up to date, say what holds.

    Exit status: 0 all claims stand, 1 a claim does not or a notebook ended in an error, 130 interrupted.
    """
    journal = _journal(project, out)
    chosen = places.choose_conditions(conditions, more)
    paths = shaken_notebooks(project, only)
    with journal.locked():
        journal.prepare()
        if more:
            paths = [path for path in paths if _has_missed(path, journal)]
            print(f"missed a claim so far: {', '.join(p.stem for p in paths) or 'none'}")
        trials = plan_trials(paths, chosen, journal, fresh)
        interrupted = run_trials(trials, journal, jobs, timeout)
        journal.clean()
        table = Table(project.claims_table)
        problems = _count(paths, journal, table)
    problems += [trial for trial in trials if trial.status == FAILED]
    return 130 if interrupted else int(bool(problems))


def confirm(project: Project, path: Path, *, jobs=None, timeout=None, out=None) -> int:
    """Run the notebooks that missed a claim under two other seeds: 1 where the same claim misses there too, else 0.

    path: JSON, {notebook: [sentences]}, as `pytest --nbval` writes it. No record is changed.
    """
    try:
        missing = {name: set(sentences) for name, sentences in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): python -m pytest --nbval notebooks writes it"
        ) from None
    if not any(missing.values()):
        print("no claim was missed: nothing to confirm")
        return 0
    journal = _journal(project, out or project.root / "build" / "confirm")
    paths = [p for p in shaken_notebooks(project, ",".join(sorted(missing))) if missing.get(p.stem)]
    with journal.locked():
        journal.prepare()
        trials = plan_trials(paths, list(places.CONFIRMING), journal, fresh=True)
        interrupted = run_trials(trials, journal, jobs, timeout)
        journal.clean()
    if interrupted:
        return 130
    return max(_confirmed(path.stem, missing[path.stem], trials) for path in paths)


def _confirmed(notebook, sentences, trials):
    """Say of each claim whether it was missed again; 1 where one was, or where a run failed."""
    runs = [trial for trial in trials if trial.path.stem == notebook]
    if not runs or any(run.status != PASSED for run in runs):
        print(f"{notebook}: its runs failed, so what it missed is not confirmed")
        return 1
    again = sentences.intersection(*({said["sentence"] for said in missed(run.claims)} for run in runs))
    for sentence in sorted(sentences):
        verdict = "missed under two other seeds too" if sentence in again else "not missed under another seed"
        print(f"{notebook}: {sentence}: {verdict}")
    return int(bool(again))


def _journal(project, out):
    needed = [m for m in ("papermill", "ipykernel", "psutil") if find_spec(m) is None]
    if needed:
        raise UserError(f"running notebooks needs {', '.join(needed)}: {how_to_install('lab')}")
    out = Path(out or project.root / "build" / "shake").resolve()
    check_out(out, project)
    return Journal(out, Imports())


def shaken_notebooks(project: Project, only: str | None) -> list[Path]:
    """The notebooks that make claims; each must have the parameter `seed`."""
    paths, without_seed = [], []
    for path in project.notebook_paths(only):
        code = [cell for cell in own_cells(path) if cell["cell_type"] == "code"]
        if any(makes_claims(cell["source"]) for cell in code):
            paths.append(path)
            parameters = "\n".join(cell["source"] for cell in code if "parameters" in tags_of(cell))
            if not any(line.startswith(f"{PARAMETER} =") for line in parameters.splitlines()):
                without_seed.append(path.stem)
    if without_seed:
        raise UserError(
            f"{', '.join(without_seed)}: there is no line `{PARAMETER} = ...` in a cell tagged `parameters`, from "
            "which all random numbers of a notebook follow; leave such notebooks out with --only"
        )
    if not paths:
        raise UserError("none of these notebooks makes a claim: cnnbook.claim(sentence, value, above=...)")
    return paths


def plan_trials(paths: list[Path], chosen: list[Condition], journal: Journal, fresh: bool) -> list[Trial]:
    """What is to run: every notebook under every condition that this machine gives and that has no line yet."""
    runs = {path.stem: Standing(own_cells(path), journal.package).run() for path in paths}
    lines = journal.lines()
    processor = machine.processor()
    done = {
        (line["notebook"], line["condition"], line["run"])
        for line in lines
        if line["status"] == PASSED and (line["processor"] == processor) and not fresh
    }
    seconds = {line["notebook"]: line["seconds"] for line in lines}
    trials, found = [], _Found(journal.folder / "in-force.json")
    for condition in chosen:
        todo = [p for p in paths if (p.stem, condition.name, runs[p.stem]) not in done]
        if not todo:
            continue
        force, why_not = found.of(condition.machine)
        if why_not:
            print(f"  {condition.name:<14} is not run: {why_not}", flush=True)
            continue
        new = [
            Trial(
                path, {PARAMETER: condition.seed}, environment=condition.environment, page=False,
                condition=condition, force=force,
            )
            for path in todo
        ]  # fmt: skip
        # A notebook that was never timed may be the longest.
        trials += longest_first(new, {t.name: seconds.get(t.path.stem, float("inf")) for t in new})
    print(f"{len(paths)} notebooks, {len(chosen)} conditions, {len(trials)} runs to do", flush=True)
    return trials


class _Found:
    """What is in force on each machine, asked once and kept while versions and processor are the same."""

    def __init__(self, path):
        self.path = path
        try:
            self.known = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            self.known = {}

    def of(self, name):
        """(what is in force, None) or (None, why it is not the machine that was asked for)."""
        environment = places.MACHINES[name].environment
        key = digest([name, machine.versions(PACKAGES), machine.processor(), machine.backend(), environment])
        if key not in self.known:
            force = places.in_force(name)
            print(f"  {name:<14} {places.kind(force) if force else 'does not start'}", flush=True)
            if force is None:
                return None, places.differs(name, force)
            self.known[key] = force
            files.write(self.path, json.dumps(self.known, indent=1))
        return self.known[key], places.differs(name, self.known[key])


def run_trials(trials: list[Trial], journal: Journal, jobs, timeout) -> bool:
    """Run them with a line each; returns whether that was interrupted. What has ended is kept."""
    if work_through(trials, jobs or default_jobs(len(trials)), timeout or TIMEOUTS["default"], journal):
        return True
    for trial in trials:
        if trial.status == FAILED:
            print(f"\nFAILED {trial.name}: {trial.cell or 'before its first cell'}\n  {_short(trial.error)}")
            print(f"  {journal.folder / 'failed' / f'{trial.name}.ipynb'}")
    return False


def _has_missed(path, journal):
    lines = journal.lines(path.stem)
    current = current_claims(path, journal.package, lines)
    runs = (counted_runs(lines, sentence, now) for sentence, now in current.items())
    return any(not said["held"] for counted in runs for _, said in counted)


def _count(paths, journal, table) -> list[str]:
    """Bring the table up to date for these notebooks and say how they stand; returns the claims that do not."""
    problems = []
    for path in paths:
        lines = journal.lines(path.stem)
        current = current_claims(path, journal.package, lines)
        known = set(current) if all_are_known(path, journal.package, lines) else None
        table.update(path.stem, rows_of(path.stem, lines, current), known)
        problems += _say(path.stem, table.of(path.stem), lines, current)
    table.write()
    print(f"\nrecords: {table.path}")
    return problems


def _say(notebook, rows, lines, current: dict[str, Current]):
    """Print a line for the notebook, and one for each claim that was missed; returns those that do not stand."""
    now = {claim: rows[claim] for claim in current if claim in rows}
    now = {claim: row for claim, row in now.items() if row["key"] == current[claim].record_key}
    unsteady = [claim for claim, row in now.items() if row["held"] != row["runs"]]
    runs = sorted({int(row["runs"]) for row in now.values()})
    print(
        f"\n{notebook}: {len(current)} claims, {len(now)} with a record"
        + (f" of {' to '.join(str(n) for n in (runs[:1] + runs[1:][-1:]))} runs" if runs else "")
        + f", {len(now) - len(unsteady)} always held"
    )
    for claim in unsteady:
        row = now[claim]
        verdict = "stands" if stands(row) else _advice(row)
        print(f"  {claim}: held in {row['held']} of {row['runs']}; {verdict}")
        for line, said in counted_runs(lines, claim, current[claim]):
            if not said["held"]:
                print(f"    missed under {line['condition']} ({line['kind']}): {in_a_line(said)}")
    return [claim for claim in unsteady if not stands(now[claim])]


def _advice(row):
    if int(row["runs"]) - int(row["held"]) > 1:
        return "more seeds or steps, or say less"
    return "once in 24 would be right: cnnbook shake --more"

"""`cnnbook reproduce`: makes the kept evidence of experiments, one process per run, each kept as soon as it has ended.

What has run is not run again while its code and parameters are the same. The evidence of an experiment is written, whole,
when all its runs are there: a file of JSON with a line for each.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from cnnbook import experiments, tables
from cnnbook.course.jobs import work_through
from cnnbook.course.plan import FAILED, Task, default_jobs, has_a_card
from cnnbook.course.project import UserError, check_out, how_to_install, unwritable
from cnnbook.course.records import Records
from cnnbook.experiments.common.evidence import Evidence, in_words, together
from cnnbook.experiments.common.experiment import Experiment
from cnnbook.experiments.common.measured import Run
from cnnbook.experiments.common.room import Room

CURRENT, EARLIER, MISSING, BROKEN = "current", "of an earlier version", "not made yet", "not whole"


@dataclass
class Trial(Task):
    """A variant of an experiment to run with a seed at the kept size."""

    worker: ClassVar[str] = "cnnbook.course.experiment"
    experiment: Experiment | None = None
    variant: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.experiment.name}, {self.variant}, seed {self.seed}"

    @property
    def file(self) -> str:
        # A variant may be called what no file can be.
        number = list(self.experiment.variants).index(self.variant)
        words = re.sub(r"\W+", "-", self.variant).strip("-").lower()
        return f"{self.experiment.name}.{number}-{words}.{self.seed}.json"

    def job(self, partial: Path) -> dict:
        return {
            "room": self.experiment.room.package,
            "experiment": self.experiment.name,
            "variant": self.variant,
            "seed": self.seed,
            "partial": str(partial),
        }


class Finished(Records):
    """The folder of finished runs: runs/KEY.json each, named by what it stands on, and logs."""

    command, busy = "reproduce", "running experiments"

    def prepare(self) -> None:
        """Make the folders; remove what an interrupted run left."""
        self.clean()
        for folder in ("partial", "logs", "runs"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)

    def keep(self, task: Trial, partial: Path) -> None:
        """Move what a run measured to its place; a run that failed or was stopped leaves nothing."""
        if task.status != FAILED and partial.exists():
            key = json.loads(partial.read_text("utf-8"))["key"]
            os.replace(partial, self.folder / "runs" / f"{key}.json")
        partial.unlink(missing_ok=True)

    def run(self, key: str) -> tuple[Run, dict] | None:
        """A finished run and the facts of its machine; None where there is none that is whole."""
        try:
            record = json.loads((self.folder / "runs" / f"{key}.json").read_text("utf-8"))
            return (Run.from_dict(record), record["facts"]) if record["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def reproduce(
    names: list[str],
    folder: Path,
    *,
    room: Room = experiments.ROOM,
    seeds: int | None = None,
    jobs: int | None = None,
    apart: bool = False,
    fresh: bool = False,
) -> int:
    """Run experiments at their kept size and write their evidence, where its key is not today's.

    folder: where finished runs and logs are kept. seeds: how many each variant gets, in place of its own number. apart: the
    evidence goes into that folder as well, and that of the package is not looked at; so does evidence of other `seeds`.
    Exit status: 0 all evidence is there, 1 a run failed, 130 interrupted.
    """
    if find_spec("psutil") is None:
        raise UserError(f"running experiments needs psutil: {how_to_install('lab')}")
    for place in {folder, folder if apart else room.kept}:
        check_out(place)
    finished = Finished(folder.resolve())
    finished.check()
    chosen = choose_experiments(room, names)
    with finished.locked():
        finished.prepare()
        wholes = [Whole(experiment, finished, seeds, apart, fresh) for experiment in chosen]
        for whole in wholes:
            print(whole.heading(), flush=True)
        trials = [trial for whole in wholes for trial in whole.trials()]
        interrupted = run_trials(trials, finished, jobs)
        for whole in wholes:
            print(whole.write(trials), flush=True)
        finished.clean()
    return 130 if interrupted else int(any(whole.missing for whole in wholes))


def choose_experiments(room: Room, names: list[str]) -> list[Experiment]:
    """Those called so, or of the files called so; all where no name is given. UserError for one that there is not."""
    known, chosen = room.names(), set()
    for name in names:
        found = {k for k in known if name in (k, k.partition(".")[0])}
        if not found:
            raise UserError(
                f"there is no experiment {name!r}, nor a file of that name; there is: {', '.join(known) or 'none yet'}"
            )
        chosen |= found
    return [room.load(name) for name in known if name in chosen or not names]


class Whole:
    """What the evidence of one experiment takes: its runs, those that are there and those to do."""

    def __init__(self, experiment, finished, seeds, apart, fresh):
        self.experiment, self.finished = experiment, finished
        count = seeds or experiment.kept_seeds
        self.apart = apart or count != experiment.kept_seeds
        self.parameters = {**experiment.parameters, "seeds": count}
        self.runs = [(variant, seed) for variant in experiment.variants for seed in range(count)]
        self.keys = {run: experiment.run_key(*run) for run in self.runs}
        name = f"{experiment.name}.json"
        self.path = finished.folder / name if self.apart else experiment.room.evidence_path(experiment.name)
        self.stored = _stored(experiment, self.path)
        self.fresh = fresh
        if fresh:
            for key in self.keys.values():
                (finished.folder / "runs" / f"{key}.json").unlink(missing_ok=True)

    def found(self) -> dict[tuple[str, int], tuple[Run, dict]]:
        """The runs that are there, from the evidence or from the folder of finished ones, with their facts."""
        stored = {}
        if self.stored and not self.fresh:
            # The key of a run is not that of its label.
            by_key = {self.stored.keys[run.variant, run.seed]: run for run in self.stored}
            stored = {key: (run, self.stored.facts) for key, run in by_key.items()}
        found = {}
        for (variant, seed), key in self.keys.items():
            if there := self.finished.run(key) or stored.get(key):
                run, facts = there
                found[variant, seed] = Run(variant, seed, run.measured, run.seconds, run.cpu), facts
        return found

    @property
    def missing(self) -> int:
        """How many runs are not there."""
        return len(self.runs) - len(self.found())

    def trials(self) -> list[Trial]:
        """What is to run."""
        there = self.found()
        place = Path(self.experiment.room.folder)
        return [
            Trial(place, {}, experiment=self.experiment, variant=variant, seed=seed)
            for variant, seed in self.runs
            if (variant, seed) not in there
        ]

    def heading(self) -> str:
        there = len(self.found())
        before = f", {there} of them done before" if there else ""
        size = in_words(self.experiment.kept_size)
        return f"{self.experiment.name}: {_runs(len(self.runs))} at {size}{before}"

    def write(self, trials) -> str:
        """Write the evidence where all runs are there; says what was written, or why not."""
        name, there = self.experiment.name, self.found()
        if missing := self.missing:
            failed = [t for t in trials if t.experiment is self.experiment and t.status == FAILED]
            lines = [
                f"{name}: {len(there)} of {len(self.runs)} runs are kept, {missing} are to do; no evidence is written"
            ]
            lines += [f"  FAILED {t.variant}, seed {t.seed}: {(t.error or '').strip()}" for t in failed]
            return "\n".join([*lines, *([f"  {self.finished.folder / 'logs'}"] if failed else [])])
        key = self.experiment.key_of(self.runs)
        if self.stored and self.stored.key == key and not self.fresh:
            return f"{name}: the evidence is current: {self.path}"
        evidence = Evidence(
            self.experiment,
            [run for run, _ in there.values()],
            facts=together([facts for _, facts in there.values()]),
            key=key,
            parameters=self.parameters,
            keys=self.keys,
        )
        try:
            evidence.write(self.path)
        except OSError as error:
            raise UserError(f"{unwritable(error, self.path.parent)}; the runs are kept") from None
        return f"{name}: wrote {_runs(len(self.runs))}, {self.path.stat().st_size:,} bytes: {self.path}"


def run_trials(trials: list[Trial], finished: Finished, jobs: int | None) -> bool:
    """Run them with a live line each; returns whether that was interrupted. What has ended is kept."""
    if not trials:
        return False
    if has_a_card() and (jobs or 1) > 1:
        print("one run at a time: they would share the GPU", flush=True)
    jobs = 1 if has_a_card() else jobs or default_jobs(len(trials))
    return work_through(trials, min(jobs, len(trials)), None, finished)


def _stored(experiment, path):
    """The evidence of a file; None where there is none that is whole."""
    try:
        return Evidence.read(experiment, path)
    except (OSError, ValueError):
        return None


def _runs(count):
    return f"{count} run{'s' if count > 1 else ''}"


def state(experiment: Experiment) -> tuple[str, Evidence | None]:
    """How an experiment's evidence stands, and the evidence."""
    try:
        evidence = experiment.evidence()
    except FileNotFoundError:
        return MISSING, None
    except ValueError:
        return BROKEN, None
    return (CURRENT if evidence.current else EARLIER), evidence


def listed(names: list[str] = (), room: Room = experiments.ROOM) -> str:
    """A table of experiments: kept size, runs, seconds a run, and the date of their evidence and whether it is current."""
    rows = []
    for experiment in choose_experiments(room, names):
        standing, evidence = state(experiment)
        took = [evidence.took(kind) if evidence else "-" for kind in ("cpu", "seconds")]
        runs = f"{len(experiment.variants)} x {experiment.kept_seeds}"
        date = evidence.facts.get("date", "-") if evidence else "-"
        rows.append((experiment.name, in_words(experiment.kept_size), runs, *took, date, standing))
    if not rows:
        return "no experiments yet"
    columns = "experiment", "kept size", "variants x seeds", "CPU s a run", "s", "evidence of", "which is"
    return tables.text("", columns, rows, left={0, 1, 5, 6}, totals=False).strip()


def standing(room: Room = experiments.ROOM) -> str:
    """How many experiments have evidence, in a line, and below it those whose evidence is not today's: no error."""
    states = {name: state(room.load(name))[0] for name in room.names()}
    count = {kind: list(states.values()).count(kind) for kind in (CURRENT, EARLIER, MISSING, BROKEN)}
    line = (
        f"{len(states)} experiment{'s' if len(states) != 1 else ''}: {count[CURRENT]} with evidence, "
        f"{count[EARLIER]} with evidence of an earlier version, {count[MISSING] + count[BROKEN]} without"
    )
    return "\n".join([line, *(f"  {name}: {kind}" for name, kind in states.items() if kind != CURRENT)])

"""Kept runs of an experiment: a small JSON file with a line for each run, and with the facts of how they were produced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ... import files, machine
from .measured import Run, Runs

if TYPE_CHECKING:
    from .experiment import Experiment

__all__ = ["Evidence", "facts_here", "in_words", "together"]


class Evidence(Runs):
    """The kept runs of an experiment, a list of `Run`.

    facts: date, processor, cores and versions of the machine that ran them. parameters: {"variants": ..., "kept": ...,
    "seeds": ...} as they were then. key: of the code and parameters that they stand on. keys: {(variant, seed): a run's}.
    """

    def __init__(self, experiment: Experiment, runs=(), *, facts=None, key="", parameters=None, keys=None):
        super().__init__(runs)
        self.experiment, self.name = experiment, experiment.name
        self.facts, self.key, self.parameters, self.keys = facts or {}, key, parameters or {}, keys or {}

    @property
    def current(self) -> bool:
        """Whether its key is today's: the function, what it computes with and its parameters are as they were."""
        return self.key == self.experiment.key

    @classmethod
    def read(cls, experiment: Experiment, path: Path) -> Evidence:
        """The evidence of a file. FileNotFoundError: not made yet; ValueError: not whole, or no evidence."""
        again = f"cnnbook reproduce {experiment.name}"
        try:
            stored = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"the evidence of {experiment.name} is not made yet: {again}") from None
        except ValueError:
            raise ValueError(f"{path.name} is not whole: {again} makes it anew") from None
        try:
            facts = {k: v for k, v in stored.items() if k not in ("name", "key", "parameters", "runs")}
            runs = [Run.from_dict(record) for record in stored["runs"]]
            keys = {(record["variant"], record["seed"]): record["key"] for record in stored["runs"]}
            known = dict(key=stored["key"], parameters=stored["parameters"], keys=keys)
            return cls(experiment, runs, facts=facts, **known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.name} holds no evidence ({error!r}): {again} makes it anew") from None

    def write(self, path: Path) -> None:
        """Writes the file, whole: a line for each fact and each run."""
        facts = {"name": self.name, "key": self.key, "parameters": self.parameters, **self.facts}
        records = [{**run.to_dict(), "key": self.keys[run.variant, run.seed]} for run in self]
        files.write(path, files.in_lines(facts, records))

    def in_words(self) -> str:
        """ "kept evidence of 2025-11-27: 2 variants x 3 seeds, images=6000, epochs=12, 14 s a run; ..."."""
        seconds = sum(run.seconds for run in self) / max(1, len(self))
        machine = (
            f"{self.facts.get('processor')}, Keras {self.facts.get('keras')} on {self.facts.get('backend')}"
        )
        return (
            f"kept evidence of {self.facts.get('date')}: {len(self.variants)} variants x {len(self.seeds)} seeds, "
            f"{in_words(self.parameters.get('kept', {}))}, {seconds:.0f} s a run; {machine}"
        )


def in_words(sizes: dict) -> str:
    """ "images=6000, epochs=12" """
    return ", ".join(f"{name}={value}" for name, value in sizes.items()) or "no sizes"


def facts_here() -> dict:
    """How a run is produced here: `machine.facts`, with the versions of the backend and of NumPy, and the GPU or TPU."""
    facts = machine.facts()
    packages = [name for name in machine.versions() if name.startswith(facts["backend"])]
    facts |= {name: machine.versions()[name] for name in (*packages, "numpy")}
    accelerators = sorted(set(machine.accelerators(facts["backend"])))
    return facts | ({"accelerator": ", ".join(accelerators)} if accelerators else {})


def together(facts: list[dict]) -> dict:
    """The facts of several runs as one: the latest date, and of the rest all that differ."""
    names = dict.fromkeys(name for of_one in facts for name in of_one)
    found = {name: list(dict.fromkeys(f[name] for f in facts if name in f)) for name in names}
    found = {n: values[0] if len(values) == 1 else "; ".join(map(str, values)) for n, values in found.items()}
    return found | {"date": max(of_one["date"] for of_one in facts)}

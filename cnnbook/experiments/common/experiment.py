"""An experiment: a function of parameters and a seed, its variants, and two sizes to run it at."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from tqdm import tqdm

from ... import training
from ...arguments import whole_number
from ...sources.decisive import digest
from .evidence import Evidence
from .measured import Run, Runs, checked

if TYPE_CHECKING:
    from .room import Room

__all__ = ["Experiment"]

# Seconds after which a line says how far it is.
PATIENCE = 5


class Experiment:
    """A function, run for each of its variants with several seeds, at a live and at a kept size.

    function: takes the parameters of a variant, those of a size, and `seed`, all by keyword; returns a `training.History`
    or {name: number or list of numbers}. It lies in the experiment's file. All generators are seeded with `seed` before
    each run. variants: {name: its parameters}. live, kept: the parameters of the two sizes, under the same names.
    live_seeds, kept_seeds: how many seeds each variant gets, from 0 on for the kept runs. Parameters are what JSON holds:
    numbers, texts, True, False, None, lists and dictionaries of them; of a network give the name.

    ValueError where parameters do not fit the function. name: "normalisation.placement", once it is loaded.
    """

    name: str | None = None
    room: Room | None = None

    def __init__(
        self,
        function: Callable,
        *,
        variants: Mapping[str, Mapping],
        live: Mapping,
        kept: Mapping,
        live_seeds: int = 1,
        kept_seeds: int = 3,
    ):
        self.function = function
        self.variants = {str(name): dict(parameters) for name, parameters in variants.items()}
        self.live_size, self.kept_size = dict(live), dict(kept)
        self.live_seeds, self.kept_seeds = live_seeds, kept_seeds
        self._check()

    def __repr__(self):
        return f"<Experiment {self.name or self.function.__name__}: {', '.join(self.variants)}>"

    def live(self, seed: int = 0, seeds: int | None = None, variants: Iterable[str] | None = None, **sizes):
        """Runs the live size here and now; returns `Runs`, variant by variant.

        seed: the first of `seeds` (by default live_seeds) seeds. variants: only these, by name. sizes: parameters of the
        live size with another value. ValueError for a name that there is not. Where it takes over five seconds a line says
        how far it is.
        """
        chosen = list(self.variants) if variants is None else list(variants)
        self._known(chosen, self.variants, "variant")
        self._known(sizes, self.live_size, "size")
        seeds = range(seed, seed + whole_number(self.live_seeds if seeds is None else seeds, "seeds"))
        # Imports Keras, whose seconds are not those of a run.
        training.seed(seed)
        todo = [(variant, s) for variant in chosen for s in seeds]
        text = self.name or self.function.__name__
        lines = tqdm(todo, desc=text, unit="run", file=sys.stdout, mininterval=PATIENCE, delay=PATIENCE)
        return Runs([self.run(variant, s, {**self.live_size, **sizes}) for variant, s in lines])

    def run(self, variant: str, seed: int, sizes: Mapping) -> Run:
        """One run of a variant with a seed, at a size."""
        training.seed(seed)
        started, cpu = time.perf_counter(), time.process_time()
        measured = self.function(**self.variants[variant], **sizes, seed=seed)
        took = time.perf_counter() - started, time.process_time() - cpu
        return Run(variant, seed, checked(measured, self.function.__name__), *took)

    def evidence(self) -> Evidence:
        """The kept runs, shipped with the package: kept/NAME.json.

        FileNotFoundError where they are not made yet, ValueError where the file is not whole, with what to do.
        """
        return Evidence.read(self, self._placed().evidence_path(self.name))

    @property
    def kept_runs(self) -> list[tuple[str, int]]:
        """(variant, seed) of each run at the kept size."""
        return [(variant, seed) for variant in self.variants for seed in range(self.kept_seeds)]

    @property
    def parameters(self) -> dict:
        """What the kept runs are given, as JSON holds it."""
        kept = dict(variants=self.variants, kept=self.kept_size, seeds=self.kept_seeds)
        return json.loads(json.dumps(kept))

    @property
    def key(self) -> str:
        """What evidence stands on, as a digest: the code, the variants with their names, the kept size and seeds."""
        return self.key_of(self.kept_runs)

    def key_of(self, runs: Iterable[tuple[str, int]]) -> str:
        """The key of evidence of these runs at the kept size."""
        return digest([[variant, seed, self.run_key(variant, seed)] for variant, seed in runs])[:16]

    def run_key(self, variant: str, seed: int) -> str:
        """What one run at the kept size stands on: the code and its parameters, but not what the variant is called."""
        parameters = {**self.variants[variant], **self.kept_size, "seed": seed}
        return digest([self._placed().code_key(self), parameters])[:16]

    def _placed(self):
        if self.room is None:
            raise ValueError(
                f"{self.function.__name__} was not loaded by its name, so nothing is kept of it: give "
                'experiments.load("FILE.NAME") what it is called'
            )
        return self.room

    def _check(self):
        if not self.variants:
            raise ValueError(f"{self.function.__name__} needs at least one variant: {{name: parameters}}")
        whole_number(self.live_seeds, "live_seeds")
        whole_number(self.kept_seeds, "kept_seeds")
        signature = inspect.signature(self.function)
        takes = ", ".join(signature.parameters)
        for size_name, size in (("live", self.live_size), ("kept", self.kept_size)):
            for variant, parameters in self.variants.items():
                where = f"{self.function.__name__}, {variant!r}, {size_name} size"
                if twice := (parameters.keys() & size.keys()) | (
                    {"seed"} & (parameters.keys() | size.keys())
                ):
                    raise ValueError(
                        f"{where}: {', '.join(sorted(twice))} is given twice; the seed comes by itself, and what "
                        "a variant has, no size has"
                    )
                try:
                    signature.bind(**parameters, **size, seed=0)
                except TypeError as error:
                    raise ValueError(f"{where}: {error}; the function takes {takes}") from None
                _plain_json({**parameters, **size}, where)

    def _known(self, given, known, kind):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(
                f"{self.name or self.function.__name__} has no {kind} {', '.join(map(repr, unknown))}; "
                f"it has: {', '.join(map(str, known))}"
            )


def _plain_json(parameters, where):
    for name, value in parameters.items():
        try:
            same = json.loads(json.dumps(value)) == _lists(value)
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError(
                f"{where}: {name} is {type(value).__name__}, which no file can hold: give numbers, texts, True, False, "
                "None, lists or dictionaries of them; of a network or a function give the name"
            )


def _lists(value):
    """A value with lists in place of tuples, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value

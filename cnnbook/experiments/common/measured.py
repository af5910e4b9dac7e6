"""What runs of an experiment measured, and how that differs over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from ...training.runs import History, spread

__all__ = ["Run", "Runs", "checked"]

DIGITS = 5  # that a kept number has


@dataclass(frozen=True)
class Run:
    """One run: a variant with a seed. measured: what the function returned. seconds: what it took."""

    variant: str
    seed: int
    measured: History | dict
    seconds: float = 0.0

    @property
    def history(self) -> History:
        """The history of a run that trained; AttributeError where the function returns numbers by name."""
        if not isinstance(self.measured, History):
            raise AttributeError(f"this run has no history but values: {', '.join(self.measured)}")
        return self.measured

    @property
    def values(self) -> dict:
        """{name: number or list of numbers}; AttributeError where the function returns a history."""
        if isinstance(self.measured, History):
            raise AttributeError(
                f"this run has no values but a history, of {', '.join(self.measured.curves)}"
            )
        return self.measured

    def measure(self, name: str):
        """A curve of the history, or one of the values; ValueError where there is none of that name."""
        found = self.measured.curves if isinstance(self.measured, History) else self.measured
        if name not in found:
            raise ValueError(f"nothing called {name!r} was measured; there is: {', '.join(found)}")
        return found[name]

    def to_dict(self) -> dict:
        """What JSON holds of it: numbers of five digits."""
        if isinstance(self.measured, History):
            what = {"history": {**self.measured.to_dict(), "curves": _rounded(self.measured.curves)}}
        else:
            what = {"values": _rounded(self.measured)}
        return dict(variant=self.variant, seed=self.seed, seconds=round(self.seconds, 1), **what)

    @classmethod
    def from_dict(cls, record: Mapping) -> Run:
        """The run that `to_dict` wrote; KeyError or TypeError where that is something else."""
        measured = History.from_dict(record["history"]) if "history" in record else record["values"]
        return cls(record["variant"], record["seed"], measured, record["seconds"])


class Runs(list):
    """Runs of an experiment, variant by variant, with what tables and plots need of them."""

    def of(self, variant: str) -> Runs:
        """The runs of a variant, in order of seed; ValueError where there is none."""
        if variant not in self.variants:
            raise ValueError(f"there is no run of {variant!r}; there is: {', '.join(self.variants)}")
        return Runs(sorted((run for run in self if run.variant == variant), key=lambda run: run.seed))

    @property
    def variants(self) -> list[str]:
        """The variants, in order."""
        return list(dict.fromkeys(run.variant for run in self))

    @property
    def seeds(self) -> list[int]:
        """All seeds, from the lowest to the highest."""
        return sorted({run.seed for run in self})

    def histories(self) -> dict[str, list[History]]:
        """{variant: [History of each seed]}, as `viz.curves` draws them: the mean, and a band from lowest to highest."""
        return {variant: [run.history for run in self.of(variant)] for variant in self.variants}

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """{variant: float64 (seeds,)} of a number, (seeds, n) of a list or a curve of length n.

        ValueError for a name that was not measured, and where the lists of two seeds differ in length.
        """
        return {
            variant: _one_array([run.measure(name) for run in self.of(variant)], name, variant)
            for variant in self.variants
        }

    def spread(self, name: str, last: int = 1) -> dict[str, tuple]:
        """{variant: (mean, lowest, highest)} over seeds.

        Of a curve: of the mean of its last `last` values; of a number; of a list: place by place, three arrays (n,).
        """
        found = {}
        for variant in self.variants:
            runs = self.of(variant)
            values = [run.measure(name) for run in runs]
            if isinstance(runs[0].measured, History):
                found[variant] = spread([run.history for run in runs], name, last)
            else:
                array = _one_array(values, name, variant)
                three = array.mean(0), array.min(0), array.max(0)
                found[variant] = three if array.ndim > 1 else tuple(map(float, three))
        return found

    def table(self, name: str, last: int = 1):
        """A pandas DataFrame with a row for each variant: seeds, mean, lowest, highest. A list has a row for each place."""
        import pandas as pd

        rows = {}
        for variant, three in self.spread(name, last).items():
            count = len(self.of(variant))
            if np.ndim(three[0]) == 0:
                rows[variant] = count, *three
            else:
                rows |= {(variant, i): (count, *row) for i, row in enumerate(zip(*three, strict=True))}
        frame = pd.DataFrame.from_dict(rows, "index", columns=["seeds", "mean", "lowest", "highest"])
        frame.index.names = ["variant", "place"][: frame.index.nlevels]
        return frame


def _one_array(lists, name, variant):
    """float64 (seeds, ...) of the lists of several seeds."""
    if len({np.shape(values) for values in lists}) > 1:
        lengths = ", ".join(str(np.size(values)) for values in lists)
        raise ValueError(f"{name!r} of {variant!r} has lists of several lengths over the seeds: {lengths}")
    return np.array(lists, "float64")


def checked(measured, name: str) -> History | dict:
    """What the function `name` returned, as plain numbers; TypeError unless it is a History, or numbers by name."""
    if isinstance(measured, History):
        return measured
    if not isinstance(measured, Mapping) or not measured:
        raise TypeError(
            f"{name} returns a training.History or {{name: number or list of numbers}}, got {type(measured).__name__}"
        )
    return {str(key): _plain(value, f"{key!r} of {name}") for key, value in measured.items()}


def _plain(value, what):
    array = np.asarray(value)
    if array.ndim > 1 or array.dtype.kind not in "biuf":
        raise TypeError(f"{what} is a number or a list of numbers, got {type(value).__name__} {array.shape}")
    return array.tolist()


def _rounded(values):
    if isinstance(values, Mapping):
        return {name: _rounded(value) for name, value in values.items()}
    if isinstance(values, (list, tuple, np.ndarray)):
        return [_rounded(value) for value in values]
    if isinstance(values, Integral):
        return int(values)
    if isinstance(values, Real) and math.isfinite(values):
        return float(f"{values:.{DIGITS}g}")
    return float(values)

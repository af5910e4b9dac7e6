"""The experiments of a package, by name: its files, what they hold, and what their evidence stands on."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
from pathlib import Path

from ...sources.imports import Imports
from ...sources.parts import function_digest
from .experiment import Experiment

__all__ = ["Room"]


class Room:
    """The experiments in the files of a package such as "cnnbook.experiments".

    kept: the folder of their evidence.
    """

    def __init__(self, package: str):
        self.package = package
        self.folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        self.kept = self.folder / "kept"
        self._codes = {}

    def names(self) -> list[str]:
        """ "FILE.NAME" of each experiment: what a file assigns as `NAME = Experiment(...)`, read and not imported."""
        return [
            f"{path.stem}.{name}" for path in sorted(self.folder.glob("*.py")) for name in _assigned(path)
        ]

    def load(self, name: str) -> Experiment:
        """The experiment of that name; ValueError in words where there is none."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet"
            raise ValueError(f"there is no experiment {name!r}; there is: {known}")
        file, _, attribute = name.partition(".")
        module = f"{self.package}.{file}"
        experiment = getattr(importlib.import_module(module), attribute.upper())
        if experiment.function.__module__ != module:
            raise ValueError(
                f"the function of {name} lies in {experiment.function.__module__}: write it in {file}.py, so that its "
                "evidence knows what it stands on"
            )
        experiment.name, experiment.room = name, self
        return experiment

    def evidence_path(self, name: str) -> Path:
        """Where the evidence of an experiment is kept."""
        return self.kept / f"{name}.json"

    def code_key(self, experiment: Experiment) -> str:
        """The digest of an experiment's function, of what it uses of its file, and of the modules that it computes with."""
        if experiment.name not in self._codes:
            words = json.dumps([experiment.variants, experiment.kept_size])
            function = experiment.function
            self._codes[experiment.name] = function_digest(
                self._imports, function.__module__, function.__name__, words
            )
        return self._codes[experiment.name]

    @functools.cached_property
    def _imports(self):
        return Imports(self.folder.parent)


def _assigned(path):
    """What a file assigns as an experiment, in order, in lower case."""
    for statement in ast.parse(path.read_bytes()).body:
        value = getattr(statement, "value", None)
        called = getattr(value, "func", None)
        if isinstance(statement, ast.Assign) and "Experiment" in (
            getattr(called, "id", None),
            getattr(called, "attr", None),
        ):
            yield from (target.id.lower() for target in statement.targets if isinstance(target, ast.Name))

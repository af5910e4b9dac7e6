"""Small files of finished runs, with the facts of how they were made."""

import json
from pathlib import Path

from .. import files, machine
from . import batches
from .fitting import _settings, fit
from .runs import History


class Results:
    """A small JSON file of finished runs, with the facts of how they were made. An interrupted series resumes.

    `run` returns the stored history where label and settings are the same, else trains and adds it to the file
    (written beside, then renamed: a run that was cut short is never taken for whole). path=None stores nothing.
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.facts, self.histories = {}, []
        if self.path and self.path.exists():
            stored = json.loads(self.path.read_text("utf-8"))
            self.histories = [History.from_dict(run) for run in stored.pop("runs")]
            self.facts = stored

    def run(self, label, build, x, y, *, seed=0, **settings):
        """The history of `fit(build(), x, y, seed=seed, **settings)` after `training.seed(seed)`, stored or trained."""
        wanted = _settings(x, dict(seed=seed, **settings))
        for history in self.histories:
            if history.label == label and history.settings == wanted:
                return history
        batches.seed(seed)
        return self.add(fit(build(), x, y, seed=seed, label=label, **settings))

    def add(self, history):
        """Keeps one more finished run, and the facts of this machine; returns it."""
        self.histories.append(history)
        if self.path:
            self.facts = {**self.facts, **machine.facts()}
            text = json.dumps({**self.facts, "runs": [h.to_dict() for h in self.histories]}, indent=1)
            files.write(self.path, text + "\n")
        return history

    def group(self, label):
        """The stored histories of that label, in order of seed."""
        return sorted((h for h in self.histories if h.label == label), key=lambda h: h.settings["seed"])


def kept(name):
    """The kept runs of a chapter, shipped with the package: a `Results` over training/kept/NAME.json. See its facts."""
    return Results(Path(__file__).parent / "kept" / f"{name}.json")

"""Small files of finished runs, with the facts of how they were produced."""

import json
from pathlib import Path

from .. import files, machine
from . import batches
from .fitting import fit
from .protocol import settings_of, takes_protocol
from .runs import History

__all__ = ["Results", "kept"]


class Results:
    """Finished runs, kept in a small JSON file with the facts of how they were produced. An interrupted series resumes.

    `run` returns the stored history with the same label and settings if there is one; otherwise it trains, and adds the
    history to the file, which is always written whole. path=None keeps the runs in memory only.
    `histories`: the runs. `facts`: date, machine and versions of the latest one (`machine.facts`).
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.facts, self.histories = {}, []
        if self.path and self.path.exists():
            stored = json.loads(self.path.read_text("utf-8"))
            self.histories = [History.from_dict(record) for record in stored.pop("runs")]
            self.facts = stored

    @takes_protocol
    def run(self, label, build, x, y, protocol=None, *, loss=None, pixel_weights=None, **options):
        """The history of `fit(build(), x, y, protocol)` after `training.seed(protocol.seed)`, stored or trained now.

        build: a function without arguments that returns the net. The protocol's fields and all other arguments of `fit`
        go by keyword. What a run is found by: its label, the number and shape of the images, the protocol, the loss'
        name and whether there are pixel weights; of the others (validation, fast, ...) nothing is recorded.
        """
        settings = settings_of(protocol, x, loss=loss, pixel_weights=pixel_weights)
        for history in self.histories:
            if history.label == label and history.settings == settings:
                return history
        batches.seed(protocol.seed)
        options |= dict(loss=loss, pixel_weights=pixel_weights)
        return self.add(fit(build(), x, y, protocol, label=label, **options))

    def add(self, history):
        """Keeps one more finished run, and the facts of this machine; returns it."""
        self.histories.append(history)
        if self.path:
            self.facts = {**self.facts, **machine.facts()}
            files.write(self.path, files.in_lines(self.facts, [h.to_dict() for h in self.histories]))
        return history

    def group(self, label):
        """The histories of that label, in order of seed."""
        return sorted((h for h in self.histories if h.label == label), key=lambda h: h.settings["seed"])


def kept(name):
    """The kept runs of a chapter, shipped with the package: a `Results` over training/kept/NAME.json. See its facts."""
    return Results(Path(__file__).parent / "kept" / f"{name}.json")

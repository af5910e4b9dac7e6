"""Small files of finished runs, with the facts of how they were produced."""

import json
from pathlib import Path

from .. import files, machine
from ..arguments import array
from . import batches
from .fitting import fit
from .protocol import settings_of, takes_protocol
from .runs import History

__all__ = ["Results", "kept"]


class Results:
    """Finished runs, kept in a small JSON file with the facts of how they were produced. An interrupted series resumes.

    `run` returns the stored history with the same label and settings if there is one; otherwise it trains, and adds the
    history to the file, which is always written whole. Several processes may add to one file. path=None keeps the runs in
    memory only. `histories`: the runs. `facts`: date, machine and versions of the latest one (`machine.facts`).
    ValueError where the file holds something else.
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.facts, self.histories = {}, []
        self._seen = None
        self._read()

    @takes_protocol
    def run(self, label, build, x, y, protocol=None, *, loss=None, pixel_weights=None, **options):
        """The history of `fit(build(), x, y, protocol)` after `training.seed(protocol.seed)`, stored or trained now.

        build: a function without arguments that returns the net. The protocol's fields and all other arguments of `fit`
        go by keyword. What a run is found by: its label, the number and shape of the images, the protocol, the loss'
        name and whether there are pixel weights; of the others (validation, fast, ...) nothing is recorded.
        """
        x = array(x, "x")
        settings = settings_of(protocol, x, loss=loss, pixel_weights=pixel_weights)
        if found := self._found(label, settings):
            return found
        if self.path:
            files.ready(self.path)
        batches.seed(protocol.seed)
        options |= dict(loss=loss, pixel_weights=pixel_weights)
        return self.add(fit(build(), x, y, protocol, label=label, **options))

    def add(self, history):
        """Keeps one more finished run, and the facts of this machine; returns it."""
        self.histories.append(history)
        if self.path:
            with files.alone(self.path):
                self._read()
                self.facts = {**self.facts, **machine.facts()}
                files.write(self.path, files.in_lines(self.facts, [h.to_dict() for h in self.histories]))
                self._seen = _state(self.path)
        return history

    def group(self, label):
        """The histories of that label, in order of seed."""
        return sorted((h for h in self.histories if h.label == label), key=lambda h: h.settings["seed"])

    def _found(self, label, settings):
        """The stored run of that label and those settings, if there is one; another process may have added it by now."""
        self._read()
        return next((h for h in self.histories if h.label == label and h.settings == settings), None)

    def _read(self):
        """Takes over what the file holds by now: its facts, and before our own runs those that others have added."""
        now = self.path and _state(self.path)
        if now in (None, self._seen):
            return
        self._seen = now
        self.facts, stored = _stored(self.path)
        own = [(_text(h), h) for h in self.histories]
        for place, history in enumerate(stored):
            known = next((i for i, (text, _) in enumerate(own) if text == _text(history)), None)
            stored[place] = history if known is None else own.pop(known)[1]
        self.histories[:] = [*stored, *(h for _, h in own)]


def _state(path):
    """What differs between two states of a file that is always replaced whole; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _stored(path):
    """(facts, histories) of a file of runs."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the path of a file")
    try:
        stored = json.loads(path.read_text("utf-8"))
        records = stored.pop("runs")
        histories = [History.from_dict(record) for record in records]
        if not all(isinstance(kept, dict) for h in histories for kept in (h.curves, h.settings)):
            raise TypeError("curves and settings are not what they should be")
        if not isinstance(records, list):
            raise TypeError("its runs are no list")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:150]
        raise ValueError(
            f"{path} is not a file of finished runs ({reason}): give another file, or delete this one"
        ) from None
    return stored, histories


def _text(history):
    return json.dumps(history.to_dict())


def kept(name):
    """The kept runs of a chapter, shipped with the package: a `Results` over training/kept/NAME.json. See its facts."""
    return Results(Path(__file__).parent / "kept" / f"{name}.json")

"""The experiments of the chapters: one file a chapter, its functions with the live and the kept size beside each.

A notebook's minutes are too few for some questions. Such an experiment is run once, at a size that convinces, by `cnnbook
reproduce NAME`; what it measured is kept in `kept/NAME.json` with date, machine, versions, parameters and key. The notebook
plots that evidence, and runs the same function live beside it, small:

    placement = experiments.load("normalisation.placement")
    live = placement.live(seed=seed, epochs=2)   # runs here, now
    kept = placement.evidence()                  # shipped with the package; kept.facts, kept.current
    viz.curves(kept.histories(), ["val_accuracy"])

normalisation.py of chapter 06 says what that is:

    def placement(*, norm, images, epochs, seed):
        ...
        return training.fit(net, x, y, epochs=epochs, seed=seed)

    PLACEMENT = Experiment(
        placement,
        variants={"before the ReLU": dict(norm="before"), "after": dict(norm="after")},
        live=dict(images=640, epochs=2), live_seeds=1,
        kept=dict(images=6000, epochs=12), kept_seeds=3,
    )

The function returns a `training.History`, or {name: number or list of numbers}. What all files share is in `common`; a file
here holds functions and `Experiment`s, reads no notebook and draws nothing.
"""

from .common.evidence import Evidence
from .common.experiment import Experiment
from .common.measured import Run, Runs
from .common.room import Room

__all__ = ["Evidence", "Experiment", "Run", "Runs", "load", "names"]

ROOM = Room(__name__)


def load(name: str) -> Experiment:
    """The experiment called "FILE.NAME": "normalisation.placement" is PLACEMENT of normalisation.py.

    ValueError where there is none, with those that there are.
    """
    return ROOM.load(name)


def names() -> list[str]:
    """All experiments, by file and in the order of their files. Nothing is imported for it."""
    return ROOM.names()

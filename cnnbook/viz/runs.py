"""Training runs as curves over epochs."""

import numpy as np

from . import style
from .picture import Picture

_NAMES = {"accuracy": "training", "val_accuracy": "held out", "train_accuracy": "training, clean images"}


class Curves(Picture):
    """`.array`: float64 (groups, keys, epochs), the mean over the runs of a group as it is drawn; nan where a group has
    fewer epochs than another."""

    size = (7, 4)

    def __init__(self, groups, keys, error):
        self.groups, self.keys, self.error = groups, tuple(keys), error
        runs = {(label, key): self._runs(label, key) for label in groups for key in self.keys}
        self.array = np.full((len(groups), len(self.keys), max(r.shape[1] for r in runs.values())), np.nan)
        for place, values in zip(np.ndindex(self.array.shape[:2]), runs.values(), strict=True):
            self.array[place][: values.shape[1]] = values.mean(0)
        self.alt = f"Curves over epochs of {', '.join(self.keys)} for {', '.join(groups)}."

    def _runs(self, label, key):
        """(runs, epochs)"""
        values = np.array([history.curves[key] for history in self.groups[label]], "float64")
        return 100 * (1 - values) if self.error else values

    def draw(self, axes):
        for color, label in zip(style.colors(len(self.groups)), self.groups, strict=True):
            for line, key in zip(("-", "--"), self.keys, strict=False):
                runs = self._runs(label, key)
                epochs = np.arange(1, runs.shape[1] + 1)
                axes.plot(epochs, runs.mean(0), line, color=color, label=f"{label}, {_NAMES.get(key, key)}")
                if len(runs) > 1:
                    axes.fill_between(epochs, runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)
        axes.set_xlabel("epoch")
        accuracy = "accuracy" in self.keys[0]
        axes.set_ylabel("error (%)" if self.error else "accuracy" if accuracy else self.keys[0])
        axes.legend()


def curves(groups, keys=("accuracy", "val_accuracy"), *, ax=None, error=False):
    """Curves of training runs over epochs: for each group the mean over its runs, and a band from lowest to highest.

    groups: {label: [History, ...]}, or one History. keys: one or two keys of `History.curves`; the first is drawn solid, the
    second dashed. ax: axes to draw on at once. error=True draws 1 - accuracy in per cent, as the papers do. `.array` is
    (groups, keys, epochs). ValueError for more than two keys, no runs, or a key that a run does not have.
    """
    groups = groups if isinstance(groups, dict) else {groups.label: [groups]}
    keys = (keys,) if isinstance(keys, str) else tuple(keys)
    if not 1 <= len(keys) <= 2:
        raise ValueError(f"keys are one or two, solid and dashed, got {keys}")
    if empty := [label for label, histories in groups.items() if not histories]:
        raise ValueError(f"no runs for {', '.join(map(str, empty))}: give a list of training.History each")
    for history in (history for histories in groups.values() for history in histories):
        if missing := [key for key in keys if key not in history.curves]:
            raise ValueError(
                f"{history.label} has no curve {missing[0]!r}; it has {', '.join(history.curves)}"
            )
    drawn = Curves(groups, keys, error)
    if ax is not None:
        drawn.draw(ax)
    return drawn

"""What training runs measured: histories, and their spread over seeds."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class History:
    """What a training run measured: one number per epoch in each of `curves`, and how it was run.

    Keys of curves: loss and accuracy on the augmented training images as they were seen, val_loss and val_accuracy on
    the held-out ones, and train_accuracy: clean training images after the epoch, where that was asked for.
    """

    label: str
    curves: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self):
        return len(next(iter(self.curves.values()), []))

    def final(self, key, last=1):
        """The mean of a curve's last values."""
        return float(np.mean(self.curves[key][-last:]))

    def to_frame(self):
        """A pandas DataFrame with a row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.curves, index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))

    def to_dict(self):
        rounded = {key: [round(float(v), 4) for v in values] for key, values in self.curves.items()}
        return dict(label=self.label, curves=rounded, settings=self.settings, seconds=round(self.seconds, 1))

    @classmethod
    def from_dict(cls, record):
        return cls(**record)

    def plot(self, keys=("accuracy", "val_accuracy"), ax=None):
        """Curves over epochs, on `ax` or a new figure; returns the axes."""
        return plot({self.label: [self]}, keys=keys, ax=ax)


def spread(histories, key, last=1):
    """(mean, smallest, largest) over runs of a curve's last values."""
    values = [h.final(key, last) for h in histories]
    return float(np.mean(values)), min(values), max(values)


def plot(groups, keys=("accuracy", "val_accuracy"), *, ax=None, error=False):
    """Curves of several groups of runs: {label: [History, ...]}. The mean over runs, and a band from lowest to highest.

    The first key is drawn solid, the second dashed. error=True draws 1 - accuracy in per cent, as the papers do.
    """
    from ..viz import style

    if ax is None:
        _, ax = style.figure(7, 4)
    names = {"accuracy": "training", "val_accuracy": "held out", "train_accuracy": "training, clean images"}
    for color, (label, histories) in zip(style.colors(len(groups)), groups.items(), strict=True):
        for line, key in zip(("-", "--"), keys, strict=False):
            runs = np.array([h.curves[key] for h in histories])
            runs = 100 * (1 - runs) if error else runs
            epochs = np.arange(1, runs.shape[1] + 1)
            ax.plot(epochs, runs.mean(0), line, color=color, label=f"{label}, {names.get(key, key)}")
            if len(runs) > 1:
                ax.fill_between(epochs, runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel("error (%)" if error else "accuracy" if "accuracy" in keys[0] else keys[0])
    ax.legend()
    return ax

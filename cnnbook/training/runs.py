"""What training runs measured: histories, and their spread over seeds. `viz.curves` draws them."""

from dataclasses import dataclass, field

import numpy as np

from .protocol import Protocol

__all__ = ["History", "spread"]


@dataclass
class History:
    """What a training run measured: one number per epoch in each of `curves`, and how it was run.

    Keys of curves: loss and accuracy on the augmented training images as they were seen, val_loss and val_accuracy on
    the held-out ones, and with clean_training_accuracy train_accuracy, on the clean training images after the epoch.
    settings: the number and shape of the images and the fields of the `Protocol`. seconds: what the run took.
    """

    label: str
    curves: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def protocol(self):
        """The `Protocol` of the run; ValueError where the settings are not those of a `training.fit`."""
        return Protocol.from_settings(self.settings)

    @property
    def epochs(self):
        """The number of epochs."""
        return len(next(iter(self.curves.values()), []))

    def final(self, key, last=1):
        """The mean of the last `last` values of the curve `key`."""
        return float(np.mean(self.curves[key][-last:]))

    def to_frame(self):
        """A pandas DataFrame with a row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.curves, index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))

    def to_dict(self):
        """What JSON holds of it: curves rounded to four decimals."""
        rounded = {key: [round(float(v), 4) for v in values] for key, values in self.curves.items()}
        return dict(label=self.label, curves=rounded, settings=self.settings, seconds=round(self.seconds, 1))

    @classmethod
    def from_dict(cls, record):
        """The history that `to_dict` wrote."""
        return cls(**record)


def spread(histories, key, last=1):
    """(mean, smallest, largest) over runs of a curve's last values."""
    values = [h.final(key, last) for h in histories]
    return float(np.mean(values)), min(values), max(values)

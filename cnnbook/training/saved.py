"""Opens saved models: importing this file registers every class of ours that a model may hold.

The optimiser is among them: a model that was trained holds its schedule.
"""

import keras

from ..keras_internals import deep_graphs
from ..parts import layers as _layers  # noqa: F401
from ..weights import scaling as _scaling  # noqa: F401
from . import optimiser as _optimiser  # noqa: F401

__all__ = ["load"]


def load(path, **options):
    """Opens a model saved by `model.save(path)`, our own layers included; `options` as keras.models.load_model."""
    with deep_graphs():
        return keras.models.load_model(path, **options)

"""Layers that Keras lacks, under the name that saved models and scripts know: they live in `cnnbook.parts.layers`."""

from .parts.layers import *  # noqa: F403
from .training.optimiser import MomentumSGD, Schedule, StagedSGD  # noqa: F401
from .training.saved import load  # noqa: F401
from .weights.scaling import Preprocess  # noqa: F401

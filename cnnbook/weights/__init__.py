"""Weights from elsewhere: ported by name from a reference model, from ImageNet's files, from PyTorch's.

Nothing here builds a network or knows one by name: a builder says where its weights come from.
"""

from . import pytorch
from .imagenet import Checkpoint, KerasApplication, edge_tuned
from .local import local
from .port import pair, port
from .scaling import Preprocess, scaling

__all__ = [
    "Checkpoint",
    "KerasApplication",
    "Preprocess",
    "edge_tuned",
    "local",
    "pair",
    "port",
    "pytorch",
    "scaling",
]

"""Weights from elsewhere: ported by name from a reference model, from ImageNet's files, from PyTorch's.

Nothing here builds a network: a builder says where its weights come from, and hands that over.
"""

from . import pytorch
from .imagenet import IMAGENET, PACKAGES, SIDES, edge_tuned, imagenet, load_into, mode, port_twin
from .port import pair, port
from .scaling import Preprocess, scaling

__all__ = [
    "IMAGENET",
    "PACKAGES",
    "SIDES",
    "Preprocess",
    "edge_tuned",
    "imagenet",
    "load_into",
    "mode",
    "pair",
    "port",
    "port_twin",
    "pytorch",
    "scaling",
]

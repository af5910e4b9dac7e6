"""A trained network for your own classes: what to freeze, how fast the rest learns, features computed once."""

from .classifier import (
    PRETRAINED,
    STRATEGIES,
    Classifier,
    Evaluation,
    Frozen,
    Trials,
    advice,
    backbone,
    backbones,
    classifier,
    embeddings,
    extend,
    fit_head,
    freeze,
    load,
    names,
)

__all__ = [
    "PRETRAINED",
    "STRATEGIES",
    "Classifier",
    "Evaluation",
    "Frozen",
    "Trials",
    "advice",
    "backbone",
    "backbones",
    "classifier",
    "embeddings",
    "extend",
    "fit_head",
    "freeze",
    "load",
    "names",
]

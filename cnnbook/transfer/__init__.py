"""A trained network for your own classes: what to freeze, how fast the rest learns, features computed once.

backbones   the course's own small trained nets, which lie in the package
freezing    the course's advice, and `freeze`: by the names of stages, batch normalisation as it was trained
heads       `extend` puts a new classifier on a net; `embeddings` and `fit_head` train it on features; `Trials` repeats
classifier  a folder of images in, one `.keras` file out that reads plain RGB and knows its labels

With little data train the head alone, with some the last stage too, with plenty all of it (`advice`);
`training.fit(rates=...)` lets early stages learn more slowly than late ones. Nothing here draws: `viz.confusion` and
`viz.hardest` do.
"""

from .backbones import PRETRAINED, backbone, backbones
from .classifier import Classifier, Evaluation, classifier, load
from .freezing import STRATEGIES, Frozen, advice, freeze
from .heads import Trials, embeddings, extend, fit_head, names

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

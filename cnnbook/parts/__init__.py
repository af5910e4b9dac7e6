"""What several papers share: blocks, layers that Keras lacks, normalisations written out, decoders.

A part belongs here when a second paper uses it; what one paper alone has stays in its file in `cnnbook.models`. Layers
are the exception: all of ours are in layers.py, each with its rule for `cnnbook.graph` beside it, because a saved model is
opened by importing that one file. Nothing here knows a network by name, loads weights or trains.
"""

import importlib

__all__ = ["blocks", "decoders", "layers", "normalisation"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"cnnbook.parts.{name}")
    raise AttributeError(f"cnnbook.parts has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)

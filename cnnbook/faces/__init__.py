"""Faces brought to one pose, and whether two show the same person: what chapter 17 stands on."""

import importlib

__all__ = ["alignment", "verification"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"cnnbook.faces.{name}")
    raise AttributeError(f"cnnbook.faces has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)

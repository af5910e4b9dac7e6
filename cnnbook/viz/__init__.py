"""Pictures of networks, one file per question."""

import importlib

_FILES = {
    **{"style": "style", "stacks": "stack"},
    **dict.fromkeys(("overlay", "errors", "segmented", "skips"), "segmenting"),
}


def __getattr__(name):
    if name == "style":
        return importlib.import_module("cnnbook.viz.style")
    if name in _FILES:
        return getattr(importlib.import_module(f"cnnbook.viz.{_FILES[name]}"), name)
    raise AttributeError(f"cnnbook.viz has no {name!r}; it has {', '.join(_FILES)}")


def __dir__():
    return sorted([*globals(), *_FILES])

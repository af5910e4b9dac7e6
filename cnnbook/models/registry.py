"""Which builder is in which file: the first two columns of figures.csv."""

import csv
import importlib
from pathlib import Path

with open(Path(__file__).with_name("figures.csv"), encoding="utf-8", newline="") as _file:
    TABLE = list(csv.DictReader(_file))

BUILDERS = {row["builder"]: row["file"] for row in TABLE}


def builder(name):
    """The builder of that name, in any spelling of upper and lower case. Raises ValueError if there is none."""
    spelling = {b.lower(): b for b in BUILDERS}.get(str(name).lower())
    if spelling is None:
        raise ValueError(f"no builder is called {name!r}; there are {', '.join(BUILDERS)}")
    return getattr(importlib.import_module(f"cnnbook.models.{BUILDERS[spelling]}"), spelling)


def imagenet_sources():
    """{builder's name: the source of its ImageNet weights}, of those that have one; imports every network's file."""
    sources = {name: getattr(builder(name), "imagenet", None) for name in BUILDERS}
    return {name: source for name, source in sources.items() if source}

"""What others have measured: accuracy, memory and speed of ImageNet's nets, the winners by year, detection by backbone.

Each of the files zoo.csv, winners.csv and detectors.csv has a line for every number, with its source. None of it is counted
here: what our own nets hold is in figures.csv.
"""

import csv
from pathlib import Path

_WHOLE = {"year", "layers", "place", "images_per_s", "memory_mb"}
_REAL = {"top1", "top5", "top5_err", "map"}


def _rows(name):
    """The lines of a file beside this one, numbers as numbers, None where a field is empty."""
    with open(Path(__file__).with_name(name), encoding="utf-8", newline="") as file:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(key, text):
    if key in _WHOLE or key in _REAL:
        return None if not text else int(text) if key in _WHOLE else float(text)
    return text


def zoo(run=None):
    """Accuracy, memory and speed of trained nets as GluonCV's model zoo published them: a list of dicts.

    builder: the net's name here; run: "chart 2019-03" (the chart with speed and memory), "slides" (that chart as the
    course's slides quote it, of a later run) or "table" (top-1 and top-5 alone); given, only its lines are kept. top1, top5
    in per cent of ImageNet's validation images; images_per_s; memory_mb (10^6 bytes); None where not published;
    conditions, source, note: in words. ValueError for an unknown run.
    """
    rows = _rows("zoo.csv")
    runs = list(dict.fromkeys(row["run"] for row in rows))
    if run is not None and run not in runs:
        raise ValueError(f"run={run!r}: there is {', '.join(map(repr, runs))}")
    return [row for row in rows if run in (None, row["run"])]


def winners():
    """Winners of ImageNet's classification task from 2010 to 2015, and the second of 2014: a list of dicts.

    year, team, builder (ours, or ""), top5_err (per cent of the test images, wrong in five guesses), layers (with weights;
    None for systems without a network), place, note, source.
    """
    return _rows("winners.csv")


def detectors():
    """Detection on PASCAL VOC 2007's test images by backbone: a list of dicts.

    builder (the backbone; ZF, of Zeiler and Fergus, is not built here), detector, trained_on ("07", "07+12", "COCO+07+12"),
    map (mean average precision in per cent), source. Compare lines of one detector and one training set only.
    """
    return _rows("detectors.csv")

"""Data sets by name, photographs, folders of images: what a chapter needs is here, and most of it with no network.

load("fashion_mnist")        12,000 + 2,000 images, shipped; full=True: all 70,000        Images (NumPy)
load("digits")               1,297 + 500 handwritten digits of 8x8, from scikit-learn      Images (NumPy)
load("scenes", task=...)     items on textured canvases: segment, or find the target      Images (NumPy)
load("cells")                drawn cells that touch, with masks and border weights        Images (NumPy)
load("faces", people=...)    drawn people from many sides, with exact landmarks           Images (NumPy)
load("cifar10"), load("cifar100")                      by TensorFlow Datasets              Images (NumPy)
load("tf_flowers"), load("oxford_iiit_pet", task=...)  by TensorFlow Datasets              Streams (tf.data)
load("/path/to/folder")      your own images, one sub-folder per class, or a CSV file     Folder (NumPy)
"""

import difflib
import importlib.util
import os
from typing import NamedTuple

from ..tables import printable
from . import digits, drawn, fashion, tfds
from .drawn.cells import CellImages, Cells, border_weights, cells
from .drawn.faces import FaceImages, Faces, faces
from .drawn.scenes import SceneImages, Scenes, scenes
from .folders import Folder, folder
from .images import DataError, Images, counted, resize, resize_masks
from .photographs import PHOTOGRAPHS, coins, photograph
from .pictures import pixels
from .tfds.prepared import prepare
from .tfds.streams import Streams

# Sets that need no network.
LOCAL = {
    "fashion_mnist": fashion.load,
    "digits": digits.load,
    "scenes": drawn.scenes.load,
    "cells": drawn.cells.load,
    "faces": drawn.faces.load,
}
NAMES = (*LOCAL, *tfds.streams.ARRAYS, *tfds.streams.STREAMS)
OPTIONS = {"scenes": "task", "oxford_iiit_pet": "task", "faces": "people"}

__all__ = [
    "NAMES",
    "PHOTOGRAPHS",
    "CellImages",
    "Cells",
    "DataError",
    "FaceImages",
    "Faces",
    "Folder",
    "Images",
    "SceneImages",
    "Scenes",
    "Streams",
    "border_weights",
    "cells",
    "coins",
    "faces",
    "folder",
    "load",
    "photograph",
    "pixels",
    "prepare",
    "resize",
    "resize_masks",
    "scenes",
    "where",
]


def load(
    name,
    *,
    full=False,
    train=None,
    test=None,
    validation=0,
    size=None,
    seed=0,
    data_dir=None,
    verbose=True,
    **options,
):
    """A data set by name (see `NAMES`), or the images in a folder, as `Images` (NumPy) or `Streams` (tf.data).

    full: all 60,000 + 10,000 of fashion_mnist instead of the shipped 12,000 + 2,000.
    train, test: how many images, class-balanced; None takes all (scenes: 2,000 and 500; cells: 200 and
        50; faces: 1,600 and 400; a folder: a fifth of each class is the test, see `folder`).
    validation: how many class-balanced images are taken out of the training part, besides `train`.
    size: side in pixels or (height, width): area average down, bilinear up.   seed: of choice, order and scenes.
    data_dir: the TFDS folder; TFDS_DATA_DIR or ~/tensorflow_datasets by default.   verbose: prints a line about the set.
    options: task="segment" or "classify" for scenes and oxford_iiit_pet; people=(80, 40), how many different ones the
        training and the test part of faces show; outside=True lets a folder's files lie outside of it, see `folder`.
    Raises ValueError for wrong arguments, DataError (a RuntimeError) for data that are not available or damaged.
    """
    choice = {"train": train, "test": test, "validation": validation, "seed": seed, "size": size}
    is_folder = isinstance(name, os.PathLike) or (name not in NAMES and _is_path(name))
    _check(name, "outside" if is_folder else OPTIONS.get(name), full, options)
    if is_folder:
        result = folder(name, **choice, **options)
    elif name in LOCAL and not full:
        result = LOCAL[name](**choice, **options)
    elif name in tfds.streams.STREAMS:
        result = tfds.streams.streams(name, data_dir=data_dir, **choice, **options)
    elif name in NAMES:
        result = tfds.streams.arrays(name, data_dir=data_dir, **choice)
    else:
        close = difflib.get_close_matches(str(name).lower().replace("-", "_"), NAMES, 1, 0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"load({name!r}): known are {', '.join(NAMES)}, and a folder of images by its path.{hint}"
        )
    if verbose:
        print(f"{printable(result.name)}: {counted(result.sizes)}, {result.source}")
    return result


def _check(name, allowed, full, options):
    """TypeError for an option that the set does not take, ValueError for full=True of another set than fashion_mnist."""
    if unknown := set(options) - {allowed}:
        also = f"; {name} also takes {allowed}" if allowed else ""
        raise TypeError(f"load({str(name)!r}) has no option {', '.join(sorted(unknown))}{also}")
    if full and name != "fashion_mnist":
        raise ValueError(
            f"load({str(name)!r}, full=True): full is for fashion_mnist, the others are always complete"
        )


class Where(NamedTuple):
    """A row of `where()`: `name`, whether the data are `here`, and `how` one gets them (one phrase, no path)."""

    name: str
    here: bool
    how: str


def where(data_dir=None):
    """Which data sets are on this machine: a list of `Where`, found without TensorFlow and without a network."""
    rows = [
        Where("fashion_mnist", fashion.SHIPPED.is_file(), "12,000 + 2,000 images shipped with cnnbook"),
        Where("scenes", fashion.SHIPPED.is_file(), "drawn from the shipped items"),
        Where("cells", True, "drawn by cnnbook"),
        Where("faces", True, "drawn by cnnbook"),
    ]
    for name, (_, megabytes) in tfds.prepared.URLS.items():
        label = f"{name} (full)" if name == "fashion_mnist" else name
        if tfds.prepared.is_prepared(name, data_dir):
            rows.append(Where(label, True, "prepared in the TFDS folder"))
        elif name == "fashion_mnist" and fashion.DEBIAN.is_dir():
            rows.append(Where(label, True, "Debian's copy, prepared on first use"))
        else:
            rows.append(Where(label, False, f"needs a network once ({megabytes} MB)"))
    for package, module in (("scikit-image", "skimage"), ("scikit-learn", "sklearn")):
        installed = importlib.util.find_spec(module) is not None
        how = f"inside {package}" + ("" if installed else ", not installed")
        names = ", ".join(name for name, source in PHOTOGRAPHS.items() if source == package)
        rows.append(Where(f"photographs {names}", installed, how))
        if package == "scikit-learn":
            rows.append(Where("digits", installed, how))
    return rows


def _is_path(name):
    return isinstance(name, str) and (
        os.sep in name
        or "/" in name
        or name.startswith(("~", "."))
        or name.lower().endswith(".csv")
        or os.path.isdir(name)
    )

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

from . import digits as digit
from . import fashion
from .drawn import cells as cell
from .drawn import faces as face
from .drawn import scenes as scene
from .drawn.cells import Cells, border_weights, cells
from .drawn.faces import Faces, faces
from .drawn.scenes import Scenes, scenes
from .folders import Folder, folder, pixels
from .images import DataError, Images, counted, from_arrays, resize, resize_masks
from .photographs import PHOTOGRAPHS, coins, photograph
from .tfds import prepared
from .tfds import streams as _streams
from .tfds.prepared import prepare
from .tfds.streams import Streams

NAMES = ("fashion_mnist", "digits", "scenes", "cells", "faces", *_streams.ARRAYS, *_streams.STREAMS)

__all__ = [
    "NAMES",
    "PHOTOGRAPHS",
    "Cells",
    "DataError",
    "Faces",
    "Folder",
    "Images",
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
        50; faces: 1,600 and 400; a folder: a fifth is the test).
    validation: how many class-balanced images are taken out of the training part, besides `train`.
    size: side in pixels or (height, width): area average down, bilinear up.   seed: of choice, order and scenes.
    data_dir: the TFDS folder; TFDS_DATA_DIR or ~/tensorflow_datasets by default.   verbose: one line on what came.
    options: task="segment" or "classify" for scenes and oxford_iiit_pet; people=(80, 40), how many different ones the
        training and the test part of faces show.
    Raises ValueError for what cannot be asked, DataError (a RuntimeError) for data that are not to be had or damaged.
    """
    asked = {"train": train, "test": test, "validation": validation, "seed": seed}
    path = isinstance(name, os.PathLike) or (name not in NAMES and _is_path(name))
    allowed = {"scenes": "task", "oxford_iiit_pet": "task", "faces": "people"}.get(name if not path else None)
    if unknown := set(options) - {allowed}:
        also = f"; {name} also takes {allowed}" if allowed else ""
        raise TypeError(f"load({str(name)!r}) has no option {', '.join(sorted(unknown))}{also}")
    if full and name != "fashion_mnist":
        raise ValueError(f"load({str(name)!r}, full=True): full is for fashion_mnist, the others are whole")
    if path:
        result = folder(name, size=size, **asked)
    elif name == "digits":
        source = "inside scikit-learn (Alpaydin & Kaynak, UCI Machine Learning Repository)"
        result = from_arrays(name, digit.inside(), digit.CLASSES, source, size, **asked)
    elif name == "scenes":
        result = scene.load(size=size, **asked, **options)
    elif name == "cells":
        result = cell.load(size=size, **asked)
    elif name == "faces":
        result = face.load(size=size, **asked, **options)
    elif name == "fashion_mnist" and not full:
        source = "shipped with cnnbook, a class-balanced part of Fashion-MNIST (Zalando, MIT licence)"
        result = from_arrays(name, fashion.shipped(), fashion.CLASSES, source, size, **asked)
    elif name in _streams.STREAMS:
        result = _streams.streams(name, data_dir=data_dir, size=size, **asked, **options)
    elif name in NAMES:
        result = _streams.arrays(name, data_dir=data_dir, size=size, **asked)
    else:
        close = difflib.get_close_matches(str(name).lower().replace("-", "_"), NAMES, 1, 0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"load({name!r}): known are {', '.join(NAMES)}, and a folder of images by its path.{hint}"
        )
    if verbose:
        print(f"{result.name}: {counted(result.sizes)}, {result.source}")
    return result


class Where(NamedTuple):
    """A row of `where()`: `name`, whether the data are `here`, and `how` they are had (one phrase, no path)."""

    name: str
    here: bool
    how: str


def where(data_dir=None):
    """Which data set is on this machine: a list of `Where`, found without TensorFlow and without a network."""

    rows = [
        Where("fashion_mnist", fashion.SHIPPED.is_file(), "12,000 + 2,000 images shipped with cnnbook"),
        Where("scenes", fashion.SHIPPED.is_file(), "drawn from the shipped items"),
        Where("cells", True, "drawn by cnnbook"),
        Where("faces", True, "drawn by cnnbook"),
    ]
    for name, (_, megabytes) in prepared.URLS.items():
        label = f"{name} (full)" if name == "fashion_mnist" else name
        if prepared.is_prepared(name, data_dir):
            rows.append(Where(label, True, "prepared in the TFDS folder"))
        elif name == "fashion_mnist" and fashion.DEBIAN.is_dir():
            rows.append(Where(label, True, "Debian's copy, prepared on first use"))
        else:
            rows.append(Where(label, False, f"needs a network once ({megabytes} MB)"))
    for package, module in (("scikit-image", "skimage"), ("scikit-learn", "sklearn")):
        found = importlib.util.find_spec(module) is not None
        how = f"inside {package}" + ("" if found else ", not installed")
        names = ", ".join(name for name, source in PHOTOGRAPHS.items() if source == package)
        rows.append(Where(f"photographs {names}", found, how))
        if package == "scikit-learn":
            rows.append(Where("digits", found, how))
    return rows


def _is_path(name):
    return isinstance(name, str) and (
        os.sep in name
        or "/" in name
        or name.startswith(("~", "."))
        or name.lower().endswith(".csv")
        or os.path.isdir(name)
    )

"""The reader's own images, and the photographs inside scikit-image and scikit-learn."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .images import Images, balanced_order, height_width, number, resize

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
PHOTOGRAPHS = {
    "astronaut": "scikit-image",
    "chelsea": "scikit-image",
    "coffee": "scikit-image",
    "rocket": "scikit-image",
    "china": "scikit-learn",
    "flower": "scikit-learn",
}


def photograph(name):
    """One photograph, uint8 (height, width, 3), RGB: astronaut, chelsea (a cat), coffee, rocket from scikit-image (CC0 or
    public domain); china, flower from scikit-learn (CC BY 2.0). ValueError for another name, ImportError when the package
    is missing."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"photograph({name!r}): choose one of {', '.join(PHOTOGRAPHS)}")
    package = PHOTOGRAPHS[name]
    try:
        if package == "scikit-image":
            from skimage import data

            return np.asarray(getattr(data, name)(), "uint8")[..., :3].copy()
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"), "uint8").copy()
    except ImportError as error:
        raise ImportError(
            f"photograph({name!r}) lies inside {package}, which cannot be used here ({error}): pip install {package} pillow"
        ) from None


class Coins(NamedTuple):
    """`image` uint8 (303, 384, 1); `mask` uint8 (303, 384), 0 = background, 1 = coin; `how` says where the mask is from."""

    image: np.ndarray
    mask: np.ndarray
    how: str


def coins():
    """scikit-image's photograph of 24 Greek coins, with a mask that nobody drew: a threshold made it, see `how`.

    Good for trying a net on a real photograph with uneven light; a score against this mask says how well a net imitates
    the threshold. ImportError without scikit-image."""
    try:
        from scipy import ndimage
        from skimage import data, filters
    except ImportError as error:
        raise ImportError(
            f"coins() lies inside scikit-image, which cannot be used here ({error}): pip install scikit-image"
        ) from None
    image = np.asarray(data.coins(), "uint8")
    smooth = ndimage.gaussian_filter(image.astype("float64"), 1.0)
    bright = ndimage.binary_fill_holes(smooth > filters.threshold_local(smooth, 101, offset=-5))
    parts, _ = ndimage.label(ndimage.binary_opening(bright, iterations=3))
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    how = (
        "threshold: 5 grey levels above the Gaussian mean of the 101 x 101 pixels around, holes filled, opened by 3 pixels, "
        "parts at the photograph's edge dropped"
    )
    return Coins(image[..., None], ((parts > 0) & ~np.isin(parts, edge)).astype("uint8"), how)


def folder(path, *, size=None, train=None, test=None, validation=0, seed=0):
    """Images of a folder that has one sub-folder per class, in three class-balanced seeded parts, RGB, as `Images`.

    test: how many images are kept for the test, a fifth of all by default; train: how many to train on, all the rest by
    default. size: side in pixels or (height, width); each image is cut to that shape around its centre, then resized;
    without `size` all images must have one size. Raises FileNotFoundError, or ValueError for a folder
    without classes or images and for a file that cannot be read, which it names. All images are held in memory.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a folder")
    found = {
        sub.name: sorted(
            f for f in sub.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")
        )
        for sub in sorted(path.iterdir())
        if sub.is_dir() and not sub.name.startswith(".")
    }
    empty = [name for name, files in found.items() if not files]
    if not found or empty:
        what = f"no image in: {', '.join(empty)}" if found else "no sub-folder"
        raise ValueError(
            f"{path} has {what}. Put the images of each class in a sub-folder named after it "
            f"({path.name}/cat/1.jpg, ...); {', '.join(sorted(SUFFIXES))} are read"
        )
    files = [(file, k) for k, group in enumerate(found.values()) for file in group]
    labels = np.array([k for _, k in files])
    test = len(files) // 5 if test is None else number("test", test)
    validation = number("validation", validation)
    train = max(0, len(files) - test - validation) if train is None else number("train", train)
    if train + validation + test > len(files):
        raise ValueError(
            f"{path}: {train} + {validation} + {test} images asked, the folder has {len(files)} in all"
        )
    order, rng = balanced_order(labels, seed), np.random.default_rng([seed, 1])
    ends = np.cumsum([test, validation, train])
    chosen = {
        p: rng.permutation(i)
        for p, i in zip(("test", "validation", "train"), np.split(order, ends), strict=False)
    }
    shape = None if size is None else height_width(size)

    def opened(file):
        try:
            with Image.open(file) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (
            OSError,
            UnidentifiedImageError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            raise ValueError(f"{file} cannot be read as an image ({error}): repair or remove it") from None
        return pixels if shape is None else resize(_cut(pixels, *shape), shape)

    pixels = {i: opened(files[i][0]) for index in chosen.values() for i in index.tolist()}
    shapes = sorted({p.shape for p in pixels.values()})
    if len(shapes) > 1:
        raise ValueError(
            f"{path}: the images have {len(shapes)} sizes, from {shapes[0][:2]} to {shapes[-1][:2]}: give size=, "
            "for example size=224"
        )
    fields = {}
    for part, index in chosen.items():
        none = np.empty((0, *shapes[0]), "uint8")
        fields[f"x_{part}"] = np.stack([pixels[i] for i in index.tolist()]) if len(index) else none
        fields[f"y_{part}"] = labels[index].astype("int64")
    return Images(name=path.name, classes=tuple(found), source=f"the folder {path.name}", **fields)


def _cut(pixels, high, wide):
    """The largest centred part with the proportions high : wide."""
    h, w = pixels.shape[:2]
    new_h, new_w = max(1, min(h, round(w * high / wide))), max(1, min(w, round(h * wide / high)))
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return pixels[top : top + new_h, left : left + new_w]

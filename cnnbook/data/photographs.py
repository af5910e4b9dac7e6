"""The photographs inside scikit-image and scikit-learn."""

from typing import NamedTuple

import numpy as np

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

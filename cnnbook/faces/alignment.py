"""Faces brought to one place and turned to the front, from landmarks: the first half of DeepFace.

Taigman et al. 2014, section 2. In two dimensions a similarity (rotation, scale, shift) lays six landmarks over those of a
generic face. In three dimensions a camera is fitted from a generic head to the image, and the image is bent piece by piece
until its landmarks lie where a viewer from the front sees them. Points are (x, y) in pixels, integers at pixel centres;
images are (h, w, c) with values from 0 to 255. It needs scikit-image, which is in the extra `lab`.
"""

import numpy as np

from ..arguments import whole_number

try:
    from scipy import ndimage
    from scipy.spatial import Delaunay
    from skimage import transform
except ImportError as error:
    raise ImportError(
        f"alignment needs scikit-image, which cannot be used here ({error}): pip install scikit-image"
    ) from None

__all__ = ["bend", "camera", "frontal", "place", "residual", "similarity"]


def place(points, size, *, scale, middle=(0, 0)):
    """Landmarks of a head, (k, 3) or (k, 2), as a viewer from the front sees them: (k, 2) pixels of a square of side `size`.

    scale: pixels per unit of the head, as a part of size. middle: the point (x, y) of the head in the middle of the square.
    """
    points = np.asarray(points, "float64")[:, :2]
    return size * (0.5 + scale * (points - np.asarray(middle))) - 0.5


def similarity(image, points, target, size):
    """(aligned image (size, size, c), its points (k, 2)): the rotation, scale and shift that take points nearest to target.

    points, target: (k, 2), k at least 2. Least squares over the points (Umeyama 1991). Beyond its edge the image is
    continued by the edge's pixels. ValueError for points that fix no transform.
    """
    size, (points, target) = whole_number(size, "size"), _pairs(points, target)
    for name, where in (("points", points), ("target", target)):
        _spread(name, where, 1)
    fitted = _fitted(transform.SimilarityTransform, points, target)
    shape = (size, size, _image(image).shape[-1])
    pixels = np.asarray(image, "float32")
    aligned = transform.warp(
        pixels, fitted.inverse, output_shape=shape, order=1, mode="edge", preserve_range=True
    )
    return _like(aligned, image), fitted(points)


def camera(head, points):
    """The affine camera (2, 4) for which points = camera @ (x, y, z, 1) holds best over head (k, 3) and points (k, 2).

    Least squares; every landmark has the same weight (in the paper, a weight by how well its detector finds each).
    ValueError for fewer than four points.
    """
    head, points = np.asarray(head, "float64"), np.asarray(points, "float64")
    if head.ndim != 2 or head.shape[1] != 3 or len(head) < 4 or points.shape != (len(head), 2):
        raise ValueError(
            f"a camera is fitted to at least 4 points on a head, (k, 3), and as many in the image, (k, 2); got "
            f"{head.shape} and {points.shape}"
        )
    _finite("head", head)
    _finite("points", points)
    homogeneous = np.concatenate([head, np.ones((len(head), 1))], axis=1)
    return np.linalg.lstsq(homogeneous, points, rcond=None)[0].T


def residual(head, points):
    """What the camera does not explain, (k, 2) in units of the head: how this person differs from the generic head.

    It is the difference as the camera sees it. Without it all faces would be bent into one shape, and what tells people
    apart would be lost.
    """
    fitted = camera(head, points)
    _spread("points", np.asarray(points, "float64"), 2)
    unexplained = np.asarray(points) - (np.asarray(head) @ fitted[:, :3].T + fitted[:, 3])
    return unexplained / np.sqrt(np.abs(np.linalg.det(fitted[:, :3] @ fitted[:, :3].T)) ** 0.5)


def frontal(image, points, head, size, *, scale, middle=(0, 0), own_shape=True):
    """(image (size, size, c) turned to the front, its points (k, 2)).

    points (k, 2) of the image; head (k, 3), the generic head's. Each landmark goes to the place where
    the generic head shows it from the front (see `place`), moved by this person's `residual` (own_shape=False leaves that
    out). Between them the image is bent triangle by triangle (`bend`); pixels outside of all triangles are 0. What the
    camera did not see is not recovered: the far half of a turned face is stretched (the paper fills it from the near half).
    """
    head, size = np.asarray(head, "float64"), whole_number(size, "size")
    shape = residual(head, points) if own_shape else 0
    points, target = _pairs(points, place(head[:, :2] + shape, size, scale=scale, middle=middle))
    _spread("points", points, 2)
    _spread("target", target, 2)
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    at = bend(target, points, np.stack([columns, rows], axis=-1))
    return _like(_looked_up(image, at), image), target


def bend(source, target, at):
    """Where points at (..., 2) go by the map that is affine on each triangle of source and takes source (k, 2) to target.

    The triangles are those of a Delaunay triangulation; points outside of them give NaN. It is the map of scikit-image's
    PiecewiseAffineTransform, in a tenth of its time.
    """
    _spread("source", np.asarray(source, "float64"), 2)
    mesh = Delaunay(source)
    triangle = mesh.find_simplex(at)
    maps = mesh.transform[triangle]
    # A point's weights for the three corners of its triangle (barycentric coordinates).
    first = np.einsum("...ij,...j->...i", maps[..., :2, :], at - maps[..., 2, :])
    weights = np.concatenate([first, 1 - first.sum(-1, keepdims=True)], axis=-1)
    mapped = np.einsum("...i,...ij->...j", weights, np.asarray(target)[mesh.simplices[triangle]])
    return np.where((triangle >= 0)[..., None], mapped, np.nan)


def _looked_up(image, at):
    """The image at points (..., 2), bilinear, its edge repeated; 0 where a point is NaN."""
    image = _image(image)
    rows, columns = np.nan_to_num(at[..., 1]), np.nan_to_num(at[..., 0])
    channels = [
        ndimage.map_coordinates(c, [rows, columns], order=1, mode="nearest")
        for c in np.moveaxis(image.astype("float32"), -1, 0)
    ]
    return np.where(np.isnan(at[..., :1]), 0, np.stack(channels, axis=-1))


def _fitted(kind, source, target):
    """The transform of that kind; ValueError where the points do not fix one."""
    # Newer versions of scikit-image have from_estimate and deprecate estimate.
    if hasattr(kind, "from_estimate"):
        fitted = kind.from_estimate(source, target)
        success = bool(fitted)
    else:
        fitted = kind()
        success = fitted.estimate(source, target)
    if not success:
        raise ValueError(f"the points fix no transform: are several of them the same? {source.tolist()}")
    return fitted


def _pairs(points, target):
    points, target = np.asarray(points, "float64"), np.asarray(target, "float64")
    if points.ndim != 2 or points.shape[1] != 2 or points.shape != target.shape:
        raise ValueError(f"points and target are two lists (k, 2), got {points.shape} and {target.shape}")
    _finite("points", points)
    _finite("target", target)
    return points, target


def _finite(name, points):
    bad = np.flatnonzero(~np.isfinite(points).all(axis=-1))
    if len(bad):
        raise ValueError(
            f"{name} are finite numbers, got {points[bad[0]].tolist()} as landmark {bad[0]}: was it not found?"
        )


def _spread(name, points, dimensions):
    """ValueError unless points (k, 2) lie apart in as many dimensions: 1, not all in one place; 2, not all on one line."""
    _finite(name, points)
    apart = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) if len(points) else np.zeros(2)
    # A millionth of the distance to the origin is far below what a landmark is known by.
    found = int((apart > 1e-6 * max(1e-300, np.abs(points).max(initial=0))).sum())
    if found < dimensions:
        where = "in one place" if not found else "on one line"
        raise ValueError(f"{name} lie {where} and fix no transform: the first are {points[:3].tolist()}")


def _image(image):
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"one image, (height, width, channels), is needed, got shape {image.shape}")
    return image


def _like(pixels, image):
    """Pixels in the image's type: uint8, or float32."""
    if np.asarray(image).dtype == np.uint8:
        return np.clip(pixels, 0, 255).round().astype("uint8")
    return pixels.astype("float32")

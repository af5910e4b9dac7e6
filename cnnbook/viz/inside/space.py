"""What is alike for a net? Images as points of a layer's space: the nearest ones, and a plane that shows them all."""

import numpy as np

from .. import style
from ..picture import Picture, bare, grid, picture, ratio_of
from ..reading import fit, show


def vectors(model, images, layer, preprocess=None):
    """(row, n x channels): a layer's answer to each image; a map counts by its mean over all positions."""
    net, x = fit(model, images, preprocess)
    row = net.row(layer)
    found = net.read(x, [row.name])[row.name]
    if found.ndim not in (2, 4):
        raise ValueError(f"{row.name} gives {found.shape[1:]} for an image; a map or a vector is needed")
    return row, found.mean((1, 2)) if found.ndim == 4 else found


# --------------------------------------------------------------------------- nearest


class Nearest(Picture):
    """`.array`: the indices of the nearest images, nearest first; `.distances`: 1 - cosine of each."""

    def __init__(self, layer, query, images, array, distances, captions):
        self.layer, self.query, self.images, self.array = layer, query, images, array
        self.distances, self.captions = distances, captions
        self.alt = f"An image and the {len(array)} nearest to it in the space of {layer}"

    def _figure(self):
        n = len(self.array) + 1
        rows, columns = grid(n, 7)
        figure, axes = style.figure(
            1.35 * columns, (1.3 * ratio_of(self.query) + 0.4) * rows + 0.3, rows, columns, squeeze=False
        )
        axes = list(axes.flat)
        picture(axes[0], self.query, self.captions[0], fontsize=8.5, weight="bold", pad=3)
        for axis, image, caption, distance in zip(
            axes[1:], self.images, self.captions[1:], self.distances, strict=False
        ):
            picture(axis, image, caption, fontsize=8.5, pad=3)
            axis.set_xlabel(f"{distance:.3f}", fontsize=8)
        axes[0].set_xlabel("query", fontsize=8)
        for axis in axes[n:]:
            axis.remove()
        figure.suptitle(f"Nearest in {self.layer}, by 1 - cosine", fontsize=10)
        return figure


def nearest(model, images, query, layer, *, k=6, labels=None, names=None, preprocess=None):
    """The k images nearest to `query` in a layer's space: what the layer holds to be alike.

    query: an image, or the index of one of `images` (which is then left out). Distances are 1 - cosine; of a map its mean
    over all positions is compared. labels, names: captions, a class index per image and the classes' names.
    """
    images = np.asarray(images)
    own = isinstance(query, (int, np.integer)) and not isinstance(query, bool)
    if own and not 0 <= query < len(images):
        raise ValueError(f"query is an image or an index from 0 to {len(images) - 1}, got {query}")
    one = images[query] if own else np.asarray(query)
    if one.shape != images.shape[1:]:
        raise ValueError(f"the query has the shape {one.shape}, the images {images.shape[1:]}")
    if not isinstance(k, int) or not 1 <= k <= len(images) - own:
        raise ValueError(f"k is from 1 to {len(images) - own}, the number of other images; got {k!r}")
    if not own and one.dtype != images.dtype:
        raise ValueError(
            f"the query is {one.dtype}, the images are {images.dtype}: scale both in the same way"
        )
    row, points = vectors(model, np.concatenate([one[None], images]), layer, preprocess)
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    distances = 1 - points[1:] @ points[0]
    order = np.argsort(distances, kind="stable")
    order = order[order != query][:k] if own else order[:k]
    captions = [_name(labels, names, query) if own else "", *(_name(labels, names, i) for i in order)]
    if not own or labels is None:
        captions[0] = "query" if not own else f"image {query}"
    seen = preprocess is not None
    pictures = [show(_deep(images[i]), seen) for i in order]
    return Nearest(row.name, show(_deep(one), seen), pictures, order, distances[order], captions)


def _deep(image):
    return image[..., None] if image.ndim == 2 else image


def _name(labels, names, i):
    if labels is None:
        return f"image {i}"
    return str(names[labels[i]]) if names is not None else f"class {labels[i]}"


# --------------------------------------------------------------------------- a plane


class Embedding(Picture):
    """`.array` (n, 2): a point for each image. `.explained`: the share of variance along the two axes (PCA), else None."""

    size, markers = (6.8, 4.2), "osD^vP*XdH"

    def __init__(self, layer, method, array, labels, names, explained):
        self.layer, self.method, self.array, self.labels = layer, method, array, labels
        self.names, self.explained = names, explained
        self.title = f"{len(array)} images in {layer}"
        self.alt = f"{len(array)} images as points, the space of {layer} brought to a plane by {method}, coloured by class"

    def draw(self, axes):
        classes = np.unique(self.labels)
        for i, c in enumerate(classes):
            x, y = self.array[self.labels == c].T
            name = str(self.names[c]) if self.names is not None else f"class {c}"
            # seven colours that differ for every eye; shape tells apart the classes that share one
            look = dict(color=style.PALETTE[i % 7], marker=self.markers[i % len(self.markers)])
            axes.scatter(x, y, s=26, linewidths=0.4, edgecolors="white", label=name, **look)
        if self.explained is not None:
            first, second = 100 * self.explained
            axes.set(xlabel=f"first component, {first:.0f} % of variance")
            axes.set(ylabel=f"second component, {second:.0f} %")
        else:
            bare(axes)
            axes.set(xlabel="t-SNE: neighbours stay near; distances between groups mean nothing")
        axes.set_title(self.title, fontsize=10)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def embed(model, images, layer, labels, *, method="pca", names=None, seed=0, preprocess=None):
    """Images as points of a plane, by what a layer answers to them (a map by its mean), coloured by class.

    method: "pca", the two directions of greatest variance; or "tsne", which keeps neighbours together and needs
    scikit-learn. labels: a class index per image; names: the classes' names.
    """
    if method not in ("pca", "tsne"):
        raise ValueError(f'method is "pca" or "tsne", got {method!r}')
    labels = np.asarray(labels).ravel()
    if len(labels) != len(images) or len(images) < 3:
        raise ValueError(
            f"one label for each image and at least 3 images; got {len(labels)} for {len(images)}"
        )
    row, points = vectors(model, images, layer, preprocess)
    if method == "tsne":
        return Embedding(row.name, "t-SNE", _tsne(points, seed), labels, names, None)
    centred = points - points.mean(0)
    u, scale, directions = np.linalg.svd(centred.astype("float64"), full_matrices=False)
    if len(scale) < 2:  # a layer of one channel
        u, scale, directions = (
            np.pad(u, ((0, 0), (0, 1))),
            np.pad(scale, (0, 1)),
            np.pad(directions, ((0, 1), (0, 0))),
        )
    sign = np.sign(
        directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    )  # the same on every machine
    plane = (u * scale * np.where(sign == 0, 1, sign))[:, :2]
    return Embedding(row.name, "PCA", plane, labels, names, (scale**2 / max((scale**2).sum(), 1e-30))[:2])


def _tsne(points, seed):
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            f'method="tsne" needs scikit-learn, which is not here ({error}): pip install scikit-learn, or method="pca"'
        ) from None
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)

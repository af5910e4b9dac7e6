"""What is alike for a net? Images as points of a layer's space: the nearest ones, and a plane that shows them all."""

import importlib

import numpy as np

from ...arguments import whole_number
from .. import style
from ..entrance import fit, numbers, show
from ..named import labels_of, names_for
from ..picture import Picture, bare, panels, picture, ratio_of


def vectors(model, images, layer, preprocess=None):
    """(net, row, n x channels): a layer's answer to each image; a map counts by its mean over all positions."""
    net, x = fit(model, images, preprocess)
    row = net.row(layer)
    values = net.read(x, [row.name])[row.name]
    if values.ndim not in (2, 4):
        raise ValueError(f"{row.name} gives {values.shape[1:]} for an image; a map or a vector is needed")
    return net, row, values.mean((1, 2)) if values.ndim == 4 else values


# --------------------------------------------------------------------------- nearest


class Nearest(Picture):
    """`.array`: the indices of the nearest images, nearest first; `.distances`: 1 - cosine of each."""

    def __init__(self, layer, query, images, array, distances, captions):
        self.layer, self.query, self.images, self.array = layer, query, images, array
        self.distances, self.captions = distances, captions
        self.alt = f"An image and the {len(array)} nearest to it in the space of {layer}"

    def _figure(self):
        height = 1.3 * ratio_of(self.query) + 0.4
        figure, (first, *axes) = panels(len(self.array) + 1, 7, 1.35, height, above=0.3)
        picture(first, self.query, self.captions[0], fontsize=8.5, weight="bold", pad=3)
        first.set_xlabel("query", fontsize=8)
        drawn = zip(axes, self.images, self.captions[1:], self.distances, strict=True)
        for axis, image, caption, distance in drawn:
            picture(axis, image, caption, fontsize=8.5, pad=3)
            axis.set_xlabel(f"{distance:.3f}", fontsize=8)
        figure.suptitle(f"Nearest in {self.layer}, by 1 - cosine", fontsize=10)
        return figure


def nearest(model, images, query, layer, *, k=6, labels=None, names=None, preprocess=None):
    """The k images nearest to `query` in a layer's space: what the layer holds to be alike.

    query: an image, or the index of one of `images` (which is then left out). Distances are 1 - cosine; of a map its mean
    over all positions is compared. labels, names: captions, a class index per image and the classes' names, by default
    those that the net carries.
    """
    images = numbers(images)
    by_index = np.ndim(query) == 0
    if by_index:
        what = "query, an image or the index of one,"
        query = whole_number(query, what, least=0, most=len(images) - 1)
    image = images[query] if by_index else numbers(query)
    if image.shape != images.shape[1:]:
        raise ValueError(f"the query has the shape {image.shape}, the images {images.shape[1:]}")
    others = len(images) - by_index
    k = whole_number(k, "k", most=others)
    if image.dtype != images.dtype:
        raise ValueError(
            f"the query is {image.dtype}, the images are {images.dtype}: scale both in the same way"
        )
    labels = None if labels is None else labels_of(labels, len(images))
    net, row, points = vectors(model, np.concatenate([image[None], images]), layer, preprocess)
    names = None if labels is None else names_for(net, names, labels)
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    distances = 1 - points[1:] @ points[0]
    order = np.argsort(distances, kind="stable")
    order = order[order != query][:k] if by_index else order[:k]
    caption = "query"
    if by_index:
        caption = f"image {query}" if labels is None else _name(labels, names, query)
    captions = [caption, *(_name(labels, names, i) for i in order)]
    shown = [show(_deep(images[i])) for i in order]
    return Nearest(row.name, show(_deep(image)), shown, order, distances[order], captions)


def _deep(image):
    return image[..., None] if image.ndim == 2 else image


def _name(labels, names, i):
    if labels is None:
        return f"image {i}"
    return names[labels[i]] if names is not None else f"class {labels[i]}"


# --------------------------------------------------------------------------- a plane


class Embedding(Picture):
    """`.array` (n, 2): a point for each image. `.explained`: the share of variance along the two axes (PCA), else None."""

    size, markers = (6.8, 4.2), "osD^vP*XdH"

    def __init__(self, layer, method, array, explained, labels, names):
        self.layer, self.method, self.array, self.labels = layer, method, array, labels
        self.names, self.explained = names, explained
        self.title = f"{len(array)} images in {layer}"
        self.alt = f"{len(array)} images as points, the space of {layer} brought to a plane by {method}, coloured by class"

    def draw(self, axes):
        classes = np.unique(self.labels)
        for i, c in enumerate(classes):
            x, y = self.array[self.labels == c].T
            name = self.names[c] if self.names is not None else f"class {c}"
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

    method: "pca", the two directions of greatest variance; or "tsne", which keeps neighbours together. labels: a class index
    per image; names: the classes' names, by default those that the net carries. Needs scikit-learn; ImportError without
    it.
    """
    if method not in ("pca", "tsne"):
        raise ValueError(f'method is "pca" or "tsne", got {method!r}')
    labels = labels_of(labels, len(images))
    if len(images) < 3:
        raise ValueError(f"a plane of at least 3 images is drawn, got {len(images)}")
    net, row, points = vectors(model, images, layer, preprocess)
    names = names_for(net, names, labels)
    if method == "tsne":
        return Embedding(row.name, "t-SNE", _tsne(points, seed), None, labels, names)
    return Embedding(row.name, "PCA", *_pca(points), labels, names)


def _sklearn(name):
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        raise ImportError(
            f"embed(...) needs scikit-learn, which is not here ({error}): pip install scikit-learn"
        ) from None


def _pca(points):
    """(n, 2) and the shares of variance along the two axes; the second is 0 for a layer of one channel."""
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 1)))
    pca = _sklearn("decomposition").PCA(2, svd_solver="full")
    plane = pca.fit_transform(points.astype("float64"))
    # Each axis points to where its largest part is positive: the same on every machine and in every version.
    largest = np.abs(pca.components_).argmax(1)
    plane = plane * np.where(pca.components_[[0, 1], largest] < 0, -1, 1)
    return plane, np.nan_to_num(pca.explained_variance_ratio_)


def _tsne(points, seed):
    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = _sklearn("manifold").TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return tsne.fit_transform(points)

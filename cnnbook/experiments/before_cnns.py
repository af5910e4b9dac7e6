"""Experiments of appendix a0: features by hand, raw pixels and LeNet, over the number of images and over how far they move.

Images are those of Fashion-MNIST, 28 x 28 pixels on 32 x 32. Features by hand and pixels get a linear support vector
machine; LeNet learns by batches of 32, a rate of 0.1 that falls as a cosine. 2,000 images are
held out.
"""

import numpy as np
from skimage.feature import daisy, fisher_vector, hog, local_binary_pattern
from sklearn.svm import LinearSVC

from cnnbook import data, training
from cnnbook.experiments import Experiment
from cnnbook.models import LeNet5

# Local binary patterns of eight neighbours: 58 whose bits change at most twice around the ring, and one bin for all others.
PATTERNS = 59
HELD_OUT = 2000
# How far the held-out images are moved, in pixels along both axes; two pixels are what the border has room for.
DISTANCES = (0, 1, 2, 3, 4, 5, 6)


def padded(images):
    """Bytes (n, 28, 28, 1) as numbers from 0 to 1 with a border of two pixels, (n, 32, 32)."""
    return np.pad(images[..., 0], ((0, 0), (2, 2), (2, 2))) / 255


def described(images):
    """HOG and local binary patterns at 7 x 7 places of images (n, 32, 32) from 0 to 1: (n, 7, 7, 36 + 59)."""
    rows = []
    for image in images:
        gradients = hog(image, 9, (4, 4), (2, 2), feature_vector=False).reshape(7, 7, 36)
        codes = local_binary_pattern((image * 255).astype("uint8"), 8, 1, "nri_uniform").astype(int)
        cells = np.eye(PATTERNS)[codes].reshape(8, 4, 8, 4, PATTERNS).sum((1, 3))
        counts = sum(cells[i : 7 + i, j : 7 + j] for i in (0, 1) for j in (0, 1))
        rows.append(np.concatenate([gradients, np.sqrt(counts / 64)], -1))
    return np.array(rows, "float32")


def moved(images, distance, seed):
    """Images (n, 32, 32), each rolled by `distance` pixels down or up and right or left."""
    directions = np.random.default_rng(seed).choice([-1, 1], (len(images), 2))
    return np.array(
        [np.roll(image, distance * d, (0, 1)) for image, d in zip(images, directions, strict=True)]
    )


def compared(*, method, images, epochs, seed):
    """Accuracy on held-out images moved by 0, 1, ... 6 pixels along both axes.

    method: "pixels" or "by hand" (HOG and local binary patterns), each with a linear machine; "LeNet"; or "LeNet, moved
    images", which learns from images that are shifted by up to four pixels.
    """
    sets = data.load("fashion_mnist", train=images, test=HELD_OUT, seed=seed, verbose=False)
    x, x_test, y_test = padded(sets.x_train), padded(sets.x_test), sets.y_test
    training.seed(seed)
    if method.startswith("LeNet"):
        mean, spread = x.mean(), x.std()
        net = LeNet5()
        training.fit(
            net, ((x - mean) / spread)[..., None], sets.y_train, epochs=epochs, batch_size=32,
            shift=4 if "moved" in method else 0, mirror=False, seed=seed, verbose=False,
        )  # fmt: skip

        def accuracy(seen):
            return training.accuracy(net, ((seen - mean) / spread)[..., None], y_test)
    else:
        features = described if method == "by hand" else np.asarray
        machine = LinearSVC(C=0.01, dual="auto", random_state=seed)
        machine.fit(features(x).reshape(len(x), -1), sets.y_train)

        def accuracy(seen):
            return machine.score(features(seen).reshape(len(seen), -1), y_test)

    return {"accuracy": [float(accuracy(moved(x_test, d, seed))) for d in DISTANCES]}


def mixtures(descriptors, codebook, nearest=5):
    """Each descriptor (n, d) as a mixture of its `nearest` words of the codebook (words, d): weights (n, words), sum 1."""
    distances = (codebook**2).sum(1) - 2 * descriptors @ codebook.T
    near = np.argpartition(distances, nearest, axis=1)[:, :nearest]
    apart = codebook[near] - descriptors[:, None]
    products = apart @ apart.transpose(0, 2, 1)
    ridge = (
        1e-4 * np.trace(products, axis1=1, axis2=2) + 1e-9
    )  # else words that coincide cannot be solved for
    products += ridge[:, None, None] * np.eye(nearest)
    weights = np.linalg.solve(products, np.ones((len(near), nearest, 1)))[..., 0]
    coded = np.zeros((len(descriptors), len(codebook)), "float32")
    np.put_along_axis(coded, near, weights / weights.sum(1, keepdims=True), axis=1)
    return coded


def pyramid(maps):
    """Of maps (n, h, w, c) the whole and its four quarters, which overlap where h or w is odd."""
    h, w = (maps.shape[1] + 1) // 2, (maps.shape[2] + 1) // 2
    upper, lower = maps[:, :h], maps[:, -h:]
    return [maps, upper[:, :, :w], upper[:, :, -w:], lower[:, :, :w], lower[:, :, -w:]]


def pooled_words(places, codebook):
    """The largest weight of each word in each region of the pyramid: (n, 5 words), each row of length one.

    places: descriptors (n, h, w, d).
    """
    rows = []
    for image in places:
        coded = mixtures(image.reshape(-1, image.shape[-1]), codebook).reshape(1, *image.shape[:2], -1)
        row = np.concatenate([region.max((1, 2))[0] for region in pyramid(coded)])
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def daisies(images):
    """DAISY at 8 x 8 places of images (n, 32, 32): 13 circles with 8 directions each, (n, 8, 8, 104)."""
    how = dict(step=3, radius=6, rings=2, histograms=6, orientations=8)
    return np.array([daisy(np.pad(image, 2, mode="edge"), **how) for image in images], "float32")


def fisher_vectors(maps, gaussians):
    """How descriptors (n, h, w, d) deviate from a mixture of K Gaussians in the pyramid's regions: (n, 5 * 2 d K).

    As Sanchez & Perronnin: without the part of the mixture's weights, signed roots, each region of length one. gaussians:
    what scikit-image's `learn_gmm` returns.
    """
    rows = []
    for regions in zip(*pyramid(maps), strict=True):
        parts = []
        for region in regions:
            v = fisher_vector(region.reshape(-1, region.shape[-1]), gaussians)[len(gaussians.weights_) :]
            v = np.sign(v) * np.sqrt(np.abs(v))
            parts.append(v / (np.linalg.norm(v) + 1e-9))
        rows.append(np.concatenate(parts))
    return np.array(rows, "float32")


METHODS = ("pixels", "by hand", "LeNet", "LeNet, moved images")
COMPARED = Experiment(
    compared,
    variants={f"{m}, {n}": dict(method=m, images=n) for m in METHODS for n in (500, 2000, 6000, 12000)},
    live=dict(epochs=4),
    live_seeds=1,
    kept=dict(epochs=20),
    kept_seeds=3,
)

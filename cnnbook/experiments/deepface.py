"""Experiments of chapter 17: what alignment, kernels without sharing, and the outline are worth to a small DeepFace.

Faces are drawn, so that their landmarks are known. Every seed draws other people, poses, pairs and first weights, and the
people that a net is tested on are none of those that it learned from.
"""

from typing import NamedTuple

import keras
import numpy as np

from cnnbook import data, training
from cnnbook.data.drawn import faces as face
from cnnbook.experiments import Experiment
from cnnbook.faces import alignment, verification
from cnnbook.models import DeepFace

HEAD = face.landmarks(face.GENERIC)  # the face that is everybody's mean, float64 (34, 3)
WHERE = dict(scale=0.55, middle=(0, 0.15))  # of the head in an aligned image
SIX = slice(0, 6)  # eyes, tip of the nose, mouth: what the first alignment uses
SMALL = dict(kernels=(5, 5, 3, 3, 3), filters=(16,) * 5, hidden=64, dropout=0.2)
# Where a curve over false accepts is read off: from one in a thousand to all.
FALSE_ACCEPTS = np.geomspace(1e-3, 1, 31)

# ------------------------------------------------------------------------------------------------- one image, three ways


def as_it_came(image, points, size):
    """The image at `size`, its landmarks (k, 2) not used."""
    return data.resize(image, size)


def in_the_plane(image, points, size):
    """Turned, scaled and shifted until six landmarks are nearest to the generic face's."""
    target = alignment.place(HEAD, size, **WHERE)
    return alignment.similarity(image, points[SIX], target[SIX], size)[0]


def in_depth(image, points, size):
    """Bent until all landmarks lie where a viewer from the front sees them."""
    return alignment.frontal(image, points, HEAD, size, **WHERE)[0]


def window(size):
    """1 on the inner part of the generic face, 0 elsewhere: uint8 (size, size, 1), the same for everybody."""
    points = alignment.place(HEAD, size, **WHERE)
    inner = points.mean(0) + 0.85 * (points - points.mean(0))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)
    return (~np.isnan(alignment.bend(inner, inner, grid)[..., :1])).astype("uint8")


def outline(image, points, size):
    """White where the image that was turned in depth has a face, black elsewhere."""
    face_there = in_depth(image, points, size).max(-1, keepdims=True) > 0
    return face_there * np.full(3, 255, "uint8")


WAYS = {
    "as it came": as_it_came,
    "2-D aligned": in_the_plane,
    "3-D aligned": in_depth,
    "outline of 3-D": outline,
    "2-D, one window": lambda image, points, size: in_the_plane(image, points, size) * window(size),
    "3-D, one window": lambda image, points, size: in_depth(image, points, size) * window(size),
}


def aligned(faces, way, size):
    """The training and test images of `data.load("faces")`, each uint8 (n, size, size, 3), aligned by a way of WAYS."""
    found = {}
    for part in ("train", "test"):
        pairs = zip(faces.part(part)[0], faces.landmarks[part], strict=True)
        found[part] = np.stack([WAYS[way](image, points, size) for image, points in pairs])
    return found


def scaled(images):
    """Grey, float32 (n, h, w, 1), and each image with mean 0 and deviation 1: brightness says little then."""
    x = images.astype("float32").mean(-1, keepdims=True)
    x = x - x.mean(axis=(1, 2, 3), keepdims=True)
    return x / (x.std(axis=(1, 2, 3), keepdims=True) + 1e-6)


# ------------------------------------------------------------------------------------------- learn people, verify others


def trained(x, y, *, tied, epochs, seed):
    """A small DeepFace that has learned to name the people y (n,) on images x (n, h, w, 1); tied: L4 to L6 share kernels."""
    training.seed(seed)
    net = DeepFace(**SMALL, tied=tied, input_shape=x.shape[1:], classes=int(y.max()) + 1)
    net.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
    return net


def represent(net, x, largest=None):
    """F7 of images, float32 (n, hidden), each unit divided by its largest value over x, or by those given."""
    f7 = keras.Model(net.inputs, net.get_layer("f7").output)
    values = f7.predict(x, batch_size=200, verbose=0)
    return values / np.maximum(values.max(axis=0) if largest is None else largest, 1e-6)


class Verified(NamedTuple):
    """`right`: the share of pairs that are told right; `area` under the ROC curve; `curve`, a `verification.Roc`."""

    right: float
    area: float
    curve: verification.Roc


def verify(features, people, pairs, seed):
    """`Verified` of features (n, d) of people (n,) that no net has learned, on `pairs` pairs.

    The people are cut in two halves. The threshold of each half is the best one of the other half, and `right` is the mean
    of both. The curve is that of pairs of all people.
    """
    halves = np.isin(people, np.unique(people)[::2])
    scores, same = [], []
    for half in (halves, ~halves):
        first, second, truth = verification.pairs(people[half], pairs // 2, seed=seed)
        scores.append(verification.cosine(features[half], first, second))
        same.append(truth)
    thresholds = [verification.best_threshold(*half) for half in zip(scores, same, strict=True)]
    right = np.mean([verification.accuracy(*of) for of in zip(scores, same, thresholds[::-1], strict=True)])
    curve = verification.roc(np.concatenate(scores), np.concatenate(same))
    return Verified(float(right), curve.area, curve)


def verified(*, tied, ways, people, train, test, size, epochs, pairs, seed):
    """What a small DeepFace that learned to name `people[0]` people verifies of `people[1]` others, one net for each way.

    Returns lists in the order of `ways`: "pairs right" (%), the same with test images "moved 2" and "moved 4" pixels to
    the right, the "area" under the ROC curve, "learned", the share (%) of its training images that a net names; and for
    each way, as "accepted, WAY", the height of the ROC curve at FALSE_ACCEPTS.
    """
    faces = data.load("faces", people=people, train=train, test=test, seed=seed, verbose=False)
    found = {name: [] for name in ("pairs right", "moved 2", "moved 4", "area", "learned")}
    for way in ways:
        x = {part: scaled(images) for part, images in aligned(faces, way, size).items()}
        net = trained(x["train"], faces.y_train, tied=tied, epochs=epochs, seed=seed)
        largest = represent(net, x["train"], 1).max(axis=0)
        features = [represent(net, np.roll(x["test"], shift, axis=2), largest) for shift in (0, 2, 4)]
        here, moved_2, moved_4 = (verify(of, faces.y_test, pairs, seed) for of in features)
        named = net.evaluate(x["train"], faces.y_train, verbose=0, return_dict=True)["accuracy"]
        values = 100 * here.right, 100 * moved_2.right, 100 * moved_4.right, here.area, 100 * named
        for measured, value in zip(found.values(), values, strict=False):
            measured.append(float(value))
        curve = here.curve
        found[f"accepted, {way}"] = np.interp(FALSE_ACCEPTS, curve.false_accepts, curve.true_accepts).tolist()
    return found


THREE = ("as it came", "2-D aligned", "3-D aligned")
VERIFIED = Experiment(
    verified,
    variants={
        "untied": dict(tied=False, ways=[*THREE, "2-D, one window", "3-D, one window"]),
        "tied": dict(tied=True, ways=["as it came", "3-D aligned"]),
    },
    live=dict(people=[40, 30], train=800, test=300, size=36, epochs=8, pairs=2000),
    kept=dict(people=[60, 50], train=1200, test=600, size=36, epochs=20, pairs=4000),
    kept_seeds=3,
)

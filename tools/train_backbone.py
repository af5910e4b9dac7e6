"""Trains the course's own small nets, cnnbook/transfer/pretrained: each knows seven classes of its data, three are held out.

    python tools/train_backbone.py [NAME ...]        no name: all of SOURCES

One to three minutes a net on one core. Writes NAME.weights.h5 and NAME.json: builder, classes, protocol, seed, machine, the
sha256 of the weights and the accuracy on the test images of its own classes. A net never sees an image of the classes that
are held out (asserted), so chapter 15 can ask what its features are worth for classes that are new to it. In the scenes an
item of any kind may lie in grey beside the coloured one that is asked for; the held-out kinds are never the answer.
"""

import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cnnbook  # noqa: F401  before Keras: TensorFlow's quicker CPU kernels
from cnnbook import data, files, machine, models, training, transfer

BUILDER, ARGUMENTS = "ResNetCIFAR", {"depth": 8}


class Source(NamedTuple):
    data: str  # a name of data.load
    choice: dict  # and what it is given; the first two are of one size, so that one net can stand in for the other
    held_out: tuple
    protocol: training.Protocol
    about: str


PROTOCOL = training.Protocol(epochs=16, batch_size=64, learning_rate=0.1, warmup=1, shift=1, seed=0)
SOURCES = {
    "fashion7": Source(
        "fashion_mnist",
        dict(size=14),
        ("Dress", "Coat", "Bag"),
        PROTOCOL,
        "the shipped part of Fashion-MNIST (MIT licence), see data/files/fashion_mnist.txt",
    ),
    "digits7": Source(
        "digits",
        dict(size=14),
        ("7", "8", "9"),
        # As many steps as fashion7, from a ninth of the images.
        replace(PROTOCOL, epochs=140, mirror=False),
        "the handwritten digits inside scikit-learn (Alpaydin & Kaynak, UCI Machine Learning Repository)",
    ),
    "scenes7": Source(
        "scenes",
        dict(task="classify", size=32, train=4500, test=1000, seed=0),
        ("Dress", "Coat", "Bag"),
        replace(PROTOCOL, epochs=12, shift=2),
        "scenes with one coloured item, drawn from the shipped part of Fashion-MNIST (MIT licence); the class is the item",
    ),
}


def loaded(name):
    """The images of a source with all of its classes. Of scenes the class is the item, whatever its colour."""
    source = SOURCES[name]
    images = data.load(source.data, verbose=False, **source.choice)
    if source.data != "scenes":
        return images
    colours = len(images.classes) // 10  # a class of the scenes is an item in a colour
    items = tuple(label.split(" ", 1)[1] for label in images.classes[::colours])
    return replace(images, classes=items, y_train=images.y_train // colours, y_test=images.y_test // colours)


def kept(name):
    """(classes, x_train, y_train, x_test, y_test) of the classes that are not held out, labels counted anew."""
    source = SOURCES[name]
    images = loaded(name)
    known = [k for k, label in enumerate(images.classes) if label not in source.held_out]
    assert len(known) + len(source.held_out) == len(images.classes)
    parts = []
    for part in ("train", "test"):
        x, y = images.part(part)
        chosen = np.isin(y, known)
        assert not {images.classes[k] for k in np.unique(y[chosen])} & set(source.held_out)
        parts += [x[chosen].astype("float32"), np.searchsorted(known, y[chosen])]
    return [images.classes[k] for k in known], *parts


def train(name):
    """Trains the source `name` and writes its two files; returns the record."""
    source = SOURCES[name]
    classes, x, y, x_test, y_test = kept(name)
    mean, std = float(x.mean()), float(x.std())

    def build():
        return models.builder(BUILDER)(**ARGUMENTS, input_shape=x.shape[1:], classes=len(classes))

    training.seed(source.protocol.seed)
    net = build()
    training.fit(net, (x - mean) / std, y, source.protocol, validation=((x_test - mean) / std, y_test))
    path = transfer.PRETRAINED / f"{name}.weights.h5"
    bare = build()
    bare.set_weights(net.get_weights())  # a compiled net would save its momenta too
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / path.name
        bare.save_weights(saved)
        files.write(path, saved.read_bytes())
    record = dict(
        builder=BUILDER,
        arguments=ARGUMENTS,
        input_shape=list(x.shape[1:]),
        mean=mean,
        std=std,
        classes=classes,
        held_out=list(source.held_out),
        data=source.about,
        training_images=len(x),
        test_images=len(x_test),
        accuracy=round(training.accuracy(net, (x_test - mean) / std, y_test), 4),
        protocol=source.protocol.settings(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        **machine.facts(),
    )
    files.write(path.with_name(f"{name}.json"), json.dumps(record, indent=1) + "\n")
    print(f"{path.name}: {path.stat().st_size:,} bytes, accuracy {record['accuracy']}")
    return record


if __name__ == "__main__":
    names = sys.argv[1:] or list(SOURCES)
    if unknown := [name for name in names if name not in SOURCES]:
        sys.exit(f"unknown: {', '.join(unknown)}; known are {', '.join(SOURCES)}")
    for name in names:
        train(name)

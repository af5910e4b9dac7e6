"""Trains the course's own small net, cnnbook/pretrained/fashion7: seven classes of Fashion-MNIST, three held out.

    python tools/train_backbone.py

About three minutes on one core. Writes fashion7.weights.h5 and fashion7.json: builder, classes, protocol, seed, machine,
the sha256 of the weights and the accuracy on the test images of the seven classes. The net never sees an image of the
other three (asserted), so chapter 15 can ask what its features are worth for classes that are new to it.
"""

import hashlib
import json
import os
import sys

import numpy as np

import cnnbook  # noqa: F401  before Keras: TensorFlow's quicker CPU kernels
from cnnbook import data, models, training, transfer

NAME, SIDE, SEED = "fashion7", 14, 0
HELD_OUT = ("Dress", "Coat", "Bag")
BUILDER, ARGUMENTS = "ResNetCIFAR", {"depth": 8}
PROTOCOL = dict(epochs=16, batch_size=64, learning_rate=0.1, warmup=1, shift=1, seed=SEED)


def seven(held_out=HELD_OUT):
    """(classes, x_train, y_train, x_test, y_test) of the classes that are not held out, labels counted anew."""
    images = data.load("fashion_mnist", size=SIDE, verbose=False)
    kept = [k for k, name in enumerate(images.classes) if name not in held_out]
    assert len(kept) + len(held_out) == len(images.classes)
    parts = []
    for part in ("train", "test"):
        x, y = images.part(part)
        chosen = np.isin(y, kept)
        assert not {images.classes[k] for k in np.unique(y[chosen])} & set(held_out)
        parts += [x[chosen].astype("float32"), np.searchsorted(kept, y[chosen])]
    return [images.classes[k] for k in kept], *parts


if __name__ == "__main__":
    held_out = tuple(sys.argv[1].split(",")) if len(sys.argv) > 1 else HELD_OUT
    classes, x, y, x_test, y_test = seven(held_out)
    mean, std = float(x.mean()), float(x.std())
    training.seed(SEED)
    net = getattr(models, BUILDER)(**ARGUMENTS, input_shape=x.shape[1:], classes=len(classes))
    training.fit(net, (x - mean) / std, y, validation=((x_test - mean) / std, y_test), **PROTOCOL)
    transfer.PRETRAINED.mkdir(exist_ok=True)
    path = transfer.PRETRAINED / f"{NAME}.weights.h5"
    part = path.with_name(f"{NAME}.part.weights.h5")
    bare = getattr(models, BUILDER)(**ARGUMENTS, input_shape=x.shape[1:], classes=len(classes))
    bare.set_weights(net.get_weights())  # a compiled net would save its momenta too
    bare.save_weights(part)
    os.replace(part, path)
    record = dict(
        builder=BUILDER,
        arguments=ARGUMENTS,
        input_shape=list(x.shape[1:]),
        mean=mean,
        std=std,
        classes=classes,
        held_out=list(held_out),
        data="the shipped part of Fashion-MNIST (MIT licence), see data/files/fashion_mnist.txt",
        training_images=len(x),
        test_images=len(x_test),
        accuracy=round(training.accuracy(net, (x_test - mean) / std, y_test), 4),
        protocol=PROTOCOL,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        **training.facts(),
    )
    text = json.dumps(record, indent=1) + "\n"
    path.with_name(f"{NAME}.json").write_text(text, encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size:,} bytes, accuracy {record['accuracy']}")

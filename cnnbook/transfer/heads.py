"""A new classifier on a trained net: the head, the features that it reads, and its training."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
from keras import layers as L

from .. import files, graph, training, weights
from ..arguments import array, integer, whole_number
from ..parts import layers as ours
from ..training.losses import check_labels

__all__ = ["Trials", "embeddings", "extend", "fit_head", "names"]
# The layers of the head that `extend` puts on a backbone.
POOL, NORM, DROPOUT, DENSE = "head_pool", "head_bn", "head_dropout", "head_predictions"


def extend(backbone, classes, *, input_shape=None, preprocess=None, dropout=0.2, name=None):
    """A net with a new classifier on a trained one: (n, h, w, c) -> probabilities (n, classes).

    backbone: a keras.Model that ends in a map, which is averaged over its positions, or in a vector. classes: how many, or
    their names, which the net then carries (`names`). input_shape: (h, w, c), by default the backbone's. preprocess: how
    the backbone wants its pixels, "caffe", "tf", "torch", "lite" or "identity" (see models.preprocess): the new net reads
    RGB from 0 to 255. dropout: its rate. The head is batch normalisation, so that features of any scale learn alike,
    dropout and one dense layer. The backbone's layers are shared. ValueError for fewer than two classes, or a backbone that
    ends in anything else.
    """
    many = isinstance(classes, Iterable) and not isinstance(classes, str) and np.ndim(classes) < 2
    labels = tuple(str(c) for c in classes) if many else None
    number = len(labels) if many else integer(classes)
    if number is None or number < 2:
        raise ValueError(f"classes is at least 2, or at least two names, got {classes!r}")
    x = inputs = keras.Input(input_shape or backbone.input_shape[1:], name="image")
    if preprocess is not None:
        x = weights.Preprocess(preprocess, name="preprocess")(x)
    x = backbone(x)
    if len(x.shape) == 4:
        x = L.GlobalAveragePooling2D(name=POOL)(x)
    if len(x.shape) != 2:
        raise ValueError(
            f"{backbone.name} ends in {tuple(x.shape[1:])}; a map (h, w, c) or a vector is needed"
        )
    x = L.BatchNormalization(name=NORM, momentum=0.9)(x)
    x = L.Dropout(dropout, name=DROPOUT)(x)
    x = L.Dense(number, activation="softmax", name=DENSE)(x)
    x = ours.Labels(labels, name="labels")(x) if labels else x
    return graph.flatten(keras.Model(inputs, x, name=name or f"{backbone.name}_transfer"))


def names(model):
    """The names of a net's classes, a tuple of str, as `extend` put them in; ValueError for a net that has none."""
    for layer in reversed(model.layers):
        if isinstance(layer, ours.Labels):
            return layer.names
    raise ValueError(
        f"{model.name} carries no names of classes; transfer.extend(backbone, names) puts them in"
    )


def embeddings(model, x, *, layer=None, cache=None, batch_size=32):
    """The features of images x (n, h, w, c) at a layer: float32 (n, channels), a map averaged over its positions.

    layer: its name; by default what the classifier reads (of a net by `extend`), else the net's output. cache: an .npz
    file that keeps the features; they are read from it only where net, weights, layer and images are the same, else
    computed and written, also where the file is damaged. ValueError for a layer that the net does not have, and for a cache
    that holds something else or cannot be written.
    """
    x, batch_size = array(x, "x"), whole_number(batch_size, "batch_size")
    flat = graph.flatten(model)
    known = {row.name: row for row in graph.trace(flat)}
    if layer is None:
        layer = known[NORM].inputs[0] if NORM in known else list(known)[-1]
    if layer not in known:
        raise ValueError(f"{model.name} has no layer {layer!r}")
    key = _fingerprint(flat, layer, x) if cache is not None else None
    if cache is not None:
        kept = _kept(Path(cache), key)
        if kept is not None:
            return kept
        files.ready(cache)
    output = known[layer].tensor
    if len(output.shape) == 4:
        output = L.GlobalAveragePooling2D()(output)
    vectors = np.empty((0, output.shape[-1]), "float32")
    if len(x):
        features = keras.Model(flat.input, output)
        vectors = training.outputs(features, x, batch_size, label=f"{model.name}, features")
    if cache is not None:
        with files.replaced(cache) as file:
            np.savez(file, key=key, vectors=vectors)
    return vectors


def _kept(cache, key):
    """The features that a cache holds under that key; None where it has to be written. ValueError for a file of other
    content, which would be lost."""
    if not cache.is_file():
        return None
    try:
        headers = files.headers(cache)
    except Exception as error:
        if (start := _start(cache)) and not start.startswith(b"PK"):
            raise ValueError(
                f"{cache} is no cache of features, but begins with {start!r}: give another file"
            ) from None
        return _damaged(cache, error)
    if set(headers) != {"key", "vectors"}:
        raise ValueError(
            f"{cache} is no cache of features, but holds {', '.join(headers)[:100]}: give another file"
        )
    if headers["key"] != ((), np.dtype(f"U{len(key)}")):
        return None
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return stored["vectors"] if str(stored["key"]) == key else None
    except Exception as error:
        return _damaged(cache, error)


def _start(path):
    with open(path, "rb") as file:
        return file.read(8)


def _damaged(cache, error):
    print(f"{cache} is damaged ({type(error).__name__}: {error}); its features are computed anew", flush=True)


def _fingerprint(model, layer, x):
    """A digest of all that decides the features."""
    digest = hashlib.sha256(f"{layer} {x.shape} {x.dtype}".encode())
    digest.update(np.ascontiguousarray(x).tobytes())
    for variable in model.weights:
        digest.update(f"{variable.path} {variable.shape}".encode())
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()


def fit_head(model, vectors, y, *, epochs=60, batch_size=32, learning_rate=0.05, weight_decay=1e-3, seed=0):
    """Trains the head of a net by `extend` on `embeddings` (n, channels) and labels (n,): seconds where images take minutes.

    The head's layers are those of the net, so afterwards the net itself is trained; it is returned. The learning rate
    falls as a cosine; momentum is 0.9. ValueError for a net without such a head.
    """
    vectors, y = array(vectors, "vectors"), array(y, "y")
    _check(model, vectors, y)
    epochs, batch_size = whole_number(epochs, "epochs"), whole_number(batch_size, "batch_size")
    x = inputs = keras.Input(vectors.shape[1:])
    for name in (NORM, DROPOUT, DENSE):
        layer = model.get_layer(name)
        layer.trainable = True
        x = layer(x)
    head, steps = keras.Model(inputs, x), epochs * math.ceil(len(vectors) / batch_size)
    training.seed(seed)
    rate = training.Schedule(learning_rate, steps)
    head.compile(
        training.MomentumSGD(rate, momentum=0.9, weight_decay=weight_decay), "sparse_categorical_crossentropy"
    )
    with training.programs.fed(head, None, None, loss=head.loss):
        head.fit(vectors, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return model


def _check(model, x, y):
    """ValueError unless there are images or vectors x, and a label of the net's for each."""
    if not len(x) or y.ndim != 1 or len(x) != len(y):
        raise ValueError(
            f"one label for each image, and at least one: got {len(x)} and labels of shape {y.shape}"
        )
    check_labels(model, y)


class Trials:
    """A net that is trained many times from a given start and compiled once: learning curves over seeds take seconds.

    model: frozen as `freeze` left it, which stays so. steps, batch_size: the same for every run, however few the images,
    which are then seen several times. learning_rate falls as a cosine; rates, weight_decay and momentum are those of
    `training.Protocol`.
    """

    def __init__(
        self,
        model,
        *,
        steps=100,
        batch_size=32,
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=1e-4,
        rates=None,
    ):
        self.model = model
        self.steps, self.batch_size = whole_number(steps, "steps"), whole_number(batch_size, "batch_size")
        factors = training.factors_of(model, rates or {})
        self.optimizer = training.MomentumSGD(
            training.Schedule(learning_rate, self.steps),
            factors=factors,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(self.optimizer, training.loss_of(model, "sparse_categorical_crossentropy"))
        self.optimizer.build(model.trainable_variables)
        self.start = model.get_weights()

    def run(self, x, y, *, start=None, seed=0, shift=0, mirror=False):
        """Trains on x (n, h, w, c) or vectors (n, c) and labels y (n,), and returns the net, which the next run changes.

        start: the weights to start from, by default those at the time of compiling. shift, mirror: as in training.fit.
        """
        x, y, seed = array(x, "x"), array(y, "y"), whole_number(seed, "seed", least=0)
        _check(self.model, x, y)
        self.model.set_weights(self.start if start is None else start)
        for variable in self.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        rng, drawn = np.random.default_rng([seed, 0]), self.steps * self.batch_size
        order = np.concatenate([rng.permutation(len(x)) for _ in range(math.ceil(drawn / len(x)))])[:drawn]
        images = training.augment(x[order], rng, shift=shift, mirror=mirror) if shift or mirror else x[order]
        for variable in self.model.variables:  # dropout's state is not among the weights
            if variable.path.endswith("seed_generator_state"):
                variable.assign(keras.ops.cast([seed, 0], variable.dtype))
        with training.programs.fed(self.model, None, None, loss=self.model.loss):
            self.model.fit(images, y[order], batch_size=self.batch_size, shuffle=False, verbose=0)
        return self.model

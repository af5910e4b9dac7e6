"""A trained network for your own classes: what to freeze, how fast the rest learns, features computed once.

The course's advice (`advice`): with little data train the head alone, with some the last stage too, with plenty all of
it. `freeze` does so by the names of stages, and keeps batch normalisation as it was trained; `training.fit(rates=...)`
lets early stages learn more slowly than late ones; `embeddings` asks the frozen part once for every image.
`classifier` puts this together for a folder of images and gives one `.keras` file that reads plain RGB and knows its labels.
`backbone` opens the course's own small trained nets, which lie in the package.
"""

import hashlib
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers as L
from tqdm import tqdm

from .. import data, graph, tables, training, weights
from .. import models as models_
from ..parts import layers as ours

STRATEGIES = ("head", "late", "all")


def advice(images_per_class):
    """ "head" below 50 images a class, "late" below 500, "all" from there on: a rule of thumb, to be checked on held-out
    images. "head": only the new classifier learns; "late": the last stage too; "all": every stage.

    Chapter 15 measured a small net: with slow rates for its stages "late" was ahead of "head" from 5 images a class on
    for classes near its own, and for a task far from them "all", or a new net, was ahead at any number. The rule knows
    the number of images, not how near the task is.
    """
    number = data.images.number("images_per_class", images_per_class, 1)
    return "head" if number < 50 else "late" if number < 500 else "all"


# --------------------------------------------------------------------------- the course's own trained nets

PRETRAINED = Path(__file__).parent / "pretrained"


def backbones():
    """The nets that `backbone` opens: {name: record}. A record says how the net was made (builder, classes, held_out, data,
    protocol, seed, machine) and how good it is: accuracy on the test images of its own classes. tools/train_backbone.py."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(PRETRAINED.glob("*.json"))}


def backbone(name, *, input_shape=None, include_top=False, trained=True):
    """A small net that the course trained itself: raw pixels (n, h, w, c), 0 to 255, to a map; with its top, to classes.

    name: one of `backbones()`: "fashion7" knows seven classes of Fashion-MNIST, "digits7" the digits 0 to 6;
    neither has seen the other three classes of its data. Both are the same builder for 14 x 14 grey pixels, so one can
    stand in for the other. A net scales its pixels itself (layer "scale"). input_shape: the one it was trained with, or
    any that its builder takes.
    trained=False gives the same net with new weights, to compare with. Raises ValueError for a name that does not exist,
    data.DataError where the file of weights is missing or damaged.
    """
    known = backbones()
    if name not in known:
        raise ValueError(
            f"no backbone of the course is called {name!r}; there are: {', '.join(known)}. Nets with ImageNet "
            'weights are builders: models.EfficientNetLite0(weights="imagenet", include_top=False)'
        )
    record = known[name]
    shape = tuple(input_shape or record["input_shape"])
    net = models_.builder(record["builder"])(
        **record["arguments"], input_shape=shape, classes=len(record["classes"])
    )
    if trained:
        path = PRETRAINED / f"{name}.weights.h5"
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise data.DataError(
                f"{path.name} is missing or damaged (its sha256 differs): install cnnbook again"
            )
        net.load_weights(path)
    if not include_top:
        net = keras.Model(net.inputs, list(graph.features(net).values())[-1].tensor)
    x = inputs = keras.Input(shape, name="image")
    x = L.Rescaling(1 / record["std"], -record["mean"] / record["std"], name="scale")(x)
    return graph.flatten(keras.Model(inputs, net(x), name=name))


# --------------------------------------------------------------------------- freezing


@dataclass(frozen=True)
class Frozen:
    """What learns and what does not: `rows` of (stage, learned parameters, frozen parameters) in graph order."""

    name: str
    rows: tuple

    def _table(self):
        lines = [[stage, tables.number(learned), tables.number(kept)] for stage, learned, kept in self.rows]
        total = [tables.number(sum(row[i] for row in self.rows)) for i in (1, 2)]
        return f"{self.name}: what learns", ("stage", "learns", "frozen"), [*lines, ["all", *total]]

    def __repr__(self):
        return tables.text(*self._table())

    def _repr_html_(self):
        return tables.html(*self._table())


def freeze(model, until=None, *, batch_norm=True):
    """Freezes a net up to a stage or layer, and all that this one stands on; the rest learns. Returns a `Frozen`.

    until: a stage ("conv3") or a layer ("conv3_block4_out") by its name; "head" freezes all but the last layer that has
    weights; None freezes no stage. batch_norm: batch normalisation is frozen everywhere, its moving statistics too: in
    Keras 3 only `trainable = False` does that, since `fit` overrides `training=False` in nested calls. What learned before
    and is not frozen now learns again. Compile afterwards (training.fit does). ValueError names the stages there are.
    """
    rows = graph.trace(model)
    parents, stages = {row.name: row.inputs for row in rows}, [graph.stage_of(row) for row in rows]
    heads = [row.name for row in rows if row.params]
    if not heads:
        raise ValueError(f"{model.name} has no layer with weights")
    if until == "head":
        pending = list(parents[heads[-1]])
    elif until is None:
        pending = []
    else:
        pending = [row.name for row, stage in zip(rows, stages, strict=True) if until in (stage, row.name)]
        if not pending:
            known = dict.fromkeys(stage for row, stage in zip(rows, stages, strict=True) if row.params)
            raise ValueError(
                f'{model.name} has no stage or layer {until!r}; stages: {", ".join(known)}; or "head"'
            )
    frozen = set()
    while pending:
        name = pending.pop()
        if name not in frozen:
            frozen.add(name)
            pending += parents[name]
    _thaw(model)
    learned, kept = {}, {}
    for row, stage in zip(rows, stages, strict=True):
        still = row.name in frozen or (batch_norm and isinstance(row.operation, L.BatchNormalization))
        if isinstance(row.operation, L.Layer) and still:
            row.operation.trainable = False
        if row.params:
            into = kept if still else learned
            into[stage] = into.get(stage, 0) + row.params
            (learned if still else kept).setdefault(stage, 0)
    return Frozen(model.name, tuple((stage, learned[stage], kept[stage]) for stage in kept))


def _thaw(model):
    """All layers learn again, nested models too, whose own flag hides their layers'. One by one: a model that already
    learns does not pass the flag on."""
    model.trainable = True
    for layer in model.layers:
        layer.trainable = True
        if isinstance(layer, keras.Model):
            _thaw(layer)


# --------------------------------------------------------------------------- a net with a new head


def extend(backbone, classes, *, input_shape=None, preprocess=None, dropout=0.2, name=None):
    """A net with a new classifier on a trained one: (n, h, w, c) -> probabilities (n, classes).

    backbone: a keras.Model that ends in a map, which is averaged over its positions, or in a vector. classes: how many, or
    their names, which the net then carries (`names`). preprocess: how the backbone wants its pixels, "caffe", "tf",
    "torch", "lite" or "identity" (see models.preprocess): the new net reads RGB from 0 to 255. The head is batch
    normalisation, so that features of any size learn alike, dropout and one dense layer. The backbone's layers are shared.
    """
    names = None if isinstance(classes, int) else tuple(str(c) for c in classes)
    number = classes if names is None else len(names)
    if not isinstance(number, int) or number < 2:
        raise ValueError(f"classes is at least 2, or at least two names, got {classes!r}")
    x = inputs = keras.Input(input_shape or backbone.input_shape[1:], name="image")
    if preprocess is not None:
        x = weights.Preprocess(preprocess, name="preprocess")(x)
    x = backbone(x)
    if len(x.shape) == 4:
        x = L.GlobalAveragePooling2D(name="head_pool")(x)
    if len(x.shape) != 2:
        raise ValueError(
            f"{backbone.name} ends in {tuple(x.shape[1:])}; a map (h, w, c) or a vector is needed"
        )
    x = L.BatchNormalization(name="head_bn", momentum=0.9)(x)
    x = L.Dropout(dropout, name="head_dropout")(x)
    x = L.Dense(number, activation="softmax", name="head_predictions")(x)
    x = ours.Labels(names, name="labels")(x) if names else x
    return graph.flatten(keras.Model(inputs, x, name=name or f"{backbone.name}_transfer"))


def names(model):
    """The names of a net's classes, as `extend` put them in; ValueError for a net that has none."""
    for layer in reversed(model.layers):
        if isinstance(layer, ours.Labels):
            return layer.names
    raise ValueError(
        f"{model.name} carries no names of classes; transfer.extend(backbone, names) puts them in"
    )


def embeddings(model, x, *, layer=None, cache=None, batch_size=32):
    """What a layer says of images x (n, h, w, c): float32 (n, channels), a map averaged over its positions.

    layer: its name; by default what the classifier reads (of a net by `extend`), else the net's output. cache: an .npz
    file that keeps the answer; it is used only where net, weights, layer and images are the same, else made anew (written
    beside, then renamed).
    """
    flat = graph.flatten(model)
    known = {row.name: row for row in graph.trace(flat)}
    if layer is None:
        layer = known["head_bn"].inputs[0] if "head_bn" in known else list(known)[-1]
    if layer not in known:
        raise ValueError(f"{model.name} has no layer {layer!r}")
    key = _fingerprint(flat, layer, x) if cache is not None else None
    if cache is not None and Path(cache).exists():
        with np.load(cache) as stored:
            if str(stored["key"]) == key:
                return stored["vectors"]
    output = known[layer].tensor
    if len(output.shape) == 4:
        output = L.GlobalAveragePooling2D()(output)
    asked, parts = keras.Model(flat.inputs, output), []
    starts = range(0, len(x), batch_size)
    label = f"{model.name}, features of {len(x):,} images"
    for start in tqdm(starts, desc=label, file=sys.stdout, mininterval=5, delay=5):
        parts.append(keras.ops.convert_to_numpy(asked.predict_on_batch(x[start : start + batch_size])))
    vectors = np.concatenate(parts) if parts else np.empty((0, output.shape[-1]), "float32")
    if cache is not None:
        beside = Path(f"{cache}.part")
        beside.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            np.savez(file, key=key, vectors=vectors)
        os.replace(beside, cache)
    return vectors


def _fingerprint(model, layer, x):
    found = hashlib.sha256(f"{layer} {x.shape} {x.dtype}".encode())
    found.update(np.ascontiguousarray(x).tobytes())
    for variable in model.weights:
        found.update(f"{variable.path} {variable.shape}".encode())
        found.update(keras.ops.convert_to_numpy(variable).tobytes())
    return found.hexdigest()


def fit_head(model, vectors, y, *, epochs=60, batch_size=32, learning_rate=0.05, weight_decay=1e-3, seed=0):
    """Trains the head of a net by `extend` on `embeddings` (n, channels) and labels (n,): seconds where images take minutes.

    Batch normalisation, dropout and the dense layer are the net's own, so the net itself has learned afterwards.
    """
    x = inputs = keras.Input(vectors.shape[1:])
    for name in ("head_bn", "head_dropout", "head_predictions"):
        layer = model.get_layer(name)
        layer.trainable = True
        x = layer(x)
    head, steps = keras.Model(inputs, x), epochs * math.ceil(len(vectors) / batch_size)
    training.seed(seed)
    rate = training.Schedule(learning_rate, steps)
    head.compile(
        keras.optimizers.SGD(rate, momentum=0.9, weight_decay=weight_decay), "sparse_categorical_crossentropy"
    )
    head.fit(vectors, y, epochs=epochs, batch_size=batch_size, verbose=0)
    return model


class Trials:
    """A net that is trained many times from a given start and compiled once: learning curves over seeds take seconds.

    model: frozen as `freeze` left it, which stays so. steps, batch_size: the same for every run, however few the images;
    they come round again. learning_rate falls as a cosine; rates, weight_decay and momentum are those of training.fit.
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
        self.model, self.steps, self.batch_size = model, steps, batch_size
        factors = training.factors_of(model, rates or {})
        self.optimizer = training.StagedSGD(
            training.Schedule(learning_rate, steps),
            factors=factors,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(self.optimizer, "sparse_categorical_crossentropy")
        self.optimizer.build(model.trainable_variables)
        self.start = model.get_weights()

    def run(self, x, y, *, start=None, seed=0, shift=0, mirror=False):
        """Trains on x (n, h, w, c) or vectors (n, c) and labels y (n,), and returns the net, which the next run changes.

        start: the weights to start from, by default those at the time of compiling. shift, mirror: as in training.fit.
        """
        self.model.set_weights(self.start if start is None else start)
        for variable in self.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        rng, asked = np.random.default_rng([seed, 0]), self.steps * self.batch_size
        order = np.concatenate([rng.permutation(len(x)) for _ in range(math.ceil(asked / len(x)))])[:asked]
        images = training.augment(x[order], rng, shift=shift, mirror=mirror) if shift or mirror else x[order]
        for variable in self.model.variables:  # the state of dropout is no weight
            if variable.path.endswith("seed_generator_state"):
                variable.assign(keras.ops.cast([seed, 0], variable.dtype))
        self.model.fit(images, y[order], batch_size=self.batch_size, shuffle=False, verbose=0)
        return self.model


# --------------------------------------------------------------------------- your own images


class Classifier:
    """A trained classifier of RGB images: `.model`, `.classes`, `.size`. Its `.keras` file holds all that it needs."""

    def __init__(self, model):
        self.model, self.classes = model, names(model)
        self.size = tuple(model.input_shape[1:3])

    def __repr__(self):
        height, width = self.size
        return (
            f"Classifier of {len(self.classes)} classes, images {height} x {width}: {', '.join(self.classes)}"
        )

    def probabilities(self, images):
        """Probabilities (n, classes) of uint8 images (n, h, w, 3) of the net's size, or of files: paths."""
        if not isinstance(images, np.ndarray):
            images = np.stack([data.pixels(file, size=self.size) for file in images])
        return self.model.predict(images, batch_size=32, verbose=0)

    def predict(self, images):
        """[(label, probability), ...] for uint8 images (n, h, w, 3), or for files, cut and resized as in training."""
        p = self.probabilities(images)
        return [(self.classes[k], float(row[k])) for row, k in zip(p, p.argmax(-1), strict=True)]

    def evaluate(self, x, y, files=None):
        """An `Evaluation` on images (n, h, w, 3) and labels (n,)."""
        return Evaluation(self.classes, x, np.asarray(y), self.probabilities(x), files)

    def save(self, path):
        """One `.keras` file with weights, preprocessing and labels; written beside, then renamed."""
        path = Path(path)
        if path.suffix != ".keras":
            raise ValueError(f"a classifier is saved as a .keras file, got {path.name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}.part.keras")
        self.model.save(beside)
        os.replace(beside, path)
        return path


def load(path):
    """The `Classifier` that was saved at `path`."""
    return Classifier(training.load(path))


class Evaluation:
    """How a classifier does on held-out images.

    top1, top5: share of images whose class is the most probable one, or among the five (None below six classes).
    confusion: int64 (classes, classes), the true class by row. wrong: indices of the mistakes, the surest first; hardest:
    of all images, the mistakes first, then those that are right from the least sure on.
    """

    def __init__(self, classes, x, y, probabilities, files=None):
        self.classes, self.x, self.y, self.probabilities = tuple(classes), x, y, probabilities
        self.files = None if files is None else tuple(files)
        self.predicted = probabilities.argmax(-1)
        self.top1 = float(np.mean(self.predicted == y))
        best = np.argsort(probabilities, -1)[:, ::-1][:, :5]
        self.top5 = float(np.mean((best == y[:, None]).any(-1))) if len(classes) > 5 else None
        k = len(classes)
        self.confusion = np.bincount(y * k + self.predicted, minlength=k * k).reshape(k, k)
        wrong = np.flatnonzero(self.predicted != y)
        self.wrong = wrong[np.argsort(-probabilities[wrong, self.predicted[wrong]], kind="stable")]
        right = np.flatnonzero(self.predicted == y)
        right = right[np.argsort(probabilities[right, y[right]], kind="stable")]
        self.hardest = np.concatenate([self.wrong, right])

    def __repr__(self):
        five = "" if self.top5 is None else f", top-5 {self.top5:.1%}"
        return f"{len(self.y):,} held-out images: top-1 {self.top1:.1%}{five}; {len(self.wrong):,} mistakes"

    def show_confusion(self):
        """A figure of the confusion matrix: the true class by row, the prediction by column, counts in the cells."""
        import matplotlib.pyplot as plt

        from ..viz import style

        k = len(self.classes)
        side = min(9, max(3.6, 0.55 * k + 1.8))
        figure, axes = style.figure(side + 0.6, side)
        axes.imshow(self.confusion, cmap="Blues", vmin=0)
        axes.grid(False)
        axes.set_xticks(
            range(k), self.classes, rotation=45 if k > 3 else 0, ha="right" if k > 3 else "center"
        )
        axes.set_yticks(range(k), self.classes)
        axes.set(xlabel="predicted", ylabel="true", title=f"{self.top1:.1%} of {len(self.y):,} right")
        if k <= 20:
            dark = self.confusion.max() / 2
            for i, j in np.ndindex(k, k):
                n = int(self.confusion[i, j])
                axes.text(
                    j, i, n, ha="center", va="center", color="white" if n > dark else "black", fontsize=9
                )
        plt.close(figure)
        return figure

    def show_hardest(self, most=8):
        """A figure of the mistakes, the surest first, then of what was right by the narrowest margin."""
        import matplotlib.pyplot as plt

        from ..viz import style
        from ..viz.picture import bare, grid

        shown = self.hardest[:most]
        rows, columns = grid(len(shown), 4)
        figure, axes = style.figure(2.2 * columns, 2.75 * rows, rows, columns, squeeze=False)
        for axis in axes.flat[len(shown) :]:
            axis.remove()
        for axis, i in zip(axes.flat, shown, strict=False):
            axis.imshow(self.x[i].squeeze(), cmap="gray", vmin=0, vmax=255)
            p, guess, truth = self.probabilities[i], self.predicted[i], self.y[i]
            title = f"{self.classes[guess]}, {p[guess]:.0%}"
            title += "\nright" if guess == truth else f"\nwrong: {self.classes[truth]}, {p[truth]:.0%}"
            bare(axis, title, fontsize=9)
            if self.files:
                axis.set_xlabel(Path(self.files[i]).name[:28], fontsize=8)
        plt.close(figure)
        return figure


def classifier(
    source,
    *,
    backbone="EfficientNetLite0",
    size=224,
    strategy="auto",
    epochs=10,
    mirror=True,
    cache=None,
    save=None,
    seed=0,
    verbose=True,
):
    """Trains, evaluates and saves a classifier of your own images; returns (Classifier, Evaluation).

    source: a folder or CSV file as `data.folder` reads it, or an `Images` with raw RGB pixels. backbone: the name of a
    builder, taken with its ImageNet weights, or a keras.Model without its top that reads raw RGB of `size`. strategy:
    "head", "late", "all", or "auto" for `advice`. epochs: of the net's own stages, after the head has learned; none for
    "head". mirror: mirrored copies train too; switch it off where left and right tell classes apart (digits, letters,
    arrows). cache: a file for the features, see `embeddings`. save: a .keras path.
    """
    if strategy not in ("auto", *STRATEGIES):
        raise ValueError(f'strategy is "auto", "head", "late" or "all", got {strategy!r}')
    if isinstance(source, data.Images):
        images = source
        if images.x_train.dtype != np.uint8 or images.x_train.shape[-1] != 3:
            raise ValueError(
                f"raw RGB images, uint8 (n, h, w, 3), are needed, got {images.x_train.dtype} {images.x_train.shape}"
            )
        shape = images.x_train.shape[1:]
    else:
        images = data.load(source, size=size, seed=seed, verbose=verbose)
        shape = (*data.images.height_width(size), 3)
    if verbose and isinstance(images, data.Folder) and images.skipped:
        print(images.report())
    body, mode = backbone, None
    if isinstance(backbone, str):
        body = models_.builder(backbone)(weights="imagenet", include_top=False, input_shape=shape)
        mode = models_.scaling(backbone)
    training.seed(seed)
    model = extend(body, images.classes, input_shape=shape, preprocess=mode, name="classifier")
    fewest = int(np.bincount(images.y_train, minlength=len(images.classes)).min())
    if fewest < 1:
        raise ValueError(f"{images.name}: a class has no training image; the parts are {images.sizes}")
    strategy = advice(fewest) if strategy == "auto" else strategy
    x, y = images.x_train, images.y_train
    if mirror:
        x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y])
    freeze(model, "head")
    fit_head(model, embeddings(model, x, cache=cache), y, seed=seed)
    if strategy != "head":
        stages = [found.name for found in graph.features(model).values()]
        freeze(model, stages[-2] if strategy == "late" and len(stages) > 1 else None)
        training.fit(
            model, images.x_train, images.y_train, epochs=epochs, batch_size=32, learning_rate=0.01, shift=shape[0] // 16,
            mirror=mirror, seed=seed, verbose=verbose, label=f"{images.name}, {strategy}",
        )  # fmt: skip
    made = Classifier(model)
    result = made.evaluate(images.x_test, images.y_test, getattr(images, "files", {"test": None})["test"])
    if verbose:
        print(f"{images.name}, at least {fewest} images a class, trained {strategy!r}; {result!r}")
    if save is not None:
        made.save(save)
    return made, result

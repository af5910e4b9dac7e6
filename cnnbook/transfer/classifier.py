"""A classifier of your own images: trained, evaluated, saved in one file."""

import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

from .. import data, files, graph, models, training
from ..arguments import array, whole_number
from ..tables import printable
from ..training.losses import check_labels
from .freezing import STRATEGIES, advice, freeze
from .heads import embeddings, extend, fit_head, names

__all__ = ["Classifier", "Evaluation", "classifier", "load"]


# The learning rates of a net's own stages, the first that the net bears; and how much worse the loss may be after an epoch,
# whose images are moved and mirrored.
RATES = (0.01, 0.001, 0.0001, 0.00001)
WORSE = 0.1


class Classifier:
    """A trained classifier of RGB images: `.model`, `.classes` (names), `.size` (height, width).

    Its `.keras` file holds all that it needs. ValueError for a model that carries no names of classes.
    """

    def __init__(self, model):
        self.model, self.classes = model, names(model)
        self.size = tuple(model.input_shape[1:3])

    def __repr__(self):
        height, width = self.size
        names = ", ".join(map(printable, self.classes))
        return f"Classifier of {len(self.classes)} classes, images {height} x {width}: {names}"

    def probabilities(self, images):
        """Probabilities (n, classes) of RGB images, values 0 to 255, (n, h, w, 3) of the net's size, or of files: paths.

        One image (h, w, 3) and one path are a batch of one. ValueError for other shapes, and for pixels that are scaled
        already: the net scales them itself.
        """
        images = self._pixels(images)
        if not len(images):
            return np.empty((0, len(self.classes)), "float32")
        return graph.ending(self.model).probabilities(self.model.predict(images, batch_size=32, verbose=0))

    def predict(self, images):
        """[(label, probability), ...] for images as `probabilities` takes them; files are cut and resized as in training."""
        probabilities = self.probabilities(images)
        best = probabilities.argmax(-1)
        return [(self.classes[k], float(row[k])) for row, k in zip(probabilities, best, strict=True)]

    def _pixels(self, images):
        """Images or files, one or many, as (n, h, w, 3) with values from 0 to 255."""
        if isinstance(images, (str, os.PathLike)):
            images = [images]
        if not hasattr(images, "shape") or np.asarray(images).dtype.kind in "OU":
            images, size = list(images), None if None in self.size else self.size
            if all(isinstance(image, (str, os.PathLike)) for image in images):
                images = [data.pixels(file, size=size) for file in images]
            if len({np.shape(image) for image in images}) > 1:
                raise ValueError(
                    f"images of one size are needed, got {sorted({np.shape(i) for i in images})}"
                )
            images = np.stack(images) if images else np.empty((0, *(size or (1, 1)), 3), "uint8")
        images, wanted = np.asarray(images), self.model.input_shape[1:]
        images = images[None] if _fits(images.shape, wanted) else images
        if not _fits(images.shape, (None, *wanted)):
            shape = f"(n, {', '.join('any' if side is None else str(side) for side in wanted)})"
            raise ValueError(
                f"images {shape} are needed, or files, got an array {images.shape}: data.resize changes the height and "
                "width, np.repeat(x[..., None], 3, axis=-1) makes RGB of grey (n, h, w)"
            )
        _unscaled(images)
        return images.astype("uint8", copy=False) if images.dtype.kind in "iu" else images

    def evaluate(self, x, y, files=None):
        """An `Evaluation` on uint8 images (n, h, w, 3), labels (n,) and the images' files, if there are any."""
        y = array(y, "y")
        if y.ndim != 1 or len(y) != len(x):
            raise ValueError(f"one label for each image: got {len(x)} images and labels of shape {y.shape}")
        check_labels(self.model, y)
        found = self.probabilities(x) if len(y) else np.empty((0, len(self.classes)), "float32")
        return Evaluation(self.classes, x, y, found, files)

    def save(self, path):
        """Writes one `.keras` file with weights, preprocessing and labels; returns its path.

        The file is replaced whole. ValueError for another suffix.
        """
        path = _place(path)
        # Keras saves to a path that ends in .keras, not to an open file.
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / path.name
            self.model.save(saved)
            files.write(path, saved.read_bytes())
        return path


def _place(path):
    """The path at which a classifier is saved. ValueError for another suffix, and where no file can be written."""
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"a classifier is saved as a .keras file, got {path.name!r}")
    files.ready(path)
    return path


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _unscaled(images):
    """ValueError for images whose values are not those of 8-bit pixels, 0 to 255."""
    if images.dtype == np.uint8 or not images.size:
        return
    number = np.issubdtype(images.dtype, np.integer) or np.issubdtype(images.dtype, np.floating)
    low, high = (float(images.min()), float(images.max())) if number else (np.nan, np.nan)
    # Black is black in every scale; up to 1 whole numbers may be dark, floats are scaled.
    scaled = 0 < high <= 1 and not np.issubdtype(images.dtype, np.integer)
    if not 0 <= low <= high <= 255 or scaled:
        raise ValueError(
            f"pixels from 0 to 255 are needed, as uint8 has them; got {images.dtype} from {low:.3g} to {high:.3g}. The net "
            "scales them itself: give them as they were read"
        )


def load(path, *, trusted=False):
    """The `Classifier` that was saved at `path`. trusted, ValueError: as for `cnnbook.load`, which opens it."""
    return Classifier(training.load(path, trusted=trusted))


class Evaluation:
    """How a classifier does on held-out images; `viz.confusion` and `viz.hardest` draw it.

    classes: names. x: images (n, h, w, c). y: labels, integers (n,). probabilities: (n, classes). files: a path for each
    image. predicted: labels (n,). top1, top5: share of images whose class is the most probable one, or among the five most
    probable (None for fewer than six classes). confusion: int64 (classes, classes), the true class by row. wrong: indices
    of the mistakes, the surest first; hardest: of all images, the mistakes, then those that are right from the least sure
    on. Of no images top1 and top5 are nan. Needs scikit-learn.
    """

    def __init__(self, classes, x, y, probabilities, files=None):
        from sklearn.metrics import confusion_matrix

        self.classes, self.x, self.y, self.probabilities = tuple(classes), x, y, probabilities
        self.files = None if files is None else tuple(files)
        self.predicted = probabilities.argmax(-1)
        self.top1 = _share(self.predicted == y)
        best = np.argsort(probabilities, -1)[:, ::-1][:, :5]
        self.top5 = _share((best == y[:, None]).any(-1)) if len(classes) > 5 else None
        empty = np.zeros((len(classes), len(classes)), "int64")
        self.confusion = confusion_matrix(y, self.predicted, labels=range(len(classes))) if len(y) else empty
        wrong = np.flatnonzero(self.predicted != y)
        self.wrong = wrong[np.argsort(-probabilities[wrong, self.predicted[wrong]], kind="stable")]
        right = np.flatnonzero(self.predicted == y)
        right = right[np.argsort(probabilities[right, y[right]], kind="stable")]
        self.hardest = np.concatenate([self.wrong, right])

    def __repr__(self):
        if not len(self.y):
            return "no held-out images: nothing is measured"
        top5 = "" if self.top5 is None else f", top-5 {self.top5:.1%}"
        return f"{len(self.y):,} held-out images: top-1 {self.top1:.1%}{top5}; {len(self.wrong):,} mistakes"


def _share(right):
    """The share of images that are right; nan of none."""
    return float(np.mean(right)) if len(right) else float("nan")


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
    """Trains, evaluates and saves a classifier of your own images; returns (`Classifier`, `Evaluation`).

    source: a folder or CSV file as `data.folder` reads it, or an `Images` with raw RGB pixels. backbone: the name of a
    builder, taken with its ImageNet weights, or a keras.Model without its top that reads raw RGB of `size`. size: the side
    or (height, width) in pixels to which files are resized. strategy: "head", "late", "all", or "auto" for `advice`.
    epochs: of the net's own stages, after the head has learned, at the largest of RATES that the net bears; none for
    "head". Where they made the net worse on its own training images, a warning says so and the head alone is kept. mirror:
    mirrored copies train too; switch it off where left and right tell classes apart (digits, letters, arrows). cache: a
    file for the features, see `embeddings`. save: a .keras path. verbose: print what was left out, progress and the result.
    ValueError for an unknown strategy, images that are not raw RGB, a class without training images, and files that cannot
    be written; all before anything is trained. The net is saved before it is measured.
    """
    if strategy not in ("auto", *STRATEGIES):
        raise ValueError(f'strategy is "auto", "head", "late" or "all", got {strategy!r}')
    epochs, seed = whole_number(epochs, "epochs"), whole_number(seed, "seed", least=0)
    if save is not None:
        save = _place(save)
    if cache is not None and not Path(cache).is_file():
        files.ready(cache)
    images, shape = _images(source, size, seed, verbose)
    fewest = _fewest(images)
    body, mode = backbone, None
    if isinstance(backbone, str):
        body = models.builder(backbone)(weights="imagenet", include_top=False, input_shape=shape)
        mode = models.scaling(backbone)
    training.seed(seed)
    model = extend(body, images.classes, input_shape=shape, preprocess=mode, name="classifier")
    strategy = advice(fewest) if strategy == "auto" else strategy
    _train(model, images, strategy, epochs=epochs, mirror=mirror, cache=cache, seed=seed, verbose=verbose)
    trained = Classifier(model)
    if save is not None:
        _save(trained, save)
    paths = images.files["test"] if isinstance(images, data.Folder) else None
    result = trained.evaluate(images.x_test, images.y_test, paths)
    if verbose:
        print(f"{printable(images.name)}, at least {fewest} images a class, trained {strategy!r}; {result!r}")
    return trained, result


def _fewest(images):
    """How many training images the smallest class has; ValueError for none."""
    counts = np.bincount(images.y_train, minlength=len(images.classes))
    if not counts.min():
        without = ", ".join(printable(c) for c, n in zip(images.classes, counts, strict=True) if not n)
        raise ValueError(
            f"{printable(images.name)}: no training image of {without}; the parts are {images.sizes}. Keep fewer for the "
            "test: classifier(data.load(path, size=224, test=...))"
        )
    return int(counts.min())


def _images(source, size, seed, verbose):
    """(`Images` with raw RGB pixels, their shape) of a folder or CSV file, or of `Images`."""
    if isinstance(source, data.Images):
        x = source.x_train
        if x.dtype != np.uint8 or x.shape[-1] != 3:
            raise ValueError(f"raw RGB images, uint8 (n, h, w, 3), are needed, got {x.dtype} {x.shape}")
        images, shape = source, x.shape[1:]
    else:
        images = data.load(source, size=size, seed=seed, verbose=verbose)
        shape = (*data.images.height_width(size), 3)
    if verbose and isinstance(images, data.Folder) and (images.skipped or images.notes):
        print(images.report())
    return images, shape


def _train(model, images, strategy, *, epochs, mirror, cache, seed, verbose):
    """Trains the head on features, then the last stage or all of them where the strategy says so."""
    freeze(model, "head")
    fit_head(model, *_features(model, images, mirror, cache), seed=seed)
    if strategy == "head":
        return
    stages = [endpoint.name for endpoint in graph.features(model).values()]
    freeze(model, stages[-2] if strategy == "late" and len(stages) > 1 else None)
    settings = dict(batch_size=32, shift=images.x_train.shape[1] // 16, mirror=mirror, seed=seed)
    start, before = model.get_weights(), _loss(model, images)
    rate = _bearable(model, images, settings, start, before, verbose)
    label = f"{images.name}, {strategy}"
    training.fit(
        model,
        images.x_train,
        images.y_train,
        epochs=epochs,
        learning_rate=rate,
        verbose=verbose,
        label=label,
        **settings,
    )
    after = _loss(model, images)
    if after > before + WORSE:
        model.set_weights(start)
        warnings.warn(
            f"training more than the head made the net worse on its own training images (loss {before:.2f} to {after:.2f}), "
            'so the net with the trained head alone is kept, as strategy="head" gives it',
            stacklevel=3,
        )


def _bearable(model, images, settings, start, before, verbose):
    """The first of RATES with which an epoch does not make the loss on the training images worse; the last one otherwise.

    The net is left with the weights `start`, whose loss is `before`. How large a rate a trained net bears depends on the
    net, the head and the images: the features of EfficientNetLite0 are lost within an epoch at a rate with which another
    net learns.
    """
    for rate in RATES[:-1]:
        label = f"{images.name}, trying a learning rate of {rate:g}"
        training.fit(
            model,
            images.x_train,
            images.y_train,
            epochs=1,
            learning_rate=rate,
            verbose=verbose,
            label=label,
            **settings,
        )
        after = _loss(model, images)
        model.set_weights(start)
        if after <= before + WORSE:
            return rate
        if verbose:
            print(
                f"a learning rate of {rate:g} is too large for this net: the loss rose from {before:.2f} to {after:.2f}"
            )
    return RATES[-1]


def _loss(model, images):
    """The mean cross-entropy on the training images as they are; infinite where it is no number."""
    probabilities = training.outputs(model, images.x_train)
    right = probabilities[np.arange(len(images.y_train)), images.y_train]
    loss = float(-np.log(np.maximum(right, 1e-7)).mean())
    return loss if np.isfinite(loss) else np.inf


def _features(model, images, mirror, cache):
    """(vectors, labels) of the training images, with mirror also of mirrored copies, which live only as long as this."""
    x, y = images.x_train, images.y_train
    if mirror:
        x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y])
    return embeddings(model, x, cache=cache), y


def _save(trained, path):
    """Saves what took long to train; where that fails by now, a warning says so and the net is not lost."""
    try:
        trained.save(path)
    # Keras raises errors of many types for a layer that it cannot write.
    except Exception as error:
        warnings.warn(
            f"{path} was not written ({error}): the classifier that is returned saves itself by .save(PATH)",
            stacklevel=3,
        )

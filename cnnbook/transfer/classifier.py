"""A classifier of your own images: trained, evaluated, saved in one file."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from .. import data, files, graph, models, training
from ..arguments import array, whole_number
from .freezing import STRATEGIES, advice, freeze
from .heads import embeddings, extend, fit_head, names

__all__ = ["Classifier", "Evaluation", "classifier", "load"]


class Classifier:
    """A trained classifier of RGB images: `.model`, `.classes` (names), `.size` (height, width).

    Its `.keras` file holds all that it needs. ValueError for a model that carries no names of classes.
    """

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
        probabilities = self.probabilities(images)
        best = probabilities.argmax(-1)
        return [(self.classes[k], float(row[k])) for row, k in zip(probabilities, best, strict=True)]

    def evaluate(self, x, y, files=None):
        """An `Evaluation` on uint8 images (n, h, w, 3), labels (n,) and the images' files, if there are any."""
        y = array(y, "y")
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


def load(path):
    """The `Classifier` that was saved at `path`."""
    return Classifier(training.load(path))


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
    epochs: of the net's own stages, after the head has learned; none for "head". mirror: mirrored copies train too; switch
    it off where left and right tell classes apart (digits, letters, arrows). cache: a file for the features, see
    `embeddings`. save: a .keras path. verbose: print what was left out, progress and the result. ValueError for an unknown
    strategy, images that are not raw RGB, a class without training images, and files that cannot be written; all before
    anything is trained. The net is saved before it is measured.
    """
    if strategy not in ("auto", *STRATEGIES):
        raise ValueError(f'strategy is "auto", "head", "late" or "all", got {strategy!r}')
    epochs, seed = whole_number(epochs, "epochs"), whole_number(seed, "seed", least=0)
    if save is not None:
        save = _place(save)
    if cache is not None and not Path(cache).is_file():
        files.ready(cache)
    images, shape = _images(source, size, seed, verbose)
    body, mode = backbone, None
    if isinstance(backbone, str):
        body = models.builder(backbone)(weights="imagenet", include_top=False, input_shape=shape)
        mode = models.scaling(backbone)
    training.seed(seed)
    model = extend(body, images.classes, input_shape=shape, preprocess=mode, name="classifier")
    fewest = int(np.bincount(images.y_train, minlength=len(images.classes)).min())
    if fewest < 1:
        raise ValueError(f"{images.name}: a class has no training image; the parts are {images.sizes}")
    strategy = advice(fewest) if strategy == "auto" else strategy
    _train(model, images, strategy, epochs=epochs, mirror=mirror, cache=cache, seed=seed, verbose=verbose)
    trained = Classifier(model)
    if save is not None:
        _save(trained, save)
    paths = images.files["test"] if isinstance(images, data.Folder) else None
    result = trained.evaluate(images.x_test, images.y_test, paths)
    if verbose:
        print(f"{images.name}, at least {fewest} images a class, trained {strategy!r}; {result!r}")
    return trained, result


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
    if verbose and isinstance(images, data.Folder) and images.skipped:
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
    training.fit(
        model, images.x_train, images.y_train, epochs=epochs, batch_size=32, learning_rate=0.01,
        shift=images.x_train.shape[1] // 16, mirror=mirror, seed=seed, verbose=verbose,
        label=f"{images.name}, {strategy}",
    )  # fmt: skip


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
    except OSError as error:
        warnings.warn(
            f"{path} was not written ({error}): the classifier that is returned saves itself by .save(PATH)",
            stacklevel=3,
        )

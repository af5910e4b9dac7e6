"""What `diagnose` was given, and what it is taken for."""

import contextlib
import random
from dataclasses import dataclass

import keras
import numpy as np

from .. import graph
from ..arguments import array, whole_number, whole_numbers
from ..training.losses import end_of

__all__ = ["Given", "NotLooked", "kept_draws", "percent"]

# Images that are read; enough for shares, and quick.
MOST = 2000


class NotLooked(Exception):
    """A check could not look; the message says why."""


@dataclass
class Given:
    """model: the net. x: images (n, ...), y: their labels as given. count: how many there were before `MOST` were chosen
    over the whole length. numbers: the labels as whole numbers (n,) or (n, h, w), None where they are none. one_hot:
    whether they were given one-hot. end: the `graph.Ending` of the first output, None where the net has no graph."""

    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    count: int
    numbers: np.ndarray | None
    one_hot: bool
    end: object
    seed: int

    @classmethod
    def of(cls, *three, seed):
        """What three arguments are; ValueError where they are not a model, images and labels in this order."""
        models = [each for each in three if isinstance(each, keras.Model)]
        if len(models) != 1:
            raise ValueError(
                "diagnose takes a keras.Model, images and labels, or images, masks and a keras.Model; "
                f"got {', '.join(type(each).__name__ for each in three)}"
            )
        if not models[0].built:
            raise ValueError(
                f"{models[0].name} has no weights yet, since it has never been called: begin it with a keras.Input, or call "
                "it on an image"
            )
        seed = whole_number(seed, "seed", least=0, most=2**32 - 1)
        x, y = (
            array(e, n)
            for e, n in zip((e for e in three if e is not models[0]), ("images", "labels"), strict=True)
        )
        if not x.ndim or not y.ndim or not len(x) or not len(y):
            raise ValueError(
                f"images and labels are at least one each, got arrays of {x.shape} and {y.shape}"
            )
        count = len(x)
        if len(x) == len(y) and count > MOST:
            chosen = np.linspace(0, count - 1, MOST).astype(int)
            x, y = x[chosen], y[chosen]
        end = _end(models[0])
        return cls(models[0], x, y, count, *_numbers(y, _units(models[0]), _rank(models[0])), end, seed)

    @property
    def words(self):
        return f"{self.count:,} images {self.x.shape[1:]}"

    @property
    def dense(self):
        """Whether the net has an output for every pixel."""
        return _rank(self.model) == 4

    @property
    def units(self):
        """How many units the net's first output has; None where that is not known."""
        return _units(self.model)

    @property
    def classes(self):
        """How many classes the net tells apart, 2 for one unit; None where that is not known."""
        return None if self.units is None else max(self.units, 2)

    @property
    def compiled(self):
        """Whether the net has a loss and an optimiser of the reader's."""
        return (
            bool(getattr(self.model, "compiled", False))
            and getattr(self.model, "optimizer", None) is not None
        )

    @property
    def loss(self):
        """The compiled loss of the first output, None where there is none."""
        loss = getattr(self.model, "loss", None) if self.compiled else None
        loss = next(iter(loss.values()), None) if isinstance(loss, dict) else loss
        return (loss[0] if loss else None) if isinstance(loss, list | tuple) else loss

    @property
    def steps(self):
        """How many steps the net's optimiser has made; 0 where it has none."""
        return int(self.model.optimizer.iterations) if self.compiled else 0

    @property
    def trained(self):
        """Whether the net's end has learnt something: its optimiser says so, or its last vector is not as it began."""
        ends = [v for v in self.model.weights if len(v.shape) == 1 and v.name in ("bias", "beta")]
        return self.steps > 0 or bool(ends) and bool(keras.ops.convert_to_numpy(ends[-1]).any())

    @property
    def fits(self):
        """Whether the images have the shape that the net reads."""
        shape = getattr(self.model, "input_shape", None)
        if not isinstance(shape, tuple) or len(shape) != self.x.ndim:
            return False
        return all(s in (None, n) for s, n in zip(shape[1:], self.x.shape[1:], strict=True))

    def known_end(self):
        """The end, by the loss where the net hides it; NotLooked where neither tells."""
        if self.end is None:
            raise NotLooked("the net computes by a call() of its own, so its end cannot be read")
        end = self.end
        if end.kind is None:
            with contextlib.suppress(ValueError):
                end = end_of(self.model, self.loss)
        if end.kind is None:
            raise NotLooked(f"the end of the net is not known: {end.why}")
        return end

    def computable(self):
        """NotLooked unless the net can compute these images and its outputs can be compared with whole labels."""
        if not self.fits:
            raise NotLooked("the images have not the shape that the net reads")
        if not np.isfinite(self.x.astype("float32")).all():
            raise NotLooked("the images hold values that are no numbers")
        if self.numbers is None or len(self.numbers) != len(self.x):
            raise NotLooked("the labels are no whole numbers, one for each image or pixel")
        if self.units is None:
            raise NotLooked("how many classes the net tells apart is not known")
        if not 0 <= self.numbers.min() <= self.numbers.max() < self.classes:
            raise NotLooked("some labels are no class of the net")
        if self.dense != (self.numbers.ndim == 3):
            raise NotLooked("labels and outputs are not both of images, or both of pixels")

    def few(self, count):
        """(images, labels) of at most so many, the classes taken in turn; of masks those with the most classes first."""
        if self.numbers.ndim == 3:
            kinds = np.array([len(np.unique(mask)) for mask in self.numbers])
            chosen = np.argsort(-kinds, kind="stable")[:count]
        else:
            order = np.argsort(self.numbers, kind="stable")
            _, first, many = np.unique(self.numbers[order], return_index=True, return_counts=True)
            turn = np.empty(len(order), int)
            turn[order] = np.arange(len(order)) - np.repeat(first, many)
            chosen = np.argsort(turn, kind="stable")[:count]
        return self.x[chosen].astype("float32"), self.numbers[chosen]


def _end(model):
    try:
        return graph.ending(model)
    except ValueError:
        return None


def _shape(model):
    outputs = getattr(model, "outputs", None)
    return tuple(outputs[0].shape) if outputs else None


def _units(model):
    return (_shape(model) or (None,))[-1]


def _rank(model):
    return len(_shape(model) or ())


def _numbers(y, units, rank):
    """(labels as whole numbers or None, whether they were one-hot)."""
    if y.ndim > 1 and y.ndim == rank and y.shape[-1] == 1:
        y = y[..., 0]
    elif y.ndim > 1 and y.ndim == rank and y.shape[-1] == units and (y.sum(-1) == 1).all() and y.min() >= 0:
        return y.argmax(-1), bool(y.max() == 1)
    try:
        return whole_numbers(y, "labels").astype("int64"), False
    except ValueError:
        return None, False


@contextlib.contextmanager
def kept_draws(seed):
    """In the block Python and NumPy draw from this seed; afterwards they go on as if nothing had been drawn."""
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002, it is the reader's
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002


def percent(share):
    """98 %, 0.4 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"

"""Training on a card without waiting for Python: images lie on the device, and runs of steps are one compiled loop.

Fed batch by batch, a card waits: cutting, shifting and sending one takes Python 5 ms, in which a modern GPU trains a small
net fifty times. Here images, labels and weights of pixels are sent once. What decides an epoch, order, shifts and
mirrorings, is drawn by NumPy as ever (`Batches.draws`) and sent as small integers; the compiled step gathers, shifts and
mirrors by them. So the numbers are those of the other way, to float rounding.

For JAX, on one device. On a CPU it works alike and gains nothing: XLA computes convolutions inside of a loop there five to
ten times more slowly than outside.
"""

import contextlib

import keras
import numpy as np

from ..keras_internals import build_training
from . import programs
from .batches import targets_of

__all__ = ["Pieces", "Runs", "fed", "wanted"]

# The most steps in one compiled loop: behind it lines can be printed and a run be stopped.
MOST_STEPS = 128
# The share of the device's memory that images may take; the rest is for the net.
SHARE = 0.25


def wanted(asked, model, batches, held_out=None, callbacks=()):
    """Whether a net is trained from arrays that lie on the device. asked: True, False, or None: where there is a card with
    room for the images, and no callback acts on single batches. batches, held_out: as for `fed`.

    ValueError where it is asked for and cannot be.
    """
    if asked is False or (asked is None and not programs.can_share(model)):
        return False
    if asked:
        _check(model, callbacks)
        return True
    room, arrays = _room(), keras.tree.flatten((_arrays(batches), held_out))
    needed = sum(np.size(a) * min(np.dtype(a.dtype).itemsize, 4) for a in arrays if a is not None)
    return room is not None and needed <= SHARE * room and not _by_batch(callbacks)


def _arrays(batches):
    return [a for a in (batches.x, batches.y, batches.pixel_weights) if a is not None]


def _check(model, callbacks):
    if not programs.can_share(model):
        raise ValueError(
            "on_card=True keeps the images on JAX' one device, without a keras.distribution: start Python with "
            "KERAS_BACKEND=jax in the environment, or leave on_card out"
        )
    if named := _by_batch(callbacks):
        raise ValueError(
            f"on_card=True trains many batches in one go, and {', '.join(named)} acts before or after single batches: "
            "leave on_card out, or use a callback of epochs"
        )


def _by_batch(callbacks):
    """The names of the callbacks that act before or after every batch."""
    methods = "on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"
    return [
        type(callback).__name__
        for callback in keras.tree.flatten(list(callbacks))
        if any(getattr(type(callback), m) is not getattr(keras.callbacks.Callback, m) for m in methods)
    ]


def _room():
    """The memory of the device that trains, in bytes; None on a CPU, or where it does not say."""
    import jax

    statistics = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return (statistics or {}).get("bytes_limit")


@contextlib.contextmanager
def fed(model, batches, held_out, *, loss=None, size=500):
    """While the block runs, the compiled `model` is fitted and evaluated from the device; yields what Keras' fit takes for
    batches and held-out images. batches: a `Batches`. held_out: images and what the outputs are compared with, or None.
    size: how many of them are measured at once."""
    import jax

    arrays, held = jax.device_put(jax.tree.map(np.asarray, (_arrays(batches), held_out)))
    train = programs.compiled(train_steps, model, loss=loss, optimizer=model.optimizer, donate=0)
    test = programs.compiled(test_steps, model, loss=loss, donate=0)
    numbers = model.optimizer.schedule.numbers
    build_training(model, batches[0])
    with programs.keras_calls(
        model,
        train_function=lambda state, runs: train(state, arrays, next(runs)[0], numbers),
        test_function=lambda state, runs: test(state, held, next(runs)[0]),
    ):
        yield Runs(batches), None if held is None else Pieces(len(held[0]), size)


# --------------------------------------------------------------------------- what Python sends


def loops(count, size, most=MOST_STEPS):
    """Batches of `size` out of `count` images as [(batches in one loop, images in each)], for one epoch.

    All loops over full batches are equally long, since JAX compiles for each length, `most` batches at most unless that
    would leave them very short; a smaller last batch comes by itself.
    """
    full, rest = divmod(count, size)
    together = max((n for n in range(1, most + 1) if full % n == 0), default=0)
    together = together if full <= most or together >= most // 4 else full
    return [(together, size)] * (full // max(together, 1)) + [(1, rest)] * (rest > 0)


class Runs(keras.utils.PyDataset):
    """What decides the batches of an epoch, as small integers, for one compiled loop after the other: dicts of "chosen"
    (steps, b), "shifts" (steps, 2, b) and "flips" (steps, b), as `Batches.draws` gives them for each step."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        lengths = [steps for steps, _ in loops(len(batches.x), batches.batch_size)]
        self.ends = np.cumsum([0, *lengths])

    def __len__(self):
        return len(self.ends) - 1

    def __getitem__(self, index):
        draws = [self.batches.draws(i) for i in range(*self.ends[index : index + 2])]
        kinds = {"chosen": "int32", "shifts": "int32", "flips": "bool"}
        columns = zip(kinds.items(), zip(*draws, strict=True), strict=True)
        return ({name: np.stack(c).astype(kind) for (name, kind), c in columns if c[0] is not None},)

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()


class Pieces(keras.utils.PyDataset):
    """The numbers of `count` images in their order, for one compiled loop after the other: (steps, size) each."""

    def __init__(self, count, size):
        super().__init__()
        self.loops = loops(count, size)
        self.starts = np.cumsum([0, *(steps * images for steps, images in self.loops)])

    def __len__(self):
        return len(self.loops)

    def __getitem__(self, index):
        start, shape = self.starts[index], self.loops[index]
        return (np.arange(start, start + shape[0] * shape[1], dtype="int32").reshape(shape),)


# --------------------------------------------------------------------------- what the device computes


def train_steps(model, state, arrays, draws, numbers):
    """(logs, state) after a step for each of `draws`, one entry of `Runs`. arrays: all images, labels or masks, and maybe
    weights of pixels. numbers: those of the optimiser's schedule."""
    import jax

    def step(state, drawn):
        images, *maps = augmented(arrays, **drawn)
        return programs.train_step(model, state, (images, *targets_of(model)(*maps)), numbers)[1], None

    state, _ = jax.lax.scan(step, state, draws)
    return _logs(model, state), state


def test_steps(model, state, held, chosen):
    """(logs, state) after measuring held-out images, their numbers `chosen` (steps, b). held: images and targets."""
    import jax

    def step(state, numbers):
        return programs.test_step(model, state, jax.tree.map(lambda a: a[numbers], held))[1], None

    state, _ = jax.lax.scan(step, state, chosen)
    return _logs(model, state), state


def _logs(model, state):
    """The numbers of an epoch so far, which Keras computes from its metrics, the last part of the state."""
    with keras.StatelessScope(list(zip(model.metrics_variables, state[-1], strict=True))):
        return model.get_metrics_result()


def augmented(arrays, chosen, shifts=None, flips=None):
    """The images (b, h, w, c) `chosen` out of all and their labels (b,) or maps (b, h, w), moved as `batches.moved` does."""
    border = "constant" if arrays[1].ndim == 1 else "reflect"
    return [moved(a, chosen, shifts, flips, border) if a.ndim > 1 else a[chosen] for a in arrays]


def moved(array, chosen, shifts, flips, border):
    """Those `chosen` (b,) of (n, h, w, ...), moved by shifts (2, b) and mirrored by flips (b,), or None: (b, h, w, ...)."""
    import jax.numpy as jnp

    if shifts is None and flips is None:
        return array[chosen]
    height, width = array.shape[1:3]
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    if flips is not None:
        columns = jnp.where(flips[:, None], columns[:, ::-1], columns)
    if shifts is not None:
        rows, columns = rows + shifts[0][:, None], columns + shifts[1][:, None]
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    rows, columns = (_reflected(*axis) for axis in ((rows, height), (columns, width)))
    places = chosen[:, None, None], rows[:, :, None], columns[:, None, :]
    found = array.at[places].get(mode="promise_in_bounds")
    if border == "reflect":
        return found
    inside = inside.reshape(*inside.shape, *[1] * (array.ndim - 3))
    return jnp.where(inside, found, jnp.zeros((), array.dtype))


def _within(places, size):
    return (places >= 0) & (places < size)


def _reflected(places, size):
    """Places left and right of 0 to size - 1 as numpy.pad's "reflect" has them."""
    import jax.numpy as jnp

    period = max(2 * (size - 1), 1)
    places = places % period
    return jnp.minimum(places, period - places)

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

from . import programs
from .batches import targets_of

__all__ = ["Runs", "fed", "wanted"]

# The most steps in one compiled loop: behind it lines can be printed and a run be stopped.
MOST_STEPS = 128
# The share of the device's memory that images may take; the rest is for the net.
SHARE = 0.25


def wanted(asked, model, arrays, callbacks=()):
    """Whether a net is trained from arrays that lie on the device. asked: True, False, or None: where there is a card with
    room for them, and no callback waits for single batches.

    ValueError where it is asked for and cannot be.
    """
    if asked is False or (asked is None and not programs.can_share(model)):
        return False
    if asked:
        _check(model, callbacks)
        return True
    room = _room()
    needed = sum(a.size * min(a.dtype.itemsize, 4) for a in arrays)
    return room is not None and needed <= SHARE * room and not _by_batch(callbacks)


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
    `batches` (a `Batches`) and held-out arrays (images, targets), or None. size: held-out images in one go."""
    import jax

    def sent(arrays):
        return jax.device_put([np.asarray(a) for a in arrays])

    train = programs.compiled(train_steps, model, loss=loss, optimizer=model.optimizer, donate=0)
    test = programs.compiled(test_steps, model, loss=loss, donate=0)
    numbers = model.optimizer.schedule.numbers
    seen = sent(a for a in (batches.x, batches.y, batches.pixel_weights) if a is not None)
    unseen = sent(keras.tree.flatten(held_out))
    _build(model, batches)
    with programs.keras_calls(
        model,
        train=lambda state, iterator: train(state, seen, next(iterator)[0], numbers),
        test=lambda state, iterator: test(state, unseen, next(iterator)[0]),
    ):
        yield Runs(batches), None if held_out is None else InOrder(len(unseen[0]), size)



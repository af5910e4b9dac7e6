"""`fit`: the course's training protocol, seeded, with SGD, a schedule, the standard augmentation and a history.

The protocol is He et al. 2016, section 4.2, with a cosine schedule as the default: see `Protocol`.
"""

import math
import time

import keras
import numpy as np

from ..keras_internals import producer
from . import devices, programs, restart, statistics
from . import fast as fast_
from . import on_card as on_card_
from .batches import Batches, arrays_of, targets_of
from .losses import accuracy_of, check_images, check_labels, check_loss, end_of, loss_of, mean_iou_of
from .measures import accuracy
from .optimiser import MomentumSGD, Schedule, callbacks_of, factors_of
from .progress import Progress
from .protocol import settings_of, takes_protocol
from .runs import History

__all__ = ["fit"]


@takes_protocol
def fit(
    model,
    x,
    y,
    protocol=None,
    *,
    validation=None,
    clean_training_accuracy=False,
    fast=True,
    loss=None,
    pixel_weights=None,
    label=None,
    verbose=True,
    callbacks=(),
    checkpoint=None,
    on_card=None,
):
    """Trains a net on images x (n, h, w, c) and integer labels y; returns a `History`.

    protocol: a `Protocol`; its fields can be given by keyword instead, or as well, and then go before it: `fit(net, x, y,
    epochs=3)`, `fit(net, x, y, protocol, seed=1)`. `help(training.Protocol)` says what they mean.

    y: (n,), or for a net with a class per pixel masks (n, h, w), which are cut around their centre where the net's output
    is smaller; its curves also have mean_iou and val_mean_iou. One unit tells labels 0 and 1 apart. A net with several
    outputs learns the same from all; accuracy and IoU are those of the first, the main one. loss: None for the
    cross-entropy that fits how the net ends, or a function of labels and predictions, such as those of cnnbook.segmentation;
    where a net does not show whether it gives logits, the loss says it (`training.loss_of`). pixel_weights: (n, h, w), each
    pixel's weight in the loss.

    validation: (x, y) measured after every epoch. clean_training_accuracy: also measure the training images without
    augmentation after every epoch. fast: compute grouped convolutions and batch norm by quicker ways that give the same
    numbers to float32 rounding (`training.fast`); False is stock Keras. label: what the history is called, by default the
    model's name. verbose: print lines of progress. callbacks: Keras callbacks, such as viz.Film; the history does not
    record them. checkpoint: a file (.npz) that keeps the state of the run after every epoch; where it exists, the run
    resumes from it and ends with the weights it would have had. It belongs to this run: to its settings, to all that is
    trained on and to what is measured. At a constant rate it can be prolonged by more epochs. A run that a callback ended
    is over.

    on_card: whether the images lie on JAX' device, where many steps run in one go, with the same numbers to float rounding
    (`training.on_card`); None: on a GPU or TPU that has room for them, unless a callback acts on single batches. On JAX a
    net that computes as one that was trained before is not compiled again (`training.programs`).

    Afterwards the net is compiled with a stock keras.optimizers.SGD at the protocol's rate, whatever trained it: a file of
    it opens without cnnbook; after a loss that Keras does not know, by compile=False. After a run too short for batch norm's
    moving averages to forget what they began with, mean and variance are measured anew, over at most 32 batches, and the
    last epoch's held-out numbers with them (`training.statistics`).

    Raises ValueError where images, labels, held-out ones, loss and model do not fit, or the file is damaged, of another run,
    or cannot be written. x, y and all that belongs to them may be lists, or Series of pandas, whose index plays no part.

    Runs as it is on several devices, with the numbers of one to float rounding: on the JAX backend under
    `keras.distribution.DataParallel`, in one process or several (`cnnbook.distributed`), on the TensorFlow backend with a
    net built in the scope of a MirroredStrategy. batch_size is that of all devices together; it and the numbers of images
    and of held-out images must be multiples of the number of devices. ValueError otherwise, and where Keras would share
    nothing. JAX takes batch norm's statistics over the whole batch, a MirroredStrategy over each device's part, unless the
    layers say synchronized=True; under a MirroredStrategy dropout also draws for each device anew.
    """
    x, y, validation, pixel_weights = arrays_of(model, x, y, validation, pixel_weights)
    _check(model, x, y, validation, loss)
    others = callbacks_of(callbacks)
    share, dense = _share(model, protocol, x, validation), np.ndim(y) == 3
    optimizer = _compile(model, protocol, len(x), loss=loss, dense=dense, share=share)
    settings = settings_of(protocol, x, loss=loss, pixel_weights=pixel_weights)
    history = History(label or model.name, settings=settings)
    given = x, y, pixel_weights, validation, clean_training_accuracy
    state = restart.State(checkpoint, model, optimizer, settings, *given) if checkpoint else None
    done = state.resume() if state else 0
    targets, prefix = targets_of(model), _prefix(model)
    # Keras counts an epoch of the data before the first one.
    batches = Batches(x, y, batch_size=protocol.batch_size, shift=protocol.shift, mirror=protocol.mirror,
                      seed=protocol.seed, epoch=done, pixel_weights=pixel_weights, targets=targets,
                      part=share.part)  # fmt: skip
    validation, size = _held_out(share, targets, validation), share.batch(50 if dense else 500)
    progress = Progress(history.label, name=lambda key: _plain(key, prefix), on=verbose and share.rank == 0)
    if state and state.stopped:
        progress.say(f"a callback has ended this run after epoch {state.epochs}: see {state.path}")
    clean = _CleanAccuracy(x, y, end_of(model, loss).kind) if clean_training_accuracy else None
    callbacks = [c for c in (clean, state, *others, progress) if c is not None]
    feed = on_card_.fed if on_card_.wanted(on_card, model, batches, validation, callbacks) else programs.fed
    begin = time.monotonic()
    computing = fast_.computing(model, on=fast, precision=protocol.precision)
    with progress.watching(), computing, feed(model, batches, validation, loss=loss, size=size) as fed:
        run = model.fit(fed[0], epochs=protocol.epochs, initial_epoch=done, validation_data=fed[1],
                        callbacks=callbacks, verbose=0, shuffle=False, validation_batch_size=size)  # fmt: skip
    curves = state.finish(model.stop_training) if state else run.history
    _leave_plain(model, protocol, loss=loss, dense=dense, share=share)
    curves = _measure_again(model, batches, curves, validation, clean, progress, loss=loss, size=size)
    history.seconds = state.seconds if state else time.monotonic() - begin
    history.curves = {_plain(key, prefix): values for key, values in curves.items()}
    return history


def _measure_again(model, batches, curves, validation, clean, progress, *, loss, size):
    """Behind a run that was too short for them sets batch norm's statistics, from the images of the epoch that would come
    next; returns the curves, of whose last numbers those that depend on the statistics are measured anew."""
    numbers, epochs = {}, len(curves["loss"])
    if statistics.left_of_the_start(model, len(batches) * epochs) <= statistics.SHARE:
        return curves
    batches.epoch, batches.part = epochs, slice  # whole batches in every process
    batches.on_epoch_begin()
    some = range(min(len(batches), statistics.MOST_BATCHES))
    with progress.watching("batch norm's statistics"):
        statistics.remeasure(model, (batches[index][0] for index in some))
        if validation is not None:
            with programs.measuring(model, loss=loss):
                values = model.evaluate(*validation, batch_size=size, verbose=0, return_dict=True)
            numbers |= {f"val_{key}": value for key, value in values.items()}
        if clean is not None:
            clean.on_epoch_end(epochs, numbers)
    progress.say("batch norm's statistics measured anew after this short run", numbers)
    return curves | {key: [*curves[key][:-1], value] for key, value in numbers.items()}


def _compile(model, protocol, images, *, loss, dense, share):
    """Compiles the net for a run over that many images; returns the optimiser."""
    steps = math.ceil(images / protocol.batch_size)
    rate = Schedule(
        protocol.learning_rate,
        protocol.epochs * steps,
        kind=protocol.schedule,
        warmup=round(protocol.warmup * steps),
    )
    factors = factors_of(model, protocol.rates) if protocol.rates else ()
    # Variables made in the first step (the optimiser's, a metric given as a string) would have TensorFlow trace that
    # step twice, which takes long for deep nets.
    with share.scope():
        optimizer = _sgd(MomentumSGD, rate, protocol, factors=factors)
        _compile_with(model, optimizer, loss=loss, dense=dense)
        optimizer.build(model.trainable_variables)
    return optimizer


def _leave_plain(model, protocol, *, loss, dense, share):
    """Compiles the trained net with stock SGD, so that a file of it opens where cnnbook is not installed."""
    with share.scope():
        optimizer = _sgd(keras.optimizers.SGD, float(protocol.learning_rate), protocol)
        _compile_with(model, optimizer, loss=loss, dense=dense)


def _sgd(kind, rate, protocol, **options):
    decay = protocol.weight_decay or None
    optimizer = kind(rate, momentum=float(protocol.momentum), weight_decay=decay, **options)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _compile_with(model, optimizer, *, loss, dense):
    heads, end = len(model.outputs), end_of(model, loss)
    metrics = [accuracy_of(end), *([mean_iou_of(end)] if dense else [])]
    losses = [loss_of(model, loss, output) for output in range(heads)]
    model.compile(
        optimizer, losses if heads > 1 else losses[0],
        metrics=[metrics, *[[]] * (heads - 1)] if heads > 1 else metrics,
        jit_compile=keras.backend.backend() == "jax",
    )  # fmt: skip


def _main(model):
    """The layer that gives the net's answer: of several outputs the first; the others help training."""
    return producer(model.outputs[0])


def _plain(key, prefix):
    """The name of a curve without that of the main output, which Keras puts before it where there are several."""
    validation, rest = ("val_", key[4:]) if key.startswith("val_") else ("", key)
    kept = not prefix or not rest.startswith(prefix) or rest == f"{prefix}loss"  # `loss` is the sum over all
    return key if kept else validation + rest[len(prefix) :]


def _prefix(model):
    """What Keras puts before the names of the main output's metrics: nothing for a net with one output."""
    return f"{_main(model).name}_" if len(model.outputs) > 1 else ""


class _CleanAccuracy(keras.callbacks.Callback):
    """Adds the accuracy on the clean training images to the epoch's numbers."""

    def __init__(self, x, y, kind):
        super().__init__()
        self.x, self.y, self.kind = x, y, kind

    def on_epoch_end(self, epoch, logs=None):
        logs["train_accuracy"] = accuracy(self.model, self.x, self.y, kind=self.kind)


def _held_out(share, targets, validation):
    """What this process measures of held-out images and labels, as Keras' fit takes it; None where there are none."""
    if validation is None:
        return None
    x, y = (share.held_out(array) for array in validation)
    return (x, *targets(y))


def _share(model, protocol, x, validation):
    """The `Share` in which the net trains; ValueError where its devices cannot share evenly."""
    share = devices.share(model)
    counts = {"batch size": protocol.batch_size, "the number of images": len(x)}
    if validation is not None:
        counts["the number of held-out images"] = len(validation[0])
    share.check(counts)
    return share


def _check(model, x, y, validation, loss):
    """ValueError where images, labels, held-out ones, loss and model do not fit."""
    _check_images_and_labels(model, x, y)
    if validation is not None:
        held_x, held_y = validation
        _check_images_and_labels(model, held_x, held_y, of="held-out ")
    check_loss(model, loss, y)


def _check_images_and_labels(model, x, y, of=""):
    """ValueError where they and the model do not fit. of: which they are, "held-out "."""
    shape = model.input_shape[1:]
    fits = len(x.shape) == 4 and all(
        size in (None, given) for size, given in zip(shape, x.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"{model.name} reads images {shape}, got {of}images of shape {x.shape}")
    check_images(x, of)
    check_labels(model, y, of)
    out = model.outputs[0].shape
    if len(out) == 4 and np.shape(y) != x.shape[:3]:
        raise ValueError(
            f"{model.name} gives a class for every pixel: {of}images {x.shape} need masks {x.shape[:3]}, got {np.shape(y)}"
        )
    if len(out) == 2 and (len(x) != len(y) or np.ndim(y) != 1):
        raise ValueError(
            f"{of}images need one integer label per image: got {len(x)} images and labels of shape {np.shape(y)}"
        )

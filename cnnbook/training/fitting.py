"""The course's training protocol: seeded, SGD with momentum, a schedule, the standard augmentation, a history.

The protocol is He et al. 2016, section 4.2, with a cosine schedule as the default: batches of 128, momentum 0.9, weight
decay 1e-4 on kernels only, images shifted by up to 4 pixels and mirrored, each one by its own draw.
"""

import inspect
import logging
import math
import time

import keras
import numpy as np

from .. import segmentation
from ..keras_internals import producer
from . import devices as distributed
from . import fast as fast_
from . import restart
from .batches import Batches
from .optimiser import Schedule, StagedSGD, factors_of
from .runs import History

# TensorFlow warns when several small models are asked in turn: each is traced once, as it must be.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())


class Progress(keras.callbacks.Callback):
    """At most about one line every few seconds, and the last epoch: readable in a notebook, headless and in a log."""

    def __init__(self, label, every=5.0, prefix=""):
        super().__init__()
        self.label, self.every, self.prefix = label, every, prefix

    def on_train_begin(self, logs=None):
        self.begin = self.said = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        now, epochs = time.monotonic(), self.params["epochs"]
        if now - self.said >= self.every or epoch + 1 == epochs:
            self.said = now
            numbers = "  ".join(
                f"{_plain(key, self.prefix)} {value:.3f}" for key, value in (logs or {}).items()
            )
            print(
                f"{self.label}: epoch {epoch + 1}/{epochs}  {numbers}  {now - self.begin:.0f} s", flush=True
            )


def fit(
    model,
    x,
    y,
    *,
    validation=None,
    epochs=10,
    batch_size=128,
    learning_rate=0.1,
    schedule="cosine",
    warmup=0,
    momentum=0.9,
    weight_decay=1e-4,
    shift=4,
    mirror=True,
    clean_training_accuracy=False,
    fast=True,
    precision=None,
    loss=None,
    pixel_weights=None,
    rates=None,
    seed=0,
    label=None,
    verbose=True,
    callbacks=(),
    checkpoint=None,
):
    """Trains a net on images x (n, h, w, c) and whole-number labels y; returns a `History`.

    y: (n,), or for a net with a class per pixel masks (n, h, w), which are cut around their centre where the net's
    output is smaller; its curves also have mean_iou and val_mean_iou. A net with several outputs learns the same from
    all; accuracy and IoU are those of the first, the main one. loss: None for cross-entropy, or a function of labels and
    predictions, such as those of cnnbook.segmentation. pixel_weights: (n, h, w), each pixel's weight in the loss.

    validation: (x, y) measured after every epoch. warmup: epochs of linear rise. weight_decay: per step and unit of
    learning rate, on kernels only (biases and batch norm are left alone). clean_training_accuracy: measure the training
    images without augmentation after every epoch, too. fast: compute grouped convolutions and batch norm by quicker
    ways that give the same numbers to float32 rounding (`cnnbook.fast`); False is stock Keras. precision:
    "mixed_bfloat16" computes in bfloat16 with float32 weights, for GPUs and processors that have it; the net is float32
    again afterwards. rates: {stage or start of a layer's name: factor of the learning rate}, for stages that shall learn
    more slowly than the rest. seed: order and augmentation; set `training.seed` before you build the model to fix its
    first weights. callbacks: Keras callbacks, such as viz.Film; the history does not record them. checkpoint: a file
    (.npz) that keeps the state of the run after every epoch; where it is there, the run goes on from it and ends with the
    weights it would have had. Raises ValueError where images, labels and model do not fit, or the file is of another run.

    Runs as it is on several devices, with the numbers of one to float rounding: on the JAX backend under
    `keras.distribution.DataParallel`, in one process or several (`cnnbook.distributed`), on the TensorFlow backend with a
    net built in the scope of a MirroredStrategy. batch_size is that of all devices together, and all of them, the numbers
    of images and of held-out images must be multiples of the devices; else ValueError, as where Keras would share
    nothing. JAX takes batch norm's statistics over the whole batch, a MirroredStrategy over each device's part, unless the
    layers say synchronized=True; under a MirroredStrategy dropout also draws for each device anew.
    """
    _check(model, x, y, epochs)
    share = distributed.share(model)
    measured = {} if validation is None else {"the_number_of_held_out_images": len(validation[0])}
    share.check(batch_size=batch_size, the_number_of_images=len(x), **measured)
    steps = math.ceil(len(x) / batch_size)
    rate = Schedule(learning_rate, epochs * steps, kind=schedule, warmup=round(warmup * steps))
    sgd = dict(momentum=float(momentum), weight_decay=weight_decay or None)
    plain = keras.optimizers.SGD
    dense, heads = np.ndim(y) == 3, len(model.outputs)
    prefix = f"{_main(model).name}_" if heads > 1 else ""
    # Variables made in the first step (the optimiser's, a metric given as a string) would have TensorFlow trace that
    # step twice, which takes long for deep nets.
    with share.scope():
        optimizer = StagedSGD(rate, factors=factors_of(model, rates), **sgd) if rates else plain(rate, **sgd)
        if weight_decay:
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        metrics = [_accuracy(model), *([_mean_iou(model)] if dense else [])]
        model.compile(
            optimizer, [loss_of(model, loss)] * heads if heads > 1 else loss_of(model, loss),
            metrics=[metrics, *[[]] * (heads - 1)] if heads > 1 else metrics,
            jit_compile=keras.backend.backend() == "jax",
        )  # fmt: skip
        optimizer.build(model.trainable_variables)
    given = dict(batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, warmup=warmup,
                 momentum=momentum, weight_decay=weight_decay, shift=shift, mirror=mirror, seed=seed)  # fmt: skip
    settings = _settings(x, dict(epochs=epochs, loss=loss, pixel_weights=pixel_weights, rates=rates,
                                 precision=precision, **given))  # fmt: skip
    history = History(label or model.name, settings=settings)
    state = restart.State(checkpoint, model, optimizer, settings) if checkpoint else None
    done = state.resume() if state else 0
    # Keras counts an epoch of the data before the first one.
    batches = Batches(x, y, batch_size=batch_size, shift=shift, mirror=mirror, seed=seed, epoch=done,
                      pixel_weights=pixel_weights, answer=_answer(model, dense), part=share.part)  # fmt: skip
    if validation is not None:
        own_x, own_y = (share.held_out(a) for a in validation)
        validation = (own_x, *_answer(model, dense)(own_y))
    callbacks = [
        *([_Clean(x, y)] if clean_training_accuracy else []),
        *([state] if state else []),
        *callbacks,
    ]
    callbacks += [Progress(history.label, prefix=prefix)] if verbose and share.rank == 0 else []
    begin = time.monotonic()
    with fast_.computing(model, on=fast, precision=precision):
        run = model.fit(batches, epochs=epochs, initial_epoch=done, validation_data=validation, callbacks=callbacks,
                        verbose=0, shuffle=False, validation_batch_size=share.batch(50 if dense else 500))  # fmt: skip
    history.seconds = time.monotonic() - begin
    curves = run.history
    if state:
        curves, history.seconds = state.curves, state.seconds
    history.curves = {_plain(key, prefix): values for key, values in curves.items()}
    return history


def _settings(x, given):
    """What a history records: the images and every setting of the protocol, the defaults too; a loss by its name."""
    loss, weighed = given.get("loss"), given.get("pixel_weights") is not None
    return {
        "images": len(x),
        "shape": list(x.shape[1:]),
        **_PROTOCOL,
        **{k: v for k, v in given.items() if k in _PROTOCOL},
        **({"loss": getattr(loss, "__name__", str(loss))} if loss is not None else {}),
        **({"pixel_weights": True} if weighed else {}),
        **{
            k: given[k] for k in ("rates", "precision") if given.get(k)
        },  # only where asked for: kept runs have neither
    }


def _main(model):
    """The layer that gives the net's answer: of several outputs the first; the others help training."""
    return producer(model.outputs[0])


def _plain(key, prefix):
    """The name of a curve without that of the main output, which Keras puts before it where there are several."""
    validation, rest = ("val_", key[4:]) if key.startswith("val_") else ("", key)
    kept = not prefix or not rest.startswith(prefix) or rest == f"{prefix}loss"  # `loss` is the sum over all
    return key if kept else validation + rest[len(prefix) :]


def loss_of(model, loss=None):
    """The loss of one output: what was asked for, else cross-entropy as the output's activation wants it."""
    if loss is not None:
        return loss
    from_logits = getattr(_main(model), "activation", None) is keras.activations.linear
    one = model.outputs[0].shape[-1] == 1
    kind = keras.losses.BinaryCrossentropy if one else keras.losses.SparseCategoricalCrossentropy
    return kind(from_logits=from_logits)


def _accuracy(model):
    one = model.outputs[0].shape[-1] == 1
    return (keras.metrics.BinaryAccuracy if one else keras.metrics.SparseCategoricalAccuracy)("accuracy")


def _mean_iou(model):
    classes = model.outputs[0].shape[-1]
    if classes == 1:
        return keras.metrics.BinaryIoU(name="mean_iou")
    return keras.metrics.MeanIoU(classes, sparse_y_pred=False, name="mean_iou")


def _answer(model, dense):
    """How labels (n,), or masks (n, h, w) and weights, become what the net's outputs are compared with: masks cut to
    size, everything once for every output."""

    def answer(labels, *weights):
        maps = [labels, *weights]
        if dense:
            height, width, channels = model.outputs[0].shape[1:]
            maps = [segmentation.centre(m, height or m.shape[1], width or m.shape[2]) for m in maps]
            maps[0] = maps[0][..., None] if channels == 1 else maps[0]
        return [(m,) * len(model.outputs) if len(model.outputs) > 1 else m for m in maps]

    return answer


_PROTOCOL = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if isinstance(parameter.default, (int, float, str))
    and name not in ("clean_training_accuracy", "fast", "verbose")
}


class _Clean(keras.callbacks.Callback):
    """Adds the accuracy on the clean training images to the epoch's numbers."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs=None):
        logs["train_accuracy"] = accuracy(self.model, self.x, self.y)


def accuracy(model, x, y, batch_size=500):
    """The share of images x (n, h, w, c), or of their pixels, whose most probable class is y, (n,) or (n, h, w)."""
    if np.ndim(y) == 3:
        return segmentation.pixel_accuracy(*predicted(model, x, y))
    predictions = _answers(model, x, batch_size)
    return float(np.mean(np.argmax(predictions, -1) == np.asarray(y)))


def _answers(model, x, batch_size):
    """What the net says of images x, by its first output where it has several."""
    if distributed.shared(model):
        return keras.tree.flatten(distributed.predict(model, x, batch_size))[0]
    if len(x) <= batch_size:  # one batch needs no pipeline, whose set-up can take longer than a small net
        return keras.tree.flatten(model.predict_on_batch(x))[0]
    return keras.tree.flatten(model.predict(x, batch_size=batch_size, verbose=0))[0]


def predicted(model, x, masks, batch_size=50):
    """(true, predicted) classes of every pixel of images x (n, h, w, c), masks (n, h, w), both of the size of the net's
    output, the first one's where it has several: what the scores of cnnbook.segmentation compare."""
    outputs = _answers(model, x, batch_size)
    return segmentation.centre(np.asarray(masks), *outputs.shape[1:3]), segmentation.labels(outputs)


def _check(model, x, y, epochs):
    shape = model.input_shape[1:]
    fits = len(x.shape) == 4 and all(
        want in (None, got) for want, got in zip(shape, x.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"{model.name} reads images {shape}, got an array of shape {x.shape}")
    out = model.outputs[0].shape
    if len(out) == 4 and np.shape(y) != x.shape[:3]:
        raise ValueError(
            f"{model.name} gives a class for every pixel: images {x.shape} need masks {x.shape[:3]}, got {np.shape(y)}"
        )
    if len(out) == 2 and (len(x) != len(y) or np.ndim(y) != 1):
        raise ValueError(
            f"one whole-number label per image: got {len(x)} images and labels of shape {np.shape(y)}"
        )
    classes = max(out[-1], 2) if len(out) == 4 else out[-1]
    if len(y) and not 0 <= np.min(y) <= np.max(y) < classes:
        raise ValueError(f"labels are 0 to {classes - 1} for {model.name}, got {np.min(y)} to {np.max(y)}")
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is a whole number of at least 1, got {epochs!r}")


def gradient_norms(model, x, y):
    """The length of the loss' gradient for every kernel: {layer name: norm}, from the input to the output.

    One batch, batch norm in training mode, as in a training step; the weights are left as they are.
    """
    from . import gradients

    _, found = gradients.of_weights(model, gradients.loss_on(x, y))
    kernels = {
        layer.kernel.path: layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None
    }
    return {kernels[path]: float(np.linalg.norm(g)) for path, g in found.items() if path in kernels}

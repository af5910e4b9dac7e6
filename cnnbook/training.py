"""The course's training protocol: seeded, SGD with momentum, a schedule, the standard augmentation, a history.

The protocol is He et al. 2016, section 4.2, with a cosine schedule as the default: batches of 128, momentum 0.9, weight
decay 1e-4 on kernels only, images shifted by up to 4 pixels and mirrored, each one by its own draw.
"""

import inspect
import json
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from . import distributed, machine, restart, segmentation
from . import fast as fast_

# TensorFlow warns when several small models are asked in turn: each is traced once, as it must be.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())


def seed(number):
    """Seeds Python, NumPy and the backend: the same numbers again on the same machine with the same threads."""
    keras.utils.set_random_seed(number)


class Batches(keras.utils.PyDataset):
    """Shuffled batches of images (n, h, w, c) and labels, augmented image by image.

    shift: each image is padded by that many pixels of zeros and cropped back at a random place; mirror: half of the
    images are mirrored. Order and draws are functions of `seed` and the epoch. Labels are whole numbers (n,), or masks
    (n, h, w), which move with their images, as do pixel_weights (n, h, w); the padding is then the image mirrored at
    its edge, since zeros have no class. answer: what is done to labels and weights of a batch before the net is asked.
    part: the slice of a batch of n images that is given, where several processes share it; order and draws are the same.
    """

    def __init__(
        self,
        x,
        y,
        *,
        batch_size=128,
        shift=4,
        mirror=True,
        seed=0,
        pixel_weights=None,
        answer=lambda *maps: maps,
        part=slice,  # slice(n): all of n
        epoch=0,
    ):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size
        self.shift, self.mirror, self.seed, self.epoch = shift, mirror, seed, epoch
        self.pixel_weights, self.answer, self.part = pixel_weights, answer, part
        self.on_epoch_begin()

    def on_epoch_begin(self):
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def on_epoch_end(self):
        self.epoch += 1
        self.on_epoch_begin()

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        how = dict(shift=self.shift, mirror=self.mirror, part=self.part(len(chosen)))
        if np.ndim(self.y) == 1:
            return augment(self.x[chosen], rng, **how), *self.answer(self.y[chosen][how["part"]])
        maps = [a[chosen] for a in (self.x, self.y, self.pixel_weights) if a is not None]
        x, *maps = augment_together(maps, rng, **how)
        return x, *self.answer(*maps)


def augment(images, rng, *, shift=4, mirror=True, part=slice(None)):
    """The standard augmentation of (n, h, w, c) images: every image gets its own shift and its own mirroring."""
    return augment_together([images], rng, shift=shift, mirror=mirror, border="constant", part=part)[0]


def augment_together(maps, rng, *, shift=4, mirror=True, border="reflect", part=slice(None)):
    """Images (n, h, w, c) and what belongs to their pixels, masks or weights (n, h, w): one draw for all maps of an image.

    border: what a shift brings in, as in numpy.pad: "reflect", or "constant" for zeros. Labels are moved, never mixed.
    part: a slice of the images, the only ones that are given back; what is drawn for them does not depend on it.
    """
    n, height, width = maps[0].shape[:3]
    maps = [m[part] for m in maps]
    own = len(maps[0])
    if shift:
        top, left = rng.integers(0, 2 * shift + 1, (2, n))[:, part]
        rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
        view = np.arange(own)[:, None, None], rows[:, :, None], columns[:, None, :]
        sides = (0, 0), (shift, shift), (shift, shift)
        maps = [np.pad(m, (*sides, *[(0, 0)] * (m.ndim - 3)), mode=border)[view] for m in maps]
    if mirror:
        flip = (rng.random(n) < 0.5)[part]
        maps = [np.where(flip.reshape(own, *[1] * (m.ndim - 1)), m[:, :, ::-1], m) for m in maps]
    return maps


@keras.saving.register_keras_serializable(package="cnnbook")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at a step: a linear warm-up from zero, then "cosine" to zero, "step" or "constant".

    "step" divides by 10 at 1/2 and again at 3/4 of all steps (He et al. 2016, section 4.2).
    """

    def __init__(self, peak, steps, *, kind="cosine", warmup=0):
        if kind not in ("cosine", "step", "constant"):
            raise ValueError(f'schedule is "cosine", "step" or "constant", got {kind!r}')
        self.peak, self.steps, self.kind, self.warmup = peak, steps, kind, warmup

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rise = keras.ops.minimum((step + 1) / max(self.warmup, 1), 1.0)
        done = keras.ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        if self.kind == "cosine":
            fall = 0.5 * (1 + keras.ops.cos(math.pi * done))
        elif self.kind == "step":
            tenths = keras.ops.cast(step >= self.steps / 2, "float32") + keras.ops.cast(
                step >= self.steps * 3 / 4, "float32"
            )
            fall = keras.ops.power(10.0, -tenths)
        else:
            fall = 1.0
        return self.peak * rise * fall

    def get_config(self):
        return dict(peak=self.peak, steps=self.steps, kind=self.kind, warmup=self.warmup)


@keras.saving.register_keras_serializable(package="cnnbook")
class StagedSGD(keras.optimizers.SGD):
    """SGD with a factor of the learning rate for every variable that learns, in their order. Weight decay has the plain
    rate. Howard & Ruder 2018, arXiv:1801.06146, section 3.2: discriminative fine-tuning."""

    def __init__(self, learning_rate=0.01, *, factors=(), **options):
        super().__init__(learning_rate, **options)
        self.factors = tuple(factors)

    def update_step(self, gradient, variable, learning_rate):
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return {**super().get_config(), "factors": list(self.factors)}


def factors_of(model, rates):
    """The factor of every variable that learns, in order; of several that fit a name, the longest counts."""
    from . import graph

    rows = graph.trace(model)
    stages = {id(v): graph.stage_of(row) for row in rows for v in getattr(row.operation, "weights", ())}
    names = {id(v): row.name for row in rows for v in getattr(row.operation, "weights", ())}
    fits = {k: [v for v in names if stages[v] == k or names[v].startswith(k)] for k in rates}
    if missing := [k for k, found in fits.items() if not found]:
        raise ValueError(
            f"{model.name} has no stage or layer {', '.join(missing)}; stages: {', '.join(dict.fromkeys(stages.values()))}"
        )
    chosen = [
        max((k for k in rates if id(v) in fits[k]), key=len, default=None) for v in model.trainable_variables
    ]
    return [1.0 if k is None else float(rates[k]) for k in chosen]


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


@dataclass
class History:
    """What a training run measured: one number per epoch in each of `curves`, and how it was run.

    Keys of curves: loss and accuracy on the augmented training images as they were seen, val_loss and val_accuracy on
    the held-out ones, and train_accuracy: clean training images after the epoch, where that was asked for.
    """

    label: str
    curves: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self):
        return len(next(iter(self.curves.values()), []))

    def final(self, key, last=1):
        """The mean of a curve's last values."""
        return float(np.mean(self.curves[key][-last:]))

    def to_frame(self):
        """A pandas DataFrame with a row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.curves, index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))

    def to_dict(self):
        rounded = {key: [round(float(v), 4) for v in values] for key, values in self.curves.items()}
        return dict(label=self.label, curves=rounded, settings=self.settings, seconds=round(self.seconds, 1))

    @classmethod
    def from_dict(cls, record):
        return cls(**record)

    def plot(self, keys=("accuracy", "val_accuracy"), ax=None):
        """Curves over epochs, on `ax` or a new figure; returns the axes."""
        return plot({self.label: [self]}, keys=keys, ax=ax)


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
    return model.outputs[0]._keras_history.operation


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


# --------------------------------------------------------------------------- several runs


def spread(histories, key, last=1):
    """(mean, smallest, largest) over runs of a curve's last values."""
    values = [h.final(key, last) for h in histories]
    return float(np.mean(values)), min(values), max(values)


def plot(groups, keys=("accuracy", "val_accuracy"), *, ax=None, error=False):
    """Curves of several groups of runs: {label: [History, ...]}. The mean over runs, and a band from lowest to highest.

    The first key is drawn solid, the second dashed. error=True draws 1 - accuracy in per cent, as the papers do.
    """
    from .viz import style

    if ax is None:
        _, ax = style.figure(7, 4)
    names = {"accuracy": "training", "val_accuracy": "held out", "train_accuracy": "training, clean images"}
    for color, (label, histories) in zip(style.colors(len(groups)), groups.items(), strict=True):
        for line, key in zip(("-", "--"), keys, strict=False):
            runs = np.array([h.curves[key] for h in histories])
            runs = 100 * (1 - runs) if error else runs
            epochs = np.arange(1, runs.shape[1] + 1)
            ax.plot(epochs, runs.mean(0), line, color=color, label=f"{label}, {names.get(key, key)}")
            if len(runs) > 1:
                ax.fill_between(epochs, runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel("error (%)" if error else "accuracy" if "accuracy" in keys[0] else keys[0])
    ax.legend()
    return ax


class Results:
    """A small JSON file of finished runs, with the facts of how they were made. An interrupted series resumes.

    `run` returns the stored history where label and settings are the same, else trains and adds it to the file
    (written beside, then renamed: a run that was cut short is never taken for whole). path=None stores nothing.
    """

    def __init__(self, path=None):
        self.path = Path(path) if path else None
        self.facts, self.histories = {}, []
        if self.path and self.path.exists():
            stored = json.loads(self.path.read_text("utf-8"))
            self.histories = [History.from_dict(run) for run in stored.pop("runs")]
            self.facts = stored

    def run(self, label, build, x, y, *, seed=0, **settings):
        """The history of `fit(build(), x, y, seed=seed, **settings)` after `training.seed(seed)`, stored or trained."""
        wanted = _settings(x, dict(seed=seed, **settings))
        for history in self.histories:
            if history.label == label and history.settings == wanted:
                return history
        globals()["seed"](seed)
        return self.add(fit(build(), x, y, seed=seed, label=label, **settings))

    def add(self, history):
        """Keeps one more finished run, and the facts of this machine; returns it."""
        self.histories.append(history)
        if self.path:
            self.facts = {**self.facts, **machine.facts()}
            beside = self.path.with_name(f"{self.path.name}.part")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**self.facts, "runs": [h.to_dict() for h in self.histories]}, indent=1)
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(self.path)
        return history

    def group(self, label):
        """The stored histories of that label, in order of seed."""
        return sorted((h for h in self.histories if h.label == label), key=lambda h: h.settings["seed"])


def kept(name):
    """The kept runs of a chapter, shipped with the package: a `Results` over results/NAME.json. See its facts."""
    return Results(Path(__file__).parent / "results" / f"{name}.json")

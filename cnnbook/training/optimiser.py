"""SGD as the course trains: the learning rate over the steps, momentum that follows it, a factor of it for each stage."""

import contextlib
import math

import keras
import numpy as np

from .. import graph
from ..keras_internals import variable_index
from .protocol import SCHEDULES, one_of

__all__ = ["MomentumSGD", "Schedule", "StagedSGD", "callbacks_of", "factors_of"]

INSTEAD = (
    'schedule="cosine", "step" or "constant" and warmup= say how it falls, rates= slows single stages; a run whose rate a '
    "callback sets is Keras' own: model.compile(...) and model.fit(..., callbacks=[...])"
)


@keras.saving.register_keras_serializable(package="cnnbook")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at a step: a linear warm-up from zero, then "cosine" to zero, "step" or "constant".

    peak: the highest rate. steps: of the whole run, warm-up included. kind: "step" divides by 10 at 1/2 and again at 3/4 of
    all steps (He et al. 2016, section 4.2). warmup: steps. ValueError for another kind.
    """

    def __init__(self, peak, steps, *, kind="cosine", warmup=0):
        one_of("schedule", kind, SCHEDULES)
        self.peak, self.steps, self.kind, self.warmup = peak, steps, kind, warmup
        self.numbers = np.array([peak, steps, warmup], "float32")

    def __call__(self, step):
        ops, (peak, steps, warmup) = keras.ops, (self.numbers[i] for i in range(3))
        step = ops.cast(step, "float32")
        rise = ops.minimum((step + 1) / ops.maximum(warmup, 1.0), 1.0)
        done = ops.clip((step - warmup) / ops.maximum(steps - warmup, 1.0), 0.0, 1.0)
        if self.kind == "cosine":
            fall = 0.5 * (1 + ops.cos(math.pi * done))
        elif self.kind == "step":
            tenths = ops.cast(step >= steps / 2, "float32") + ops.cast(step >= steps * 3 / 4, "float32")
            fall = ops.power(10.0, -tenths)
        else:
            fall = 1.0
        return peak * rise * fall

    def get_config(self):
        return dict(peak=self.peak, steps=self.steps, kind=self.kind, warmup=self.warmup)

    @contextlib.contextmanager
    def computing_with(self, numbers):
        """While the block runs, peak, steps and warm-up are `numbers` (3,): arguments of a compiled function, which then
        serves runs of any length and rate."""
        before, self.numbers = self.numbers, numbers
        try:
            yield
        finally:
            self.numbers = before


@keras.saving.register_keras_serializable(package="cnnbook")
class MomentumSGD(keras.optimizers.SGD):
    """SGD whose momentum does not coast on when the learning rate drops, with a factor of the rate for every variable.

    velocity = momentum * velocity + gradient; weight = weight - rate * factor * velocity, as in PyTorch. Keras' own SGD
    keeps the velocity times the rate, so after a drop by ten it goes on at the old rate for some ten steps, uncorrected
    (Goyal et al. 2017, arXiv:1706.02677, section 2.1). At a constant rate the two are the same.
    factors: one for each trainable variable, in their order, as `factors_of` gives them; () for 1 everywhere (discriminative
    fine-tuning: Howard & Ruder 2018, arXiv:1801.06146, section 3.2). Weight decay goes by the rate without the factor.
    """

    def __init__(self, learning_rate=0.01, *, factors=(), **options):
        super().__init__(learning_rate, **options)
        if self.nesterov:
            raise ValueError("MomentumSGD has no Nesterov momentum: leave nesterov out")
        self.factors = tuple(factors)
        self.schedule = learning_rate

    @property
    def learning_rate(self):
        return keras.optimizers.SGD.learning_rate.fget(self)

    @learning_rate.setter
    def learning_rate(self, value):
        if isinstance(self.schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise TypeError(f"the learning rate follows the schedule of the run and cannot be set: {INSTEAD}")
        keras.optimizers.SGD.learning_rate.fset(self, value)

    def update_step(self, gradient, variable, learning_rate):
        index = variable_index(self, variable)
        rate = learning_rate * self.factors[index] if self.factors else learning_rate
        step = keras.ops.cast(gradient, variable.dtype)
        if self.momentum:
            velocity = self.momentums[index]
            step = velocity * keras.ops.cast(self.momentum, variable.dtype) + step
            self.assign(velocity, step)
        self.assign_sub(variable, step * keras.ops.cast(rate, variable.dtype))

    def get_config(self):
        return {**super().get_config(), "factors": list(self.factors)}


@keras.saving.register_keras_serializable(package="cnnbook")
class StagedSGD(keras.optimizers.SGD):
    """Keras' SGD with a factor of the rate for every variable: only for files saved before there was `MomentumSGD`."""

    def __init__(self, learning_rate=0.01, *, factors=(), **options):
        super().__init__(learning_rate, **options)
        self.factors = tuple(factors)

    def update_step(self, gradient, variable, learning_rate):
        factor = self.factors[variable_index(self, variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return {**super().get_config(), "factors": list(self.factors)}


def callbacks_of(callbacks):
    """The callbacks given to a run, or one alone, as a list. ValueError for what is none, and for those that cannot work
    here: that set the learning rate, or start a run again without the order of its images."""
    found = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in found:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(f"callbacks are those of Keras, got {callback!r}")
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau | keras.callbacks.LearningRateScheduler):
            raise ValueError(
                f"{type(callback).__name__} sets the learning rate, which follows a schedule here: {INSTEAD}"
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                'BackupAndRestore keeps the net, not the order of the images: give checkpoint="run.npz"'
            )
    return found


def factors_of(model, rates):
    """The factor of the learning rate of every trainable variable, in order: a list for `MomentumSGD`.

    rates: {stage or start of a layer's name: factor}; 1 for all others. Where several fit, the longest name counts.
    ValueError for a name that fits nothing.
    """
    rows = graph.trace(model)
    stages = {id(v): graph.stage_of(row) for row in rows for v in getattr(row.operation, "weights", ())}
    names = {id(v): row.name for row in rows for v in getattr(row.operation, "weights", ())}
    fits = {k: [v for v in names if stages[v] == k or names[v].startswith(k)] for k in rates}
    if missing := [k for k, variables in fits.items() if not variables]:
        raise ValueError(
            f"{model.name} has no stage or layer {', '.join(missing)}; stages: {', '.join(dict.fromkeys(stages.values()))}"
        )
    chosen = [
        max((k for k in rates if id(v) in fits[k]), key=len, default=None) for v in model.trainable_variables
    ]
    return [1.0 if k is None else float(rates[k]) for k in chosen]

"""SGD as the course trains: the learning rate over the steps, and a factor of it for each stage."""

import math

import keras

from .. import graph
from ..keras_internals import variable_index


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
        factor = self.factors[variable_index(self, variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return {**super().get_config(), "factors": list(self.factors)}


def factors_of(model, rates):
    """The factor of every variable that learns, in order; of several that fit a name, the longest counts."""
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

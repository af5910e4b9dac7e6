"""The settings of a training run as one value: what `fit` reads, what a `History` records, what kept results are found by.

Nothing here imports Keras.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Self

import numpy as np

from ..arguments import plain, whole_number

__all__ = ["PRECISIONS", "SCHEDULES", "Protocol", "settings_of", "takes_protocol"]

SCHEDULES = ("cosine", "step", "constant")
PRECISIONS = (None, "mixed_bfloat16")


@dataclass(frozen=True)
class Protocol:
    """How a net is trained: everything that decides the numbers of a run but data, net and loss.

    The defaults follow He et al. 2016 (arXiv:1512.03385), section 4.2: SGD with momentum 0.9, batches of 128, weight decay
    1e-4, images shifted by up to 4 pixels and mirrored; but the learning rate falls as a cosine.

    epochs: how often every image is seen. batch_size: images a step, of all devices together. learning_rate: the highest
    one. schedule: how it falls, "cosine" to zero, "step" (by ten at 1/2 and 3/4 of all steps) or "constant". warmup: epochs,
    or a part of one, in which it rises linearly from zero. momentum: 0 up to, not including, 1. weight_decay: per step and
    unit of learning rate, on kernels only; biases and batch norm have none. shift: pixels by which each image is moved at
    most, in either direction. mirror: whether half of the images are mirrored. seed: of order and augmentation, not of the
    net's first weights: call `training.seed` before the net is built. rates: {stage or start of a layer's name: factor of
    the learning rate}, for stages that shall learn more slowly than the rest. precision: None for float32, or
    "mixed_bfloat16": computed in bfloat16 with float32 weights, for GPUs and processors that have it.

    ValueError for a value outside of this. `dataclasses.replace(protocol, seed=1)` gives the same with another seed.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 0.1
    schedule: str = "cosine"
    warmup: float = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    shift: int = 4
    mirror: bool = True
    seed: int = 0
    rates: Mapping[str, float] | None = field(default=None, hash=False)
    precision: str | None = None

    def __post_init__(self):
        for name, least in {"epochs": 1, "batch_size": 1, "shift": 0, "seed": 0}.items():
            object.__setattr__(self, name, whole_number(getattr(self, name), name, least))
        for name in ("learning_rate", "warmup", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} is a number of at least 0, got {value!r}")
            # What a file of runs holds: Python's numbers.
            object.__setattr__(self, name, plain(value))
        if self.momentum >= 1:
            raise ValueError(f"momentum is below 1, got {self.momentum!r}")
        object.__setattr__(self, "mirror", plain(self.mirror))
        if not isinstance(self.mirror, bool):
            raise ValueError(f"mirror is True or False, got {self.mirror!r}")
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        if self.rates is not None:
            if not isinstance(self.rates, Mapping) or not all(
                isinstance(v, Real) for v in self.rates.values()
            ):
                raise ValueError(
                    f"rates maps stages or layers to factors, as {{'conv1': 0.1}}, got {self.rates!r}"
                )
            object.__setattr__(self, "rates", {name: plain(rate) for name, rate in self.rates.items()})

    def settings(self) -> dict:
        """The fields as a dict that JSON can hold. rates and precision are in it only where they are set, so that runs
        which were kept before there were such fields go by the same settings as today's."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in fields.items() if value or name not in ("rates", "precision")}

    @classmethod
    def from_settings(cls, settings: Mapping) -> Self:
        """The protocol of a `History.settings`, which also describe images and loss; ValueError where one is missing."""
        if missing := [
            name for name, default in _FIELDS.items() if name not in settings and default is not None
        ]:
            raise ValueError(f"these settings are not those of a training.fit: {', '.join(missing)} missing")
        return cls(**{name: settings[name] for name in _FIELDS if name in settings})


_FIELDS = {field.name: field.default for field in dataclasses.fields(Protocol)}


def one_of(name, value, allowed):
    """ValueError unless `value` is one of the `allowed` ones."""
    if value not in allowed:
        *others, last = (f'"{option}"' if isinstance(option, str) else str(option) for option in allowed)
        raise ValueError(f"{name} is {', '.join(others)} or {last}, got {value!r}")


def settings_of(protocol, x, *, loss=None, pixel_weights=None):
    """What a `History` records, and what kept runs are found by: the number and shape of the images x (n, h, w, c), the
    protocol, and of loss and pixel weights what differs from the default, the loss by its name."""
    count, *shape = np.shape(x)
    settings = {"images": count, "shape": shape, **protocol.settings()}
    if loss is not None:
        settings["loss"] = _loss_name(loss)
    if pixel_weights is not None:
        settings["pixel_weights"] = True
    return settings


def _loss_name(loss):
    if isinstance(loss, functools.partial):  # whose text has an address in memory
        given = [*map(repr, loss.args), *(f"{name}={value!r}" for name, value in loss.keywords.items())]
        return f"{_loss_name(loss.func)}({', '.join(given)})"
    return getattr(loss, "__name__", None) or getattr(loss, "name", None) or str(loss)


def takes_protocol(function: Callable) -> Callable:
    """Lets a function with an argument `protocol` take every field of a `Protocol` by keyword as well.

    `f(..., epochs=3)` calls it with `Protocol(epochs=3)`, `f(..., protocol, seed=1)` with `protocol` and another seed;
    `help(f)` shows the fields and their defaults among the keywords.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    takes_any = parameters[-1].kind is inspect.Parameter.VAR_KEYWORD

    @functools.wraps(function)
    def with_protocol(*args, **keywords):
        settings = {name: keywords.pop(name) for name in _FIELDS if name in keywords}
        unknown = [name for name in keywords if name not in signature.parameters]
        if unknown and not takes_any:
            known = ", ".join(p.name for p in with_protocol.__signature__.parameters.values())
            raise TypeError(f"{function.__name__} has no argument {', '.join(unknown)}; it has {known}")
        bound = signature.bind(*args, **keywords)
        protocol = bound.arguments.get("protocol")
        if not isinstance(protocol, Protocol | None):
            raise TypeError(f"protocol is a training.Protocol, got {protocol!r}: give its fields by keyword")
        bound.arguments["protocol"] = dataclasses.replace(protocol or Protocol(), **settings)
        return function(*bound.args, **bound.kwargs)

    shortcuts = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in _FIELDS.items()
    ]
    first = next(i for i, p in enumerate(parameters) if p.kind is inspect.Parameter.KEYWORD_ONLY)
    with_protocol.__signature__ = signature.replace(
        parameters=[*parameters[:first], *shortcuts, *parameters[first:]]
    )
    return with_protocol

"""Whether a copy of the net fits a few images: with the reader's optimiser, and where that fails with another one."""

import contextlib
import math
import time

import keras
import numpy as np

from ..training import fast
from ..training.batches import targets_of
from ..training.losses import loss_of
from .ends import highest_rate
from .given import NotLooked
from .report import Finding

__all__ = ["fits_a_few_images"]

IMAGES, STEPS, SECONDS = 16, 100, 10
# Numbers at the input of a batch at most, so that large images come in smaller batches.
NUMBERS = 16 * 128 * 128 * 3
# Of the loss of a guess: below, the net tells the images apart; above, it does not.
FITS, STUCK = 0.5, 0.9


def fits_a_few_images(given):
    """The loss of some images, trained on over and over. They can be learnt by heart, so a net that fails has a fault."""
    given.computable()
    end = given.known_end()
    if end.kind == "sigmoid":
        raise NotLooked("the net gives several answers for an image")
    if not given.model.trainable_variables:
        raise NotLooked("nothing is trained")
    count = int(np.clip(NUMBERS // math.prod(given.x.shape[1:]), 4, IMAGES))
    x, y = given.few(count)
    shares = np.unique(y, return_counts=True)[1] / y.size
    guess = float(-(shares * np.log(shares)).sum())
    if guess < 0.01:
        raise NotLooked("the images that were chosen are all of one class")
    runs = {}
    if given.compiled:
        with contextlib.suppress(Exception):  # an optimiser that cannot be copied: Adam alone
            optimizer = _same(given.model.optimizer)
            runs["your"] = _descent(given.model, optimizer, end, x, y, guess)
    if "your" not in runs or _verdict(runs["your"], guess) != "fits":
        adam = keras.optimizers.Adam(1e-3)
        runs["Adam"] = _descent(given.model, adam, end, x, y, guess)
    text = "; ".join(_words(name, losses, given) for name, losses in runs.items())
    text = f"{len(x)} images, a guess has {guess:.3g}: {text}"
    verdicts = {name: _verdict(losses, guess) for name, losses in runs.items()}
    return text, _finding(given, text, verdicts)


def _words(name, losses, given):
    optimizer = type(given.model.optimizer).__name__ if name == "your" else "Adam(1e-3)"
    steps = len(losses) - 1
    if steps < 5 and math.isfinite(losses[-1]):
        return f"{optimizer} was stopped after {steps} steps, since they take too long here"
    top = f", over {max(losses):.2g}," if math.isfinite(max(losses)) and max(losses) > 2 * losses[0] else ""
    return f"{optimizer} takes the loss from {losses[0]:.3g}{top} to {_last(losses):.3g} in {steps} steps"


def _finding(given, text, verdicts):
    rate = f"{highest_rate(given.model.optimizer):g}" if given.compiled else ""
    if verdicts.get("your") == "diverges":
        return [
            Finding(
                "learning rate too large",
                text,
                f"steps of a rate of {rate} leap over the slope they go down, and may leave a net whose units are dead"
                + ("" if verdicts.get("Adam") == "fits" else ", or the pixels or weights are too large"),
                "a tenth of the rate; pixels scaled; keras.optimizers.SGD(..., global_clipnorm=1) against single long steps",
            )
        ]
    if verdicts.get("your") == "stuck" and verdicts.get("Adam") == "fits":
        return [
            Finding(
                "optimiser does not move",
                text,
                f"the net can learn these images, and with a rate of {rate} it does not in a hundred steps",
                "try ten times and a tenth of the rate on a few images",
            )
        ]
    stuck = [v for v in verdicts.values() if v in ("stuck", "diverges")]
    if len(stuck) == len(verdicts):
        return [
            Finding(
                "does not fit a few images",
                text,
                "a net that is wired and fed rightly learns a few images by heart; this one gets hardly beyond a "
                "constant answer",
                "see the findings above, the first one first; where there are none, take layers out until it learns",
            )
        ]
    return []


def _verdict(losses, guess):
    """fits, diverges (also where the loss came from far above a guess and stays there), stuck, or between: neither."""
    last = _last(losses)
    if not math.isfinite(last) or last > 3 * max(losses[0], guess):
        return "diverges"
    if last > STUCK * guess and max(losses) > 3 * guess and abs(last - losses[0]) > 0.1 * losses[0]:
        return "diverges"
    if min(losses[0], last) < FITS * guess:
        return "fits"
    return "stuck" if last > STUCK * guess and len(losses) > STEPS else "between"


def _last(losses):
    """The mean of the last losses, since dropout makes each of them uncertain."""
    return float(np.mean(losses[-5:])) if len(losses) > 5 else losses[-1]


def _same(optimizer):
    """The reader's optimiser anew, at its highest rate."""
    config = {**optimizer.get_config(), "learning_rate": highest_rate(optimizer)}
    return type(optimizer).from_config(config)


def _descent(model, optimizer, end, x, y, guess):
    """The losses of the steps of a copy on these images, the first one before any; it ends early where all is clear."""
    copy = _copy(model)
    losses = [loss_of(copy, _entropy(end), output) for output in range(len(copy.outputs))]
    copy.compile(
        optimizer,
        losses if len(losses) > 1 else losses[0],
        jit_compile=keras.backend.backend() == "jax",
    )
    (target,) = targets_of(copy)(y)
    found, begin = [], None
    with fast.computing(copy):
        for _ in range(STEPS + 1):
            copy.reset_metrics()
            value = copy.train_on_batch(x, target)
            found.append(float(value[0] if isinstance(value, list | tuple) else value))
            begin = begin or time.monotonic()  # compiling is over
            clear = not math.isfinite(found[-1]) or len(found) > 10 and _last(found) < FITS * guess
            if clear or time.monotonic() - begin > SECONDS:
                break
    return found


def _entropy(end):
    """The cross-entropy for an end that the graph does not show."""
    kind = keras.losses.BinaryCrossentropy if end.binary else keras.losses.SparseCategoricalCrossentropy
    return kind(from_logits=end.from_logits)


def _copy(model):
    """The net with weights of its own, equal ones; NotLooked where it cannot be copied."""
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise NotLooked(f"the net cannot be copied: {reason}") from error
    return copy

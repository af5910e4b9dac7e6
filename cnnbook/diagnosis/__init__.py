"""`diagnose`: what looks wrong with the reader's own images, labels and net, with numbers, a likely cause and a cure.

report      Finding and Diagnosis, which shows itself
given       the model, the images and the labels, and what they are taken for
pixels      images and labels: values, shapes, shares, contradictions
maps        masks: values, sizes, the share of the foreground
ends        the net's end against its loss, what is trained, the learning rate
signals     what a batch does in the net: signal and gradient by depth, dead units, loss, predictions, batch norm
descent     whether a copy of the net fits a few images

A check is a function of a `Given` that gives a text, what was found in order, and a list of `Finding`s; `NotLooked` says
why it could not look, or nothing where there is nothing for it to look at. It changes nothing: it computes in a scope that
forgets what layers store, and trains a copy.
"""

import os
import time

from ..training.progress import waiting
from .descent import fits_a_few_images
from .ends import learning_rate, loss_and_end, what_is_trained
from .given import Given, NotLooked, kept_draws
from .maps import masks
from .pixels import images, labels
from .report import Diagnosis, Finding
from .signals import loss_and_predictions, moving_statistics, signal_and_gradient

__all__ = ["Diagnosis", "Finding", "diagnose"]

# In this order: what comes first is the cause of what comes later.
CHECKS = {
    "images": images,
    "labels": labels,
    "masks": masks,
    "end and loss": loss_and_end,
    "what is trained": what_is_trained,
    "learning rate": learning_rate,
    "signal and gradient": signal_and_gradient,
    "loss and predictions": loss_and_predictions,
    "moving statistics": moving_statistics,
    "a few images": fits_a_few_images,
}


def diagnose(one, two, three, *, seed=0, train=True):
    """What looks wrong with a net and its data: `diagnose(model, x, y)`, or with masks `diagnose(images, masks, net)`.

    The net stands wherever it likes among the three, the images come before their labels. Images (n, h, w, c) as they are
    given to the net, labels (n,), one-hot or whole, masks (n, h, w), also (n, h, w, 1): arrays, best a few hundred, of which
    at most 2,000 are read. Where the net is compiled, its loss and its optimiser are looked at too, and where it has been
    trained, what it predicts. train: also train a copy of the net on a few images, a hundred steps or ten seconds at most,
    and once more with another optimiser where that fails. A line says what is looked at where it takes longer than five
    seconds, unless bars of progress are off too (TQDM_DISABLE=1). seed: of the copy's dropout.

    Returns a `Diagnosis`, which shows itself: for each finding what was seen, the likely cause and what to do, and below
    what was looked at and is in order. Neither the net's weights nor its optimiser change, and no random number that the
    reader will draw does. Runs on TensorFlow and JAX. ValueError where there is not one keras.Model among the three that
    has its weights, or where the others are no arrays of numbers.
    """
    given = Given.of(one, two, three, seed=seed)
    found, speaker = Diagnosis(given.model.name, given.words), _Speaker(given.model.name)
    with kept_draws(seed), waiting(speaker.say, lambda: speaker.spoke):
        for name, check in CHECKS.items():
            speaker.on(name)
            if name == "a few images" and not train:
                found.leave(name, "train=False")
                continue
            try:
                found.add(name, *check(given))
            except NotLooked as reason:
                if str(reason):
                    found.leave(name, str(reason))
            except Exception as error:  # one net too strange for one check leaves the others
                reason = str(error).strip().partition("\n")[0][:200]
                found.leave(name, f"the check failed, {type(error).__name__}: {reason}")
    return found


class _Speaker:
    """Says what is looked at, where the last line was more than five seconds ago."""

    def __init__(self, model):
        self.model, self.check, self.spoke = model, "images", time.monotonic()

    def on(self, check):
        self.check = check
        if time.monotonic() - self.spoke > 5:
            self.say()

    def say(self):
        self.spoke = time.monotonic()
        if os.environ.get("TQDM_DISABLE", "0") in ("", "0"):
            print(f"diagnose {self.model}: {self.check}", flush=True)

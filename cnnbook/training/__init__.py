"""How the course trains: seeded, SGD with momentum, the standard augmentation, a history of every run.

protocol    the settings of a run as one value: Protocol
fitting     fit
losses      the loss and the metrics that fit a net's end, and labels that fit both
batches     shuffled, augmented batches; seed
optimiser   the schedule of the learning rate, SGD with a rate for every stage
statistics  batch norm's statistics, measured anew after a short run
measures    a net's outputs, accuracy, best k guesses, classes per pixel, gradients by layer
footprint   how much memory nets take on this machine
progress    lines for whoever waits
runs        histories, and their spread over seeds
results     files of finished runs; those that the chapters keep
restart     the state of a run that was cut short
devices     one net on several devices or processes: `cnnbook.distributed`
fast        quicker kernels for stock Keras layers
surface     the loss around a net's weights
programs    compiled functions that equal nets share, on JAX
on_card     images that lie on the device, and many steps in one go, on JAX
gradients   gradients of weights and of images, on every backend
saved       opens saved models

Nothing here draws: `viz.curves` does. The files load on first use, since the launcher of processes reads `devices` without
Keras.
"""

import importlib
import logging

# Predicting with several small models, or a grouped convolution outside of a compiled function, has TensorFlow warn of
# retracing, which is harmless there.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())

# name -> the file it lives in
_FILES = {
    "Batches": "batches",
    "augment": "batches",
    "augment_together": "batches",
    "seed": "batches",
    "Progress": "progress",
    "fit": "fitting",
    "loss_of": "losses",
    "accuracy": "measures",
    "gradient_norms": "measures",
    "outputs": "measures",
    "predicted": "measures",
    "top_k": "measures",
    "MomentumSGD": "optimiser",
    "Schedule": "optimiser",
    "StagedSGD": "optimiser",
    "factors_of": "optimiser",
    "Protocol": "protocol",
    "History": "runs",
    "spread": "runs",
    "Results": "results",
    "kept": "results",
    "load": "saved",
}
_MODULES = ("devices", "fast", "footprint", "gradients", "on_card", "programs", "restart", "statistics")
__all__ = sorted([*_FILES, *_MODULES])


def __getattr__(name):
    if name in _FILES:
        return getattr(importlib.import_module(f"cnnbook.training.{_FILES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"cnnbook.training.{name}")
    raise AttributeError(f"cnnbook.training has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)

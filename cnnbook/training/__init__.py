"""How the course trains: seeded, SGD with momentum, the standard augmentation, a history of every run.

Batches, the optimiser, `fit`, files of finished runs, runs that go on after an interruption, several devices, quicker
kernels, gradients. Nothing here draws: curves are in `cnnbook.viz`.
"""

import importlib

# name -> the file it lives in
_FILES = {
    "Batches": "batches",
    "augment": "batches",
    "augment_together": "batches",
    "seed": "batches",
    "Progress": "fitting",
    "accuracy": "fitting",
    "fit": "fitting",
    "gradient_norms": "fitting",
    "loss_of": "fitting",
    "predicted": "fitting",
    "Schedule": "optimiser",
    "StagedSGD": "optimiser",
    "factors_of": "optimiser",
    "History": "runs",
    "plot": "runs",
    "spread": "runs",
    "Results": "results",
    "kept": "results",
    "load": "saved",
}
_MODULES = (
    "batches",
    "devices",
    "fast",
    "fitting",
    "gradients",
    "optimiser",
    "restart",
    "results",
    "runs",
    "saved",
)
__all__ = sorted(_FILES) + ["fast", "gradients"]


def __getattr__(name):
    if name in _FILES:
        return getattr(importlib.import_module(f"cnnbook.training.{_FILES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"cnnbook.training.{name}")
    raise AttributeError(f"cnnbook.training has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)

"""cnnbook: the networks of a course on convolutional networks, one file per paper, every number counted.

`import cnnbook` is quick: submodules load on first use, so neither Keras nor a backend nor matplotlib is
imported before it is needed.

It also asks TensorFlow for its oneDNN kernels, which TensorFlow chooses by itself only on processors with certain
instructions; on another one nets trained well faster with them (README, "How fast"). TensorFlow reads that once, when it
is imported, so import cnnbook first. TF_ENABLE_ONEDNN_OPTS=0 in the environment switches it off.

Where Keras' backend is JAX, it has JAX keep what it compiles: see `cnnbook.machine.have_jax_compile_less`.
"""

import importlib
import os

from . import machine

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if machine.backend() == "jax":
    machine.have_jax_compile_less()

__version__ = "0.1.0"

_MODULES = (
    "claims",
    "counts",
    "data",
    "diagnosis",
    "distributed",
    "exercises",
    "experiments",
    "faces",
    "files",
    "graph",
    "layers",
    "machine",
    "models",
    "numerics",
    "parts",
    "search",
    "segmentation",
    "tables",
    "training",
    "transfer",
    "viz",
    "weights",
)
_NAMES = {
    "claim": "claims",
    "compare": "graph",
    "count": "counts",
    "diagnose": "diagnosis",
    "load": "training",
    "summary": "graph",
}
__all__ = [*_MODULES, *_NAMES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"cnnbook.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"cnnbook.{_NAMES[name]}"), name)
    raise AttributeError(
        f"cnnbook has no {name!r}; its rooms are {', '.join(_MODULES)}, and {', '.join(_NAMES)}"
    )


def __dir__():
    return sorted([*__all__, "__version__"])


# A check of the course asks for it (numerics.py); it imports Keras.
if os.environ.get("CNNBOOK_ROUNDED_PRODUCTS"):
    importlib.import_module("cnnbook.numerics").round_if_asked()

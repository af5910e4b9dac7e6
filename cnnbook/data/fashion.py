"""Fashion-MNIST: the subset shipped with cnnbook, and Debian's whole copy in the bytes its authors published.

Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747. Copyright 2017 Zalando SE, MIT licence (files/fashion_mnist.txt).
"""

import functools
import gzip
import hashlib
import io
import struct
from pathlib import Path

import numpy as np

from .. import files
from .images import DataError, from_arrays

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHIPPED = Path(__file__).parent / "files" / "fashion_mnist.npz"
SHA256 = "0f20f4b99cdca5058b52d886a82945680696c549efd42d7cc83b966666868ce1"
# apt install dataset-fashion-mnist
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SOURCE = "shipped with cnnbook, a class-balanced part of Fashion-MNIST (Zalando, MIT licence)"

# Debian compressed the four files again: the same deflate stream under a header that lacks name and time. With both put
# back the files are the published ones, byte for byte, and pass the checksums that TFDS keeps.
# name: (time in the gzip header, sha256 of the published .gz)
PUBLISHED = {
    "train-images-idx3-ubyte": (
        1504176606,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte": (
        1504176606,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte": (
        1504176627,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte": (
        1504176627,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


def load(**choice):
    """`data.load("fashion_mnist")`: the shipped subset."""
    return from_arrays("fashion_mnist", shipped(), CLASSES, SOURCE, **choice)


@functools.cache
def shipped():
    """The shipped subset: read-only arrays x_train (12000, 28, 28, 1) uint8, y_train (12000,) int64, x_test (2000, ...),
    y_test. Raises DataError when the file is missing or its sha256 differs."""
    cure = (
        "Install cnnbook again, or build the file from the published ones with tools/build_fashion_subset.py."
    )
    try:
        raw = SHIPPED.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"fashion_mnist: the shipped file {SHIPPED.name} cannot be read ({reason}). {cure}"
        ) from None
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise DataError(
            f"fashion_mnist: the shipped file {SHIPPED.name} is damaged (its sha256 differs). {cure}"
        )
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        arrays = {
            key: stored[key].astype("int64" if key.startswith("y") else "uint8") for key in stored.files
        }
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def published(folder, name):
    """The published bytes of one .gz, from Debian's copy or the original. DataError when they are neither."""
    time, sha256 = PUBLISHED[name]
    try:
        raw = (Path(folder) / f"{name}.gz").read_bytes()
    except OSError as error:
        raise DataError(f"fashion_mnist: cannot read {name}.gz in {folder} ({error.strerror}).") from None
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\0\x03" + name.encode() + b"\0"
    for candidate in (raw, header + raw[10:]):
        if hashlib.sha256(candidate).hexdigest() == sha256:
            return candidate
    raise DataError(f"fashion_mnist: {name}.gz in {folder} is not the published file (its sha256 differs).")


def restore(source, target):
    """Writes the four published files from `source` into the folder `target`, each at once or not at all."""
    for name in PUBLISHED:
        files.write(Path(target) / f"{name}.gz", published(source, name))
    return Path(target)


def complete(folder):
    """All of Fashion-MNIST from the four .gz in `folder`: x_train (60000, 28, 28, 1) uint8, y_train (60000,), ..."""
    arrays = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        pixels = gzip.decompress(published(folder, f"{stem}-images-idx3-ubyte"))
        labels = gzip.decompress(published(folder, f"{stem}-labels-idx1-ubyte"))
        arrays[f"x_{part}"] = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28, 1)
        arrays[f"y_{part}"] = np.frombuffer(labels, np.uint8, offset=8)
    return arrays

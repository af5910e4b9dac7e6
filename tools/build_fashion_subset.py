"""Builds cnnbook/data/files/fashion_mnist.npz: the first 1,200 training and 200 test images of each class.

    python tools/build_fashion_subset.py [FOLDER]

FOLDER holds the four published .gz files or Debian's copy of them (the default; apt install dataset-fashion-mnist).
The same input gives the same arrays; the same zlib gives the same bytes. Prints the sha256 to put in fashion.py.
"""

import hashlib
import io
import sys
import zipfile

import numpy as np

from cnnbook import files
from cnnbook.data import fashion

PER_CLASS = {"train": 1200, "test": 200}


def build(folder, compression=zipfile.ZIP_DEFLATED):
    """The bytes of the .npz."""
    arrays = fashion.complete(folder)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for part, count in PER_CLASS.items():
            labels = arrays[f"y_{part}"]
            keep = np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(10)]))
            for key in (f"x_{part}", f"y_{part}"):
                npy = io.BytesIO()
                np.lib.format.write_array(npy, arrays[key][keep], version=(1, 0))
                # A fixed date: the same bytes every time.
                entry = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                entry.create_system = 3
                archive.writestr(entry, npy.getvalue(), compression, 9)
    return out.getvalue()


if __name__ == "__main__":
    raw = build(sys.argv[1] if len(sys.argv) > 1 else fashion.DEBIAN)
    files.write(fashion.SHIPPED, raw)
    print(f"{fashion.SHIPPED.name}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")

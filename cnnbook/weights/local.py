"""ImageNet's weights from files of keras.applications that lie on this machine already. Nothing is fetched."""

import os
from pathlib import Path

import keras

from .port import port

# How keras.applications names a file of weights; the nets whose files are named so.
FILE = "{}_weights_tf_dim_ordering_tf_kernels{}.h5"
NETS = ("VGG16", "VGG19")


def local(builder):
    """The net of `builder` (VGG16 or VGG19) with ImageNet's weights from this machine, None where they are not here.

    With its dense layers, so that it can predict, where the file with all weights is here; else, from the smaller file,
    its convolutions alone. Keras keeps both in `models` in its folder: ~/.keras, or what KERAS_HOME says. A request such as
    keras.applications.VGG16(weights="imagenet") leaves them there. Raises ValueError for another builder, and OSError for a
    file that is damaged.
    """
    name = getattr(builder, "__name__", str(builder))
    if name not in NETS:
        raise ValueError(f"local files are known of {' and '.join(NETS)}, got {name}")
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    for whole, end in ((True, ""), (False, "_notop")):
        path = folder / FILE.format(name.lower(), end)
        if path.is_file():
            try:
                reference = getattr(keras.applications, name)(weights=str(path), include_top=whole)
            except (OSError, ValueError) as error:
                raise OSError(f"{path} is no whole file of {name}'s weights: delete it ({error})") from error
            return port(reference, builder(include_top=whole))
    return None
